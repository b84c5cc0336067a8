//! Registries on loopback for the tests of the operations, and packages to move between them.

use std::{fmt, fs, path::Path, sync::Arc, time::Duration};

use ggen_blockstore::{Blockstore, Cid, MemoryBlockstore, Pin, Result, forward_blockstore};

use crate::{
    BootstrapRequest, Config, Failure, FetchRequest, FetchTo, Interrupt, Mode, Progress, PublishRequest, Published,
    Registry, Reporter, place::Place,
};

/// Far longer than any step of these tests takes.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn silent() -> Arc<dyn Reporter> {
    Arc::new(|_: Progress| {})
}

pub(super) async fn start(place: Place, store_bytes: u64) -> Registry {
    let listen_addresses = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
    let mut config = Config { listen_addresses, mdns: false, ..Config::default() };
    config.limits.store_bytes = store_bytes;
    Registry::open_in(place, config, Mode::Embedded).await.unwrap()
}

/// Two registries in memory that are connected.
pub(super) async fn pair() -> (Registry, Registry) {
    let (alice, bob) = (start(Place::memory(), 0).await, start(Place::memory(), 0).await);
    connect(&bob, &alice).await;
    (alice, bob)
}

pub(super) async fn connect(from: &Registry, to: &Registry) {
    let nodes = to.listen().await.unwrap().listen_addresses;
    let report = from.bootstrap(BootstrapRequest { nodes, timeout: PATIENCE }).await.unwrap();
    assert_eq!(report.failed, []);
}

/// Publishes a package of `files` files, each of at least `bytes` bytes that no other file shares.
pub(super) async fn publish(by: &Registry, name: &str, version: &str, files: usize, bytes: usize) -> Published {
    try_publish(by, name, version, files, bytes).await.unwrap()
}

pub(super) async fn try_publish(
    by: &Registry,
    name: &str,
    version: &str,
    files: usize,
    bytes: usize,
) -> std::result::Result<Published, Failure> {
    publish_until(by, (name, version), files, bytes, Interrupt::new()).await
}

/// As [`try_publish`], until it is interrupted.
pub(super) async fn publish_until(
    by: &Registry,
    (name, version): (&str, &str),
    files: usize,
    bytes: usize,
    interrupt: Interrupt,
) -> std::result::Result<Published, Failure> {
    let work = tempfile::tempdir().unwrap();
    write_package(work.path(), name, version, files, bytes);
    let request = PublishRequest {
        path: work.path().to_owned(),
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
    by.publish_interruptible(request, silent(), interrupt).await
}

fn write_package(root: &Path, name: &str, version: &str, files: usize, bytes: usize) {
    let gpack = format!("[package]\nname = \"{name}\"\nversion = \"{version}\"\ndescription = \"a test package\"\n");
    fs::write(root.join("gpack.toml"), gpack).unwrap();
    for index in 0..files {
        let line = format!("{name} {version} {index}\n");
        fs::write(root.join(format!("file-{index}")), line.repeat(bytes.div_ceil(line.len()))).unwrap();
    }
}

pub(super) fn fetch_request(target: &str, offline: bool) -> FetchRequest {
    let to = FetchTo::Path(std::path::PathBuf::new());
    FetchRequest {
        target: target.to_owned(),
        to,
        timeout: PATIENCE,
        offline,
        providers: Vec::new(),
        min_reputation: None,
    }
}

/// The calls that a [`Watched`] store reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Cids,
    Pins,
}

/// A hook that runs after a call.
type Interlude = dyn Fn(&MemoryBlockstore, Call) + Send + Sync;

/// A store in memory that runs a hook whenever it has listed its blocks or pins.
pub(super) struct Watched {
    memory: MemoryBlockstore,
    then: Box<Interlude>,
}

impl Watched {
    pub(super) fn new(
        memory: MemoryBlockstore,
        then: impl Fn(&MemoryBlockstore, Call) + Send + Sync + 'static,
    ) -> Self {
        Self { memory, then: Box::new(then) }
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.memory.fmt(f)
    }
}

impl Blockstore for Watched {
    fn cids(&self) -> Box<dyn Iterator<Item = Result<Cid>> + Send + '_> {
        let listed: Vec<_> = self.memory.cids().collect();
        (self.then)(&self.memory, Call::Cids);
        Box::new(listed.into_iter())
    }

    fn pins(&self) -> Vec<Pin> {
        let listed = self.memory.pins();
        (self.then)(&self.memory, Call::Pins);
        listed
    }

    forward_blockstore!(self.memory: get size put_many retain delete_many lease delete_unused last_used reclaim sync
        pin unpin pins_of damage mend stats);
}
