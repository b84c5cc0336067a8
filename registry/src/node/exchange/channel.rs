//! The channel that passes blocks from the behaviour to the task that fetches them: unbounded in number, bounded in
//! bytes, because a session sends no requests while its consumer is behind.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Waker,
};

use futures::task::AtomicWaker;
use ggen_blockstore::{Block, Cid, MAX_BLOCK_BYTES};
use libp2p::PeerId;
use tokio::sync::mpsc;

/// Credit that every event takes besides its bytes, so that many small blocks are bounded too.
const EVENT_BYTES: u64 = 256;

/// Events of a session for the task that opened it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionEvent {
    /// A wanted block arrived. It is verified, and no longer wanted.
    Block {
        /// The block.
        block: Block,
        /// The sender.
        from: PeerId,
    },
    /// A wanted block exceeds the maximum block size. It is no longer wanted: the peer is not at fault, and no other
    /// peer can do better.
    TooLarge {
        /// The block.
        cid: Cid,
        /// Its size in bytes.
        bytes: u64,
    },
    /// No member of the session can provide these blocks, or nothing has arrived for a while: more providers are
    /// needed. Repeated at a bounded rate for as long as that lasts.
    NeedPeers {
        /// Some of the blocks, the first wanted ones, at most [`MAX_NEEDED_CIDS`].
        cids: Vec<Cid>,
        /// The number of wanted blocks.
        wanted: usize,
        /// The number of connected peers in the session.
        peers: usize,
    },
    /// A peer gets no more requests.
    PeerDropped {
        /// The peer.
        peer: PeerId,
        /// Why.
        reason: DropReason,
    },
    /// A peer did what no honest peer does. Sent once per session, peer and offence.
    Offended {
        /// The peer.
        peer: PeerId,
        /// What it did.
        offence: Offence,
    },
    /// A peer has not sent any requested block in the time expected.
    Late {
        /// The peer.
        peer: PeerId,
    },
    /// A late peer has answered after all, though perhaps too late to be of use.
    Answered {
        /// The peer.
        peer: PeerId,
    },
    /// The connection to a peer is lost that had sent a block or a HAVE, or that the caller had named.
    Lost {
        /// The peer.
        peer: PeerId,
    },
    /// A redial of such a peer failed.
    Unreachable {
        /// The peer.
        peer: PeerId,
        /// The error.
        reason: String,
    },
    /// Such a peer is connected again.
    Regained {
        /// The peer.
        peer: PeerId,
    },
}

/// Maximum number of CIDs in a [`SessionEvent::NeedPeers`].
pub const MAX_NEEDED_CIDS: usize = 8;

/// What a peer did wrong in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Offence {
    /// It sent bytes that do not match the requested blocks.
    WrongBytes,
    /// It was silent for long while requests were pending.
    Stalled,
    /// It sent a HAVE for a block, and a DONT_HAVE when the block was requested.
    FalseHave,
    /// It sent a malformed message.
    Malformed,
}

/// Why a session dropped a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// It refused many blocks in a row.
    Useless,
    /// It was silent while requests were pending.
    Stalled,
    /// It sent bytes that were not requested, or violated the protocol.
    Misbehaved,
    /// It does not support Bitswap.
    Unsupported,
    /// It sent a message of more than 4 MiB, so the requested block exceeds the maximum block size.
    TooLong,
}

/// The room that the consumer of a session has.
#[derive(Debug)]
pub(super) struct Credit {
    limit: u64,
    /// Bytes delivered and not yet taken.
    held: AtomicU64,
    /// The sender had no room for further requests.
    starved: AtomicBool,
    closed: AtomicBool,
    /// There is room again, or the receiver is gone, and the sender has not noticed yet.
    changed: AtomicBool,
    waker: AtomicWaker,
}

impl Credit {
    /// Returns how many bytes may be requested while `asked` are under way; if nothing is under way or waiting, at
    /// least the maximum block size. If the result is below that size, the receiver wakes the sender when there is more
    /// room.
    pub(super) fn room(&self, asked: u64) -> u64 {
        let least = MAX_BLOCK_BYTES as u64;
        let room = || match asked + self.held.load(Ordering::Acquire) {
            0 => self.limit.max(least),
            used => self.limit.saturating_sub(used),
        };
        let before = room();
        if before >= least {
            return before;
        }
        self.starved.store(true, Ordering::Release);
        // The receiver may have taken an event between the two.
        room()
    }

    /// Whether the receiver is slower than the peers.
    pub(super) fn is_behind(&self) -> bool {
        self.held.load(Ordering::Acquire) > self.limit / 2
    }
}

/// Creates the channel of a session. The blocks that the session has requested, and those delivered and not taken, have
/// at most `limit` bytes together; blocks that peers send twice may exceed it.
pub fn session_channel(limit: u64) -> (SessionSender, SessionReceiver) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let credit = Arc::new(Credit {
        limit,
        held: AtomicU64::new(0),
        starved: AtomicBool::new(false),
        closed: AtomicBool::new(false),
        changed: AtomicBool::new(false),
        waker: AtomicWaker::new(),
    });
    (SessionSender { events: sender, credit: Arc::clone(&credit) }, SessionReceiver { events: receiver, credit })
}

/// The behaviour's end.
#[derive(Debug)]
pub struct SessionSender {
    events: mpsc::UnboundedSender<SessionEvent>,
    credit: Arc<Credit>,
}

impl SessionSender {
    /// Sends an event. Does nothing if the receiver is gone: see [`is_closed`](Self::is_closed).
    pub(super) fn send(&self, event: SessionEvent) {
        self.credit.held.fetch_add(cost(&event), Ordering::AcqRel);
        if self.events.send(event).is_err() {
            self.credit.closed.store(true, Ordering::Release);
        }
    }

    pub(super) fn credit(&self) -> Arc<Credit> {
        Arc::clone(&self.credit)
    }

    /// Whether the receiver is gone.
    pub(super) fn is_closed(&self) -> bool {
        self.credit.closed.load(Ordering::Acquire) || self.events.is_closed()
    }

    /// Returns whether there is room again, or the receiver is gone, since the last call. Wakes `waker` on the next
    /// change.
    pub(super) fn poll_changed(&self, waker: &Waker) -> bool {
        self.credit.waker.register(waker);
        self.credit.changed.swap(false, Ordering::AcqRel)
    }
}

/// The fetching task's end. Dropping it closes the session.
#[derive(Debug)]
pub struct SessionReceiver {
    events: mpsc::UnboundedReceiver<SessionEvent>,
    credit: Arc<Credit>,
}

impl SessionReceiver {
    /// Returns the next event, `None` when the session is closed. Cancel-safe. Taking a block returns its bytes to the
    /// session's credit.
    pub async fn recv(&mut self) -> Option<SessionEvent> {
        let event = self.events.recv().await?;
        self.taken(&event);
        Some(event)
    }

    /// Returns the next event if there is one.
    pub fn try_recv(&mut self) -> Option<SessionEvent> {
        let event = self.events.try_recv().ok()?;
        self.taken(&event);
        Some(event)
    }

    /// Bytes delivered and not taken.
    #[cfg(test)]
    pub(super) fn held(&self) -> u64 {
        self.credit.held.load(Ordering::Acquire)
    }

    fn taken(&self, event: &SessionEvent) {
        let cost = cost(event);
        let left = self.credit.held.fetch_sub(cost, Ordering::AcqRel) - cost;
        // Waking at half the limit, not at each event, keeps the session's requests large.
        if left <= self.credit.limit / 2 && self.credit.starved.swap(false, Ordering::AcqRel) {
            self.credit.changed.store(true, Ordering::Release);
            self.credit.waker.wake();
        }
    }
}

impl Drop for SessionReceiver {
    fn drop(&mut self) {
        self.credit.closed.store(true, Ordering::Release);
        self.credit.changed.store(true, Ordering::Release);
        self.credit.waker.wake();
    }
}

/// Bytes of the consumer's credit that an event takes until it is taken.
pub(super) fn cost(event: &SessionEvent) -> u64 {
    match event {
        SessionEvent::Block { block, .. } => block.data().len() as u64 + EVENT_BYTES,
        _ => EVENT_BYTES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(bytes: usize) -> SessionEvent {
        SessionEvent::Block { block: Block::raw(vec![0; bytes]).unwrap(), from: PeerId::random() }
    }

    #[test]
    fn what_is_delivered_and_not_taken_takes_up_room() {
        let (sender, mut receiver) = session_channel(10_000);
        assert_eq!(sender.credit.room(4_000), 6_000);
        sender.send(block(5_000));
        assert_eq!(sender.credit.room(4_000), 1_000 - EVENT_BYTES);
        sender.send(block(1_000));
        assert_eq!(sender.credit.room(4_000), 0);
        assert!(receiver.try_recv().is_some());
        assert!(receiver.try_recv().is_some());
        assert_eq!(sender.credit.room(4_000), 6_000);
    }

    #[test]
    fn a_starved_sender_is_woken_when_half_is_free() {
        let (waker, woken) = futures_test_waker();
        let (sender, mut receiver) = session_channel(2_000);
        sender.send(block(1_000));
        sender.send(block(1_000));
        assert!(!sender.poll_changed(&waker));
        assert_eq!(sender.credit.room(0), 0);
        receiver.try_recv();
        assert!(!woken.load(Ordering::Acquire));
        receiver.try_recv();
        assert!(woken.load(Ordering::Acquire) && sender.poll_changed(&waker) && !sender.poll_changed(&waker));
    }

    #[test]
    fn a_dropped_receiver_closes_the_way() {
        let (sender, receiver) = session_channel(1);
        assert!(!sender.is_closed());
        drop(receiver);
        assert!(sender.is_closed());
    }

    fn futures_test_waker() -> (Waker, Arc<AtomicBool>) {
        struct Flag(Arc<AtomicBool>);
        impl futures::task::ArcWake for Flag {
            fn wake_by_ref(flag: &Arc<Self>) {
                flag.0.store(true, Ordering::Release);
            }
        }
        let woken = Arc::new(AtomicBool::new(false));
        (futures::task::waker(Arc::new(Flag(Arc::clone(&woken)))), woken)
    }
}
