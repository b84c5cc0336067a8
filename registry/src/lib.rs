//! Packages over blocks over peers: publish, find, fetch and verify packages on IPFS.
//!
//! The story of a publish, module by module: [`Registry`] takes a request and calls one operation; the operation
//! imports the package into the blockstore, signs a release and hands its records to the index and to the node.
//! A fetch walks the same way back: the index or the network names a release, the node brings the blocks, the
//! blockstore proves them, the operation writes the tree.

mod config;
mod error;
mod progress;
mod registry;
mod report;
mod request;

pub use config::{Config, ConfigError, Limits, Timeouts};
pub use error::{ErrorKind, Failure};
pub use progress::{Progress, Reporter};
pub use registry::{Mode, Registry};
pub use report::{
    BootstrapReport, FailedAddress, Fetched, KeyReport, Listening, ProviderReport, Published, SearchHit, Status,
};
pub use request::{BootstrapRequest, FetchRequest, FetchTo, PublishRequest, SearchRequest};
