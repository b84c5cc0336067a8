//! Publish, find, fetch and verify packages on IPFS.
//!
//! The sequence of a publish, module by module: [`Registry`] receives a request and calls one operation; the operation
//! imports the package into the blockstore, signs a release and passes its records to the index and to the node. A
//! fetch takes the reverse path: the index or the network returns a release, the node fetches the blocks, the
//! blockstore verifies them, and the operation writes the tree.

pub mod backend;
mod caller;
mod changes;
mod checked_file;
mod config;
mod database;
mod error;
mod home;
mod identity;
mod index;
mod interrupt;
mod keys;
mod known_names;
mod manifest;
mod mirror;
pub mod node;
mod ops;

mod package;
mod peers;
mod place;
pub mod prelude;
mod private;
mod progress;
mod registry;
mod report;
mod request;
mod size;
pub mod traits;

pub use backend::p2p::P2PRegistry;
pub use caller::Caller;
pub use changes::Changes;
pub use config::{Config, ConfigError, Limits, MirrorConfig, NumberRange, RULE_BYTES, RULE_VERSIONS, Timeouts};
pub use database::DatabaseError;
pub use error::{ErrorKind, Failure};
pub use home::{check_home, check_writable};
pub use identity::{
    ChainError, ChainOrder, Envelope, IDENTITY_ENTROPY_BYTES, IdentityChain, IdentityDocument, KeyError, KeyPair,
    MAX_CHAIN_BYTES, MAX_CHAIN_DOCUMENTS, MAX_RECOVERY_KEYS, MAX_SIGNATURES, MAX_SIGNING_KEYS, NewIdentity, PublicKey,
    PublisherId, Record, RecordCid, RecordError, RecordKind, SIGNATURE_BYTES, Signature, Signed, Timestamp,
};
pub use index::{
    Acceptance, Announcement, CLOCK_TOLERANCE, Catalog, CatalogCounts, CatalogError, CatalogTree, Claim,
    ClaimAcceptance, ClaimEntry, ClaimError, ClaimSet, Equivocation, Found, HEAD_LIFETIME, Head, HeadError, HeadOrder,
    HeadVerdict, Hit, LogAction, LogEntry, MAX_ANNOUNCEMENT_BYTES, MAX_CLAIM_BYTES, MAX_CLAIM_SET_BYTES, MAX_CLAIMS,
    MAX_QUERY_BYTES, MAX_REASON_BYTES, MAX_SEARCH_LIMIT, MAX_TOPIC_BYTES, Matcher, Publication, PublicationError,
    PublishOutcome, PublisherEntry, PublisherState, Refresh, Refusal, ReleaseEntry, Salvaged, SearchFilters,
    StoredRecords, TreeError, TreeListing, VerifiedHead, VersionEntry, WORD_BUCKETS, Walk, check_clock, judge_head,
    list_packages, merge_claims, package_key, publish, publisher_key, qualified_key, refresh, rotate, set_yanked,
    word_bucket, word_key, words_of,
};
pub use interrupt::Interrupt;
pub use known_names::KnownNames;
pub use manifest::{
    MANIFEST_CHUNK_BYTES, MAX_MANIFEST_ENTRIES, ManifestBuilder, ManifestChunk, ManifestEntry, ManifestError,
    ManifestReader, ManifestSummary,
};
pub use mirror::{MAX_RULES, MirrorRule, MirrorScope};
pub use package::{
    Dependency, Gpack, GpackError, MAX_DEPENDENCIES, MAX_GPACK_BYTES, MAX_INLINE_EXECUTABLES_BYTES, MAX_NAME_CHARS,
    MAX_VERSION_CHARS, Metadata, NameError, NamedFile, PackageId, Release, Requirement, Target, UnknownKey,
};
pub use peers::{
    Fault, LOW_REPUTATION, Listing, MAX_HISTORY, MAX_LISTED, MAX_PACKAGES, MAX_PEERS, Outcome, PeerBook, PeerBookError,
    PeerHistory, PeerRecord, Standing,
};
pub use place::Place;
pub use progress::{Progress, Reporter};
pub use registry::{Mode, Registry};
pub use report::{BadBlock, GcReport, MirrorReport, PinReport, StoreDamage, UnpinnedRelease, VerifyReport};
pub use report::{
    BootstrapReport, ClaimInfo, ContentProvider, Diagnosis, FailedAddress, Fetched, KeyReport, Listening, PackageInfo,
    PeerEvent, PeerLists, PeerReport, ProviderReport, Published, RecordInfo, RecoveryKeyReport, RecoveryNotice,
    ReleaseInfo, SearchHit, Stage, Status, Yanked,
};
pub use request::{
    BootstrapRequest, DoctorRequest, FetchRequest, FetchTo, InfoRequest, PeerInfoRequest, PeerListRequest, PeerRule,
    PeerRuleRequest, PublishContentRequest, PublishRequest, RecoveryKeyRequest, SearchRequest, YankRequest,
};
pub use request::{GcRequest, MirrorRequest, PinRequest, VerifyRequest};
pub use size::{SizeError, parse_size};

/// The target of all log lines of this crate.
pub(crate) const LOG_TARGET: &str = "ggen_marketplace::backend::p2p";
