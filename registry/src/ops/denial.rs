//! How a user takes a peer off the list of those denied.

use libp2p::PeerId;

use crate::{Hint, Operation, error::hint};

/// Returns the hint for a failure that the list of denied peers explains.
pub(super) fn undeny(peer: &PeerId) -> Hint {
    hint![Operation::PeerReset.on(peer.to_string()), " takes it off the list of denied peers"]
}
