//! Opens downloads: from the local store, from the node's peers, or from the providers that a request names.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use ggen_blockstore::Blockstore;
use libp2p::PeerId;

use super::{
    download::{Download, DownloadLimits, Entrance},
    failure::{self, usage},
    node::{failed_address, no_answer},
    storage::Storage,
};
use crate::{
    Config, FailedAddress, Failure, FetchRequest, Reporter, node::Handle, peers::PeerBook, request::parse_address,
};

/// Opens downloads into the store.
#[derive(Clone, Debug)]
pub(crate) struct Downloads {
    pub(super) storage: Storage,
    /// `None` in offline mode.
    pub(super) node: Option<Handle>,
    pub(super) peers: Arc<PeerBook>,
    pub(super) config: Arc<Config>,
}

impl Downloads {
    /// Opens a download that uses only the local store.
    pub(super) fn offline(&self, limits: DownloadLimits, reporter: Arc<dyn Reporter>) -> Download {
        Download::offline(self.storage.store.clone(), self.storage.blocking, limits, reporter)
    }

    /// Opens a download from the node's peers; offline if there is no node.
    pub(super) async fn online(
        &self,
        limits: DownloadLimits,
        reporter: Arc<dyn Reporter>,
    ) -> Result<Download, Failure> {
        self.with_providers(self.offline(limits, reporter), &[]).await
    }

    /// Opens a download with the providers in the request.
    pub(super) async fn open(&self, request: &FetchRequest, reporter: Arc<dyn Reporter>) -> Result<Download, Failure> {
        self.open_into(self.storage.store.clone(), request, reporter).await
    }

    /// As [`open`](Self::open), through `store`, which must be a view of this home's store.
    pub(super) async fn open_into(
        &self,
        store: Arc<dyn Blockstore>,
        request: &FetchRequest,
        reporter: Arc<dyn Reporter>,
    ) -> Result<Download, Failure> {
        let least_reputation = request.min_reputation.unwrap_or(0.0);
        if !(0.0..=1.0).contains(&least_reputation) {
            return Err(usage(format!("a reputation is from 0 to 1, not {least_reputation}")));
        }
        let max_bytes = self.config.limits.package_bytes;
        let limits = DownloadLimits { idle_timeout: request.timeout, max_bytes, least_reputation };
        let offline = Download::offline(store, self.storage.blocking, limits, reporter);
        let node = match &self.node {
            Some(node) if !request.offline => node,
            _ => return Ok(offline),
        };
        let (providers, unreached) = connect_to(node, &request.providers, request.timeout).await?;
        let mut download = match providers.is_empty() && !unreached.is_empty() {
            // What is here already needs no provider; for what is not, the caller named where to get it.
            true => offline,
            false => self.with_providers(offline, &providers).await?,
        };
        download.lacks(unreached);
        Ok(download)
    }

    /// Makes a download use the node's peers, `providers` first.
    async fn with_providers(&self, offline: Download, providers: &[PeerId]) -> Result<Download, Failure> {
        let Some(node) = self.node.clone() else { return Ok(offline) };
        let entrance = Entrance {
            nodes: self.config.bootstrap_nodes.clone(),
            within: self.config.timeouts.dial(),
            neighbours: self.config.mdns,
        };
        offline.with_peers(node, Arc::clone(&self.peers), providers, entrance).await.map_err(failure::stopped)
    }
}

/// Connects to the providers that the caller names, all at once. Returns them, and those that cannot be reached.
async fn connect_to(
    node: &Handle,
    providers: &[String],
    within: Duration,
) -> Result<(Vec<PeerId>, Vec<FailedAddress>), Failure> {
    let addresses: Result<Vec<_>, _> = providers.iter().map(|text| parse_address(text)).collect();
    let dials = addresses?.into_iter().map(|address| tokio::time::timeout(within, node.connect(address)));
    let (mut connected, mut unreached) = (Vec::new(), Vec::new());
    for (text, dialled) in providers.iter().zip(join_all(dials).await) {
        match dialled {
            Ok(Ok(peer)) => connected.push(peer),
            Ok(Err(error)) => unreached.push(failed_address(text.clone(), error)),
            Err(_) => unreached.push(failed_address(text.clone(), no_answer(within))),
        }
    }
    Ok((connected, unreached))
}
