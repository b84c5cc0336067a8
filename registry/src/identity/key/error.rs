//! Errors of keys and publisher ids.

/// Why a key could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Bytes that are no usable ed25519 public key.
    #[error("not an ed25519 public key: {reason}")]
    InvalidPublic {
        /// What is wrong with them.
        reason: String,
    },
    /// Bytes that are no ed25519 private key in the format that was expected.
    #[error("not an ed25519 private key in {format} form: {reason}")]
    InvalidPrivate {
        /// The format: `libp2p protobuf` or `PEM`.
        format: &'static str,
        /// What is wrong with them.
        reason: String,
    },
    /// Text that is not a publisher id.
    #[error("`{text}` is not a publisher id: {reason}")]
    InvalidPublisher {
        /// What was parsed.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
}
