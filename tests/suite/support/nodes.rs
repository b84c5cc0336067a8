//! Nodes of ours in this process, each in a home of its own, on loopback.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use ggen_marketplace::{
    BootstrapRequest, Config, Failure, FetchRequest, FetchTo, Fetched, Mode, Progress, PublishRequest, Published,
    Registry, SearchRequest,
};
use tempfile::TempDir;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running node, its home removed with it.
pub(crate) struct Node {
    pub(crate) registry: Registry,
    home: TempDir,
}

impl Node {
    /// A node that knows nobody.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// A node that enters the network through these addresses.
    pub(crate) async fn start_with(bootstrap: &[String]) -> Self {
        let home = TempDir::new().unwrap();
        let config = Config {
            bootstrap_nodes: bootstrap.iter().map(|address| address.parse().unwrap()).collect(),
            listen_addresses: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
            mdns: false,
            ..Config::default()
        };
        let registry = Registry::open(home.path(), config, Mode::Daemon).await.unwrap();
        Self { registry, home }
    }

    pub(crate) fn peer_id(&self) -> String {
        self.registry.listening().peer_id
    }

    /// Where it listens, with its peer id.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.registry.listening().listen_addresses
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Connects to a peer and waits until it is in the routing tables.
    pub(crate) async fn connect(&self, addresses: &[String]) {
        let request = BootstrapRequest { nodes: addresses[..1].to_vec(), timeout: PATIENCE };
        let report = self.registry.bootstrap(request).await.unwrap();
        assert_eq!(report.failed, []);
    }

    pub(crate) async fn publish(&self, package: &Path) -> Published {
        self.try_publish(package).await.unwrap()
    }

    pub(crate) async fn try_publish(&self, package: &Path) -> Result<Published, Failure> {
        let request = PublishRequest {
            path: package.to_owned(),
            version: None,
            namespace: Some("tests".to_owned()),
            key: None,
            skip_verify: false,
            dry_run: false,
            min_replicas: 0,
            timeout: PATIENCE,
        };
        self.registry.publish(request, Arc::new(|_: Progress| {})).await
    }

    pub(crate) async fn fetch(&self, target: &str, to: &Path) -> Fetched {
        self.try_fetch(target, FetchTo::Path(to.to_owned()), PATIENCE).await.unwrap()
    }

    pub(crate) async fn fetch_tar(&self, target: &str, to: &Path) -> Fetched {
        self.try_fetch(target, FetchTo::Tar(to.to_owned()), PATIENCE).await.unwrap()
    }

    pub(crate) async fn try_fetch(&self, target: &str, to: FetchTo, timeout: Duration) -> Result<Fetched, Failure> {
        let request = FetchRequest { target: target.to_owned(), to, timeout, offline: false, providers: Vec::new() };
        self.registry.fetch(request, Arc::new(|_: Progress| {})).await
    }

    /// Waits until a package is in the catalog.
    pub(crate) async fn wait_until_known(&self, package: &str) {
        let name = package.split('/').next_back().unwrap();
        let query = || SearchRequest {
            query: name.to_owned(),
            category: None,
            tags: Vec::new(),
            limit: 20,
            min_reputation: None,
            local: true,
        };
        let started = Instant::now();
        while !self.registry.search(query()).await.unwrap().iter().any(|hit| hit.package == package) {
            assert!(started.elapsed() < PATIENCE, "{package} did not become known");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn stop(self) {
        self.registry.shutdown().await.unwrap();
    }
}
