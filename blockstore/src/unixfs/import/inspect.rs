//! Files that are safe as a tree and still must not go in: the caller says which, by their path or their content.

mod parts;

pub(crate) use parts::{Across, Scanned};
pub use parts::{INSPECTED_BYTES, Inspect, Inspected, inspect_parts};

use super::ImportOptions;
use crate::{
    Block, Error, Finding, Result,
    unixfs::{EntryKind, Listing, file::Sink},
};

/// What was found in a tree: by number of the entry.
#[derive(Debug)]
pub(crate) struct Findings {
    by_entry: Vec<Option<&'static str>>,
}

impl Findings {
    /// Inspects the paths of a listing.
    pub(crate) fn by_path(listing: &Listing, options: &ImportOptions<'_>) -> Self {
        let inspect = |path: &str| options.inspect.and_then(|inspect| inspect(path, Inspected::Path));
        let by_entry = listing.entries.iter().map(|entry| match entry.kind {
            EntryKind::File { size: 1.., .. } => inspect(&entry.path),
            _ => None,
        });
        Self { by_entry: by_entry.collect() }
    }

    /// Adds what was found in the content of an entry.
    pub(crate) fn add(&mut self, entry: usize, what: Option<&'static str>) {
        let found = &mut self.by_entry[entry];
        *found = found.or(what);
    }

    /// Whether the import will fail for what was found so far.
    pub(crate) fn refuse(&self, listing: &Listing, options: &ImportOptions<'_>) -> bool {
        let mut found = listing.entries.iter().zip(&self.by_entry).filter(|(_, what)| what.is_some());
        found.any(|(entry, _)| options.refuses(&entry.path))
    }

    /// The findings that were taken in, for the caller to see.
    ///
    /// # Errors
    /// [`Error::Withheld`] with those that are not to be taken in, if there are any.
    pub(crate) fn finish(self, listing: &Listing, options: &ImportOptions<'_>) -> Result<Vec<Finding>> {
        let found = listing.entries.iter().zip(self.by_entry);
        let found = found.filter_map(|(entry, what)| Some(Finding { path: entry.path.clone(), what: what? }));
        let (findings, taken): (Vec<_>, Vec<_>) = found.partition(|finding| options.refuses(&finding.path));
        if findings.is_empty() { Ok(taken) } else { Err(Error::Withheld { findings }) }
    }
}

/// Where blocks of a tree go that will be refused: nowhere.
#[derive(Debug)]
pub(crate) struct Nowhere;

impl Sink for Nowhere {
    fn put(&mut self, _: Block) -> Result<()> {
        Ok(())
    }
}

/// Blocks that wait for a decision.
impl Sink for Vec<Block> {
    fn put(&mut self, block: Block) -> Result<()> {
        self.push(block);
        Ok(())
    }
}
