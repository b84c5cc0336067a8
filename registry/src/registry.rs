//! The facade: holds store, index and node, and turns each request into one operation.

mod peers;
mod storage;
mod trust;

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant, SystemTime},
};

use ggen_blockstore::{Blockstore, Cid};
use libp2p::{Multiaddr, PeerId};
use tokio::{sync::OnceCell, task::JoinSet};

use crate::{
    BootstrapReport, BootstrapRequest, Caller, Changes, Config, Diagnosis, DoctorRequest, ErrorKind, Failure,
    FetchRequest, Fetched, InfoRequest, Interrupt, KeyReport, Listening, PackageId, PackageInfo, Progress,
    PublishContentRequest, PublishRequest, Published, RecoveryKeyReport, RecoveryKeyRequest, Reporter, SearchHit,
    SearchRequest, Status, YankRequest, Yanked,
    database::Access,
    home::Home,
    index::Catalog,
    interrupt::CommitPoint,
    keys::KeyStore,
    node,
    ops::{
        CatalogEvents, ClaimValidator, Destinations, Heard, Imports, KeptPins, KnownPeers, Losses, MirrorState,
        Services, Storage, access_policies, blocking_thread, clock, failed, node as node_verbs, published_already,
        recovery_key, restore_own_records, signed_already,
    },
    peers::PeerBook,
    place::{Opened, Place},
    trust::TrustFile,
};

/// How much of a node a [`Registry`] runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A long-lived node: it listens on the configured addresses, serves blocks and republishes records.
    Daemon,
    /// A long-lived node inside a program. It serves and republishes, but it listens and subscribes to announcements
    /// only after [`Registry::listen`] and [`Registry::follow`].
    Embedded,
    /// A node for one command: it dials peers and does not listen.
    Ephemeral,
    /// No network at all.
    Offline,
}

/// How long a node for one command waits for its bootstrap nodes.
const ENTER_NETWORK: Duration = Duration::from_secs(10);
/// How long a node for one command waits until its announcements are sent.
const SETTLE: Duration = Duration::from_secs(30);

/// Capacity of the queue between gossip intake and catalog exchange.
const HEARD_QUEUE: usize = 256;

/// A registry in one home directory, or in memory. Cheap to clone; all clones are the same registry.
#[derive(Clone, Debug)]
pub struct Registry {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    services: Arc<Services>,
    mode: Mode,
    /// The node's peer id, and its addresses when it was started.
    at_start: Listening,
    /// The node's addresses since [`Registry::listen`].
    listening: OnceCell<Listening>,
    started: Instant,
    tasks: tokio::sync::Mutex<JoinSet<()>>,
    notes: Vec<String>,
    home: Option<Home>,
}

impl Registry {
    /// Opens the registry in `home`, creates the home if it does not exist, and starts the node that `mode` selects. In
    /// daemon mode it returns once the node listens.
    ///
    /// # Errors
    /// A home that another process holds, a store or catalog that cannot be opened, an address in use.
    pub async fn open(home: &Path, config: Config, mode: Mode) -> Result<Self, Failure> {
        Self::open_in(Place::home(home), config, mode).await
    }

    /// Opens the registry in `place`; otherwise as [`Registry::open`].
    ///
    /// # Errors
    /// As [`Registry::open`].
    pub async fn open_in(place: Place, config: Config, mode: Mode) -> Result<Self, Failure> {
        let started = Instant::now();
        config.validate().map_err(|error| Failure::from_error(ErrorKind::Usage, &error))?;
        if mode != Mode::Offline {
            clock::check(SystemTime::now())?;
        }
        let opened = tokio::task::spawn_blocking(move || place.open());
        let Opened { home, store, lost_records, catalog, keys, peers, mirror, notes } =
            opened.await.map_err(failed)??;
        let access = home.as_ref().map_or(Access::Write, Home::access);
        if let (Some(home), Mode::Daemon | Mode::Embedded) = (&home, mode) {
            home.permission().require()?;
        }
        let mut config = config;
        if access == Access::Copy {
            // A store that is only read evicts nothing.
            config.limits.store_bytes = 0;
        }
        let catalog = Arc::new(catalog);
        let (running, at_start) = match mode {
            Mode::Offline => (None, offline_identity(&keys)?),
            Mode::Daemon | Mode::Embedded | Mode::Ephemeral => {
                let node = start_node(&keys, &config, mode, store.clone(), &catalog, &peers).await?;
                let listening = listening(node.handle.peer_id(), &node.listening);
                (Some(node), listening)
            }
        };
        let bootstrap = config.bootstrap_nodes.iter().map(Multiaddr::to_string).collect();
        let (handle, news) = match running {
            Some(node) => (Some(node.handle.clone()), Some(node)),
            None => (None, None),
        };
        let (heard, heard_queue) = tokio::sync::mpsc::channel(HEARD_QUEUE);
        let bell = peers.bell().clone();
        let kept = home.as_ref().filter(|_| access == Access::Write);
        let services = Arc::new(Services {
            config: Arc::new(config),
            storage: Storage::new(store, catalog),
            keys,
            peers,
            node: handle,
            stays: matches!(mode, Mode::Daemon | Mode::Embedded),
            follows: Arc::new((mode != Mode::Embedded).into()),
            heard,
            publishing: Arc::default(),
            imports: Arc::new(kept.map_or_else(Imports::default, |home| Imports::at(home.imports()))),
            destinations: Arc::new(
                kept.map_or_else(Destinations::in_memory, |home| Destinations::at(home.destinations())),
            ),
            kept_pins: Arc::new(home.as_ref().map_or_else(KeptPins::default, |home| KeptPins::at(home.pins(), access))),
            permission: home.as_ref().map(|home| home.permission().clone()),
            news: CatalogEvents::new(bell),
            collecting: Arc::default(),
            losses: Arc::new(
                home.as_ref().map_or_else(|| Ok(Losses::in_memory()), |home| Losses::open(&home.losses()))?,
            ),
            mirror: MirrorState::new(mirror),
            trust_file: Arc::new(home.as_ref().map_or_else(TrustFile::default, |home| TrustFile::at(home.trust()))),
            sources: Arc::default(),
        });
        recover_steps(&services).await?;
        if let Err(failure) =
            restore_own_records(&services.storage, &services.keys, &services.publishing, lost_records).await
        {
            tracing::warn!(target: ggen_blockstore::DAMAGE, %failure, "records and pins that may be lost could not be compared");
        }
        let pins_are_known = services.kept_pins.restore(&services.storage, lost_records).await.unwrap_or_else(|failure| {
            tracing::warn!(target: ggen_blockstore::DAMAGE, %failure, "your pins could not be compared with those that are kept");
            false
        });
        if lost_records && !pins_are_known {
            services.losses.note_lost_records();
        }
        let mut tasks = JoinSet::new();
        if let Some(node) = news {
            spawn_tasks(&mut tasks, &services, node, heard_queue);
        }
        let tasks = tokio::sync::Mutex::new(tasks);
        let listening = OnceCell::new();
        let inner = Inner { services, mode, at_start, listening, started, tasks, notes, home };
        let registry = Self { inner: Arc::new(inner) };
        registry.enter_network(bootstrap).await?;
        Ok(registry)
    }

    /// Returns the services, or an error if the home cannot be written to.
    fn writable(&self) -> Result<&Arc<Services>, Failure> {
        self.inner.services.require_writable()?;
        Ok(&self.inner.services)
    }

    #[cfg(test)]
    pub(crate) fn services(&self) -> &Arc<Services> {
        &self.inner.services
    }

    /// Returns the node's peer id and the addresses it listens on.
    pub fn listening(&self) -> Listening {
        self.inner.listening.get().unwrap_or(&self.inner.at_start).clone()
    }

    /// Makes an embedded node listen on the configured addresses and returns its actual addresses. A node that already
    /// listens is left unchanged.
    ///
    /// # Errors
    /// An address in use, or one that no transport supports.
    pub async fn listen(&self) -> Result<Listening, Failure> {
        let Inner { services, at_start, listening: cell, .. } = &*self.inner;
        if !at_start.listen_addresses.is_empty() {
            return Ok(at_start.clone());
        }
        let open = async || {
            let node = services.node()?;
            let addresses = node.listen(services.config.listen_addresses.clone()).await?;
            Ok::<_, Failure>(listening(node.peer_id(), &addresses))
        };
        cell.get_or_try_init(open).await.cloned()
    }

    /// Subscribes an embedded node to the packages topic. From then on, announcements of other publishers are added to
    /// the catalog.
    ///
    /// # Errors
    /// A registry that runs offline.
    pub async fn follow(&self) -> Result<(), Failure> {
        self.inner.services.node()?.follow().await.map_err(failed)?;
        self.inner.services.follows.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Publishes a package. If the future is dropped before the release is committed, nothing is published; afterwards,
    /// the release is.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn publish(&self, request: PublishRequest, reporter: Arc<dyn Reporter>) -> Result<Published, Failure> {
        self.publish_interruptible(request, reporter, Interrupt::new()).await
    }

    /// As [`Registry::publish`], until `interrupt` is triggered.
    ///
    /// # Errors
    /// See [`Failure`]; [`Interrupted`](ErrorKind::Interrupted), whose message states whether the release was already
    /// published.
    pub async fn publish_interruptible(
        &self,
        request: PublishRequest,
        reporter: Arc<dyn Reporter>,
        interrupt: Interrupt,
    ) -> Result<Published, Failure> {
        self.publish_for(Caller::default(), request, reporter, interrupt).await
    }

    /// As [`Registry::publish_interruptible`], for a [`Caller`] that may pass the tarball as an open file.
    ///
    /// # Errors
    /// As [`Registry::publish_interruptible`].
    pub async fn publish_for(
        &self,
        caller: Caller,
        request: PublishRequest,
        reporter: Arc<dyn Reporter>,
        interrupt: Interrupt,
    ) -> Result<Published, Failure> {
        if !request.dry_run {
            self.writable()?;
        }
        let published = self.inner.services.publisher().publish(caller, request, reporter, interrupt.clone()).await?;
        tokio::select! {
            () = self.let_settle() => Ok(published),
            () = interrupt.wait() => {
                Err(published_already(&format!("{}@{}", published.package, published.version)))
            }
        }
    }

    /// Returns a publisher's recovery key that the user has not saved yet, or removes it from the home if the request
    /// confirms that it is saved.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) if the home holds no such recovery key.
    pub async fn recovery_key(&self, request: RecoveryKeyRequest) -> Result<RecoveryKeyReport, Failure> {
        if request.confirm {
            self.writable()?;
        }
        recovery_key(&self.inner.services.keys, request).await
    }

    /// Damage that was found when the registry was opened: one sentence each, with what was done about it.
    pub fn notes(&self) -> &[String] {
        &self.inner.notes
    }

    /// Imports a directory or a tarball into the store and returns its root, without publishing anything. Its blocks
    /// are unpinned cache until it is published.
    ///
    /// # Errors
    /// A file that cannot be read, an unsafe path; private keys, credentials or the home of a node in it.
    pub async fn import(&self, path: &Path, reporter: Arc<dyn Reporter>) -> Result<Cid, Failure> {
        self.writable()?.publisher().import(path, reporter).await
    }

    /// Publishes a tree by its CID. Blocks that are not in the local store are fetched first.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn publish_content(
        &self,
        request: PublishContentRequest,
        reporter: Arc<dyn Reporter>,
    ) -> Result<Published, Failure> {
        let published = self.writable()?.publisher().publish_content(request, reporter).await?;
        self.let_settle().await;
        Ok(published)
    }

    /// Yanks a version, or undoes a yank.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn yank(&self, request: YankRequest) -> Result<Yanked, Failure> {
        self.yank_interruptible(request, Interrupt::new()).await
    }

    /// As [`Registry::yank`], until `interrupt` is triggered.
    ///
    /// # Errors
    /// See [`Failure`]; [`Interrupted`](ErrorKind::Interrupted), whose message states whether the yank was already
    /// signed.
    pub async fn yank_interruptible(&self, request: YankRequest, interrupt: Interrupt) -> Result<Yanked, Failure> {
        let yanked = self.writable()?.yanker().yank(request, interrupt.clone()).await?;
        tokio::select! {
            () = self.let_settle() => Ok(yanked),
            () = interrupt.wait() => Err(signed_already(&format!("{}@{}", yanked.package, yanked.version))),
        }
    }

    /// Returns what is known of a target.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn info(&self, request: InfoRequest, reporter: Arc<dyn Reporter>) -> Result<PackageInfo, Failure> {
        self.inner.services.info().info(request, reporter).await
    }

    /// Returns whether any publisher claims a package. `timeout` bounds the lookup.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn is_claimed(&self, package: &PackageId, timeout: Duration) -> Result<bool, Failure> {
        self.inner.services.info().is_claimed(package, timeout, Arc::new(|_: Progress| {})).await
    }

    /// Waits up to [`SETTLE`] until a node for one command has sent its announcements, because they stop with the node.
    /// The next start of a daemon sends the rest.
    async fn let_settle(&self) {
        if let (Mode::Ephemeral, Some(node)) = (self.inner.mode, &self.inner.services.node)
            && tokio::time::timeout(SETTLE, node.settle()).await.is_err()
        {
            tracing::warn!(target: crate::LOG_TARGET, "not everything was announced in time");
        }
    }

    /// Fetches a target and writes it.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn fetch(&self, request: FetchRequest, reporter: Arc<dyn Reporter>) -> Result<Fetched, Failure> {
        if !request.offline {
            self.writable()?;
        }
        let services = Arc::clone(&self.inner.services);
        // The operation runs on its own thread, which may still be writing when the caller drops this future.
        let commit = CommitPoint::default();
        let _shut = commit.shut_when_dropped();
        blocking_thread::run(move |blocking| {
            Box::pin(async move { services.on(blocking).fetch().fetch(request, reporter, commit).await })
        })
        .await
    }

    /// Searches the catalog.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn search(&self, request: SearchRequest) -> Result<Vec<SearchHit>, Failure> {
        self.inner.services.search().search(request).await
    }

    /// Connects to bootstrap nodes, and fills the routing tables through them.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn bootstrap(&self, request: BootstrapRequest) -> Result<BootstrapReport, Failure> {
        node_verbs::enter(self.inner.services.node()?, request).await
    }

    /// Diagnoses the node, and a target if the request names one, in stages.
    ///
    /// # Errors
    /// An invalid target, or a registry that runs offline. Faults that are found are part of the [`Diagnosis`].
    pub async fn doctor(&self, request: DoctorRequest, reporter: Arc<dyn Reporter>) -> Result<Diagnosis, Failure> {
        self.inner.services.doctor()?.doctor(request, reporter).await
    }

    /// Lists the keys.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn keys(&self) -> Result<Vec<KeyReport>, Failure> {
        node_verbs::list_keys(&self.inner.services.keys).await
    }

    /// Waits until every announcement to the DHTs so far has either succeeded or failed.
    ///
    /// # Errors
    /// [`TimedOut`](ErrorKind::TimedOut) after `patience`.
    pub async fn settle(&self, patience: Duration) -> Result<(), Failure> {
        let node = self.inner.services.node()?;
        match tokio::time::timeout(patience, node.settle()).await {
            Ok(settled) => settled.map_err(failed),
            Err(_) => {
                let message = format!("not everything was announced within {} s", patience.as_secs());
                Err(Failure::new(ErrorKind::TimedOut, message))
            }
        }
    }

    /// Subscribes to changes of what this registry knows, for programs that wait for a condition.
    pub fn changes(&self) -> Changes {
        self.inner.services.peers.bell().changes()
    }

    /// Returns the node's status.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn status(&self) -> Result<Status, Failure> {
        let services = &self.inner.services;
        let topic = &services.config.packages_topic;
        node_verbs::status(services.node()?, &services.storage, topic, self.inner.started).await
    }

    /// Stops the node and syncs the store; returns when everything is on disk.
    ///
    /// # Errors
    /// A failed write of the peer book, or a failed sync of the store.
    pub async fn shutdown(self) -> Result<(), Failure> {
        if let Some(node) = &self.inner.services.node {
            // A node that has already stopped is no error.
            let _stopped_already = node.shutdown().await;
        }
        let mut tasks = self.inner.tasks.lock().await;
        while tasks.join_next().await.is_some() {}
        let store = self.inner.services.storage.store.clone();
        let peers = self.inner.services.peers.clone();
        let closed = tokio::task::spawn_blocking(move || {
            peers.flush().map_err(Failure::from)?;
            store.sync().map_err(failed)
        });
        closed.await.map_err(failed)?
    }

    /// Connects a node for one command to its bootstrap nodes, because it has no peers yet.
    async fn enter_network(&self, nodes: Vec<String>) -> Result<(), Failure> {
        let services = &self.inner.services;
        match self.inner.mode {
            Mode::Offline | Mode::Daemon | Mode::Embedded => Ok(()),
            Mode::Ephemeral if nodes.is_empty() => Ok(()),
            Mode::Ephemeral => {
                let report =
                    node_verbs::bootstrap(services.node()?, BootstrapRequest { nodes, timeout: ENTER_NETWORK }).await?;
                for failed in report.failed {
                    let (address, reason) = (failed.address, failed.reason);
                    tracing::warn!(target: crate::LOG_TARGET, address, reason, "not reached");
                }
                Ok(())
            }
        }
    }
}

/// Completes or reverts a publish that a crash interrupted. If that fails, the next publish tries again.
async fn recover_steps(services: &Arc<Services>) -> Result<(), Failure> {
    let mut steps = Arc::clone(&services.publishing).lock_owned().await;
    let journal = services.journal();
    let mended = tokio::task::spawn_blocking(move || {
        if let Err(failure) = journal.recover_steps() {
            tracing::warn!(target: crate::LOG_TARGET, %failure, "a publish that had died is not mended");
            steps.is_open = true;
        }
    });
    mended.await.map_err(failed)
}

fn listening(peer: PeerId, addresses: &[Multiaddr]) -> Listening {
    let listen_addresses = addresses.iter().map(|address| format!("{address}/p2p/{peer}")).collect();
    Listening { peer_id: peer.to_string(), listen_addresses, pid: std::process::id() }
}

fn offline_identity(keys: &KeyStore) -> Result<Listening, Failure> {
    let peer_id = keys.node_for_now()?.public().to_peer_id().to_string();
    Ok(Listening { peer_id, listen_addresses: Vec::new(), pid: std::process::id() })
}

async fn start_node(
    keys: &KeyStore,
    config: &Config,
    mode: Mode,
    store: Arc<dyn Blockstore>,
    catalog: &Catalog,
    peers: &Arc<PeerBook>,
) -> Result<node::Started, Failure> {
    let listen = if mode == Mode::Daemon { config.listen_addresses.clone() } else { Vec::new() };
    let mut config = config.clone();
    // A short-lived node stores no DHT records for peers.
    config.dht_server_mode &= mode != Mode::Ephemeral;
    // Peers remember a long-lived node by its key. A short-lived node can use any key.
    let key = if mode == Mode::Ephemeral { keys.node_for_now()? } else { keys.node()? };
    let follow = mode != Mode::Embedded;
    let policy = Arc::new(ClaimValidator { signatures: Arc::clone(catalog.signatures()) });
    let priors = Arc::new(KnownPeers(Arc::clone(peers)));
    let access_policies = access_policies(peers);
    let stays = mode != Mode::Ephemeral;
    let setup = node::Setup { key, config, listen, follow, stays, store, policy, priors, access_policies };
    Ok(node::start(setup).await?)
}

fn spawn_tasks(
    tasks: &mut JoinSet<()>,
    services: &Arc<Services>,
    node: node::Started,
    heard: tokio::sync::mpsc::Receiver<Heard>,
) {
    let node::Started { handle, gossip, observations, asked, met, task, .. } = node;
    tasks.spawn(services.peer_reports().follow_observations(observations));
    tasks.spawn(services.gossip_intake().follow_gossip(handle.clone(), gossip));
    tasks.spawn(async move {
        if let Err(error) = task.await {
            tracing::error!(target: crate::LOG_TARGET, %error, "the node died");
        }
    });
    if services.stays {
        tasks.spawn(services.announcer().keep_fresh(handle.clone()));
        tasks.spawn(services.store_quota().keep_tidy(handle.clone()));
        tasks.spawn(services.mirror().run(handle.clone()));
        tasks.spawn(services.answerer().answer_questions(handle.clone(), asked));
        tasks.spawn(services.catalog_exchange().follow_catalogs(handle, met, heard));
    }
}

#[cfg(test)]
mod tests;
