//! Reports about stored data.

use serde::{Deserialize, Serialize};

/// What a garbage collection removed, or would remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcReport {
    /// Number of blocks.
    pub removed_blocks: u64,
    /// Their bytes.
    pub freed_bytes: u64,
    /// Nothing was removed: the report states what would be.
    pub dry_run: bool,
}

/// A pin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinReport {
    /// The pinned CID.
    pub cid: String,
    /// `recursive` for the block and all blocks below it, `direct` for the block alone.
    pub mode: String,
    /// The reason for the pin: `user` or `user/...`, `release/<package>@<version>`, `mirror/...`, `record`.
    pub label: String,
    /// The pin was just set, for a version that is yanked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub yanked: bool,
    /// Why it was yanked, where the publisher gave a reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yank_reason: Option<String>,
}

/// What a verification found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// Number of blocks hashed.
    pub checked_blocks: u64,
    /// Blocks that are damaged or missing; after a repair, those that still are.
    pub bad: Vec<BadBlock>,
    /// Number of blocks that the repair has refetched or rebuilt.
    pub repaired: u64,
    /// Where the store's own files are damaged; after a repair, where they were damaged before it.
    #[serde(default)]
    pub damage: Vec<StoreDamage>,
    /// Lost pins of this home's publications; after a repair, those that it has set again.
    #[serde(default)]
    pub lost_pins: Vec<PinReport>,
    /// Records of the store are lost, possibly including the user's pins. After a repair, they were lost before it, and
    /// from now on `gc` removes unpinned blocks again.
    #[serde(default)]
    pub lost_records: bool,
    /// After a repair: pins with missing blocks, because no peer has them. A pin that shares its missing blocks with
    /// another may not be listed.
    #[serde(default)]
    pub incomplete: Vec<PinReport>,
    /// After a repair with lost records: complete releases that no pin keeps.
    #[serde(default)]
    pub unpinned: Vec<UnpinnedRelease>,
}

/// A release in the store that no pin keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnpinnedRelease {
    /// CID of its record, for `pin add`.
    pub cid: String,
    /// `ns/name@version`.
    pub name: String,
    /// The publisher id.
    pub publisher: String,
}

/// A damaged range in a file of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreDamage {
    /// Name of the file, in the directory of the store.
    pub file: String,
    /// Where the damaged record begins, in bytes from the start of the file.
    pub offset: u64,
    /// Number of bytes up to the next readable record.
    pub bytes: u64,
    /// Whether the record is lost: a block, a pin, or the removal of one. Otherwise one bit is wrong, and it is known
    /// which.
    pub lost: bool,
}

/// A block that is damaged or missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadBlock {
    /// The block.
    pub cid: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A mirror rule and what it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirrorReport {
    /// `ns/name`, `<publisher>/ns/name`, `ns/*`, a publisher, or `all`.
    pub rule: String,
    /// Maximum number of versions of each package, the newest ones; null for all.
    pub versions: Option<u32>,
    /// Maximum bytes of packages; null without a limit.
    pub max_bytes: Option<u64>,
    /// `command`, or `config` for a rule of the configuration.
    pub origin: String,
    /// Packages with held releases.
    pub packages_held: u64,
    /// Releases held.
    pub releases_held: u64,
    /// Bytes of their blocks.
    pub bytes_held: u64,
    /// Known releases that the rule would hold without `max_bytes`.
    #[serde(default)]
    pub releases_over_budget: u64,
    /// Where several publishers claim the name, so that nothing is held by it: for each, the rule that means it.
    #[serde(default)]
    pub contested_by: Vec<String>,
}
