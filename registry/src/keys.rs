//! The key store of a home: private keys in libp2p's protobuf form (what `ipfs key import` takes), one file each.
//!
//! ```text
//! keys/node.key             the peer's own
//!      <name>.key           signs the releases of a publisher
//!      <name>.timestamp.key, <name>.ipns.key
//!      <name>.identity      its identity chain, signed
//! ```
//! The recovery key of a publisher is not among them: it is shown once and kept elsewhere.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use libp2p::identity::Keypair;

use crate::{
    KeyReport,
    home::{HomeError, write_private},
    identity::{ChainError, IDENTITY_ENTROPY_BYTES, IdentityChain, KeyError, KeyPair, NewIdentity, Timestamp},
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

/// The keys of a home.
#[derive(Clone, Debug)]
pub(crate) struct KeyStore {
    directory: PathBuf,
}

impl KeyStore {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// The peer's own key, made on first use.
    pub(crate) fn node(&self) -> Result<Keypair, KeyStoreError> {
        let key = match self.read(NODE_KEY)? {
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
        let path = self.directory.join(format!("{name}.identity"));
        let Some(bytes) = read_if_there(&path)? else { return Ok(None) };
        let chain = IdentityChain::decode(&bytes).map_err(|source| KeyStoreError::DamagedIdentity { path, source })?;
        let needed = |name: String| self.read(&name)?.ok_or(KeyStoreError::Unknown { name });
        let signing = needed(name.to_owned())?;
        let timestamp = needed(format!("{name}.timestamp"))?;
        Ok(Some(PublisherKeys { signing, timestamp, chain }))
    }

    /// The keys of a publisher, made if there are none and the name is the default one: a first publish asks no
    /// question.
    pub(crate) fn publisher_or_new(&self, name: &str, now: Timestamp) -> Result<Opened, KeyStoreError> {
        if let Some(keys) = self.publisher(name)? {
            return Ok(Opened { keys, recovery: None });
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
        let path = self.directory.join(format!("{name}.identity"));
        let chain = identity
            .chain
            .encode()
            .map_err(|source| KeyStoreError::Create(ChainError::Record { seq: identity.chain.seq(), source }))?;
        write_private(&path, &chain)?;
        let keys = PublisherKeys { signing: identity.signing, timestamp: identity.timestamp, chain: identity.chain };
        Ok(Opened { keys, recovery: Some(identity.recovery.to_pem()) })
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
        let failed = |source| HomeError::Io { action: "list", path: self.directory.clone(), source };
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            if let Some(name) = name.to_str().and_then(|name| name.strip_suffix(".identity")) {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn read(&self, name: &str) -> Result<Option<KeyPair>, KeyStoreError> {
        let path = self.directory.join(format!("{name}.key"));
        let Some(bytes) = read_if_there(&path)? else { return Ok(None) };
        KeyPair::from_protobuf(&bytes).map(Some).map_err(|source| KeyStoreError::Damaged { path, source })
    }

    fn write(&self, name: &str, key: &KeyPair) -> Result<(), KeyStoreError> {
        Ok(write_private(&self.directory.join(format!("{name}.key")), &key.to_protobuf())?)
    }
}

fn check_name(name: &str) -> Result<(), KeyStoreError> {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !is_plain || name == NODE_KEY {
        return Err(KeyStoreError::Name { name: name.to_owned() });
    }
    Ok(())
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, HomeError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(HomeError::Io { action: "read", path: path.to_owned(), source }),
    }
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
        let keys = KeyStore::new(dir.path().to_owned());
        let first = keys.publisher_or_new(DEFAULT_KEY, Timestamp::from_unix(1)).unwrap();
        assert!(first.recovery.is_some());
        let again = keys.publisher_or_new(DEFAULT_KEY, Timestamp::from_unix(2)).unwrap();
        assert!(again.recovery.is_none());
        assert_eq!(first.keys.chain.publisher(), again.keys.chain.publisher());
        assert_eq!(keys.node().unwrap().public(), keys.node().unwrap().public());
        assert_eq!(keys.list().unwrap().len(), 2);
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
