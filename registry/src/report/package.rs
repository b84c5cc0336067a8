//! Reports about packages.

use serde::{Deserialize, Serialize};

use crate::{
    KnownBy,
    package::{Dependency, Metadata},
};

/// The outcome of a yank, or of undoing one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Yanked {
    /// `ns/name`.
    pub package: String,
    /// The version.
    pub version: String,
    /// Whether the version is yanked now.
    pub yanked: bool,
    /// The reason, if one was given.
    pub reason: Option<String>,
    /// The publisher id.
    pub publisher: String,
    /// The version already had this state: nothing was signed.
    pub unchanged: bool,
    /// Number of peers that the announcement was sent to.
    pub announced_to: u64,
    /// What failed after the yank was signed. The yank is valid nevertheless.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Everything known of a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PackageInfo {
    /// `ns/name`; null for a CID that no known release names.
    pub package: Option<String>,
    /// The version that the target selects: the newest matching version that is not yanked, or the newest matching
    /// version if all are yanked.
    pub version: Option<String>,
    /// CID of its release record.
    pub release: Option<String>,
    /// The publisher id; null where no signature was checked.
    pub publisher: Option<String>,
    /// How the publisher of the name is known; null for a CID.
    #[serde(default)]
    pub known_by: Option<KnownBy>,
    /// CID of the content root.
    pub cid: String,
    /// The version is yanked.
    pub yanked: bool,
    /// Why it was yanked, where the publisher gave a reason.
    #[serde(default)]
    pub yank_reason: Option<String>,
    /// The package's own metadata.
    #[serde(flatten)]
    pub metadata: Metadata,
    /// Sum of the files' bytes.
    pub size_bytes: Option<u64>,
    /// Number of files.
    pub files: Option<u64>,
    /// Number of blocks of the content.
    pub blocks: Option<u64>,
    /// When it was published, by the publisher's clock.
    pub published: Option<String>,
    /// Packages of this registry that it needs.
    pub dependencies: Vec<Dependency>,
    /// Paths of its executable files.
    pub executables: Vec<String>,
    /// Every version of the package, lowest first.
    pub releases: Vec<ReleaseInfo>,
    /// All claims on the name.
    pub claims: Vec<ClaimInfo>,
    /// Peers that announce themselves as providers of the content.
    pub providers: Vec<ContentProvider>,
    /// The root of the content is in the local store.
    pub here: bool,
    /// Why newer versions and yanks may be missing: the publisher's own list of versions could not be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incomplete: Option<String>,
}

/// One version of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseInfo {
    /// The version.
    pub version: String,
    /// CID of the release record.
    pub release: String,
    /// The version is yanked.
    pub yanked: bool,
    /// Why it was yanked, where the publisher gave a reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yank_reason: Option<String>,
    /// The fields of its record, if known. A request with `versions` set fetches them for every version.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub record: Option<RecordInfo>,
}

/// The fields of a release record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordInfo {
    /// CID of the content root.
    pub cid: String,
    /// Sum of the files' bytes.
    pub size_bytes: u64,
    /// Number of files.
    pub files: u64,
    /// Number of blocks of the content.
    pub blocks: u64,
    /// When it was published, by the publisher's clock.
    pub published: String,
    /// The package's own metadata.
    #[serde(flatten)]
    pub metadata: Metadata,
    /// Packages of this registry that it needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<Dependency>,
    /// Paths of its executable files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub executables: Vec<String>,
}

/// One publisher's claim on a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimInfo {
    /// The publisher id.
    pub publisher: String,
    /// Length of the publisher's log at the newest known head.
    pub log_length: Option<u64>,
    /// When the publisher's newest known head was issued.
    pub issued: Option<String>,
    /// When that head expires.
    pub expires: Option<String>,
    /// When this home first saw the claim.
    pub first_seen: String,
    /// It has signed two histories: nothing of it is trusted.
    pub equivocation: bool,
}

/// A peer that announces itself as a provider of the content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContentProvider {
    /// The peer.
    pub peer_id: String,
    /// There is a connection to it.
    pub connected: bool,
}
