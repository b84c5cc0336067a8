//! The peer-to-peer registry as a library: the operations of the command line with a small API.
//!
//! `RUST_LOG=ggen_marketplace::backend::p2p=debug` shows the activity of its node: all log events of the node and the
//! operations have this target, whatever module logs them.

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

/// How long operations wait for the network by default.
const PATIENCE: Duration = Duration::from_secs(60);

/// A registry with a node of its own. Cheap to clone; all clones share the same registry. The registry ends when the
/// last clone is dropped; [`shutdown`](Self::shutdown) ends it in an orderly manner.
#[derive(Clone, Debug)]
pub struct P2PRegistry {
    registry: crate::Registry,
    peer_id: PeerId,
    bootstrap_nodes: Vec<Multiaddr>,
    patience: Duration,
}

impl P2PRegistry {
    /// A registry with a new key and everything in memory. Its node neither listens nor subscribes to announcements
    /// until the corresponding methods are called. [`P2PRegistry::builder`] has further options.
    ///
    /// # Errors
    /// An invalid configuration.
    pub async fn new(config: P2PConfig) -> Result<Self> {
        Self::builder(config).build().await
    }

    /// A registry with a home, a key or a store of its own; `config` is a [`P2PConfig`] or a whole
    /// [`Config`](crate::Config).
    pub fn builder(config: impl Into<crate::Config>) -> Builder {
        Builder::new(config.into())
    }

    /// Listens on the configured addresses, and returns the actual addresses, each with `/p2p/<peer id>`. Call it once.
    ///
    /// # Errors
    /// An address in use, or one that no transport supports.
    pub async fn start_listening(&self) -> Result<Vec<Multiaddr>> {
        addresses(&self.registry.listen().await?)
    }

    /// Subscribes to the packages topic: releases that other publishers announce from now on are added to the catalog.
    ///
    /// # Errors
    /// The registry was shut down.
    pub async fn subscribe_to_packages(&self) -> Result<()> {
        self.registry.follow().await
    }

    /// Connects to the configured bootstrap nodes, and through them to further peers. Without any bootstrap node it
    /// does nothing.
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

    /// Imports a directory or a tarball into the registry's store, and returns the content id with which a package is
    /// published. Until a publish, the content is only cached.
    ///
    /// # Errors
    /// A file that cannot be read, an unsafe path; or an import that contains private keys, credentials or the home of
    /// a node.
    pub async fn import(&self, path: impl AsRef<Path>) -> Result<ContentId> {
        Ok(self.registry.import(path.as_ref(), silent()).await?.into())
    }

    /// A peer's reputation, from 0 to 1: the share of successful retrievals. 1 for an unknown peer.
    pub async fn get_peer_reputation(&self, peer: &PeerId) -> f64 {
        self.registry.peer_reputation(peer)
    }

    /// Waits until everything published so far was announced to the DHTs, successfully or not, at most for the
    /// registry's timeout. Call it in a program that publishes and then exits.
    ///
    /// # Errors
    /// [`TimedOut`](ErrorKind::TimedOut); a registry that was shut down.
    pub async fn settle(&self) -> Result<()> {
        self.registry.settle(self.patience).await
    }

    /// The node's peer id.
    pub fn peer_id(&self) -> PeerId {
        self.peer_id
    }

    /// The addresses on which the node listens, each with `/p2p/<peer id>`; empty before
    /// [`start_listening`](Self::start_listening).
    ///
    /// # Errors
    /// An address that cannot be parsed, which does not happen in practice.
    pub fn listen_addresses(&self) -> Result<Vec<Multiaddr>> {
        addresses(&self.registry.listening())
    }

    /// The underlying registry, with every operation of the command line: fetch, info, status, ...
    pub fn registry(&self) -> &crate::Registry {
        &self.registry
    }

    /// Stops the node; returns when all data is on disk.
    ///
    /// # Errors
    /// The final sync of the store fails.
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
