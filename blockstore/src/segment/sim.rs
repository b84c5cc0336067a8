//! A disk in memory that fails, or dies, at a chosen operation.
//!
//! *Crash model*: after a crash, unsynced data may be present, lost, or partially present, each write independently and
//! in any sequence. Names that were created, changed or removed are certain only after the directory was synced. A
//! failed sync leaves the data readable, but no later sync makes it durable.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
};

use super::disk::{Disk, File};

const SECTOR_BYTES: usize = 512;

/// The failure to simulate, and its time: operations that change something are counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// This operation and all after it fail, as in a power loss.
    DieAt(u64),
    /// This operation fails halfway, as on a full disk; later ones succeed.
    FailAt(u64),
    /// This number of operations from the given one on fail halfway.
    FailFrom(u64, u64),
}

/// The disk; see the module documentation.
#[derive(Clone, Debug)]
pub(super) struct SimDisk {
    state: Arc<Mutex<SimState>>,
}

#[derive(Debug)]
struct SimState {
    files: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    unsynced_names: Vec<NameChange>,
    fault: Fault,
    operations: u64,
    dead: bool,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    content: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

#[derive(Clone, Debug)]
enum NameChange {
    Set(String, usize),
    Rename(String, String, usize),
    Remove(String),
}

/// The outcome of an operation.
enum Outcome {
    Work,
    FailHalfWay(io::Error),
}

impl SimDisk {
    pub(super) fn new() -> Self {
        Self::with_files(Vec::new(), BTreeMap::new())
    }

    fn with_files(files: Vec<Inode>, names: BTreeMap<String, usize>) -> Self {
        let durable_names = names.clone();
        let (unsynced_names, fault, operations, dead) = (Vec::new(), Fault::None, 0, false);
        let state = SimState { files, names, durable_names, unsynced_names, fault, operations, dead };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    pub(super) fn set_fault(&self, fault: Fault) {
        self.state().fault = fault;
    }

    pub(super) fn operations(&self) -> u64 {
        self.state().operations
    }

    /// The disk as it is after the next boot.
    pub(super) fn crash(&self, seed: u64) -> Self {
        let state = self.state();
        let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut names = state.durable_names.clone();
        for change in &state.unsynced_names {
            if chance.one_in(2) {
                change.apply(&mut names);
            }
        }
        let files = state.files.iter().map(|inode| inode.survive(&mut chance)).collect();
        Self::with_files(files, names)
    }

    fn state(&self) -> MutexGuard<'_, SimState> {
        self.state.lock().unwrap()
    }
}

impl SimState {
    fn operate(&mut self) -> io::Result<Outcome> {
        self.check_alive()?;
        self.operations += 1;
        let full = || io::Error::new(io::ErrorKind::StorageFull, "simulated full disk");
        match self.fault {
            Fault::DieAt(at) if self.operations >= at => {
                self.dead = true;
                Ok(Outcome::FailHalfWay(io::Error::other("simulated loss of power")))
            }
            Fault::FailAt(at) if self.operations == at => Ok(Outcome::FailHalfWay(full())),
            Fault::FailFrom(from, count) if (from..from + count).contains(&self.operations) => {
                Ok(Outcome::FailHalfWay(full()))
            }
            _ => Ok(Outcome::Work),
        }
    }

    fn check_alive(&self) -> io::Result<()> {
        if self.dead { Err(io::Error::other("simulated power is off")) } else { Ok(()) }
    }

    fn change_names(&mut self, change: NameChange) -> io::Result<()> {
        let outcome = self.operate()?;
        // A machine that loses power may have done it nevertheless; a running one reports the truth.
        if self.dead || matches!(outcome, Outcome::Work) {
            change.apply(&mut self.names);
            self.unsynced_names.push(change);
        }
        outcome.result()
    }

    fn find(&self, name: &str) -> io::Result<usize> {
        self.check_alive()?;
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Outcome {
    fn result(self) -> io::Result<()> {
        match self {
            Self::Work => Ok(()),
            Self::FailHalfWay(error) => Err(error),
        }
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Set(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Self::Rename(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
            Self::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>, filler: u8) {
        match self {
            Self::Write(offset, bytes) => {
                let end = offset + bytes.len();
                if content.len() < end {
                    content.resize(end, filler);
                }
                content[*offset..end].copy_from_slice(bytes);
            }
            Self::Truncate(len) => content.resize(*len, 0),
        }
    }

    /// The part of the content that survives a crash.
    fn survive(&self, content: &mut Vec<u8>, chance: &mut Chance) {
        let filler = if chance.one_in(2) { 0 } else { 0xa5 };
        match (self, chance.below(4)) {
            (_, 0) => {}
            (_, 1) | (Self::Truncate(_), _) => self.apply(content, filler),
            (Self::Write(offset, bytes), 2) => {
                let kept = chance.below(bytes.len() as u64 + 1) as usize;
                Self::Write(*offset, bytes[..kept].to_vec()).apply(content, filler);
            }
            (Self::Write(offset, bytes), _) => {
                for (number, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                    if chance.one_in(2) {
                        Self::Write(offset + number * SECTOR_BYTES, sector.to_vec()).apply(content, filler);
                    }
                }
            }
        }
    }
}

impl Inode {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.content, 0);
        self.unsynced.push(change);
    }

    fn survive(&self, chance: &mut Chance) -> Self {
        let mut content = self.durable.clone();
        for change in &self.unsynced {
            change.survive(&mut content, chance);
        }
        Self { durable: content.clone(), content, unsynced: Vec::new() }
    }

    fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            change.apply(&mut self.durable, 0);
        }
    }
}

impl Disk for SimDisk {
    fn path(&self) -> &Path {
        Path::new("simulated")
    }

    fn lock(&self, _name: &str) -> io::Result<bool> {
        self.state().check_alive().map(|()| true)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let state = self.state();
        state.check_alive().map(|()| state.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut state = self.state();
        let inode = state.files.len();
        state.files.push(Inode::default());
        state.change_names(NameChange::Set(name.to_owned(), inode))?;
        Ok(Arc::new(SimFile { disk: self.clone(), inode }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let inode = self.state().find(name)?;
        Ok(Arc::new(SimFile { disk: self.clone(), inode }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.find(from)?;
        state.change_names(NameChange::Rename(from.to_owned(), to.to_owned(), inode))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.find(name)?;
        state.change_names(NameChange::Remove(name.to_owned()))
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?.result()?;
        state.durable_names = state.names.clone();
        state.unsynced_names.clear();
        Ok(())
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    inode: usize,
}

impl File for SimFile {
    fn len(&self) -> io::Result<u64> {
        let state = self.disk.state();
        state.check_alive().map(|()| state.files[self.inode].content.len() as u64)
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let state = self.disk.state();
        state.check_alive()?;
        let content = &state.files[self.inode].content;
        let start = usize::try_from(offset).unwrap().min(content.len());
        Ok(content[start..(start + len).min(content.len())].to_vec())
    }

    fn read_into(&self, offset: u64, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        self.read_at(offset, bytes.len())
    }

    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> io::Result<()> {
        let mut state = self.disk.state();
        let outcome = state.operate()?;
        let mut bytes = parts.concat();
        if !state.dead && matches!(outcome, Outcome::FailHalfWay(_)) {
            bytes.truncate(bytes.len() / 2);
        }
        state.files[self.inode].change(Change::Write(usize::try_from(offset).unwrap(), bytes));
        outcome.result()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let outcome = state.operate()?;
        if matches!(outcome, Outcome::Work) {
            state.files[self.inode].change(Change::Truncate(usize::try_from(len).unwrap()));
        }
        outcome.result()
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let outcome = state.operate()?;
        let inode = self.inode;
        if matches!(outcome, Outcome::Work) {
            state.files[inode].sync();
        } else if !state.dead {
            state.files[inode].unsynced.clear();
        }
        outcome.result()
    }
}

/// A small seeded generator (xorshift64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_synced_is_certain_to_survive() {
        let disk = SimDisk::new();
        let file = disk.create("synced").unwrap();
        file.write_at(0, &[b"ab", b"cd"]).unwrap();
        file.sync().unwrap();
        disk.sync_dir().unwrap();
        file.write_at(4, &[&[1; 5000]]).unwrap();
        disk.create("other").unwrap();
        let (mut whole, mut torn, mut lost, mut named) = (0, 0, 0, 0);
        for seed in 0..100 {
            let after = disk.crash(seed);
            let content = after.open("synced").unwrap().read_at(0, 10_000).unwrap();
            assert_eq!(&content[..4], b"abcd");
            match content.len() {
                4 => lost += 1,
                5004 if content[4..].iter().all(|byte| *byte == 1) => whole += 1,
                _ => torn += 1,
            }
            named += u32::from(after.open("other").is_ok());
        }
        assert!(whole > 5 && torn > 5 && lost > 5, "{whole} {torn} {lost}");
        assert!((20..80).contains(&named), "{named}");
    }
}
