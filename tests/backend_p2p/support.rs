//! Registries on loopback, packages to publish, and waiting for expected events.

mod liar;

use std::{
    fs,
    path::Path,
    sync::{Arc, LazyLock},
    time::Duration,
};

use ggen_blockstore::{ImportOptions, MemoryBlockstore, import_directory};
use ggen_marketplace::{FetchRequest, FetchTo, Fetched, Progress, prelude::*};
use tempfile::TempDir;
use tokio::time::Instant;

pub(crate) use self::liar::Liar;

/// Far longer than any operation here takes. Mutated code uses a shorter time, because its tests wait in vain.
pub(crate) static PATIENCE: LazyLock<Duration> = LazyLock::new(|| {
    let named = std::env::var("BACKEND_P2P_PATIENCE").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(named.unwrap_or(60))
});

/// Configures the log by `RUST_LOG`; it is shown with `--nocapture`.
pub(crate) fn log_as_asked() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    // It fails only if another test has already configured it.
    drop(tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init());
}

/// A registry in memory, with access to its store.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) registry: P2PRegistry,
    pub(crate) store: MemoryBlockstore,
}

impl std::ops::Deref for Peer {
    type Target = P2PRegistry;

    fn deref(&self) -> &P2PRegistry {
        &self.registry
    }
}

/// A configuration that keeps to loopback.
pub(crate) fn loopback(bootstrap_nodes: &[Multiaddr]) -> P2PConfig {
    P2PConfig {
        bootstrap_nodes: bootstrap_nodes.to_vec(),
        listen_addresses: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
        ..Default::default()
    }
}

impl Peer {
    /// Neither listens nor subscribes.
    pub(crate) async fn quiet(config: P2PConfig) -> Self {
        log_as_asked();
        let store = MemoryBlockstore::new();
        let registry = P2PRegistry::builder(config).store(Arc::new(store.clone())).patience(*PATIENCE).build();
        Self { registry: registry.await.unwrap(), store }
    }

    /// Listens, subscribes to announcements, and has entered the network through `others`.
    pub(crate) async fn start(others: &[&Peer]) -> Self {
        let peer = Self::quiet(loopback(&addresses(others))).await;
        peer.enter().await;
        peer.subscribe_to_packages().await.unwrap();
        peer
    }

    /// Listens and has entered the network, but does not subscribe to announcements.
    pub(crate) async fn start_deaf(others: &[&Peer]) -> Self {
        let peer = Self::quiet(loopback(&addresses(others))).await;
        peer.enter().await;
        peer
    }

    pub(crate) async fn enter(&self) {
        self.start_listening().await.unwrap();
        self.bootstrap().await.unwrap();
    }

    /// Stores a tree with one file that contains this text, and returns its root.
    pub(crate) fn import(&self, text: &str) -> ContentId {
        let place = TempDir::new().unwrap();
        fs::create_dir(place.path().join("src")).unwrap();
        fs::write(place.path().join("README.md"), "The same in every package\n").unwrap();
        fs::write(place.path().join("src/main.rs"), text).unwrap();
        import_directory(&self.store, place.path(), &ImportOptions::default()).unwrap().root.into()
    }

    /// Stores a tree of many small files.
    pub(crate) fn import_many(&self, files: usize) -> ContentId {
        let place = TempDir::new().unwrap();
        (0..files).for_each(|number| fs::write(place.path().join(number.to_string()), format!("{number}")).unwrap());
        import_directory(&self.store, place.path(), &ImportOptions::default()).unwrap().root.into()
    }

    /// Publishes a package whose content is made of its name and version.
    pub(crate) async fn release(&self, name: &str, version: &str) -> Package {
        let package = package(name, version, self.import(&format!("{name} {version}")));
        self.publish(package.clone()).await.unwrap();
        package
    }

    /// Packages in the local catalog that a query finds, as `ns/name@version`.
    pub(crate) async fn knows(&self, query: &str) -> Vec<String> {
        self.names(Query::new(query).local()).await
    }

    pub(crate) async fn names(&self, query: Query) -> Vec<String> {
        let hits = self.search(&query).await.unwrap();
        hits.into_iter().map(|hit| format!("{}@{}", hit.id, hit.version)).collect()
    }

    /// Waits until a package is in the local catalog.
    pub(crate) async fn wait_for(&self, package: &Package) {
        let wanted = format!("{}@{}", package.id, package.version);
        self.eventually(&wanted, async || self.knows(package.id.name()).await.contains(&wanted)).await;
    }

    /// Waits until this many peers subscribe to the announcements of this one.
    pub(crate) async fn wait_for_followers(&self, count: usize) {
        self.eventually("followers", async || self.metadata().await.unwrap().followers >= count).await;
    }

    /// Waits until it is connected to this many peers.
    pub(crate) async fn wait_for_peers(&self, count: usize) {
        self.eventually("connected peers", async || self.metadata().await.unwrap().connected_peers >= count).await;
    }

    /// Checks a condition after every change in this registry, until it holds.
    pub(crate) async fn eventually(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let (mut changes, give_up) = (self.registry().changes(), Instant::now() + *PATIENCE);
        while !holds().await {
            let changed = tokio::time::timeout_at(give_up, changes.next()).await;
            assert!(changed.is_ok(), "waited in vain: {what}");
        }
    }

    pub(crate) async fn fetch(&self, target: &str, to: &Path) -> Result<Fetched> {
        self.fetch_within(target, to, *PATIENCE).await
    }

    pub(crate) async fn fetch_within(&self, target: &str, to: &Path, timeout: Duration) -> Result<Fetched> {
        self.fetch_from(target, to, timeout, None).await
    }

    /// Fetches from peers of at least this reputation.
    pub(crate) async fn fetch_from(
        &self,
        target: &str,
        to: &Path,
        timeout: Duration,
        min_reputation: Option<f64>,
    ) -> Result<Fetched> {
        let (target, to) = (target.to_owned(), FetchTo::Path(to.to_owned()));
        let request = FetchRequest { target, to, timeout, offline: false, providers: Vec::new(), min_reputation };
        self.registry().fetch(request, Arc::new(|_: Progress| {})).await
    }
}

fn addresses(peers: &[&Peer]) -> Vec<Multiaddr> {
    peers.iter().flat_map(|peer| peer.listen_addresses().unwrap()).collect()
}

/// A package of the namespace `tests`.
pub(crate) fn package(name: &str, version: &str, content: ContentId) -> Package {
    Package::builder(PackageId::new("tests", name), version.parse().unwrap())
        .title(format!("Title of {name}"))
        .description(format!("What {name} is good for"))
        .license("MIT")
        .tag("tested")
        .content_id(content)
        .build()
        .unwrap()
}
