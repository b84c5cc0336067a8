//! Alice, Bob and Mallory: publishers with keys, a store and a log, for tests.

use ggen_blockstore::{Block, Blockstore as _, MemoryBlockstore};

use crate::{
    identity::{IDENTITY_ENTROPY_BYTES, IdentityChain, IdentityDocument, KeyPair, NewIdentity, Signed, Timestamp},
    index::{
        Claim, Found, Publication, PublicationError, PublishOutcome, PublisherState, VerifiedHead, VersionEntry, Walk,
        publish, rotate, set_yanked,
    },
    package::{Metadata, PackageId, Release},
};

/// Start time of the tests; they advance the clock by hand.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_unix(1_700_000_000)
}

#[derive(Clone, Debug)]
pub(crate) struct Actor {
    pub(crate) identity: NewIdentity,
    pub(crate) chain: IdentityChain,
    pub(crate) key: KeyPair,
    pub(crate) store: MemoryBlockstore,
    pub(crate) head: Option<VerifiedHead>,
    pub(crate) now: Timestamp,
}

impl Actor {
    pub(crate) fn new(seed: u8) -> Self {
        let mut entropy = [0; IDENTITY_ENTROPY_BYTES];
        for (index, byte) in entropy.iter_mut().enumerate() {
            *byte = seed.wrapping_mul(31).wrapping_add(((index / 32) * 57 + index) as u8);
        }
        let identity = NewIdentity::create(&entropy, now()).unwrap();
        let (chain, key) = (identity.chain.clone(), identity.signing.clone());
        Self { identity, chain, key, store: MemoryBlockstore::new(), head: None, now: now() }
    }

    /// A copy with the same keys and the same history, whose store and log diverge from now on.
    pub(crate) fn fork(&self) -> Self {
        let store = MemoryBlockstore::new();
        for cid in self.store.cids() {
            let cid = cid.unwrap();
            store.put(&Block::verify(cid, self.store.get(&cid).unwrap().unwrap()).unwrap()).unwrap();
        }
        Self { store, ..self.clone() }
    }

    pub(crate) fn release(&self, package: &str, version: &str, content: &str) -> Release {
        Release {
            package: package.parse().unwrap(),
            version: version.parse().unwrap(),
            content: *Block::dag_pb(content.as_bytes().to_vec()).unwrap().cid(),
            manifest: *Block::dag_cbor(content.as_bytes().to_vec()).unwrap().cid(),
            manifest_bytes: 100,
            blocks: 1,
            size: 10,
            files: 1,
            executables: Vec::new(),
            executables_block: None,
            metadata: Metadata { description: format!("The package {package}"), ..Metadata::default() },
            dependencies: Vec::new(),
            publisher: self.chain.publisher(),
            predecessor: None,
            created: self.now,
        }
    }

    pub(crate) fn try_publish(&mut self, release: Release) -> Result<PublishOutcome, PublicationError> {
        let (store, keys) = (self.store.clone(), [&self.key]);
        let state = PublisherState { chain: &self.chain, keys: &keys, head: self.head.as_ref() };
        let outcome = publish(state, release, |cid| store.get(cid), self.now)?;
        if let PublishOutcome::Published(publication) = &outcome {
            self.keep(publication);
        }
        Ok(outcome)
    }

    pub(crate) fn publish_release(&mut self, release: Release) -> Publication {
        match self.try_publish(release).unwrap() {
            PublishOutcome::Published(publication) => *publication,
            PublishOutcome::Unchanged { release } => panic!("{release} is published already"),
        }
    }

    pub(crate) fn publish(&mut self, package: &str, version: &str) -> Publication {
        let content = format!("{package} {version}");
        self.publish_release(self.release(package, version, &content))
    }

    pub(crate) fn yank(&mut self, package: &str, version: &str, yanked: bool) -> Option<Publication> {
        let (store, keys) = (self.store.clone(), [&self.key]);
        let state = PublisherState { chain: &self.chain, keys: &keys, head: self.head.as_ref() };
        let (package, version) = (package.parse().unwrap(), version.parse().unwrap());
        let flag = yanked.then(|| Some("broken".to_owned()));
        let publication = set_yanked(state, (&package, &version), flag, |cid| store.get(cid), self.now).unwrap();
        publication.inspect(|publication| self.keep(publication))
    }

    /// Replaces the signing key by a new one, signed by `by`.
    pub(crate) fn rotate(&mut self, seed: u8, by: &KeyPair) -> Option<Publication> {
        let key = KeyPair::from_seed(&[seed; 32]);
        let document = IdentityDocument { keys: vec![key.public()], ..self.chain.current().record().clone() };
        self.chain = self.chain.rotate(document, &[by]).unwrap();
        self.key = key;
        let (store, keys) = (self.store.clone(), [&self.key]);
        let state = PublisherState { chain: &self.chain, keys: &keys, head: self.head.as_ref() };
        let publication = rotate(state, |cid| store.get(cid), self.now).unwrap();
        publication.inspect(|publication| self.keep(publication))
    }

    pub(crate) fn head(&self) -> &VerifiedHead {
        self.head.as_ref().expect("nothing is published yet")
    }

    pub(crate) fn found(&self, package: &str) -> Found {
        let package: PackageId = package.parse().unwrap();
        Walk::new(&self.head().head().record().catalog, &package).run(|cid| self.store.get(cid)).unwrap()
    }

    /// The claim on a package's newest version that is not yanked, else its newest.
    pub(crate) fn claim(&self, package: &str) -> Claim {
        let found = self.found(package);
        let entry = VersionEntry::newest(&found.entries).unwrap();
        let payload = self.store.get(entry.release.cid()).unwrap().unwrap();
        let envelope = crate::identity::Envelope::from_parts(payload.to_vec(), entry.signatures.clone());
        let release: Signed<Release> = envelope.open().unwrap();
        Claim::for_package(&self.chain, self.head(), &release, Some(&found), self.now).unwrap()
    }

    fn keep(&mut self, publication: &Publication) {
        self.store.put_many(&publication.blocks).unwrap();
        self.head = Some(publication.head.clone());
    }
}
