//! ggen nodes in this process, each in a home of its own, on loopback.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use ggen_marketplace::{
    BootstrapRequest, Config, Failure, FetchRequest, FetchTo, Fetched, Mode, PeerListRequest, PinRequest, Progress,
    PublishRequest, Published, Registry, SearchRequest,
};
use tempfile::TempDir;

/// Far longer than any operation here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running node; its home is removed with it.
pub(crate) struct Node {
    pub(crate) registry: Registry,
    home: TempDir,
    config: Config,
}

impl Node {
    /// A node without known peers.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// A node that enters the network through these addresses.
    pub(crate) async fn start_with(bootstrap: &[String]) -> Self {
        let bootstrap_nodes = bootstrap.iter().map(|address| address.parse().unwrap()).collect();
        Self::start_as(Config { bootstrap_nodes, ..Config::default() }).await
    }

    /// A node of this configuration, on loopback.
    pub(crate) async fn start_as(config: Config) -> Self {
        Self::start_on(&["/ip4/127.0.0.1/tcp/0"], config).await
    }

    /// A node of this configuration that listens on these addresses.
    pub(crate) async fn start_on(addresses: &[&str], config: Config) -> Self {
        let home = TempDir::new().unwrap();
        let listen_addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Self::open(home, Config { listen_addresses, mdns: false, ..config }).await
    }

    /// A node that does not listen, so other nodes cannot dial it.
    pub(crate) async fn start_silent() -> Self {
        let config = Config { listen_addresses: Vec::new(), mdns: false, ..Config::default() };
        Self::open(TempDir::new().unwrap(), config).await
    }

    async fn open(home: TempDir, config: Config) -> Self {
        let registry = Registry::open(home.path(), config.clone(), Mode::Daemon).await.unwrap();
        Self { registry, home, config }
    }

    /// Stops the node and starts it again in its home; its addresses may change.
    pub(crate) async fn restart(self) -> Self {
        self.registry.shutdown().await.unwrap();
        Self::open(self.home, self.config).await
    }

    pub(crate) fn peer_id(&self) -> String {
        self.registry.listening().peer_id
    }

    /// The addresses on which it listens, with its peer id.
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

    /// Returns whether `other` is connected.
    pub(crate) async fn knows(&self, other: &Self) -> bool {
        let listed = self.registry.peer_list(PeerListRequest { min_reputation: None }).await.unwrap();
        listed.iter().any(|peer| peer.connected && peer.peer_id == other.peer_id())
    }

    pub(crate) async fn publish(&self, package: &Path) -> Published {
        self.try_publish(package).await.unwrap()
    }

    pub(crate) async fn try_publish(&self, package: &Path) -> Result<Published, Failure> {
        self.publish_in(package, Some("tests"), 0, PATIENCE).await
    }

    /// Publishes in a namespace; without one, in that of the configuration. Waits for replicas.
    pub(crate) async fn publish_in(
        &self,
        package: &Path,
        namespace: Option<&str>,
        min_replicas: u32,
        timeout: Duration,
    ) -> Result<Published, Failure> {
        let request = PublishRequest {
            path: package.to_owned(),
            version: None,
            namespace: namespace.map(str::to_owned),
            key: None,
            trust_clock: false,
            // Some of the real crates contain keys for their tests.
            allow_secrets: true,
            user_ignore_file: None,
            skip_verify: false,
            dry_run: false,
            min_replicas,
            timeout,
        };
        self.registry.publish(request, Arc::new(|_: Progress| {})).await
    }

    pub(crate) async fn publish_as(&self, package: &Path, namespace: &str) -> Published {
        self.publish_in(package, Some(namespace), 0, PATIENCE).await.unwrap()
    }

    pub(crate) async fn pin(&self, target: &str) {
        let request = PinRequest { target: target.to_owned(), timeout: PATIENCE, offline: false };
        self.registry.pin_add(request, Arc::new(|_: Progress| {})).await.unwrap();
    }

    pub(crate) async fn fetch(&self, target: &str, to: &Path) -> Fetched {
        self.try_fetch(target, FetchTo::Path(to.to_owned()), PATIENCE).await.unwrap()
    }

    pub(crate) async fn fetch_within(&self, target: &str, to: &Path, timeout: Duration) -> Fetched {
        self.try_fetch(target, FetchTo::Path(to.to_owned()), timeout).await.unwrap()
    }

    pub(crate) async fn fetch_tar(&self, target: &str, to: &Path) -> Fetched {
        self.try_fetch(target, FetchTo::Tar(to.to_owned()), PATIENCE).await.unwrap()
    }

    pub(crate) async fn try_fetch(&self, target: &str, to: FetchTo, timeout: Duration) -> Result<Fetched, Failure> {
        let request = FetchRequest {
            target: target.to_owned(),
            to,
            timeout,
            offline: false,
            providers: Vec::new(),
            min_reputation: None,
        };
        self.registry.fetch(request, Arc::new(|_: Progress| {})).await
    }

    /// The packages that a search finds, best first.
    pub(crate) async fn search(&self, query: &str, local: bool) -> Vec<String> {
        let request = SearchRequest {
            query: query.to_owned(),
            category: None,
            tags: Vec::new(),
            limit: 20,
            min_reputation: None,
            local,
        };
        self.registry.search(request).await.unwrap().into_iter().map(|hit| hit.package).collect()
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
        let is_known =
            || async { self.registry.search(query()).await.unwrap().iter().any(|hit| hit.package == package) };
        self.wait_until(is_known).await;
    }

    /// Checks `done` after every change in this node, until it returns true.
    pub(crate) async fn wait_until<F: Future<Output = bool>>(&self, done: impl Fn() -> F) {
        let (mut changes, give_up) = (self.registry.changes(), tokio::time::Instant::now() + PATIENCE);
        while !done().await {
            let changed = tokio::time::timeout_at(give_up, changes.next()).await;
            assert!(changed.is_ok(), "it did not come about: {:?}", self.registry.pin_ls());
        }
    }

    /// Waits until the rules of the mirror hold this number of releases.
    pub(crate) async fn wait_until_mirrored(&self, releases: u64) {
        let held = || async {
            let rules = self.registry.mirror_ls().await.unwrap();
            rules.iter().map(|rule| rule.releases_held).sum::<u64>() == releases
        };
        self.wait_until(held).await;
        // A release is held when it is pinned. The announcement follows, and is visible by the pins of the records that
        // prove the names.
        self.wait_until(|| async { self.proven() >= self.packages_held() }).await;
    }

    /// Returns whether a release is pinned by the mirror.
    pub(crate) fn mirrors(&self, release: &str) -> bool {
        self.registry.pin_ls().iter().any(|pin| pin.cid == release && pin.mode == "recursive")
    }

    /// Number of releases of a package that the mirror has pinned.
    pub(crate) fn holds(&self, package: &str) -> usize {
        let of_package = |label: &str| label.starts_with("mirror/") && label.contains(&format!("/{package}@"));
        self.registry.pin_ls().iter().filter(|pin| pin.mode == "recursive" && of_package(&pin.label)).count()
    }

    fn packages_held(&self) -> usize {
        self.mirror_labels(|label| label.rsplit_once('@').map(|(package, _)| package.to_owned()))
    }

    fn proven(&self) -> usize {
        self.mirror_labels(|label| (!label.contains('@')).then(|| label.to_owned()))
    }

    fn mirror_labels(&self, part: impl Fn(&str) -> Option<String>) -> usize {
        let pins = self.registry.pin_ls();
        let labels = pins.iter().filter(|pin| pin.label.starts_with("mirror/"));
        labels.filter_map(|pin| part(&pin.label)).collect::<std::collections::BTreeSet<_>>().len()
    }

    pub(crate) async fn stop(self) {
        self.registry.shutdown().await.unwrap();
    }
}

/// Waits until `condition` holds, for asynchronous events in a network.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < PATIENCE, "still waiting after {} s: {what}", PATIENCE.as_secs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
