//! Errors of the key store.

use std::path::PathBuf;

use super::{MAX_NAME_BYTES, NODE_KEY};
use crate::{
    home::HomeError,
    identity::{ChainError, KeyError, PublisherId},
    index::HeadError,
};

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyStoreError {
    /// An invalid key name.
    #[error("`{name}` is not a key name: letters, digits, `-` and `_`, at most {MAX_NAME_BYTES} of them")]
    Name {
        /// The name.
        name: String,
    },
    /// The name of the peer's own key.
    #[error("`{NODE_KEY}` is the key of the node itself, which signs no packages")]
    Reserved,
    /// There is no such key.
    #[error("there is no key `{name}`")]
    Unknown {
        /// The name.
        name: String,
    },
    /// A key file that contains no key.
    #[error("the key file `{}` is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: KeyError,
    },
    /// An identity file that contains no identity.
    #[error("the identity file `{}` is damaged", path.display())]
    DamagedIdentity {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: ChainError,
    },
    /// A key file whose key the identity file does not name.
    #[error("the key file `{}` holds another key than the identity file `{}` names", path.display(), identity.display())]
    OtherKey {
        /// The key file.
        path: PathBuf,
        /// The identity file.
        identity: PathBuf,
    },
    /// A head file of a publisher other than that of the identity file.
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
    /// A file is missing although files that are written later exist.
    #[error("the file `{}` is missing", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Key files of a publisher without the identity that names them.
    #[error("the identity file `{}` is missing beside {}", identity.display(), quoted(there))]
    WithoutIdentity {
        /// The file that is missing.
        identity: PathBuf,
        /// The names of the files that are there.
        there: Vec<String>,
    },
    /// A head file that holds no head of this publisher, or a head that cannot be written.
    #[error("the head file `{}` is damaged", path.display())]
    DamagedHead {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Box<HeadError>,
    },
    /// The recovery key was confirmed as saved and removed, or was never created in this home.
    #[error("there is no recovery key of `{name}` in this home")]
    NoRecoveryKey {
        /// The name of the publisher's key.
        name: String,
    },
    /// A new identity could not be created.
    #[error("cannot make an identity")]
    Create(#[source] ChainError),
    /// The operating system provides no randomness.
    #[error("the system gives no randomness: {0}")]
    Entropy(String),
    /// A file could not be read or written.
    #[error(transparent)]
    Home(#[from] HomeError),
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
