//! Whether a peer may be asked for blocks.

/// Whether the peer may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Good,
    /// It broke the protocol.
    Banned,
    /// It does not support Bitswap.
    Unsupported,
}
