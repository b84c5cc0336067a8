//! Looks up the wants of peers in the store: the blocking half of the server, run off the event loop.

use bytes::Bytes;
use ggen_blockstore::{Blockstore, Cid, Result};

use crate::node::exchange::bitswap::message::WantKind;

/// A response is sent once its blocks have this size, in bytes.
pub(in crate::node::exchange) const ANSWER_BYTES: usize = 1 << 20;
/// A block of up to this size in bytes is sent in response to a `WANT_HAVE` (as in Kubo and Helia).
pub(in crate::node::exchange) const REPLACE_HAVE_BYTES: u32 = 1024;

/// The result of looking up one want.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::node::exchange) enum Found {
    Block(Bytes),
    Have,
    Missing,
}

/// The results of looking up several wants.
#[derive(Debug, Default)]
pub(in crate::node::exchange) struct Reading {
    pub(in crate::node::exchange) found: Vec<(Cid, Found)>,
    /// Wants that were not looked up, because the response was large enough.
    pub(in crate::node::exchange) unread: Vec<Cid>,
}

/// Looks up `wants` in sequence until [`ANSWER_BYTES`] of blocks are found. A block that cannot be read counts as
/// missing.
pub(in crate::node::exchange) fn read(store: &dyn Blockstore, wants: Vec<(Cid, WantKind)>) -> Reading {
    let mut reading = Reading::default();
    let mut bytes = 0;
    for (cid, kind) in wants {
        if bytes >= ANSWER_BYTES {
            reading.unread.push(cid);
            continue;
        }
        let found = find(store, &cid, kind).unwrap_or_else(|error| {
            tracing::warn!(%cid, %error, "cannot read a block that a peer wants");
            Found::Missing
        });
        if let Found::Block(data) = &found {
            bytes += data.len();
        }
        reading.found.push((cid, found));
    }
    reading
}

fn find(store: &dyn Blockstore, cid: &Cid, kind: WantKind) -> Result<Found> {
    if kind == WantKind::Have {
        match store.size(cid)? {
            None => return Ok(Found::Missing),
            Some(size) if size > REPLACE_HAVE_BYTES => return Ok(Found::Have),
            Some(_) => {}
        }
    }
    Ok(store.get(cid)?.map_or(Found::Missing, Found::Block))
}

#[cfg(test)]
mod tests {
    use ggen_blockstore::{Block, MemoryBlockstore};

    use super::*;

    #[test]
    fn a_have_of_a_small_block_is_answered_with_the_block() {
        let store = MemoryBlockstore::new();
        let small = Block::raw(vec![1; REPLACE_HAVE_BYTES as usize]).unwrap();
        let large = Block::raw(vec![1; REPLACE_HAVE_BYTES as usize + 1]).unwrap();
        let absent = Block::raw(&b"absent"[..]).unwrap();
        store.put_many(&[small.clone(), large.clone()]).unwrap();
        let wants = [&small, &large, &absent].map(|block| (*block.cid(), WantKind::Have));
        let found: Vec<_> = read(&store, wants.to_vec()).found.into_iter().map(|(_, found)| found).collect();
        assert_eq!(found, [Found::Block(small.data().clone()), Found::Have, Found::Missing]);
    }

    #[test]
    fn reading_stops_when_there_is_enough_for_one_answer() {
        let store = MemoryBlockstore::new();
        let blocks: Vec<_> = (0..5).map(|byte| Block::raw(vec![byte; ANSWER_BYTES / 2]).unwrap()).collect();
        store.put_many(&blocks).unwrap();
        let reading = read(&store, blocks.iter().map(|block| (*block.cid(), WantKind::Block)).collect());
        assert_eq!(reading.found.len(), 2);
        assert_eq!(reading.unread, blocks[2..].iter().map(|block| *block.cid()).collect::<Vec<_>>());
    }
}
