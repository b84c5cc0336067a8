//! A copy of the two lists, `peers.lists` beside the book: they are decisions of the user, which nothing else tells of,
//! where all else in the book is advice. It counts wherever the two differ.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{Listing, MAX_LISTED, memory::Lists};
use crate::{checked_file, database::Access};

/// Longest copy read, in bytes: more than two full lists take.
const MAX_BYTES: u64 = 256 * MAX_LISTED as u64;

/// Where the copy is; nowhere for a book in memory.
#[derive(Debug)]
pub(super) struct Copy {
    path: Option<PathBuf>,
    is_read_only: bool,
}

impl Copy {
    /// The copy beside the book at `path`.
    pub(super) fn beside(path: &Path, access: Access) -> Self {
        Self { path: Some(path.with_extension("lists")), is_read_only: access == Access::Copy }
    }

    pub(super) fn none() -> Self {
        Self { path: None, is_read_only: false }
    }

    /// What stands in it, if all of it is as it was written.
    pub(super) fn read(&self) -> Option<Lists> {
        let text: BTreeMap<String, String> = checked_file::read(self.path.as_ref()?, MAX_BYTES)?;
        let entry = |(peer, list): (String, String)| Some((peer.parse().ok()?, Listing::named(&list)?));
        text.into_iter().map(entry).collect()
    }

    /// That it fails is no failure of the decision: the book has it.
    pub(super) fn write(&self, lists: &Lists) {
        let Some(path) = self.path.as_ref().filter(|_| !self.is_read_only) else { return };
        let text: BTreeMap<String, &str> =
            lists.iter().map(|(peer, listing)| (peer.to_string(), listing.name())).collect();
        if let Err(error) = checked_file::write(path, &text) {
            tracing::warn!(target: crate::LOG_TARGET, %error, "the copy of the lists of peers is not kept");
        }
    }
}
