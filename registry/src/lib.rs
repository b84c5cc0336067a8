mod identity;
mod index;
mod package;

pub use identity::{
    ChainError, ChainOrder, Envelope, IDENTITY_ENTROPY_BYTES, IdentityChain, IdentityDocument, KeyError, KeyPair,
    MAX_CHAIN_BYTES, MAX_CHAIN_DOCUMENTS, MAX_RECOVERY_KEYS, MAX_SIGNATURES, MAX_SIGNING_KEYS, NewIdentity, PublicKey,
    PublisherId, Record, RecordCid, RecordError, RecordKind, SIGNATURE_BYTES, Signature, Signed, Timestamp,
};
pub use index::{
    Acceptance, Announcement, CLOCK_TOLERANCE, Catalog, CatalogCounts, CatalogError, CatalogTree, Claim,
    ClaimAcceptance, ClaimEntry, ClaimError, ClaimSet, Equivocation, Found, HEAD_LIFETIME, Head, HeadError, HeadOrder,
    HeadVerdict, Hit, LogAction, LogEntry, MAX_ANNOUNCEMENT_BYTES, MAX_CLAIM_BYTES, MAX_CLAIM_SET_BYTES, MAX_CLAIMS,
    MAX_QUERY_BYTES, MAX_SEARCH_LIMIT, MAX_TOPIC_BYTES, Publication, PublicationError, PublishOutcome, PublishRules,
    PublisherEntry, PublisherState, Refresh, Refusal, ReleaseEntry, SearchFilters, StoredRecords, TreeError,
    VerifiedHead, VersionEntry, Walk, judge_head, list_packages, merge_claims, package_key, publish, publisher_key,
    qualified_key, refresh, rotate, set_yanked,
};
pub use package::{
    Dependency, Gpack, GpackError, MANIFEST_CHUNK_BYTES, MAX_DEPENDENCIES, MAX_GPACK_BYTES,
    MAX_INLINE_EXECUTABLES_BYTES, MAX_MANIFEST_ENTRIES, MAX_NAME_CHARS, MAX_VERSION_CHARS, ManifestBuilder,
    ManifestChunk, ManifestEntry, ManifestError, ManifestReader, ManifestSummary, Metadata, NameError, PackageId,
    Release, Requirement, Target,
};
