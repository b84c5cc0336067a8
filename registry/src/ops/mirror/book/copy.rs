//! The copy of what an operator chose: `mirror.rules`, beside the database.
//!
//! A line with the CID of the rest as a checksum, then dag-cbor. It is written before the database is, and read when that
//! is opened.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use ggen_blockstore::Block;
use serde::{Deserialize, Serialize};

use crate::{
    MirrorRule,
    home::{HomeError, write_private},
    identity::PublisherId,
};

/// Longest copy read, in bytes: more than the most rules take.
const MAX_BYTES: u64 = 2 << 20;

/// What stands in a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rules {
    /// Ordered by what they are about.
    pub(super) rules: Vec<MirrorRule>,
    /// Whose bare names are.
    pub(super) meanings: BTreeMap<String, PublisherId>,
}

/// As it is written.
#[derive(Serialize, Deserialize)]
struct Text {
    rules: Vec<MirrorRule>,
    meanings: BTreeMap<String, String>,
}

/// Where the copy of a book is.
#[derive(Debug)]
pub(super) struct Copy {
    path: PathBuf,
}

impl Copy {
    /// The copy of the book at `path`; a book in memory has none.
    pub(super) fn beside(path: &Path) -> Option<Self> {
        (path != Path::new(":memory:")).then(|| Self { path: path.with_extension("rules") })
    }

    /// What stands in it, if all of it is as it was written.
    pub(super) fn read(&self) -> Option<Rules> {
        let len = std::fs::metadata(&self.path).ok()?.len();
        let bytes = if len <= MAX_BYTES { std::fs::read(&self.path).ok()? } else { return None };
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let (cid, rules) = (str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 1..]);
        if checksum(rules).as_deref() != Some(cid) {
            return None;
        }
        let Text { rules, meanings } = serde_ipld_dagcbor::from_slice(rules).ok()?;
        let meanings = meanings.into_iter().map(|(what, publisher)| Some((what, publisher.parse().ok()?)));
        Some(Rules { rules, meanings: meanings.collect::<Option<_>>()? })
    }

    pub(super) fn write(&self, rules: &Rules) -> Result<(), HomeError> {
        let mut ordered = rules.rules.clone();
        ordered.sort_by_key(|rule| rule.what.to_string());
        let meanings = rules.meanings.iter().map(|(what, publisher)| (what.clone(), publisher.to_string())).collect();
        let text = serde_ipld_dagcbor::to_vec(&Text { rules: ordered, meanings }).expect("rules are plain values");
        let mut bytes = checksum(&text).unwrap_or_default().into_bytes();
        bytes.push(b'\n');
        bytes.extend(text);
        write_private(&self.path, &bytes)
    }
}

/// `None` of more bytes than a block has.
fn checksum(bytes: &[u8]) -> Option<String> {
    Some(Block::raw(bytes.to_vec()).ok()?.cid().to_string())
}
