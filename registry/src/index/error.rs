//! Errors of heads, catalogs, claims and publications.

use ggen_blockstore::Cid;
use semver::Version;

use crate::{
    identity::{ChainError, PublisherId, RecordError, Timestamp},
    package::PackageId,
};

/// Why a head was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeadError {
    /// Not decodable, or not signed by authorised keys.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// It belongs to another publisher than the identity chain beside it.
    #[error("the head belongs to publisher {actual}, the identity chain to {expected}")]
    OtherPublisher {
        /// The head's.
        actual: Box<PublisherId>,
        /// The chain's.
        expected: Box<PublisherId>,
    },
    /// Signed under an identity document that is not the chain's last one.
    #[error("the head was issued under identity document {head}, the chain stands at {chain}")]
    OtherIdentity {
        /// Sequence number the head names.
        head: u64,
        /// Sequence number of the chain's last document.
        chain: u64,
    },
    /// Issued in the future, by more than [`CLOCK_TOLERANCE`](crate::index::CLOCK_TOLERANCE).
    #[error("the head was signed at {issued}, but this machine's clock says {now}")]
    Future {
        /// The time of issue that it states.
        issued: Timestamp,
        /// The verifier's clock.
        now: Timestamp,
    },
    /// The refresh belongs to another head.
    #[error("the refresh does not belong to head {head}")]
    OtherHead {
        /// The head beside it.
        head: Box<Cid>,
    },
}

/// Why a catalog tree could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// A required node is missing.
    #[error("catalog node {cid} is missing")]
    Missing {
        /// The node.
        cid: Box<Cid>,
    },
    /// The given node is not the requested one.
    #[error("catalog node {actual} was given where {expected} was asked for")]
    Unexpected {
        /// The given node.
        actual: Box<Cid>,
        /// The requested node, or the root if none was requested.
        expected: Box<Cid>,
    },
    /// A node violates the rules of the tree.
    #[error("catalog node {cid} is broken: {reason}")]
    Broken {
        /// The node.
        cid: Box<Cid>,
        /// The rule it breaks.
        reason: String,
    },
    /// More versions of one package than a catalog can hold.
    #[error("{package} has more than {limit} versions")]
    TooManyVersions {
        /// The package.
        package: PackageId,
        /// The limit.
        limit: usize,
    },
    /// The store failed.
    #[error("cannot read a catalog node")]
    Store(#[source] Box<ggen_blockstore::Error>),
}

impl From<ggen_blockstore::Error> for TreeError {
    fn from(error: ggen_blockstore::Error) -> Self {
        Self::Store(Box::new(error))
    }
}

/// Why a publication or a yank failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublicationError {
    /// The version is already published with other content.
    #[error("{package} {version} is already published with other content ({existing}); publish a higher version")]
    VersionTaken {
        /// The package.
        package: PackageId,
        /// The version.
        version: Version,
        /// The published content.
        existing: Box<Cid>,
    },
    /// The version is already published with the same files, but with a different set of executable files.
    #[error("{package} {version} is already published with other executable files{}", example(path.as_deref()))]
    OtherExecutables {
        /// The package.
        package: PackageId,
        /// The version.
        version: Version,
        /// A file that is executable in one of the two, if the releases list their executable files.
        path: Option<String>,
    },
    /// A published version differs from this one in its build metadata alone.
    #[error("{package} {existing} is already published, and {version} differs from it in build metadata alone")]
    OtherBuild {
        /// The package.
        package: PackageId,
        /// The version offered.
        version: Version,
        /// The published one.
        existing: Version,
    },
    /// The version to yank does not exist.
    #[error("{package} has no version {version} in this publisher's catalog")]
    NoSuchVersion {
        /// The package.
        package: PackageId,
        /// The version.
        version: Version,
    },
    /// The latest head was signed later than the current time.
    #[error("the last head was signed at {issued}, but this machine's clock says {now}")]
    Clock {
        /// The signing time that the head states.
        issued: Timestamp,
        /// The signer's clock.
        now: Timestamp,
    },
    /// The release names a publisher that the signing keys do not belong to.
    #[error("the release names publisher {release}, the keys belong to {publisher}")]
    OtherPublisher {
        /// The release's.
        release: Box<PublisherId>,
        /// The keys'.
        publisher: Box<PublisherId>,
    },
    /// The release block of a published version cannot be read to compare it.
    #[error("release {release} of the published version is not in the store")]
    MissingRelease {
        /// The release.
        release: Box<Cid>,
    },
    /// A record cannot be encoded, or the keys do not reach the threshold.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The head that was just signed does not verify.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The catalog cannot be read or written.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// Why a claim or an announcement was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// Not decodable, or too large.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The identity chain does not verify.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The head does not verify.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The catalog proof does not verify.
    #[error("the catalog proof does not verify")]
    Proof(#[source] TreeError),
    /// The parts do not belong together.
    #[error("the claim's parts do not belong together: {reason}")]
    Mismatch {
        /// Which parts, and how they conflict.
        reason: String,
    },
    /// A claim under a key that it does not belong to.
    #[error("the claim does not belong under this key")]
    OtherKey,
    /// More claims than one key can hold, or two of one publisher.
    #[error("the set of claims is not in its form: {reason}")]
    Form {
        /// The rule it breaks.
        reason: String,
    },
    /// A malformed question or answer.
    #[error("the message is not in its form: {reason}")]
    Message {
        /// The rule it breaks.
        reason: String,
    },
    /// A message that was made for another topic.
    #[error("the message was made for topic `{actual}`")]
    OtherTopic {
        /// The topic it names.
        actual: String,
    },
    /// An announcement of a head that has expired.
    #[error("the announced head expired at {expired}")]
    Expired {
        /// Time of expiry.
        expired: Timestamp,
    },
}

fn example(path: Option<&str>) -> String {
    path.map(|path| format!(" (`{}`)", path.escape_debug())).unwrap_or_default()
}
