//! The facade: holds store, index and node, and turns each request into one operation.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use ggen_blockstore::{Blockstore, SegmentBlockstore, SegmentOptions};
use libp2p::Multiaddr;
use tokio::task::JoinSet;

use crate::{
    BootstrapReport, BootstrapRequest, Config, ErrorKind, Failure, FetchRequest, Fetched, KeyReport, Listening,
    PublishRequest, Published, Reporter, SearchHit, SearchRequest, Status,
    home::Home,
    identity::Timestamp,
    index::{Catalog, CatalogError, StoredRecords},
    keys::KeyStore,
    node::{self, Gossip},
    ops::{ClaimPolicy, Operations, failed},
};

/// How much of a node a [`Registry`] runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A node that stays: listens on the configured addresses, serves, republishes.
    Daemon,
    /// A node for one command: dials out, listens on nothing.
    Ephemeral,
    /// No network at all.
    Offline,
}

/// A node for one command waits this long for its bootstrap nodes.
const ENTER_NETWORK: Duration = Duration::from_secs(10);
/// A node for one command waits this long until what it published has been announced.
const SETTLE: Duration = Duration::from_secs(30);

/// A registry in one home directory. Cheap to clone; all clones are the same registry.
#[derive(Clone, Debug)]
pub struct Registry {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    operations: Arc<Operations>,
    mode: Mode,
    listening: Listening,
    started: Instant,
    tasks: tokio::sync::Mutex<JoinSet<()>>,
    _home: Home,
}

impl Registry {
    /// Opens the registry in `home`, creating it if need be, and starts its node as `mode` says. In daemon mode it
    /// returns once the node listens.
    ///
    /// # Errors
    /// A home that another process holds, a store or catalog that cannot be opened, an address in use.
    pub async fn open(home: &Path, config: Config, mode: Mode) -> Result<Self, Failure> {
        let started = Instant::now();
        config.validate().map_err(|error| Failure::from_error(ErrorKind::Usage, &error))?;
        let path = home.to_owned();
        let opened = tokio::task::spawn_blocking(move || open_home(&path));
        let Opened { home, store, catalog, keys } = opened.await.map_err(failed)??;
        let (running, listening) = match mode {
            Mode::Offline => (None, offline_identity(&keys)?),
            Mode::Daemon | Mode::Ephemeral => {
                let node = start_node(&keys, &config, mode, store.clone()).await?;
                let peer_id = node.handle.peer_id();
                let with_peer = |address: &Multiaddr| format!("{address}/p2p/{peer_id}");
                let listen_addresses = node.listening.iter().map(with_peer).collect();
                let listening = Listening { peer_id: peer_id.to_string(), listen_addresses, pid: std::process::id() };
                (Some(node), listening)
            }
        };
        let bootstrap = config.bootstrap_nodes.iter().map(Multiaddr::to_string).collect();
        let (handle, gossip, task) = match running {
            Some(node) => (Some(node.handle), Some(node.gossip), Some(node.task)),
            None => (None, None, None),
        };
        let operations = Arc::new(Operations {
            config,
            store,
            catalog: Arc::new(catalog),
            keys,
            node: handle,
            publishing: Arc::default(),
        });
        let mut tasks = JoinSet::new();
        spawn_tasks(&mut tasks, &operations, gossip, task);
        if let (Mode::Daemon, Some(node)) = (mode, operations.node.clone()) {
            tasks.spawn(Arc::clone(&operations).keep_fresh(node));
        }
        let tasks = tokio::sync::Mutex::new(tasks);
        let registry = Self { inner: Arc::new(Inner { operations, mode, listening, started, tasks, _home: home }) };
        registry.enter_network(bootstrap).await?;
        Ok(registry)
    }

    /// Where the node listens, and who it is.
    pub fn listening(&self) -> Listening {
        self.inner.listening.clone()
    }

    /// Publishes a package.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn publish(&self, request: PublishRequest, reporter: Arc<dyn Reporter>) -> Result<Published, Failure> {
        let published = self.inner.operations.publish(request, reporter).await?;
        if let (Mode::Ephemeral, Some(node)) = (self.inner.mode, &self.inner.operations.node) {
            // The announcements end with the node: they get some time. What is not announced by then will be by the
            // daemon's next start.
            if tokio::time::timeout(SETTLE, node.settle()).await.is_err() {
                tracing::warn!(target: "ggen_marketplace::backend::p2p", "the release was not announced in time");
            }
        }
        Ok(published)
    }

    /// Fetches a target and writes it.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn fetch(&self, request: FetchRequest, reporter: Arc<dyn Reporter>) -> Result<Fetched, Failure> {
        self.inner.operations.fetch(request, reporter).await
    }

    /// Searches the catalog.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn search(&self, request: SearchRequest) -> Result<Vec<SearchHit>, Failure> {
        self.inner.operations.search(request).await
    }

    /// Connects to bootstrap nodes.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn bootstrap(&self, request: BootstrapRequest) -> Result<BootstrapReport, Failure> {
        self.inner.operations.bootstrap(request).await
    }

    /// Lists the keys.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn keys(&self) -> Result<Vec<KeyReport>, Failure> {
        self.inner.operations.list_keys().await
    }

    /// Says how the node is.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn status(&self) -> Result<Status, Failure> {
        self.inner.operations.status(self.inner.started).await
    }

    /// Stops the node and closes the store; returns when everything is on disk.
    ///
    /// # Errors
    /// The last sync of the store.
    pub async fn shutdown(self) -> Result<(), Failure> {
        if let Some(node) = &self.inner.operations.node {
            // A node that has stopped already is as good.
            let _stopped_already = node.shutdown().await;
        }
        let mut tasks = self.inner.tasks.lock().await;
        while tasks.join_next().await.is_some() {}
        let store = self.inner.operations.store.clone();
        tokio::task::spawn_blocking(move || store.sync()).await.map_err(failed)?.map_err(failed)
    }

    /// A node for one command has to know somebody before it asks.
    async fn enter_network(&self, nodes: Vec<String>) -> Result<(), Failure> {
        let operations = &self.inner.operations;
        match self.inner.mode {
            Mode::Offline | Mode::Daemon => Ok(()),
            Mode::Ephemeral if nodes.is_empty() => Ok(()),
            Mode::Ephemeral => {
                let report = operations.bootstrap(BootstrapRequest { nodes, timeout: ENTER_NETWORK }).await?;
                for failed in report.failed {
                    let (address, reason) = (failed.address, failed.reason);
                    tracing::warn!(target: "ggen_marketplace::backend::p2p", address, reason, "not reached");
                }
                Ok(())
            }
        }
    }
}

struct Opened {
    home: Home,
    store: Arc<dyn Blockstore>,
    catalog: Catalog,
    keys: KeyStore,
}

fn open_home(path: &Path) -> Result<Opened, Failure> {
    let home = Home::open(path)?;
    let store = SegmentBlockstore::open(home.store(), SegmentOptions::default()).map_err(failed)?;
    let keys = KeyStore::new(home.keys());
    let catalog = open_catalog(&home.catalog(), &keys, &store)?;
    Ok(Opened { home, store: Arc::new(store), catalog, keys })
}

/// Opens the catalog; what this home has published is taken in again from the blocks if the catalog was lost, damaged or
/// left behind by a crash.
fn open_catalog(path: &Path, keys: &KeyStore, store: &SegmentBlockstore) -> Result<Catalog, Failure> {
    let now = Timestamp::from_system(SystemTime::now());
    let catalog = match Catalog::open(path) {
        Err(error @ CatalogError::Corrupt { .. }) => {
            tracing::warn!(target: "ggen_marketplace::backend::p2p", %error, "the catalog is made again");
            Catalog::rebuild(path, [], now).map_err(failed)?.0
        }
        opened => opened.map_err(failed)?,
    };
    for (keys, head) in keys.heads(now)? {
        let known = catalog.publisher(&keys.chain.publisher()).map_err(failed)?.and_then(|known| known.head);
        if known.is_none_or(|known| known.order() < head.order()) {
            let records = StoredRecords::from_blocks(&keys.chain, &head, |cid| store.get(cid)).map_err(failed)?;
            catalog.restore(&records, now).map_err(failed)?;
        }
    }
    Ok(catalog)
}

fn offline_identity(keys: &KeyStore) -> Result<Listening, Failure> {
    let peer_id = keys.node()?.public().to_peer_id().to_string();
    Ok(Listening { peer_id, listen_addresses: Vec::new(), pid: std::process::id() })
}

async fn start_node(
    keys: &KeyStore,
    config: &Config,
    mode: Mode,
    store: Arc<dyn Blockstore>,
) -> Result<node::Started, Failure> {
    let listen = if mode == Mode::Daemon { config.listen_addresses.clone() } else { Vec::new() };
    let mut config = config.clone();
    // A node that is about to leave keeps nothing for others.
    config.dht_server_mode &= mode == Mode::Daemon;
    let key = keys.node()?;
    let setup = node::Setup { key, config, listen, store, policy: Arc::new(ClaimPolicy) };
    Ok(node::start(setup).await?)
}

fn spawn_tasks(
    tasks: &mut JoinSet<()>,
    operations: &Arc<Operations>,
    gossip: Option<tokio::sync::mpsc::Receiver<Gossip>>,
    node: Option<tokio::task::JoinHandle<()>>,
) {
    if let Some(gossip) = gossip {
        tasks.spawn(Arc::clone(operations).follow_gossip(gossip));
    }
    if let Some(node) = node {
        tasks.spawn(async move {
            if let Err(error) = node.await {
                tracing::error!(target: "ggen_marketplace::backend::p2p", %error, "the node died");
            }
        });
    }
}
