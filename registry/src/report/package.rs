//! What is known of a package.

use serde::{Deserialize, Serialize};

use crate::package::{Dependency, Metadata};

/// A yank, or one taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Yanked {
    /// `ns/name`.
    pub package: String,
    /// The version.
    pub version: String,
    /// How it stands now.
    pub yanked: bool,
    /// Why, where that was said.
    pub reason: Option<String>,
    /// The publisher id.
    pub publisher: String,
    /// It stood that way already: nothing was signed.
    pub unchanged: bool,
    /// Peers that the announcement was sent to.
    pub announced_to: u64,
    /// What did not go well after it was signed; it holds all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Everything known of a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PackageInfo {
    /// `ns/name`; null for a CID that no known release names.
    pub package: Option<String>,
    /// The version that the target means: the newest that fits and is not yanked; where all that fit are yanked, the
    /// newest of them.
    pub version: Option<String>,
    /// CID of its release record.
    pub release: Option<String>,
    /// The publisher id; null where no signature was checked.
    pub publisher: Option<String>,
    /// CID of the content root.
    pub cid: String,
    /// No longer to be chosen.
    pub yanked: bool,
    /// Why it was yanked, where the publisher gave a reason.
    #[serde(default)]
    pub yank_reason: Option<String>,
    /// What the package says of itself.
    #[serde(flatten)]
    pub metadata: Metadata,
    /// Sum of the files' bytes.
    pub size_bytes: Option<u64>,
    /// Number of files.
    pub files: Option<u64>,
    /// Blocks of the content.
    pub blocks: Option<u64>,
    /// When it was published, by the publisher's clock.
    pub published: Option<String>,
    /// Packages of this registry that it needs.
    pub dependencies: Vec<Dependency>,
    /// Paths of its executable files.
    pub executables: Vec<String>,
    /// Every version of the package, lowest first.
    pub releases: Vec<ReleaseInfo>,
    /// Everybody who claims the name.
    pub claims: Vec<ClaimInfo>,
    /// Peers that say they have the content.
    pub providers: Vec<ContentProvider>,
    /// The root of the content is in this store.
    pub here: bool,
}

/// One version of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseInfo {
    /// The version.
    pub version: String,
    /// CID of the release record.
    pub release: String,
    /// No longer to be chosen.
    pub yanked: bool,
    /// Why it was yanked, where the publisher gave a reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yank_reason: Option<String>,
    /// What its record says, where that is known; asking for all versions fetches it.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub record: Option<RecordInfo>,
}

/// What a release record says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordInfo {
    /// CID of the content root.
    pub cid: String,
    /// Sum of the files' bytes.
    pub size_bytes: u64,
    /// Number of files.
    pub files: u64,
    /// Blocks of the content.
    pub blocks: u64,
    /// When it was published, by the publisher's clock.
    pub published: String,
    /// What the package says of itself.
    #[serde(flatten)]
    pub metadata: Metadata,
    /// Packages of this registry that it needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<Dependency>,
    /// Paths of its executable files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub executables: Vec<String>,
}

/// Somebody who claims a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimInfo {
    /// The publisher id.
    pub publisher: String,
    /// Length of the publisher's log, as far as it is known.
    pub log_length: Option<u64>,
    /// When it last said so.
    pub issued: Option<String>,
    /// Until when that holds.
    pub expires: Option<String>,
    /// When it was first seen here.
    pub first_seen: String,
    /// It has signed two histories: nothing of it is trusted.
    pub equivocation: bool,
}

/// A peer that says it has the content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContentProvider {
    /// The peer.
    pub peer_id: String,
    /// There is a connection to it.
    pub connected: bool,
}
