//! Helpers for tests of operations: registries on loopback, and peers with scripted responses.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use ggen_blockstore::MemoryBlockstore;
use libp2p::{Multiaddr, PeerId, identity::Keypair};
use tokio::{sync::mpsc, time::Instant};

use crate::{
    BootstrapRequest, Config, FetchRequest, FetchTo, Fetched, Mode, Progress, PublishRequest, Published, Registry,
    SearchRequest,
    node::{Asked, Handle, Protocol, RecordValidator, Refused, Setup, Started, exchange::NoPriors, start},
};

/// Far longer than any step of these tests takes.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct NoRecords;

impl RecordValidator for NoRecords {
    fn admit(&self, _: &[u8], _: Option<&[u8]>, _: &[u8], _: SystemTime) -> Result<Vec<u8>, Refused> {
        Err(Refused { reason: "none are taken".to_owned(), is_lie: false })
    }
}

fn loopback() -> Config {
    let listen_addresses = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
    Config { listen_addresses, mdns: false, ..Config::default() }
}

/// A peer that supports the protocols and sends the responses of a test.
pub(super) struct Peer {
    pub(super) handle: Handle,
    address: Multiaddr,
}

impl Peer {
    /// Starts a peer that responds with the result of `answer`; on `None` it never responds.
    pub(super) async fn answering(answer: impl Fn(Protocol, &[u8]) -> Option<Vec<u8>> + Send + 'static) -> Self {
        let config = loopback();
        let listen = config.listen_addresses.clone();
        let (key, store) = (Keypair::generate_ed25519(), Arc::new(MemoryBlockstore::new()));
        let setup = Setup {
            key,
            config,
            listen,
            follow: true,
            stays: true,
            store,
            policy: Arc::new(NoRecords),
            priors: Arc::new(NoPriors),
            access_policies: Vec::new(),
        };
        let Started { handle, listening, asked, .. } = start(setup).await.unwrap();
        let address = listening[0].clone().with_p2p(handle.peer_id()).unwrap();
        tokio::spawn(serve(handle.clone(), asked, answer));
        Self { handle, address }
    }

    pub(super) fn id(&self) -> PeerId {
        self.handle.peer_id()
    }

    pub(super) fn address(&self) -> String {
        self.address.to_string()
    }

    pub(super) async fn connect(&self, other: &Self) {
        self.handle.connect(other.address.clone()).await.unwrap();
    }
}

async fn serve(
    handle: Handle,
    mut asked: mpsc::Receiver<Asked>,
    answer: impl Fn(Protocol, &[u8]) -> Option<Vec<u8>> + Send + 'static,
) {
    let mut kept_waiting = Vec::new();
    while let Some(Asked { protocol, data, reply, .. }) = asked.recv().await {
        match answer(protocol, &data) {
            Some(answer) => handle.answer(protocol, reply, answer).await.unwrap(),
            None => kept_waiting.push(reply),
        }
    }
}

pub(super) async fn open(home: &Path) -> Registry {
    Registry::open(home, loopback(), Mode::Daemon).await.unwrap()
}

pub(super) async fn connect(registry: &Registry, address: String) {
    let report = registry.bootstrap(BootstrapRequest { nodes: vec![address], timeout: PATIENCE }).await.unwrap();
    assert_eq!(report.failed, []);
}

pub(super) fn address(registry: &Registry) -> String {
    registry.listening().listen_addresses[0].clone()
}

/// Publishes a small package in namespace `tests`.
pub(super) async fn publish(registry: &Registry, work: &Path, name: &str, version: &str) -> Published {
    let path = work.join(format!("{name}-{version}"));
    std::fs::create_dir_all(&path).unwrap();
    let gpack = format!("[package]\nname = \"{name}\"\nversion = \"{version}\"\ndescription = \"What {name} does\"\n");
    std::fs::write(path.join("gpack.toml"), gpack).unwrap();
    let request = PublishRequest {
        path,
        version: None,
        namespace: Some("tests".to_owned()),
        key: None,
        trust_clock: false,
        allow_secrets: false,
        user_ignore_file: None,
        skip_verify: false,
        dry_run: false,
        min_replicas: 0,
        timeout: PATIENCE,
    };
    registry.publish(request, Arc::new(|_: Progress| {})).await.unwrap()
}

pub(super) async fn fetch(registry: &Registry, target: &str, to: &Path) -> Fetched {
    registry.fetch(fetch_request(target, to), Arc::new(|_: Progress| {})).await.unwrap()
}

pub(super) fn fetch_request(target: &str, to: &Path) -> FetchRequest {
    let (target, to) = (target.to_owned(), FetchTo::Path(to.to_owned()));
    FetchRequest { target, to, timeout: PATIENCE, offline: false, providers: Vec::new(), min_reputation: None }
}

/// Returns the packages that a search finds: in the local catalog only, or also through peers.
pub(super) async fn search(registry: &Registry, query: &str, local: bool) -> Vec<String> {
    let request = SearchRequest {
        query: query.to_owned(),
        category: None,
        tags: Vec::new(),
        limit: 20,
        min_reputation: None,
        local,
    };
    registry.search(request).await.unwrap().into_iter().map(|hit| hit.package).collect()
}

/// Waits until a condition on what a registry knows holds.
pub(super) async fn eventually(registry: &Registry, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let (mut changes, give_up) = (registry.changes(), Instant::now() + PATIENCE);
    while !holds().await {
        let changed = tokio::time::timeout_at(give_up, changes.next()).await;
        assert!(changed.is_ok(), "{what} did not come about");
    }
}

/// Waits until a condition on files holds. It polls, because changes of files are not notified.
pub(super) async fn on_disk(what: &str, holds: impl Fn() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < give_up, "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
