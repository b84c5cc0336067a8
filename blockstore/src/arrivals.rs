//! Reading a DAG while it arrives.
//!
//! [`Arrivals`] is a store through which somebody puts what comes; [`Awaiting`] is the same store for somebody who reads
//! it, and who waits for a block that is not there yet instead of being told so. What came last is remembered until it is
//! read, so that a reader who keeps up reads nothing back. When no more will come, everybody who waits is told what the
//! store has.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use crate::{Block, Blockstore, Cid, Error, Multihash, PutReport, Result, forward_blockstore};

/// Bytes of blocks remembered that nobody has read.
const MAX_RECENT_BYTES: usize = 8 << 20;

/// A store that tells readers when something has been put through it. Clones are the same store.
#[derive(Clone)]
pub struct Arrivals {
    store: Arc<dyn Blockstore>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Number of puts so far.
    puts: u64,
    ended: bool,
    recent: Recent,
}

/// The blocks that came last and were not read since.
#[derive(Debug, Default)]
struct Recent {
    blocks: HashMap<Multihash, (u64, Bytes)>,
    /// The oldest first.
    order: BTreeMap<u64, Multihash>,
    next: u64,
    bytes: usize,
}

impl Recent {
    fn note(&mut self, block: &Block) {
        let hash = *block.cid().hash();
        self.take(&hash);
        self.blocks.insert(hash, (self.next, block.data().clone()));
        self.order.insert(self.next, hash);
        self.next += 1;
        self.bytes += block.data().len();
        while self.bytes > MAX_RECENT_BYTES
            && let Some((_, oldest)) = self.order.first_key_value()
        {
            self.take(&oldest.clone());
        }
    }

    fn take(&mut self, hash: &Multihash) -> Option<Bytes> {
        let (at, data) = self.blocks.remove(hash)?;
        self.order.remove(&at);
        self.bytes -= data.len();
        Some(data)
    }
}

impl Arrivals {
    /// Over a store that may have some of the blocks already.
    pub fn new(store: Arc<dyn Blockstore>) -> Self {
        Self { store, shared: Arc::default() }
    }

    /// The same store for a reader who waits.
    pub fn awaiting(&self) -> Awaiting {
        Awaiting(self.clone())
    }

    /// No more will come: nobody waits from now on.
    pub fn end(&self) {
        let mut state = self.state();
        state.ended = true;
        // Those who hold this store for longer read what is left from it.
        state.recent = Recent::default();
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Whether [`end`](Self::end) was called.
    pub fn have_ended(&self) -> bool {
        self.state().ended
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks for something until it is there, or nothing more will come.
    fn wait_for<T>(&self, look: impl Fn(&dyn Blockstore) -> Result<Option<T>>) -> Result<Option<T>> {
        loop {
            // Counted before looking: what is put in between ends the waiting at once.
            let (puts, ended) = {
                let state = self.state();
                (state.puts, state.ended)
            };
            match look(&*self.store) {
                // A damaged block may be on its way to be replaced.
                Ok(None) | Err(Error::Corrupt { .. }) if !ended => {}
                found => return found,
            }
            let mut state = self.state();
            while state.puts == puts && !state.ended {
                state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

impl fmt::Debug for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrivals").field("store", &self.store).finish_non_exhaustive()
    }
}

/// See [`Arrivals`]: [`get`](Blockstore::get), [`size`](Blockstore::size) and [`has`](Blockstore::has) wait.
#[derive(Clone, Debug)]
pub struct Awaiting(Arrivals);

impl Blockstore for Arrivals {
    fn put_many(&self, blocks: &[Block]) -> Result<PutReport> {
        let put = self.store.put_many(blocks);
        let mut state = self.state();
        // A put that failed may have stored some of them.
        state.puts += 1;
        if put.is_ok() && !state.ended {
            blocks.iter().for_each(|block| state.recent.note(block));
        }
        drop(state);
        self.shared.changed.notify_all();
        put
    }

    forward_blockstore!(self.store: get size retain delete_many lease delete_unused last_used reclaim sync cids pin
        unpin pins pins_of damage mend stats);
}

impl Blockstore for Awaiting {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>> {
        self.0.wait_for(|store| {
            let taken = self.0.state().recent.take(cid.hash());
            taken.map_or_else(|| store.get(cid), |data| Ok(Some(data)))
        })
    }

    fn size(&self, cid: &Cid) -> Result<Option<u32>> {
        self.0.wait_for(|store| store.size(cid))
    }

    forward_blockstore!(self.0: put_many retain delete_many lease delete_unused last_used reclaim sync cids pin unpin
        pins pins_of damage mend stats);
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::{MemoryBlockstore, conformance::sample_block};

    fn arrivals() -> Arrivals {
        Arrivals::new(Arc::new(MemoryBlockstore::new()))
    }

    #[test]
    fn a_reader_gets_what_comes_after_it_asked() {
        let arrivals = arrivals();
        let blocks: Vec<Block> = (0..50).map(|number| sample_block(number, 100)).collect();
        let reader = arrivals.awaiting();
        let wanted: Vec<Cid> = blocks.iter().map(|block| *block.cid()).collect();
        let reading = thread::spawn(move || {
            // The last one first: it comes last, and everything else is there by then.
            let sizes = wanted.iter().rev().map(|cid| reader.size(cid).unwrap());
            sizes.chain(wanted.iter().map(|cid| reader.get(cid).unwrap().map(|data| data.len() as u32))).collect()
        });
        for block in &blocks {
            arrivals.put(block).unwrap();
        }
        let read: Vec<Option<u32>> = reading.join().unwrap();
        assert_eq!(read, vec![Some(100); 100]);
    }

    #[test]
    fn what_came_last_is_remembered_until_it_is_read_within_bounds_and_to_the_end() {
        let store = Arc::new(MemoryBlockstore::new());
        let arrivals = Arrivals::new(store.clone());
        let blocks: Vec<Block> = (0..20).map(|number| sample_block(number, 1 << 20)).collect();
        arrivals.put_many(&blocks).unwrap();
        arrivals.put(&blocks[13]).unwrap();
        let cids: Vec<Cid> = blocks.iter().map(|block| *block.cid()).collect();
        store.delete_many(&cids).unwrap();
        let remembered = || {
            let state = arrivals.state();
            let Recent { blocks, order, bytes, .. } = &state.recent;
            assert_eq!((order.len(), blocks.values().map(|(_, data)| data.len()).sum()), (blocks.len(), *bytes));
            cids.iter().map(|cid| blocks.contains_key(cid.hash())).collect::<Vec<_>>()
        };
        let newest = MAX_RECENT_BYTES >> 20;
        assert_eq!(remembered(), (0..20).map(|at| at >= 20 - newest).collect::<Vec<_>>());
        let reader = arrivals.awaiting();
        assert_eq!(reader.get(&cids[19]).unwrap().as_ref(), Some(blocks[19].data()));
        assert_eq!(remembered().iter().filter(|is| **is).count(), newest - 1);
        // One that came again is as new as it came last.
        arrivals.put(&sample_block(20, 1 << 20)).unwrap();
        arrivals.put(&blocks[12]).unwrap();
        arrivals.put(&sample_block(21, 1 << 20)).unwrap();
        assert!(remembered()[12] && !remembered()[14]);
        arrivals.end();
        assert!(!remembered().contains(&true));
        store.delete_many(&cids).unwrap();
        assert_eq!(reader.get(&cids[13]).unwrap(), None);
    }

    #[test]
    fn nobody_waits_for_what_will_not_come() {
        let arrivals = arrivals();
        let (here, missing) = (sample_block(1, 10), *sample_block(2, 10).cid());
        arrivals.put(&here).unwrap();
        let reader = arrivals.awaiting();
        let reading = thread::spawn({
            let reader = reader.clone();
            move || reader.get(&missing).unwrap()
        });
        arrivals.end();
        assert_eq!(reading.join().unwrap(), None);
        assert!(!reader.has(&missing).unwrap());
        assert_eq!(reader.get(here.cid()).unwrap().as_ref(), Some(here.data()));
    }

    #[test]
    fn one_who_only_puts_does_not_wait() {
        let arrivals = arrivals();
        assert_eq!(arrivals.get(sample_block(1, 10).cid()).unwrap(), None);
    }
}
