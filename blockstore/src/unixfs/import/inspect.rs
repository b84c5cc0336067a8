//! Files that are safe as part of a tree but that the caller excludes, by their path or their content.

mod parts;

pub(crate) use parts::{Across, Scanned};
pub use parts::{INSPECTED_BYTES, Inspect, Inspected, inspect_parts};

use super::ImportOptions;
use crate::{
    Block, Error, Finding, Result,
    unixfs::{EntryKind, Listing, file::Sink},
};

/// The findings of a tree, by entry.
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

    /// Adds a finding in the content of an entry.
    pub(crate) fn add(&mut self, entry: usize, what: Option<&'static str>) {
        let found = &mut self.by_entry[entry];
        *found = found.or(what);
    }

    /// Returns whether the import will fail because of the findings so far.
    pub(crate) fn refuse(&self, listing: &Listing, options: &ImportOptions<'_>) -> bool {
        let mut found = listing.entries.iter().zip(&self.by_entry).filter(|(_, what)| what.is_some());
        found.any(|(entry, _)| options.refuses(&entry.path))
    }

    /// The findings that were imported nevertheless, for the caller.
    ///
    /// # Errors
    /// [`Error::Withheld`] with the findings that are refused, if there are any.
    pub(crate) fn finish(self, listing: &Listing, options: &ImportOptions<'_>) -> Result<Vec<Finding>> {
        let found = listing.entries.iter().zip(self.by_entry);
        let found = found.filter_map(|(entry, what)| Some(Finding { path: entry.path.clone(), what: what? }));
        let (findings, taken): (Vec<_>, Vec<_>) = found.partition(|finding| options.refuses(&finding.path));
        if findings.is_empty() { Ok(taken) } else { Err(Error::Withheld { findings }) }
    }
}

/// Drops the blocks of a tree that will be refused.
#[derive(Debug)]
pub(crate) struct Nowhere;

impl Sink for Nowhere {
    fn put(&mut self, _: Block) -> Result<()> {
        Ok(())
    }
}

/// Collects blocks until a decision.
impl Sink for Vec<Block> {
    fn put(&mut self, block: Block) -> Result<()> {
        self.push(block);
        Ok(())
    }
}
