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
pub mod records;
mod registry;
mod report;
mod request;
mod size;
pub mod traits;
mod trust;

pub use backend::p2p::P2PRegistry;
pub use caller::Caller;
pub use changes::Changes;
pub use config::{Config, ConfigError, Limits, MirrorConfig, NumberRange, RULE_BYTES, RULE_VERSIONS, Timeouts};
pub use error::{Action, ErrorKind, Failure, Hint, Operation, Setting};
pub use home::{check_home, check_writable};
pub use identity::{KeyError, KeyPair, PublisherId, Timestamp};
pub use interrupt::Interrupt;
pub use known_names::KnownNames;
pub use mirror::{MAX_RULES, MirrorRule, MirrorScope};
pub use package::{Dependency, Metadata, NameError, PackageId, Requirement, Target};
pub use peers::{Fault, LOW_REPUTATION, Listing, Outcome, PeerHistory, PeerRecord, Standing};
pub use place::Place;
pub use progress::{Progress, Reporter};
pub use registry::{Mode, Registry};
pub use report::{
    BadBlock, GcReport, MirrorReport, PinReport, StoreDamage, TrustReport, UnpinnedRelease, VerifyReport,
};
pub use report::{
    BootstrapReport, ClaimInfo, ContentProvider, Diagnosis, FailedAddress, Fetched, KeyReport, Listening, PackageInfo,
    PeerEvent, PeerLists, PeerReport, ProviderReport, Published, RecordInfo, RecoveryKeyReport, RecoveryNotice,
    ReleaseInfo, SearchHit, Stage, Status, Yanked,
};
pub use request::{
    BootstrapRequest, DoctorRequest, FetchRequest, FetchTo, InfoRequest, PeerInfoRequest, PeerListRequest, PeerRule,
    PeerRuleRequest, PublishContentRequest, PublishRequest, RecoveryKeyRequest, SearchRequest, YankRequest,
};
pub use request::{GcRequest, MirrorRequest, PinRequest, TrustAddRequest, TrustRemoveRequest, VerifyRequest};
pub use size::{SizeError, parse_size};
pub use trust::KnownBy;

/// The target of all log lines of this crate.
pub(crate) const LOG_TARGET: &str = "ggen_marketplace::backend::p2p";
