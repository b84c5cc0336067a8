//! Building a registry with options beyond the configuration.

use std::{path::PathBuf, sync::Arc, time::Duration};

use ggen_blockstore::Blockstore;
use libp2p::PeerId;

use super::{P2PRegistry, PATIENCE};
use crate::{Config, ErrorKind, Failure, KeyPair, Mode, Place, traits::Result};

/// Builds a [`P2PRegistry`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    config: Config,
    home: Option<PathBuf>,
    key: Option<KeyPair>,
    store: Option<Arc<dyn Blockstore>>,
    patience: Duration,
}

impl Builder {
    pub(super) fn new(config: Config) -> Self {
        Self { config, home: None, key: None, store: None, patience: PATIENCE }
    }

    /// Stores keys, blocks and catalog in this directory, which is created if it does not exist. The registry is then
    /// the same publisher and the same peer next time. Only one process at a time can use it.
    pub fn home(mut self, path: impl Into<PathBuf>) -> Self {
        self.home = Some(path.into());
        self
    }

    /// The node's own key, which is its peer id. Releases are signed by the publisher's key of the home, or by a new
    /// one.
    pub fn key(mut self, key: KeyPair) -> Self {
        self.key = Some(key);
        self
    }

    /// The store for blocks.
    pub fn store(mut self, store: Arc<dyn Blockstore>) -> Self {
        self.store = Some(store);
        self
    }

    /// How long operations wait for the network. Default: 60 s.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Opens the registry and starts its node.
    ///
    /// # Errors
    /// An invalid configuration, a home that another process uses, a store that cannot be opened.
    pub async fn build(self) -> Result<P2PRegistry> {
        let Self { config, home, key, store, patience } = self;
        let mut place = home.map_or_else(Place::memory, Place::home);
        if let Some(key) = key {
            place = place.with_node_key(key);
        }
        if let Some(store) = store {
            place = place.with_store(store);
        }
        let bootstrap_nodes = config.bootstrap_nodes.clone();
        let registry = crate::Registry::open_in(place, config, Mode::Embedded).await?;
        let peer_id: PeerId =
            registry.listening().peer_id.parse().map_err(|error| Failure::from_error(ErrorKind::Failed, &error))?;
        Ok(P2PRegistry { registry, peer_id, bootstrap_nodes, patience })
    }
}
