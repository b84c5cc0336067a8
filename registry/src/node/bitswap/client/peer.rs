//! What the client knows of a connected peer.

use super::super::{meter::Meter, prior::Prior, wantlist::Wantlist};

/// Most entries of a peer's wantlist with questions: Kubo remembers 1,024.
const MAX_ENTRIES: usize = 900;

/// Whether the peer may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Good,
    /// It broke the protocol.
    Banned,
    /// It does not speak it.
    Unsupported,
}

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) wantlist: Wantlist,
    pub(super) meter: Meter,
    pub(super) standing: Standing,
    /// Blocks it sent that it was never asked for.
    pub(super) unasked: u32,
    /// A message of wants is being written.
    pub(super) updating: bool,
    /// It speaks a version in which silence is not how one says no.
    pub(super) says_no: bool,
}

impl Peer {
    pub(super) fn new(prior: &Prior) -> Self {
        Self {
            wantlist: Wantlist::new(),
            meter: Meter::expecting(prior.rate, prior.latency),
            standing: Standing::Good,
            unasked: 0,
            updating: false,
            says_no: false,
        }
    }

    /// It can remember more questions for blocks besides the wants.
    pub(super) fn has_room_for_questions(&self) -> bool {
        self.wantlist.entries() < MAX_ENTRIES
    }

    /// Bytes that may be asked of it.
    pub(super) fn room(&self) -> u64 {
        self.meter.window().saturating_sub(self.wantlist.live_bytes())
    }
}
