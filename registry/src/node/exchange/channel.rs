//! The way of blocks from the behaviour to the task that fetches them: unbounded in number, bounded in bytes, because
//! a session wants no more while its consumer is behind.

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

/// What every event costs of the credit besides its bytes, so that many small blocks are bounded too.
const EVENT_BYTES: u64 = 256;

/// What a session tells the task that opened it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionEvent {
    /// A wanted block arrived. It is verified, and no longer wanted.
    Block {
        /// The block.
        block: Block,
        /// Who sent it.
        from: PeerId,
    },
    /// A wanted block came, and is larger than blocks may be. It is no longer wanted: the peer is not at fault, and another
    /// peer cannot do better.
    TooLarge {
        /// The block.
        cid: Cid,
        /// Its size in bytes.
        bytes: u64,
    },
    /// Nobody in the session can give these blocks, or nothing has come for a while: more providers are needed.
    /// Repeated at a bounded rate for as long as it holds.
    NeedPeers {
        /// Some of the blocks, the first wanted ones, at most [`MAX_NEEDED_CIDS`].
        cids: Vec<Cid>,
        /// How many blocks are wanted in all.
        wanted: usize,
        /// How many connected peers the session has.
        peers: usize,
    },
    /// A peer is no longer asked.
    PeerDropped {
        /// The peer.
        peer: PeerId,
        /// Why.
        reason: DropReason,
    },
    /// A peer did what no honest one does. Told once per session, peer and offence.
    Offended {
        /// The peer.
        peer: PeerId,
        /// What it did.
        offence: Offence,
    },
    /// A peer has sent nothing of what it was asked for, and it is time that it had.
    Late {
        /// The peer.
        peer: PeerId,
    },
    /// A peer that was late has answered after all, though perhaps too late to be of use.
    Answered {
        /// The peer.
        peer: PeerId,
    },
    /// The connection to a peer is lost that sent a block, said that it has one, or was named by the caller.
    Lost {
        /// The peer.
        peer: PeerId,
    },
    /// Such a peer was dialled again, in vain.
    Unreachable {
        /// The peer.
        peer: PeerId,
        /// What came of it.
        reason: String,
    },
    /// Such a peer is connected again.
    Regained {
        /// The peer.
        peer: PeerId,
    },
}

/// Most CIDs that a [`SessionEvent::NeedPeers`] names.
pub const MAX_NEEDED_CIDS: usize = 8;

/// What a peer did wrong in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Offence {
    /// It sent bytes that are not what it was asked for.
    WrongBytes,
    /// It was asked and went silent for long.
    Stalled,
    /// It said that it has a block and, asked for it, that it has not.
    FalseHave,
    /// It sent something that is not a Bitswap message.
    Malformed,
}

/// Why a session gave a peer up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// It had none of many blocks in a row.
    Useless,
    /// It was asked and went silent.
    Stalled,
    /// It sent bytes that nobody asked it for, or broke the protocol.
    Misbehaved,
    /// It does not speak Bitswap.
    Unsupported,
    /// It answered with a message of more than 4 MiB: a block that is larger than blocks may be.
    TooLong,
}

#[derive(Debug)]
struct Credit {
    limit: u64,
    /// Bytes delivered and not yet taken.
    held: AtomicU64,
    /// The sender declined to ask for more.
    starved: AtomicBool,
    closed: AtomicBool,
    /// There is room again, or the receiver is gone: the sender has not looked yet.
    changed: AtomicBool,
    waker: AtomicWaker,
}

/// Makes the two ends of a session's way. The session has at most `limit` bytes of blocks asked for or delivered and
/// not taken; it may be passed by what peers send twice.
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
    /// Sends an event; does nothing if the receiver is gone, which [`is_closed`](Self::is_closed) tells.
    pub(super) fn send(&self, event: SessionEvent) {
        self.credit.held.fetch_add(cost(&event), Ordering::AcqRel);
        if self.events.send(event).is_err() {
            self.credit.closed.store(true, Ordering::Release);
        }
    }

    /// The receiver is gone.
    pub(super) fn is_closed(&self) -> bool {
        self.credit.closed.load(Ordering::Acquire) || self.events.is_closed()
    }

    /// Bytes that may be asked for when `asked` are on their way: always the largest block, when there is nothing on
    /// its way or waiting. If it is not enough for that, the receiver wakes us when there is more.
    pub(super) fn room(&self, asked: u64) -> u64 {
        let least = MAX_BLOCK_BYTES as u64;
        let room = || match asked + self.credit.held.load(Ordering::Acquire) {
            0 => self.credit.limit.max(least),
            used => self.credit.limit.saturating_sub(used),
        };
        let before = room();
        if before >= least {
            return before;
        }
        self.credit.starved.store(true, Ordering::Release);
        // The receiver may have taken something between the two.
        room()
    }

    /// The receiver is slower than the peers.
    pub(super) fn is_behind(&self) -> bool {
        self.credit.held.load(Ordering::Acquire) > self.credit.limit / 2
    }

    /// Says whether there is room again, or the receiver gone, since this was last asked, and has `waker` woken when
    /// there is.
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
    /// Returns the next event, `None` when the session is closed. Cancel-safe. Taking a block gives its bytes back
    /// to the session's credit.
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

fn cost(event: &SessionEvent) -> u64 {
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
        assert_eq!(sender.room(4_000), 6_000);
        sender.send(block(5_000));
        assert_eq!(sender.room(4_000), 1_000 - EVENT_BYTES);
        sender.send(block(1_000));
        assert_eq!(sender.room(4_000), 0);
        assert!(receiver.try_recv().is_some());
        assert!(receiver.try_recv().is_some());
        assert_eq!(sender.room(4_000), 6_000);
    }

    #[test]
    fn a_starved_sender_is_woken_when_half_is_free() {
        let (waker, woken) = futures_test_waker();
        let (sender, mut receiver) = session_channel(2_000);
        sender.send(block(1_000));
        sender.send(block(1_000));
        assert!(!sender.poll_changed(&waker));
        assert_eq!(sender.room(0), 0);
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
