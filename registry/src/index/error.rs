//! What can be wrong with heads, catalogs, claims and publications.

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
    /// Not readable, or not signed by those who may.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Of another publisher than the identity chain beside it.
    #[error("the head belongs to publisher {actual}, the identity chain to {expected}")]
    OtherPublisher {
        /// The head's.
        actual: Box<PublisherId>,
        /// The chain's.
        expected: Box<PublisherId>,
    },
    /// Signed under an identity document that is not the one that holds today.
    #[error("the head was issued under identity document {head}, the chain stands at {chain}")]
    OtherIdentity {
        /// Sequence number the head names.
        head: u64,
        /// Sequence number of the chain's last document.
        chain: u64,
    },
    /// From the future by more than clocks differ.
    #[error("the head was signed at {issued}, but this machine's clock says {now}")]
    Future {
        /// When it says it was issued.
        issued: Timestamp,
        /// By the clock of the one who looks at it.
        now: Timestamp,
    },
    /// A refresh of another head.
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
    /// A node that is needed and not there.
    #[error("catalog node {cid} is missing")]
    Missing {
        /// The node.
        cid: Box<Cid>,
    },
    /// A node that was not asked for.
    #[error("catalog node {actual} was given where {expected} was asked for")]
    Unexpected {
        /// What was given.
        actual: Box<Cid>,
        /// What was asked for, or the root if nothing was.
        expected: Box<Cid>,
    },
    /// A node against the rules of the tree.
    #[error("catalog node {cid} is broken: {reason}")]
    Broken {
        /// The node.
        cid: Box<Cid>,
        /// The rule it breaks.
        reason: String,
    },
    /// More versions of one package than the catalog holds.
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

/// Why a release was not published or a yank not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublicationError {
    /// The version is there with other content.
    #[error("{package} {version} is already published with other content ({existing}); publish a higher version")]
    VersionTaken {
        /// The package.
        package: PackageId,
        /// The version.
        version: Version,
        /// The content that it has.
        existing: Box<Cid>,
    },
    /// The version is there with the same files, of which others are executable.
    #[error("{package} {version} is already published with other executable files{}", example(path.as_deref()))]
    OtherExecutables {
        /// The package.
        package: PackageId,
        /// The version.
        version: Version,
        /// A file that is executable in one of the two, where the releases name theirs.
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
    /// There is no such version to yank.
    #[error("{package} has no version {version} in this publisher's catalog")]
    NoSuchVersion {
        /// The package.
        package: PackageId,
        /// The version.
        version: Version,
    },
    /// The head that is to be followed is of a later time than now.
    #[error("the last head was signed at {issued}, but this machine's clock says {now}")]
    Clock {
        /// When the head says it was signed.
        issued: Timestamp,
        /// By the clock of the one who is to sign.
        now: Timestamp,
    },
    /// The release names another publisher than the one whose keys sign.
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
    /// A record cannot be made, or the keys are not enough.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The head that was just made does not verify.
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
    /// Not readable, or too large.
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
        /// Which, and how.
        reason: String,
    },
    /// A claim under a key that is not its own.
    #[error("the claim does not belong under this key")]
    OtherKey,
    /// More claims than one key holds, or two of one publisher.
    #[error("the set of claims is not in its form: {reason}")]
    Form {
        /// The rule it breaks.
        reason: String,
    },
    /// A question or an answer that is not in its form.
    #[error("the message is not in its form: {reason}")]
    Message {
        /// The rule it breaks.
        reason: String,
    },
    /// An announcement on another topic than it was made for.
    #[error("the message was made for topic `{actual}`")]
    OtherTopic {
        /// The topic it names.
        actual: String,
    },
    /// An announcement of a head that has expired.
    #[error("the announced head expired at {expired}")]
    Expired {
        /// When.
        expired: Timestamp,
    },
}

fn example(path: Option<&str>) -> String {
    path.map(|path| format!(" (`{}`)", path.escape_debug())).unwrap_or_default()
}
