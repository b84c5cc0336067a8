//! The peer-to-peer registry inside a program: the operations of the command line behind a small API.
//!
//! `RUST_LOG=ggen_marketplace::backend::p2p=debug` shows the life of its node: everything that the node and the
//! operations log has this target, wherever their code stands.

mod builder;
mod config;
mod packages;

use std::{path::Path, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use libp2p::{Multiaddr, PeerId};
use semver::Version;

use self::packages::{content_request, package_of_hit, package_of_info, packages_of_versions};
pub use self::{builder::Builder, config::P2PConfig};
use crate::{
    BootstrapReport, BootstrapRequest, ErrorKind, Failure, InfoRequest, Listening, PackageId, Progress, Published,
    Reporter, YankRequest, Yanked,
    traits::{ContentId, Package, Query, Registry, RegistryMetadata, Result},
};

/// How long the network is waited for unless the builder says otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

/// A registry with a node of its own. Cheap to clone; all clones are the same registry. It ends when the last one is
/// dropped, in order when it is [shut down](Self::shutdown).
#[derive(Clone, Debug)]
pub struct P2PRegistry {
    registry: crate::Registry,
    peer_id: PeerId,
    bootstrap_nodes: Vec<Multiaddr>,
    patience: Duration,
}

impl P2PRegistry {
    /// A registry with a fresh key, everything in memory. Its node neither listens nor follows announcements until it is
    /// told to. [`P2PRegistry::builder`] has the rest.
    ///
    /// # Errors
    /// A configuration that makes no sense.
    pub async fn new(config: P2PConfig) -> Result<Self> {
        Self::builder(config).build().await
    }

    /// A registry with a home, a key or a store of its own; `config` is a [`P2PConfig`] or a whole
    /// [`Config`](crate::Config).
    pub fn builder(config: impl Into<crate::Config>) -> Builder {
        Builder::new(config.into())
    }

    /// Listens on the configured addresses, and returns where that is, each with `/p2p/<peer id>`. Once is enough.
    ///
    /// # Errors
    /// An address in use, or one that no transport supports.
    pub async fn start_listening(&self) -> Result<Vec<Multiaddr>> {
        addresses(&self.registry.listen().await?)
    }

    /// Follows the packages topic: what others publish from now on comes into the catalog.
    ///
    /// # Errors
    /// A registry that was shut down.
    pub async fn subscribe_to_packages(&self) -> Result<()> {
        self.registry.follow().await
    }

    /// Connects to the configured bootstrap nodes, and through them to peers nearby. Without any it does nothing.
    ///
    /// # Errors
    /// [`Failed`](ErrorKind::Failed) if none of them can be reached, with the reason of each.
    pub async fn bootstrap(&self) -> Result<BootstrapReport> {
        let nodes = self.bootstrap_nodes.iter().map(Multiaddr::to_string).collect();
        let report = self.registry.bootstrap(BootstrapRequest { nodes, timeout: self.patience }).await?;
        if report.connected.is_empty() && !report.failed.is_empty() {
            let causes = report.failed.iter().map(|failed| format!("{}: {}", failed.address, failed.reason)).collect();
            let failure = Failure::new(ErrorKind::Failed, "none of the bootstrap nodes can be reached");
            return Err(Failure { causes, ..failure }.hinted("check the addresses in `bootstrap_nodes`"));
        }
        Ok(report)
    }

    /// Brings a directory or a tarball into the registry's store, and returns the content id that a package is published
    /// with. Until then it is cache.
    ///
    /// # Errors
    /// A file that cannot be read, an unsafe path; private keys, credentials or the home of a node in it.
    pub async fn import(&self, path: impl AsRef<Path>) -> Result<ContentId> {
        Ok(self.registry.import(path.as_ref(), silent()).await?.into())
    }

    /// A peer's reputation, from 0 to 1: the share of retrievals from it that went well. 1 for one of which nothing is
    /// known.
    pub async fn get_peer_reputation(&self, peer: &PeerId) -> f64 {
        self.registry.peer_reputation(peer)
    }

    /// Waits until everything published so far was announced to the DHTs, with success or without, as long as the
    /// registry's patience lasts: what a program does that publishes and ends.
    ///
    /// # Errors
    /// [`TimedOut`](ErrorKind::TimedOut); a registry that was shut down.
    pub async fn settle(&self) -> Result<()> {
        self.registry.settle(self.patience).await
    }

    /// Who this node is.
    pub fn peer_id(&self) -> PeerId {
        self.peer_id
    }

    /// Where it listens, each address with `/p2p/<peer id>`; empty before it was told to.
    ///
    /// # Errors
    /// None that is known of: an address that was listened on can be written and read.
    pub fn listen_addresses(&self) -> Result<Vec<Multiaddr>> {
        addresses(&self.registry.listening())
    }

    /// The whole registry, with every operation of the command line: fetch, info, status, ...
    pub fn registry(&self) -> &crate::Registry {
        &self.registry
    }

    /// Stops the node; returns when everything is on disk that belongs there.
    ///
    /// # Errors
    /// The last sync of the store.
    pub async fn shutdown(self) -> Result<()> {
        self.registry.shutdown().await
    }

    fn ask(&self, id: &PackageId, requirement: &str, versions: bool) -> InfoRequest {
        let target = format!("{id}{requirement}");
        InfoRequest { target, versions, providers: false, timeout: self.patience, offline: false }
    }
}

impl Registry for P2PRegistry {
    fn search<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Vec<Package>>> {
        Box::pin(async move {
            let request = query.request();
            let words = request.query.clone();
            let hits = self.registry.search(request).await?;
            tracing::debug!(target: crate::LOG_TARGET, words, hits = hits.len(), "searched");
            hits.into_iter().map(package_of_hit).collect()
        })
    }

    fn get_package<'a>(&'a self, id: &'a PackageId) -> BoxFuture<'a, Result<Package>> {
        Box::pin(async move {
            let info = self.registry.info(self.ask(id, "", false), silent()).await?;
            if info.yanked {
                return Err(Failure::new(ErrorKind::NotFound, format!("every version of `{id}` is yanked")));
            }
            package_of_info(info)
        })
    }

    fn get_package_version<'a>(&'a self, id: &'a PackageId, version: &'a Version) -> BoxFuture<'a, Result<Package>> {
        Box::pin(async move {
            let request = self.ask(id, &format!("@={version}"), false);
            package_of_info(self.registry.info(request, silent()).await?)
        })
    }

    fn list_versions<'a>(&'a self, id: &'a PackageId) -> BoxFuture<'a, Result<Vec<Package>>> {
        Box::pin(async move { packages_of_versions(self.registry.info(self.ask(id, "", true), silent()).await?) })
    }

    fn publish(&self, package: Package) -> BoxFuture<'_, Result<Published>> {
        Box::pin(async move {
            let request = content_request(package, self.patience)?;
            self.registry.publish_content(request, silent()).await
        })
    }

    fn delete<'a>(&'a self, id: &'a PackageId, version: &'a Version) -> BoxFuture<'a, Result<Yanked>> {
        let (package, version) = (id.clone(), version.clone());
        let request = YankRequest { package, version, undo: false, reason: None, key: None, trust_clock: false };
        Box::pin(self.registry.yank(request))
    }

    fn exists<'a>(&'a self, id: &'a PackageId) -> BoxFuture<'a, Result<bool>> {
        Box::pin(self.registry.is_claimed(id, self.patience))
    }

    fn metadata(&self) -> BoxFuture<'_, Result<RegistryMetadata>> {
        Box::pin(async move {
            let status = self.registry.status().await?;
            Ok(RegistryMetadata {
                backend: "p2p".to_owned(),
                agent: status.agent,
                peer_id: self.peer_id,
                listen_addresses: self.listen_addresses()?,
                packages_topic: status.packages_topic,
                connected_peers: status.connected_peers,
                followers: status.followers,
                packages_known: status.packages_known,
                packages_published: status.packages_published,
            })
        })
    }
}

fn addresses(listening: &Listening) -> Result<Vec<Multiaddr>> {
    let parse = |text: &String| text.parse().map_err(|error| Failure::from_error(ErrorKind::Failed, &error));
    listening.listen_addresses.iter().map(parse).collect()
}

fn silent() -> Arc<dyn Reporter> {
    Arc::new(|_: Progress| {})
}
