//! Decides whether files on disk are unchanged since a former tree was written.

use std::collections::{HashMap, HashSet};

use super::{
    super::{ExportOptions, Former, dir::file_type, former::Kept, jobs::file_size},
    compare::matches,
    spot::Spot,
};
use crate::{
    Blockstore, Error, Result,
    unixfs::{
        EntryKind,
        pipeline::{run_in_order, threads},
    },
};

/// Compares the files in a directory with former trees.
pub(super) struct Judge<'a, S: ?Sized> {
    store: &'a S,
    spot: &'a Spot,
    former: HashMap<&'a str, Vec<&'a Kept>>,
}

impl<'a, S: Blockstore + ?Sized> Judge<'a, S> {
    pub(super) fn new(store: &'a S, former: &'a Former, spot: &'a Spot) -> Self {
        let mut by_path: HashMap<_, Vec<_>> = HashMap::new();
        for kept in former.entries() {
            by_path.entry(kept.entry.path.as_str()).or_default().push(kept);
        }
        Self { store, spot, former: by_path }
    }

    /// Those of the paths whose file or symlink of a former tree is unchanged.
    pub(super) fn untouched<'p>(&self, paths: &[&'p str], options: &ExportOptions<'_>) -> Result<HashSet<&'p str>> {
        let mut untouched = HashSet::new();
        let work = |path: &'p str| Ok((path, self.is_untouched(path)?));
        run_in_order(threads(options.threads), paths.iter().copied().map(Ok), work, |(path, is_untouched)| {
            untouched.extend(is_untouched.then_some(path));
            options.go_on()
        })?;
        Ok(untouched)
    }

    fn is_untouched(&self, path: &str) -> Result<bool> {
        let Some(candidates) = self.former.get(path) else { return Ok(false) };
        let Some(there) = self.spot.look(path)? else { return Ok(false) };
        for kept in candidates {
            let same = match &kept.entry.kind {
                EntryKind::Directory => false,
                EntryKind::Symlink { target } => {
                    file_type(&there).is_symlink()
                        && self.spot.read_link(path).is_ok_and(|found| found == *target.as_str())
                }
                EntryKind::File { .. } => {
                    file_type(&there).is_file() && there.st_size as u64 == file_size(&kept.entry) && self.holds(kept)?
                }
            };
            if same {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns whether a file has its former content. For a file of several blocks, the comparison needs its upper
    /// nodes. If the store has evicted them, the file counts as unchanged if its stamp is unchanged.
    fn holds(&self, kept: &Kept) -> Result<bool> {
        match matches(self.store, &kept.entry, self.spot) {
            Err(Error::NotFound { .. } | Error::Corrupt { .. }) => {
                Ok(kept.stamp.is_some() && self.spot.stamp(&kept.entry.path) == kept.stamp)
            }
            outcome => outcome,
        }
    }
}
