//! The key store of a home: private keys in libp2p's protobuf form (what `ipfs key import` takes), one file each. A
//! registry without a home keeps the same files in memory.
//!
//! ```text
//! keys/node.key             the node's own
//!      <name>.key           signs the releases of a publisher
//!      <name>.timestamp.key, <name>.ipns.key
//!      <name>.recovery.key  until its owner has confirmed to have saved it elsewhere
//!      <name>.identity      its identity chain, signed; `<name>.making` until all of its keys are written
//!      <name>.head          the head it signed last
//! ```
//! A damaged file fails only the operations that need it. A key file with one flipped bit is repaired when it is read
//! (`mend`); identity and head are rebuilt when the registry is opened (`place/own.rs`).

mod error;
mod files;
mod making;
mod mend;
mod recovery;

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use libp2p::identity::Keypair;

pub(crate) use self::error::KeyStoreError;
use self::files::KeyFiles;
use crate::{
    KeyReport,
    identity::{
        ChainError, Envelope, IdentityChain, KeyPair, KnownSignatures, Record as _, RecordKind, Signed, Timestamp,
    },
    index::{Head, HeadError, VerifiedHead},
};

/// Name of the default signing key.
pub(crate) const DEFAULT_KEY: &str = "default";
/// Name of the node's own key.
const NODE_KEY: &str = "node";
/// Longest key name, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// The keys of one publisher on this machine.
#[derive(Clone, Debug)]
pub(crate) struct PublisherKeys {
    pub(crate) signing: KeyPair,
    pub(crate) chain: IdentityChain,
}

/// A publisher of this home, whether or not it can sign.
#[derive(Clone, Debug)]
pub(crate) struct OwnPublisher {
    pub(crate) chain: IdentityChain,
    /// The key that signs refreshes: the timestamp key, else the signing key; none if both are damaged.
    pub(crate) refresher: Option<KeyPair>,
}

/// The keys of a registry.
#[derive(Clone, Debug)]
pub(crate) struct KeyStore {
    files: KeyFiles,
    /// The node's own key if the caller supplied it; it is not among the files then.
    node: Option<KeyPair>,
    /// Cached signatures of identities and heads: a publish reads each of them several times.
    signatures: Arc<KnownSignatures>,
}

impl KeyStore {
    /// Keys in a directory of a home.
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { files: KeyFiles::Directory(directory), node: None, signatures: Arc::default() }
    }

    /// Keys in a directory of a read-only home; repairs stay in memory.
    pub(crate) fn read_only(directory: PathBuf) -> Self {
        Self { files: KeyFiles::ReadOnly(directory, Arc::default()), node: None, signatures: Arc::default() }
    }

    /// Keys in memory, which are lost when the process ends.
    pub(crate) fn in_memory() -> Self {
        Self { files: KeyFiles::Memory(Arc::new(Mutex::default())), node: None, signatures: Arc::default() }
    }

    /// Sets the node's own key; it is not stored.
    pub(crate) fn with_node(self, key: KeyPair) -> Self {
        Self { node: Some(key), ..self }
    }

    /// The node's own key, created on first use.
    pub(crate) fn node(&self) -> Result<Keypair, KeyStoreError> {
        let key = match self.node.clone().map_or_else(|| self.read(NODE_KEY), |key| Ok(Some(key)))? {
            Some(key) => key,
            None => {
                let key = fresh()?;
                self.create(NODE_KEY, &key)?;
                key
            }
        };
        Ok(for_libp2p(&key))
    }

    /// The node's own key for a short-lived node: a temporary key if the file is damaged or cannot be read.
    pub(crate) fn node_for_now(&self) -> Result<Keypair, KeyStoreError> {
        match self.node() {
            Err(error @ (KeyStoreError::Damaged { .. } | KeyStoreError::Home(_))) => {
                tracing::warn!(target: crate::LOG_TARGET, %error, "this command runs under another peer id");
                Ok(for_libp2p(&fresh()?))
            }
            node => node,
        }
    }

    /// The keys of a publisher that is to sign; `None` if there is nothing of it.
    pub(crate) fn publisher(&self, name: &str) -> Result<Option<PublisherKeys>, KeyStoreError> {
        let Some(chain) = self.chain(name)? else { return self.check_absent(name).map(|()| None) };
        let missing = || KeyStoreError::Missing { path: self.files.path(&key_file(name)) };
        let signing = self.read(name)?.ok_or_else(missing)?;
        self.check_named(name, &signing, &chain)?;
        Ok(Some(PublisherKeys { signing, chain }))
    }

    /// Refuses a signing key that the identity does not name, because peers reject what it signs.
    fn check_named(&self, name: &str, signing: &KeyPair, chain: &IdentityChain) -> Result<(), KeyStoreError> {
        match chain.current().record().keys.contains(&signing.public()) {
            true => Ok(()),
            false => Err(self.other_key(name, name)),
        }
    }

    fn other_key(&self, key: &str, publisher: &str) -> KeyStoreError {
        let (path, identity) = (self.files.path(&key_file(key)), self.files.path(&identity_file(publisher)));
        KeyStoreError::OtherKey { path, identity }
    }

    /// The identity chain of a publisher; `None` if there is no such file.
    pub(crate) fn chain(&self, name: &str) -> Result<Option<IdentityChain>, KeyStoreError> {
        check_name(name)?;
        let file = identity_file(name);
        let Some(bytes) = self.files.read(&file)? else { return Ok(None) };
        let damaged = |source| KeyStoreError::DamagedIdentity { path: self.files.path(&file), source };
        IdentityChain::decode_with(&bytes, &*self.signatures).map(Some).map_err(damaged)
    }

    /// Stores the identity chain of a publisher.
    pub(crate) fn keep_chain(&self, name: &str, chain: &IdentityChain) -> Result<(), KeyStoreError> {
        let failed = |source| KeyStoreError::Create(ChainError::Record { seq: chain.seq(), source });
        Ok(self.files.write(&identity_file(name), &chain.encode().map_err(failed)?)?)
    }

    /// Without which files a publisher signs nothing: its key and its identity.
    pub(crate) fn files_that_sign(&self, name: &str) -> [PathBuf; 2] {
        [key_file(name), identity_file(name)].map(|file| self.files.path(&file))
    }

    /// The signing key of a publisher; `None` if there is no such file.
    pub(crate) fn signing(&self, name: &str) -> Result<Option<KeyPair>, KeyStoreError> {
        self.read(name)
    }

    /// Stores the head that a publisher has just signed. With it and the blocks, a lost catalog can be rebuilt, and no
    /// second history can start by accident.
    pub(crate) fn keep_head(&self, name: &str, head: &VerifiedHead) -> Result<(), KeyStoreError> {
        let encoded = head.head().encode().map_err(|source| self.damaged_head(name, source.into()))?;
        Ok(self.files.write(&head_file(name), &encoded)?)
    }

    /// The head that a publisher signed last, as far as this home knows; `None` if there is no such file. Its time is
    /// not checked, because a wrong clock must not hide the publisher's own log.
    pub(crate) fn head(&self, name: &str, chain: &IdentityChain) -> Result<Option<VerifiedHead>, KeyStoreError> {
        let Some(bytes) = self.files.read(&head_file(name))? else { return Ok(None) };
        let decoded = Envelope::decode(RecordKind::Head, &bytes);
        // One that is not sound is of no publisher: a flipped bit makes another out of any.
        if let Ok(head) = Signed::<Head>::decode_with(&bytes, &*self.signatures)
            && head.record().publisher != chain.publisher()
        {
            let (path, identity) = (self.files.path(&head_file(name)), self.files.path(&identity_file(name)));
            let (head, publisher) = (Box::new(head.record().publisher), Box::new(chain.publisher()));
            return Err(KeyStoreError::OtherHead { path, identity, head, publisher });
        }
        let verify = || -> Result<VerifiedHead, HeadError> {
            let envelope = decoded?;
            let Head { identity, identity_seq, .. } = Head::from_payload(envelope.payload())?;
            // A head signed before a rotation names an earlier identity document.
            let then = chain.up_to(&identity);
            let then = then.ok_or(HeadError::OtherIdentity { head: identity_seq, chain: chain.seq() })?;
            VerifiedHead::verify_with(envelope, None, &then, Timestamp::MAX, &*self.signatures)
        };
        verify().map(Some).map_err(|source| self.damaged_head(name, source))
    }

    fn damaged_head(&self, name: &str, source: HeadError) -> KeyStoreError {
        KeyStoreError::DamagedHead { path: self.files.path(&head_file(name)), source: Box::new(source) }
    }

    /// All publishers whose identity can be read.
    pub(crate) fn publishers(&self) -> Result<Vec<OwnPublisher>, KeyStoreError> {
        let mut publishers = Vec::new();
        for name in self.names()? {
            match self.chain(&name) {
                Ok(Some(chain)) => {
                    let named = chain.current().record();
                    let read = |name: &str| self.read(name).ok().flatten();
                    let refresher = read(&timestamp_name(&name)).filter(|key| key.public() == named.timestamp);
                    let refresher = refresher.or_else(|| read(&name).filter(|key| named.keys.contains(&key.public())));
                    publishers.push(OwnPublisher { chain, refresher });
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(target: crate::LOG_TARGET, %error, "a publisher is left out")
                }
            }
        }
        Ok(publishers)
    }

    /// Lists the node's key and the key of every publisher, including damaged ones.
    pub(crate) fn list(&self) -> Result<Vec<KeyReport>, KeyStoreError> {
        let problem = |error: &KeyStoreError| Some(error.to_string());
        let node = match self.node() {
            Ok(node) => (node.public().to_peer_id().to_string(), None),
            Err(error) => (String::new(), problem(&error)),
        };
        let mut reports =
            vec![KeyReport { name: NODE_KEY.to_owned(), peer_id: node.0, publisher: None, problem: node.1 }];
        for name in self.names()? {
            let (chain, signing) = (self.chain(&name), self.read(&name));
            let absent = match &chain {
                Ok(None) => self.check_absent(&name).err(),
                _ => None,
            };
            // The making of the publisher was interrupted: there is nothing to list.
            if matches!((&chain, &signing, &absent), (Ok(None), Ok(_), None)) {
                continue;
            }
            let missing = || KeyStoreError::Missing { path: self.files.path(&key_file(&name)) };
            let problem = match (&chain, &signing) {
                (Err(error), _) | (_, Err(error)) => problem(error),
                (Ok(None), _) => absent.as_ref().and_then(problem),
                (_, Ok(None)) => problem(&missing()),
                (Ok(Some(chain)), Ok(Some(key))) => {
                    let mismatch = self.check_named(&name, key, chain).err().or_else(|| self.head(&name, chain).err());
                    // A damaged head is rebuilt when the registry is opened.
                    let mismatch = mismatch.filter(|error| !matches!(error, KeyStoreError::DamagedHead { .. }));
                    mismatch.as_ref().and_then(problem)
                }
            };
            let chain = chain.ok().flatten();
            // The identity contains the public key too, as long as there is only one key.
            let named = chain.as_ref().and_then(|chain| chain.current().record().keys.first().copied());
            let public = signing.ok().flatten().map(|key| key.public()).or(named);
            let peer_id = public.map_or_else(String::new, |key| key.peer_id());
            let publisher = chain.map(|chain| chain.publisher().to_string());
            reports.push(KeyReport { name, peer_id, publisher, problem });
        }
        Ok(reports)
    }

    /// The names of the publishers of which there is a key or an identity.
    pub(crate) fn names(&self) -> Result<BTreeSet<String>, KeyStoreError> {
        let name = |file: &String| {
            let stem = file.strip_suffix(".identity").or_else(|| file.strip_suffix(".key"))?;
            let name = stem.split_once('.').map_or(stem, |(name, _role)| name);
            check_name(name).is_ok().then(|| name.to_owned())
        };
        Ok(self.files.names()?.iter().filter_map(name).collect())
    }

    /// Reads a key file; a single flipped bit is repaired.
    fn read(&self, name: &str) -> Result<Option<KeyPair>, KeyStoreError> {
        let file = key_file(name);
        let Some(bytes) = self.files.read(&file)? else { return Ok(None) };
        let source = match KeyPair::from_protobuf(&bytes) {
            Ok(key) => return Ok(Some(key)),
            Err(source) => source,
        };
        let path = self.files.path(&file);
        let Some(key) = mend::one_flipped_bit(&bytes) else { return Err(KeyStoreError::Damaged { path, source }) };
        tracing::warn!(target: crate::LOG_TARGET, ?path, "one bit of the key file was wrong and is put right");
        self.write(name, &key)?;
        Ok(Some(key))
    }

    /// Keeps a key under a name that no file has.
    fn create(&self, name: &str, key: &KeyPair) -> Result<(), KeyStoreError> {
        Ok(self.files.create(&key_file(name), &key.to_protobuf())?)
    }

    /// Writes a key over the file that it was read from.
    fn write(&self, name: &str, key: &KeyPair) -> Result<(), KeyStoreError> {
        Ok(self.files.write(&key_file(name), &key.to_protobuf())?)
    }
}

fn key_file(name: &str) -> String {
    format!("{name}.key")
}

fn identity_file(name: &str) -> String {
    format!("{name}.identity")
}

fn head_file(name: &str) -> String {
    format!("{name}.head")
}

fn timestamp_name(name: &str) -> String {
    format!("{name}.timestamp")
}

fn check_name(name: &str) -> Result<(), KeyStoreError> {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if name == NODE_KEY {
        return Err(KeyStoreError::Reserved);
    }
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !is_plain {
        return Err(KeyStoreError::Name { name: name.to_owned() });
    }
    Ok(())
}

fn fresh() -> Result<KeyPair, KeyStoreError> {
    let mut seed = [0; 32];
    entropy(&mut seed)?;
    Ok(KeyPair::from_seed(&seed))
}

fn for_libp2p(key: &KeyPair) -> Keypair {
    Keypair::ed25519_from_bytes(&mut key.to_seed()).expect("32 bytes are an ed25519 seed")
}

fn entropy(buffer: &mut [u8]) -> Result<(), KeyStoreError> {
    getrandom::fill(buffer).map_err(|error| KeyStoreError::Entropy(error.to_string()))
}

#[cfg(test)]
mod tests;
