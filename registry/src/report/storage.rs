//! Answers about what the store keeps.

use serde::{Deserialize, Serialize};

/// What a garbage collection removed, or would.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcReport {
    /// Blocks.
    pub removed_blocks: u64,
    /// Their bytes.
    pub freed_bytes: u64,
    /// Nothing was removed: this is what would be.
    pub dry_run: bool,
}

/// A pin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinReport {
    /// What is kept.
    pub cid: String,
    /// `recursive` for it and all below it, `direct` for the block alone.
    pub mode: String,
    /// Who wants it, and why: `user`, `release/<package>@<version>`, `mirror/...`, `record`.
    pub label: String,
    /// What was pinned just now is a version that is yanked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub yanked: bool,
    /// Why it was yanked, where the publisher gave a reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yank_reason: Option<String>,
}

/// What a verification found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// Blocks that were hashed.
    pub checked_blocks: u64,
    /// Those that are damaged or missing, after the repair if there was one.
    pub bad: Vec<BadBlock>,
    /// Those that were, and were fetched again.
    pub repaired: u64,
    /// Where the store's own files are damaged. After a repair: where they were, until it put them in order.
    #[serde(default)]
    pub damage: Vec<StoreDamage>,
    /// Pins of what was published from this home that are lost. After a repair: those that it has set again.
    #[serde(default)]
    pub lost_pins: Vec<PinReport>,
    /// Records of the store are lost, and pins that the user has set may be among them. After a repair: they were until
    /// it, and from now on `gc` removes again what is not pinned.
    #[serde(default)]
    pub lost_records: bool,
    /// After a repair: pins of which not everything is here, since no peer has it. A pin that shares what is missing with
    /// another may not be named.
    #[serde(default)]
    pub incomplete: Vec<PinReport>,
    /// After a repair where records were lost: releases that are whole and that no pin keeps.
    #[serde(default)]
    pub unpinned: Vec<UnpinnedRelease>,
}

/// A release in the store that no pin keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnpinnedRelease {
    /// Its record: what `pin add` takes.
    pub cid: String,
    /// `ns/name@version`.
    pub name: String,
    /// Whose it is.
    pub publisher: String,
}

/// A damaged place in a file of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreDamage {
    /// Name of the file, in the directory of the store.
    pub file: String,
    /// Where the damaged record begins, in bytes from the start of the file.
    pub offset: u64,
    /// Bytes up to the next record that can be read.
    pub bytes: u64,
    /// What stood there is lost: a block, a pin, or that one of them was removed. Otherwise one bit is wrong, and it is
    /// known which.
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
    /// At most so many of the newest versions of each package; null for all.
    pub versions: Option<u32>,
    /// At most so many bytes of packages; null for any number.
    pub max_bytes: Option<u64>,
    /// `command`, or `config` for one that stands in the configuration.
    pub origin: String,
    /// Packages of which something is held.
    pub packages_held: u64,
    /// Releases held.
    pub releases_held: u64,
    /// Bytes of their blocks.
    pub bytes_held: u64,
    /// Releases known that the rule would hold if `max_bytes` allowed more.
    #[serde(default)]
    pub releases_over_budget: u64,
    /// Where several publishers claim the name, so that nothing is held by it: for each, the rule that means it.
    #[serde(default)]
    pub contested_by: Vec<String>,
}
