//! The key store of a home: private keys in libp2p's protobuf form (what `ipfs key import` takes), one file each. A
//! registry without a home keeps the same files in memory.
//!
//! ```text
//! keys/node.key             the peer's own
//!      <name>.key           signs the releases of a publisher
//!      <name>.timestamp.key, <name>.ipns.key
//!      <name>.identity      its identity chain, signed
//!      <name>.head          the head it signed last
//! ```
//! The recovery key of a publisher is among them only until the first publish has succeeded: it is shown then, once, to
//! be kept elsewhere.

mod files;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use libp2p::identity::Keypair;

use self::files::KeyFiles;
use crate::{
    KeyReport,
    home::HomeError,
    identity::{
        ChainError, Envelope, IDENTITY_ENTROPY_BYTES, IdentityChain, KeyError, KeyPair, NewIdentity, RecordError,
        RecordKind, Timestamp,
    },
    index::{HeadError, VerifiedHead},
};

/// Name of the key that signs if none is named.
pub(crate) const DEFAULT_KEY: &str = "default";
/// Name of the peer's own key.
const NODE_KEY: &str = "node";
/// Longest key name, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyStoreError {
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
    /// A head file that holds no head.
    #[error("the head of the key `{name}` cannot be read or written")]
    Head {
        /// The key.
        name: String,
        /// What is wrong.
        #[source]
        source: RecordError,
    },
    /// A head file whose head is not the publisher's.
    #[error("the head of the key `{name}` does not verify")]
    StaleHead {
        /// The key.
        name: String,
        /// What is wrong.
        #[source]
        source: HeadError,
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

/// The keys of one publisher on this machine.
#[derive(Clone, Debug)]
pub(crate) struct PublisherKeys {
    pub(crate) signing: KeyPair,
    pub(crate) timestamp: KeyPair,
    pub(crate) chain: IdentityChain,
}

/// A publisher's keys, and what has to be shown once if they were just made.
pub(crate) struct Opened {
    pub(crate) keys: PublisherKeys,
    /// The recovery key as PEM, for a publisher that is new.
    pub(crate) recovery: Option<String>,
}

/// The keys of a registry.
#[derive(Clone, Debug)]
pub(crate) struct KeyStore {
    files: KeyFiles,
    /// The peer's own key where the caller brought it: it is not among the files then.
    node: Option<KeyPair>,
}

impl KeyStore {
    /// The keys in a directory of a home.
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { files: KeyFiles::Directory(directory), node: None }
    }

    /// Keys that are gone with the process.
    pub(crate) fn in_memory() -> Self {
        Self { files: KeyFiles::Memory(Arc::new(Mutex::default())), node: None }
    }

    /// The same, with this key as the peer's own; it is not kept.
    pub(crate) fn with_node(self, key: KeyPair) -> Self {
        Self { node: Some(key), ..self }
    }

    /// The peer's own key, made on first use.
    pub(crate) fn node(&self) -> Result<Keypair, KeyStoreError> {
        let key = match self.node.clone().map_or_else(|| self.read(NODE_KEY), |key| Ok(Some(key)))? {
            Some(key) => key,
            None => {
                let mut seed = [0; 32];
                entropy(&mut seed)?;
                let key = KeyPair::from_seed(&seed);
                self.write(NODE_KEY, &key)?;
                key
            }
        };
        let mut seed = key.to_seed();
        Ok(Keypair::ed25519_from_bytes(&mut seed).expect("32 bytes are an ed25519 seed"))
    }

    /// The keys of a publisher; `None` if there is no such key.
    pub(crate) fn publisher(&self, name: &str) -> Result<Option<PublisherKeys>, KeyStoreError> {
        check_name(name)?;
        // The identity is written last: without it, the making of this publisher was interrupted.
        let file = format!("{name}.identity");
        let Some(bytes) = self.files.read(&file)? else { return Ok(None) };
        let damaged = |source| KeyStoreError::DamagedIdentity { path: self.files.path(&file), source };
        let chain = IdentityChain::decode(&bytes).map_err(damaged)?;
        let needed = |name: String| self.read(&name)?.ok_or(KeyStoreError::Unknown { name });
        let signing = needed(name.to_owned())?;
        let timestamp = needed(format!("{name}.timestamp"))?;
        Ok(Some(PublisherKeys { signing, timestamp, chain }))
    }

    /// The keys of a publisher, made if there are none and the name is the default one: a first publish asks no
    /// question.
    pub(crate) fn publisher_or_new(&self, name: &str, now: Timestamp) -> Result<Opened, KeyStoreError> {
        if let Some(keys) = self.publisher(name)? {
            let recovery = self.read(&recovery_name(name))?.map(|key| key.to_pem());
            return Ok(Opened { keys, recovery });
        }
        if name != DEFAULT_KEY {
            return Err(KeyStoreError::Unknown { name: name.to_owned() });
        }
        let mut seed = [0; IDENTITY_ENTROPY_BYTES];
        entropy(&mut seed)?;
        let identity = NewIdentity::create(&seed, now).map_err(KeyStoreError::Create)?;
        self.write(name, &identity.signing)?;
        self.write(&format!("{name}.timestamp"), &identity.timestamp)?;
        self.write(&format!("{name}.ipns"), &identity.ipns)?;
        self.write(&recovery_name(name), &identity.recovery)?;
        let chain = identity
            .chain
            .encode()
            .map_err(|source| KeyStoreError::Create(ChainError::Record { seq: identity.chain.seq(), source }))?;
        self.files.write(&format!("{name}.identity"), &chain)?;
        let keys = PublisherKeys { signing: identity.signing, timestamp: identity.timestamp, chain: identity.chain };
        Ok(Opened { keys, recovery: Some(identity.recovery.to_pem()) })
    }

    /// Keeps the head that a publisher has just signed. With it and the blocks a lost catalog can be made again, and no
    /// second history begun.
    pub(crate) fn keep_head(&self, name: &str, head: &VerifiedHead) -> Result<(), KeyStoreError> {
        let encoded = head.head().encode().map_err(|source| KeyStoreError::Head { name: name.to_owned(), source })?;
        Ok(self.files.write(&format!("{name}.head"), &encoded)?)
    }

    /// The head that a publisher signed last, as far as this home knows; its key name comes with it.
    pub(crate) fn heads(&self, now: Timestamp) -> Result<Vec<(PublisherKeys, VerifiedHead)>, KeyStoreError> {
        let mut heads = Vec::new();
        for name in self.publisher_names()? {
            let Some(bytes) = self.files.read(&format!("{name}.head"))? else { continue };
            let Some(keys) = self.publisher(&name)? else { continue };
            let damaged = |source| KeyStoreError::Head { name: name.clone(), source };
            let envelope = Envelope::decode(RecordKind::Head, &bytes).map_err(damaged)?;
            let head = VerifiedHead::verify(envelope, None, &keys.chain, now)
                .map_err(|source| KeyStoreError::StaleHead { name: name.clone(), source })?;
            heads.push((keys, head));
        }
        Ok(heads)
    }

    /// Forgets the recovery key: it is about to be shown, and is to be kept elsewhere.
    pub(crate) fn forget_recovery(&self, name: &str) -> Result<(), KeyStoreError> {
        Ok(self.files.remove(&format!("{}.key", recovery_name(name)))?)
    }

    /// The keys of every publisher.
    pub(crate) fn publishers(&self) -> Result<Vec<PublisherKeys>, KeyStoreError> {
        let names = self.publisher_names()?;
        names.iter().filter_map(|name| self.publisher(name).transpose()).collect()
    }

    /// Lists the node's key and every publisher's.
    pub(crate) fn list(&self) -> Result<Vec<KeyReport>, KeyStoreError> {
        let node = self.node()?;
        let peer_id = node.public().to_peer_id().to_string();
        let mut reports = vec![KeyReport { name: NODE_KEY.to_owned(), peer_id, publisher: None }];
        for name in self.publisher_names()? {
            if let Some(keys) = self.publisher(&name)? {
                let publisher = Some(keys.chain.publisher().to_string());
                reports.push(KeyReport { name, peer_id: keys.signing.public().peer_id(), publisher });
            }
        }
        Ok(reports)
    }

    fn publisher_names(&self) -> Result<Vec<String>, KeyStoreError> {
        let names = self.files.names()?;
        Ok(names.iter().filter_map(|name| name.strip_suffix(".identity")).map(str::to_owned).collect())
    }

    fn read(&self, name: &str) -> Result<Option<KeyPair>, KeyStoreError> {
        let file = format!("{name}.key");
        let Some(bytes) = self.files.read(&file)? else { return Ok(None) };
        let damaged = |source| KeyStoreError::Damaged { path: self.files.path(&file), source };
        KeyPair::from_protobuf(&bytes).map(Some).map_err(damaged)
    }

    fn write(&self, name: &str, key: &KeyPair) -> Result<(), KeyStoreError> {
        Ok(self.files.write(&format!("{name}.key"), &key.to_protobuf())?)
    }
}

fn recovery_name(name: &str) -> String {
    format!("{name}.recovery")
}

fn check_name(name: &str) -> Result<(), KeyStoreError> {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !is_plain || name == NODE_KEY {
        return Err(KeyStoreError::Name { name: name.to_owned() });
    }
    Ok(())
}

fn entropy(buffer: &mut [u8]) -> Result<(), KeyStoreError> {
    getrandom::fill(buffer).map_err(|error| KeyStoreError::Entropy(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publisher_is_made_once_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        made_once_and_found_again(&KeyStore::new(dir.path().to_owned()));
        made_once_and_found_again(&KeyStore::in_memory());
    }

    fn made_once_and_found_again(keys: &KeyStore) {
        let first = keys.publisher_or_new(DEFAULT_KEY, Timestamp::from_unix(1)).unwrap();
        assert!(first.recovery.is_some());
        let before = keys.publisher_or_new(DEFAULT_KEY, Timestamp::from_unix(2)).unwrap();
        assert_eq!(before.recovery, first.recovery, "a publish that failed has not shown it");
        keys.forget_recovery(DEFAULT_KEY).unwrap();
        let again = keys.publisher_or_new(DEFAULT_KEY, Timestamp::from_unix(3)).unwrap();
        assert!(again.recovery.is_none());
        assert_eq!(first.keys.chain.publisher(), again.keys.chain.publisher());
        assert_eq!(keys.node().unwrap().public(), keys.node().unwrap().public());
        assert_eq!(keys.list().unwrap().len(), 2);
    }

    #[test]
    fn a_key_that_the_caller_brought_is_the_peers_own_and_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let brought = KeyPair::from_seed(&[7; 32]);
        let keys = KeyStore::new(dir.path().to_owned()).with_node(brought.clone());
        assert_eq!(keys.node().unwrap().public().to_peer_id().to_string(), brought.public().peer_id());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_key_that_was_named_and_is_not_there_is_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let keys = KeyStore::new(dir.path().to_owned());
        let missing = keys.publisher_or_new("work", Timestamp::from_unix(1));
        assert!(matches!(missing, Err(KeyStoreError::Unknown { name }) if name == "work"));
        let outside = keys.publisher_or_new("../x", Timestamp::from_unix(1));
        assert!(matches!(outside, Err(KeyStoreError::Name { .. })));
    }
}
