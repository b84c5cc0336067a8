//! Packages over blocks over peers: publish, find, fetch and verify packages on IPFS.
//!
//! The story of a publish, module by module: [`Registry`] takes a request and calls one operation; the operation
//! imports the package into the blockstore, signs a release and hands its records to the index and to the node.
//! A fetch walks the same way back: the index or the network names a release, the node brings the blocks, the
//! blockstore proves them, the operation writes the tree.

mod config;
mod error;
mod home;
mod identity;
mod index;
mod keys;
pub mod node;
mod ops;

mod package;
mod progress;
mod registry;
mod report;
mod request;

pub use config::{Config, ConfigError, Limits, Timeouts};
pub use error::{ErrorKind, Failure};
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
pub use progress::{Progress, Reporter};
pub use registry::{Mode, Registry};
pub use report::{
    BootstrapReport, FailedAddress, Fetched, KeyReport, Listening, ProviderReport, Published, SearchHit, Status,
};
pub use request::{BootstrapRequest, FetchRequest, FetchTo, PublishRequest, SearchRequest};
