//! The interface of a package registry, independent of its backend, and its types.

mod content;
mod package;
mod query;

use futures::future::BoxFuture;
use libp2p::{Multiaddr, PeerId};
use semver::Version;

pub use self::{
    content::{ContentId, HashAlgorithm},
    package::{Package, PackageBuilder},
    query::Query,
};
use crate::{Failure, PackageId, Published, Yanked};

/// A result whose error contains what was attempted, the cause, and a hint.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// A registry of packages.
///
/// Every method waits for the network if it must. Dropping the future cancels the wait. A publish or a yank that is
/// dropped before its commit point changes nothing; after that it is completed on disk.
pub trait Registry: Send + Sync {
    /// Finds packages, best first: the newest release of each that is not yanked.
    ///
    /// # Errors
    /// A query that is too long or has a limit out of range.
    fn search<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Vec<Package>>>;

    /// The newest release of a package that is not yanked.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) if no publisher claims the name or all versions are yanked;
    /// [`Verification`](crate::ErrorKind::Verification) if several publishers do, or a signature is invalid.
    fn get_package<'a>(&'a self, id: &'a PackageId) -> BoxFuture<'a, Result<Package>>;

    /// Exactly this version of a package, yanked or not.
    ///
    /// # Errors
    /// As [`get_package`](Self::get_package).
    fn get_package_version<'a>(&'a self, id: &'a PackageId, version: &'a Version) -> BoxFuture<'a, Result<Package>>;

    /// Every version of a package, lowest first, including yanked ones.
    ///
    /// # Errors
    /// As [`get_package`](Self::get_package).
    fn list_versions<'a>(&'a self, id: &'a PackageId) -> BoxFuture<'a, Result<Vec<Package>>>;

    /// Signs a release of the package and announces it to the network. Content that the local store lacks is fetched
    /// first. Publishing the same version with the same content again does nothing; with other content it is refused.
    ///
    /// # Errors
    /// [`TimedOut`](crate::ErrorKind::TimedOut) if the content cannot be fetched; a version that is already published
    /// with other content.
    fn publish(&self, package: Package) -> BoxFuture<'_, Result<Published>>;

    /// **Yanks** a version of this registry's publisher: it is no longer chosen, but users who name it exactly or have
    /// locked it still get it. It deletes nothing: peers that fetched the version keep it.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) if this registry's publisher has no such version.
    fn delete<'a>(&'a self, id: &'a PackageId, version: &'a Version) -> BoxFuture<'a, Result<Yanked>>;

    /// Returns whether a publisher claims the name.
    ///
    /// # Errors
    /// The network could not be queried.
    fn exists<'a>(&'a self, id: &'a PackageId) -> BoxFuture<'a, Result<bool>>;

    /// The backend, addresses and statistics of this registry.
    ///
    /// # Errors
    /// The registry was shut down.
    fn metadata(&self) -> BoxFuture<'_, Result<RegistryMetadata>>;
}

/// The state of a registry at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegistryMetadata {
    /// The backend: `p2p`.
    pub backend: String,
    /// Name and version that it reports to peers.
    pub agent: String,
    /// Its peer id.
    pub peer_id: PeerId,
    /// The addresses on which it listens, each with `/p2p/<peer id>`; empty before it listens.
    pub listen_addresses: Vec<Multiaddr>,
    /// The topic of announcements, which is also the network's name.
    pub packages_topic: String,
    /// Peers it is connected to.
    pub connected_peers: usize,
    /// The connected peers that subscribe to the packages topic.
    pub followers: usize,
    /// Packages in its catalog.
    pub packages_known: u64,
    /// The packages in its catalog that it has published.
    pub packages_published: u64,
}
