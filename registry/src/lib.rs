mod identity;
mod index;
mod package;

pub use identity::{
    ChainError, ChainOrder, Envelope, IDENTITY_ENTROPY_BYTES, IdentityChain, IdentityDocument, KeyError, KeyPair,
    MAX_CHAIN_BYTES, MAX_CHAIN_DOCUMENTS, MAX_RECOVERY_KEYS, MAX_SIGNATURES, MAX_SIGNING_KEYS, NewIdentity, PublicKey,
    PublisherId, Record, RecordCid, RecordError, RecordKind, SIGNATURE_BYTES, Signature, Signed, Timestamp,
};
pub use package::{
    Dependency, Gpack, GpackError, MANIFEST_CHUNK_BYTES, MAX_DEPENDENCIES, MAX_GPACK_BYTES,
    MAX_INLINE_EXECUTABLES_BYTES, MAX_MANIFEST_ENTRIES, MAX_NAME_CHARS, MAX_VERSION_CHARS, ManifestBuilder,
    ManifestChunk, ManifestEntry, ManifestError, ManifestReader, ManifestSummary, Metadata, NameError, PackageId,
    Release, Requirement, Target,
};
