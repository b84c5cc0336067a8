//! Why a key cannot be used.

use std::path::PathBuf;

use super::MAX_NAME_BYTES;
use crate::{
    home::HomeError,
    identity::{ChainError, KeyError, PublisherId},
    index::HeadError,
};

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyStoreError {
    /// A name no key can have.
    #[error("`{name}` is not a key name: letters, digits, `-` and `_`, at most {MAX_NAME_BYTES} of them")]
    Name {
        /// The name.
        name: String,
    },
    /// There is no such key.
    #[error("there is no key `{name}`")]
    Unknown {
        /// The name.
        name: String,
    },
    /// A key file that holds no key.
    #[error("the key file `{}` is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: KeyError,
    },
    /// An identity file that holds no identity.
    #[error("the identity file `{}` is damaged", path.display())]
    DamagedIdentity {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: ChainError,
    },
    /// A key file that holds a key which the identity beside it does not name.
    #[error("the key file `{}` holds another key than the identity file `{}` names", path.display(), identity.display())]
    OtherKey {
        /// The key file.
        path: PathBuf,
        /// The identity file.
        identity: PathBuf,
    },
    /// A head file of another publisher than the identity beside it.
    #[error("the head file `{}` is of the publisher {head}, the identity file `{}` of {publisher}", path.display(), identity.display())]
    OtherHead {
        /// The head file.
        path: PathBuf,
        /// The identity file.
        identity: PathBuf,
        /// The publisher of the head.
        head: Box<PublisherId>,
        /// The publisher of the identity.
        publisher: Box<PublisherId>,
    },
    /// A file that has to be there, since others that were written after it are.
    #[error("the file `{}` is missing", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A head file that holds no head of this publisher, or a head that cannot be written.
    #[error("the head file `{}` is damaged", path.display())]
    DamagedHead {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<HeadError>,
    },
    /// A recovery key that its owner has saved and confirmed, or that was never made here.
    #[error("there is no recovery key of `{name}` in this home")]
    NoRecoveryKey {
        /// The name of the publisher's key.
        name: String,
    },
    /// A fresh identity could not be made.
    #[error("cannot make an identity")]
    Create(#[source] ChainError),
    /// The system gave no randomness.
    #[error("the system gives no randomness: {0}")]
    Entropy(String),
    /// A file could not be read or written.
    #[error(transparent)]
    Home(#[from] HomeError),
}
