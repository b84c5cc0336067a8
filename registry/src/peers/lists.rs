//! A copy of the two lists, `peers.lists` beside the book. They are decisions of the user that cannot be recovered from
//! elsewhere, whereas the rest of the book is advisory. If the two differ, the copy takes precedence.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{Listing, MAX_LISTED, memory::Lists};
use crate::{checked_file, database::Access};

/// Longest copy that is read, in bytes: more than two full lists need.
const MAX_BYTES: u64 = 256 * MAX_LISTED as u64;

/// Location of the copy; none for a book in memory.
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

    /// The contents of the copy; `None` if it is missing or damaged.
    pub(super) fn read(&self) -> Option<Lists> {
        let text: BTreeMap<String, String> = checked_file::read(self.path.as_ref()?, MAX_BYTES)?;
        let entry = |(peer, list): (String, String)| Some((peer.parse().ok()?, Listing::named(&list)?));
        text.into_iter().map(entry).collect()
    }

    /// Writes the copy. A failure does not fail the decision, because the book contains it too.
    pub(super) fn write(&self, lists: &Lists) {
        let Some(path) = self.path.as_ref().filter(|_| !self.is_read_only) else { return };
        let text: BTreeMap<String, &str> =
            lists.iter().map(|(peer, listing)| (peer.to_string(), listing.name())).collect();
        if let Err(error) = checked_file::write(path, &text) {
            tracing::warn!(target: crate::LOG_TARGET, %error, "the copy of the lists of peers is not kept");
        }
    }
}
