//! Remembers what the store has lost until a repair has handled it, because a rebuilt index no longer shows it.
//!
//! A lost pin turns the blocks it kept into garbage, and a lost node of a DAG turns the blocks below it into garbage.
//! After either, nothing is removed until `verify --repair` has restored what it can and has reported the rest.
//! From then on a collection skips the nodes that no peer has, because it could otherwise never run again.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use ggen_blockstore::{Cid, DAMAGE, parse_cid};

use crate::{
    ErrorKind, Failure, Operation, Setting,
    error::hint,
    home::{HomeError, write_private},
};

/// The line of the file for lost records.
const RECORDS: &str = "records";
/// The prefix of the lines for missing nodes.
const NODE: &str = "node ";

/// The losses, kept in a text file if there is a home. See the module.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    path: Option<PathBuf>,
    known: Mutex<Known>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    /// Records are lost, possibly including pins, and no repair has run since.
    records: bool,
    /// Blocks of pinned DAGs that the last repair could not fetch.
    nodes: BTreeSet<Cid>,
}

impl Losses {
    /// Without a file, and without losses.
    pub(crate) fn in_memory() -> Self {
        Self::default()
    }

    /// Reads the file at `path`. A line that cannot be parsed counts as lost records.
    pub(crate) fn open(path: &Path) -> Result<Self, HomeError> {
        let text = match fs::read(path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(HomeError::Io { action: "read", path: path.to_owned(), source }),
        };
        let mut known = Known::default();
        for line in text.lines() {
            match line.strip_prefix(NODE).and_then(|cid| parse_cid(cid).ok()) {
                Some(cid) => drop(known.nodes.insert(cid)),
                None => known.records = true,
            }
        }
        Ok(Self { path: Some(path.to_owned()), known: Mutex::new(known) })
    }

    /// Remembers that records were lost when the store was opened. If the file cannot be written, this process
    /// remembers it.
    pub(crate) fn note_lost_records(&self) {
        let known = self.known();
        if let Err(error) = self.keep(Known { records: true, ..known }) {
            tracing::warn!(target: DAMAGE, %error, "that records of the store are lost is not remembered");
        }
    }

    /// Returns whether pins may be lost without the user's knowledge.
    pub(super) fn has_lost_records(&self) -> bool {
        self.known().records
    }

    /// Records the end of a repair whose report lists these blocks of pinned DAGs as still missing.
    pub(super) fn acknowledge(&self, missing: BTreeSet<Cid>) -> Result<(), HomeError> {
        self.keep(Known { records: false, nodes: missing })
    }

    /// Returns the missing nodes of pinned DAGs that a collection skips.
    ///
    /// # Errors
    /// [`ErrorKind::Verification`] if records are lost: nothing may be removed.
    pub(super) fn gaps(&self) -> Result<BTreeSet<Cid>, Failure> {
        let known = self.known();
        if !known.records {
            return Ok(known.nodes);
        }
        let message = "nothing is removed: records of the store are lost, and pins that you have set may be among them";
        Err(Failure::new(ErrorKind::Verification, message).hinted(hint![
            Operation::Verify.with(Setting::Repair),
            " puts the store in order and lists what is whole and not pinned: pin of that what you want to keep, then \
             collect again"
        ]))
    }

    fn known(&self) -> Known {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep(&self, next: Known) -> Result<(), HomeError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if *known == next {
            return Ok(());
        }
        *known = next.clone();
        if let Some(path) = &self.path {
            let records = next.records.then(|| format!("{RECORDS}\n"));
            let nodes = next.nodes.iter().map(|cid| format!("{NODE}{cid}\n"));
            write_private(path, records.into_iter().chain(nodes).collect::<String>().as_bytes())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_remembered_until_they_are_acknowledged_and_a_damaged_note_counts_as_one() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("losses");
        let open = || Losses::open(&path).unwrap();
        assert_eq!(open().gaps().unwrap(), BTreeSet::new());
        assert!(!path.exists());
        open().note_lost_records();
        let refused = open().gaps().unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Verification);
        assert!(refused.hint.is_some_and(|hint| hint.to_string().contains("`verify` with the setting `repair`")));
        let node = *ggen_blockstore::Block::raw(vec![1]).unwrap().cid();
        open().acknowledge(BTreeSet::from([node])).unwrap();
        assert_eq!(open().gaps().unwrap(), BTreeSet::from([node]));
        open().note_lost_records();
        assert!(open().gaps().is_err());
        open().acknowledge(BTreeSet::new()).unwrap();
        assert_eq!(open().gaps().unwrap(), BTreeSet::new());
        fs::write(&path, "rec\u{fffd}rds\n").unwrap();
        assert!(open().gaps().is_err());
        assert_eq!(Losses::in_memory().gaps().unwrap(), BTreeSet::new());
    }
}
