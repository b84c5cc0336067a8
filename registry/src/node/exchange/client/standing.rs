//! Whether a peer may get requests.

/// Whether a peer may get requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Good,
    /// It violated the protocol.
    Banned,
    /// It does not support Bitswap.
    Unsupported,
}
