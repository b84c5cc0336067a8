//! How a user takes a peer off the list of those denied.

use libp2p::PeerId;

/// Returns the hint for a failure that the list of denied peers explains.
pub(super) fn undeny(peer: &PeerId) -> String {
    format!("`ggen marketplace p2p peer reset {peer}` takes it off the list of denied peers")
}
