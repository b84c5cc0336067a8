//! Records about other peers: retrieval outcomes, provided packages, traffic, and the user's lists of allowed and
//! denied peers.
//!
//! A peer's reputation is successful / (successful + failed) retrievals, 1.0 for an unknown peer. It orders attempts
//! and filters results; it never replaces verification.
//!
//! *Invariants*: reading a reputation and recording an event take a short lock and touch no file, so any task may do
//! both. The book's own thread writes changes in batches. A crash loses the changes of the last [`WRITE_EVERY`], which
//! is acceptable, because everything except the two lists is advisory. Everything is bounded: [`MAX_PEERS`], and
//! [`MAX_HISTORY`] events and [`MAX_PACKAGES`] packages of each peer. When the book is full, peers without a known
//! retrieval are removed first, the least recently seen among them first; listed peers are never removed.
//!
//! One SQLite file, `peers.db` in the home. A damaged or foreign file is set aside, and a new book starts with the two
//! lists, of which a copy exists (`lists`). A file of a newer program is an error, because the lists in it are the
//! user's decisions.

mod error;
mod file;
mod lists;
mod memory;
mod record;

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use libp2p::{Multiaddr, PeerId};

use self::{file::File, memory::Memory};
use crate::{
    changes::ChangeNotifier,
    database::{Access, DatabaseError, MEMORY},
    identity::Timestamp,
};

pub use self::{
    error::PeerBookError,
    record::{Fault, Listing, Outcome, PeerHistory, PeerRecord, Standing},
};

/// Most peers in the book.
pub const MAX_PEERS: usize = 4096;
/// Most events of one peer; the oldest are removed first.
pub const MAX_HISTORY: usize = 256;
/// Most packages of one peer; those least recently announced or sent are removed first.
pub const MAX_PACKAGES: usize = 4096;
/// Most peers on each of the two lists.
pub const MAX_LISTED: usize = 1024;
/// A peer below this reputation is used only if other peers cannot deliver, and occasionally as a probe.
pub const LOW_REPUTATION: f64 = 0.5;

/// How long changes are collected before they are written.
const WRITE_EVERY: Duration = Duration::from_millis(250);

/// The book of peers; see the module documentation. Dropping it writes pending changes.
#[derive(Debug)]
pub struct PeerBook {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    memory: Mutex<Memory>,
    /// Signals that something has changed, or that the book closes.
    changed: Condvar,
    /// Signals the same to subscribers.
    bell: ChangeNotifier,
    /// Lock it before `memory` if both are needed.
    file: Mutex<File>,
    /// Lock it before `memory`, so that the copy is written in the sequence of the decisions.
    lists: Mutex<lists::Copy>,
}

impl PeerBook {
    /// Opens the book at `path`, and creates it if it does not exist. A damaged or foreign file is set aside.
    ///
    /// # Errors
    /// A book of a newer program; a file that cannot be opened, created or set aside.
    pub fn open(path: &Path) -> Result<Self, PeerBookError> {
        Self::open_with(path, Access::Write)
    }

    /// As [`PeerBook::open`], with the given access. A read-only copy leaves the file unchanged.
    pub(crate) fn open_with(path: &Path, access: Access) -> Result<Self, PeerBookError> {
        let opened = File::open(path, access).and_then(|file| Ok((file.load()?, file)));
        let copy = || match path == Path::new(MEMORY) {
            true => lists::Copy::none(),
            false => lists::Copy::beside(path, access),
        };
        match opened {
            Err(error @ PeerBookError::Database(DatabaseError::Damaged { .. })) => {
                let lists = file::salvage(path);
                let aside = access.set_aside(path)?;
                tracing::warn!(
                    target: ggen_blockstore::DAMAGE, %error, aside = %aside.display(), listed = lists.len(),
                    "reputations begin anew; the lists of allowed and denied peers are kept, as far as they or their copy \
                     could be read: check them"
                );
                let file = File::open(access.made_again_at(path), Access::Write)?;
                let mut memory = file.load()?;
                memory.set_lists(&lists.into_iter().collect());
                Self::start(memory, file, copy())
            }
            opened => opened.and_then(|(memory, file)| Self::start(memory, file, copy())),
        }
    }

    /// A book in memory, which is lost when the process ends.
    ///
    /// # Errors
    /// SQLite cannot allocate the memory.
    pub fn in_memory() -> Result<Self, PeerBookError> {
        Self::open(Path::new(MEMORY))
    }

    fn start(mut memory: Memory, file: File, copy: lists::Copy) -> Result<Self, PeerBookError> {
        let here = memory.lists();
        match copy.read() {
            Some(kept) if kept == here => {}
            Some(kept) => {
                tracing::warn!(
                    target: ggen_blockstore::DAMAGE, listed = kept.len(),
                    "the lists of allowed and denied peers in the book are not those of their copy, which has a checksum: the \
                     copy counts"
                );
                memory.set_lists(&kept);
            }
            None if here.is_empty() => {}
            None => copy.write(&here),
        }
        let shared = Arc::new(Shared {
            memory: Mutex::new(memory),
            changed: Condvar::new(),
            bell: ChangeNotifier::default(),
            file: Mutex::new(file),
            lists: Mutex::new(copy),
        });
        let of_writer = Arc::clone(&shared);
        let writer = std::thread::Builder::new().name("ggen-peers".to_owned()).spawn(move || of_writer.write_on());
        Ok(Self { shared, writer: Some(writer.map_err(PeerBookError::Thread)?) })
    }

    /// Notifies subscribers of every change.
    pub(crate) fn bell(&self) -> &ChangeNotifier {
        &self.shared.bell
    }

    /// A peer's reputation, from 0 to 1; 1 for an unknown peer.
    pub fn reputation(&self, peer: &PeerId) -> f64 {
        self.shared.memory().get(peer).map_or(1.0, PeerRecord::reputation)
    }

    /// The assessment of a peer before a request. `random` decides whether a peer of low reputation is probed.
    pub fn standing(&self, peer: &PeerId, now: Timestamp, random: u8) -> Standing {
        self.shared.memory().get(peer).map_or_else(Standing::default, |record| record.standing(now, random))
    }

    /// The record of a peer.
    pub fn get(&self, peer: &PeerId) -> Option<PeerRecord> {
        self.shared.memory().get(peer).cloned()
    }

    /// The records of all peers, in no particular order.
    pub fn list(&self) -> Vec<PeerRecord> {
        self.shared.memory().all().cloned().collect()
    }

    /// The peers on one list, in no particular order.
    pub fn listed(&self, listing: Listing) -> Vec<PeerId> {
        let memory = self.shared.memory();
        memory.all().filter(|record| record.listing == Some(listing)).map(|record| record.peer).collect()
    }

    /// Records the outcome of a retrieval for one peer that took part in it. Call it once per retrieval and peer.
    pub fn record(&self, peer: &PeerId, outcome: Outcome<'_>, now: Timestamp) {
        self.shared.change(|memory| memory.record(peer, outcome, now));
    }

    /// Records that a peer provides a package: it sent blocks of it, or announced it.
    pub fn provides(&self, peer: &PeerId, package: &str, now: Timestamp) {
        self.shared.change(|memory| memory.provides(peer, package, now));
    }

    /// Records that a peer is online, with its addresses if they are known.
    pub fn seen(&self, peer: &PeerId, addresses: &[Multiaddr], now: Timestamp) {
        self.shared.change(|memory| memory.seen(peer, addresses, now));
    }

    /// Records the name and version of a peer's program, as the peer states them.
    pub fn introduced(&self, peer: &PeerId, agent: &str, now: Timestamp) {
        self.shared.change(|memory| memory.introduced(peer, agent, now));
    }

    /// Records a round trip time.
    pub fn latency(&self, peer: &PeerId, latency: Duration, now: Timestamp) {
        self.shared.change(|memory| memory.latency(peer, latency, now));
    }

    /// Adds to the counters of block bytes. `rate` is the measured receive rate in bytes per second, if there is one.
    pub fn traffic(&self, peer: &PeerId, sent: u64, received: u64, rate: Option<f64>, now: Timestamp) {
        self.shared.change(|memory| memory.traffic(peer, sent, received, rate, now));
    }

    /// Puts a peer on a list, and removes it from the other.
    ///
    /// # Errors
    /// [`PeerBookError::TooManyListed`].
    pub fn put_on(&self, peer: &PeerId, listing: Listing, now: Timestamp) -> Result<(), PeerBookError> {
        self.shared.decide(|memory| memory.put_on(peer, listing, now))
    }

    /// Removes all records of a peer, and removes it from both lists. Returns whether there were any.
    pub fn reset(&self, peer: &PeerId) -> bool {
        self.shared.decide(|memory| memory.forget(peer))
    }

    /// The known providers of each of these packages; packages without a known provider are omitted. Blocks the calling
    /// thread.
    ///
    /// # Errors
    /// Errors of the database.
    pub fn providers_of(&self, packages: &[String]) -> Result<HashMap<String, Vec<PeerId>>, PeerBookError> {
        self.shared.written()?.providers_of(packages)
    }

    /// The recorded events of a peer, newest first. Blocks the calling thread.
    ///
    /// # Errors
    /// Errors of the database.
    pub fn history(&self, peer: &PeerId) -> Result<Vec<PeerHistory>, PeerBookError> {
        self.shared.written()?.history(peer)
    }

    /// Writes pending changes. Blocks the calling thread.
    ///
    /// # Errors
    /// Errors of the database.
    pub fn flush(&self) -> Result<(), PeerBookError> {
        self.shared.written().map(drop)
    }
}

impl Drop for PeerBook {
    fn drop(&mut self) {
        self.shared.memory().close();
        self.shared.changed.notify_all();
        if self.writer.take().is_some_and(|writer| writer.join().is_err()) {
            tracing::error!(target: crate::LOG_TARGET, "the writer of the peer book died");
        }
    }
}

impl Shared {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        // A panic while the lock was held can only leave counters slightly wrong.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Memory) -> T) -> T {
        let outcome = change(&mut self.memory());
        self.changed.notify_all();
        self.bell.ring();
        outcome
    }

    /// Changes the lists, and updates their copy.
    fn decide<T>(&self, change: impl FnOnce(&mut Memory) -> T) -> T {
        let copy = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.memory().lists();
        let outcome = self.change(change);
        let after = self.memory().lists();
        if before != after {
            copy.write(&after);
        }
        outcome
    }

    /// The file, after pending changes were written to it.
    fn written(&self) -> Result<MutexGuard<'_, File>, PeerBookError> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = self.memory().take_changes();
        if !changes.is_empty() {
            match file.write(&changes) {
                Ok(counts) => self.memory().count_packages(counts),
                Err(error) => {
                    self.memory().take_back(changes);
                    return Err(error);
                }
            }
        }
        Ok(file)
    }

    /// The main loop of the writer thread.
    fn write_on(&self) {
        let mut failing = false;
        loop {
            let memory = self.memory();
            let idle = |memory: &mut Memory| !memory.has_changes() && !memory.is_closing();
            let memory = self.changed.wait_while(memory, idle).unwrap_or_else(PoisonError::into_inner);
            let open = |memory: &mut Memory| !memory.is_closing();
            let waited = self.changed.wait_timeout_while(memory, WRITE_EVERY, open);
            let closing = waited.unwrap_or_else(PoisonError::into_inner).0.is_closing();
            match self.written() {
                Ok(_) => failing = false,
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(target: crate::LOG_TARGET, %error, "what peers did is not kept");
                }
                Err(_) => {}
            }
            if closing {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
