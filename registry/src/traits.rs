//! What a registry of packages is, whatever stands behind it; and the nouns it is spoken to in.

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

/// A result whose error says what was attempted, what is wrong, and what can be done about it.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// A registry of packages.
///
/// Every method waits for the network where it has to. Dropping the future gives up waiting. A publish or a yank that is
/// dropped before it is committed changes nothing; after that it is completed on disk.
pub trait Registry: Send + Sync {
    /// Finds packages, best first: the newest release of each that is not yanked.
    ///
    /// # Errors
    /// A query that is too long or has a limit out of range.
    fn search<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Vec<Package>>>;

    /// The newest release of a package that is not yanked.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) if nobody claims the name or all of it is yanked;
    /// [`Verification`](crate::ErrorKind::Verification) if several publishers do, or a signature does not hold.
    fn get_package<'a>(&'a self, id: &'a PackageId) -> BoxFuture<'a, Result<Package>>;

    /// Exactly this version of a package, yanked or not.
    ///
    /// # Errors
    /// As [`get_package`](Self::get_package).
    fn get_package_version<'a>(&'a self, id: &'a PackageId, version: &'a Version) -> BoxFuture<'a, Result<Package>>;

    /// Every version of a package, lowest first, the yanked ones among them.
    ///
    /// # Errors
    /// As [`get_package`](Self::get_package).
    fn list_versions<'a>(&'a self, id: &'a PackageId) -> BoxFuture<'a, Result<Vec<Package>>>;

    /// Signs a release of the package and tells the network. Content that is not here is fetched first. The same version
    /// with the same content again is nothing to do; with other content it is refused.
    ///
    /// # Errors
    /// [`TimedOut`](crate::ErrorKind::TimedOut) if the content cannot be had; a version that is taken.
    fn publish(&self, package: Package) -> BoxFuture<'_, Result<Published>>;

    /// **Yanks** a version of one's own: it is no longer chosen, except by those who name it exactly or have locked it. It
    /// deletes nothing: what was published lies with whoever fetched it, and nobody can take it back.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) if this registry's publisher has no such version.
    fn delete<'a>(&'a self, id: &'a PackageId, version: &'a Version) -> BoxFuture<'a, Result<Yanked>>;

    /// Whether anybody claims the name.
    ///
    /// # Errors
    /// Only if it could not be found out.
    fn exists<'a>(&'a self, id: &'a PackageId) -> BoxFuture<'a, Result<bool>>;

    /// What this registry is, and how much it knows.
    ///
    /// # Errors
    /// A registry that was shut down.
    fn metadata(&self) -> BoxFuture<'_, Result<RegistryMetadata>>;
}

/// A registry at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegistryMetadata {
    /// What stands behind it: `p2p`.
    pub backend: String,
    /// Name and version that it tells others.
    pub agent: String,
    /// Its peer id.
    pub peer_id: PeerId,
    /// Where it listens, each with `/p2p/<peer id>`; empty before it was told to.
    pub listen_addresses: Vec<Multiaddr>,
    /// The topic of announcements, which is also the network's name.
    pub packages_topic: String,
    /// Peers it is connected to.
    pub connected_peers: usize,
    /// Of these, those that follow the packages topic.
    pub followers: usize,
    /// Packages in its catalog.
    pub packages_known: u64,
    /// Of these, its own.
    pub packages_published: u64,
}
