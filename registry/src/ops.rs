//! The operations of the registry, one file each. Only this module uses index, node and store together.

mod announcer;
pub(crate) mod blocking_thread;
mod catalog_events;
pub(crate) mod clock;
mod denial;
mod doctor;
mod download;
mod downloads;
mod exchange;
mod failure;
mod fetch;
mod gossip_intake;
mod info;
mod keyword_provider;
mod limiter;
#[cfg(test)]
mod loopback;
mod losses;
mod manifest_parts;
mod mirror;
mod node;
mod own_records;
mod peers;
mod pins;
mod publish;
mod publisher_id;
mod recent_sources;
mod record_validator;
mod references;
mod remembered;
mod resolve;
mod search;
mod storage;
mod store_quota;
#[cfg(test)]
mod testing;
mod trust;
mod verify;
mod yank;

use std::sync::{Arc, atomic::AtomicBool};

use ggen_blockstore::Blockstore;

pub(crate) use catalog_events::CatalogEvents;
pub(crate) use exchange::Heard;
pub(crate) use failure::{book as book_failed, catalog as catalog_failed, failed};
pub(crate) use fetch::Destinations;
pub(crate) use losses::Losses;
pub(crate) use mirror::Mirror;
pub(crate) use own_records::{OwnRecords, records};
pub(crate) use peers::{KnownPeers, access_policies};
pub(crate) use pins::KeptPins;
pub(crate) use publish::{Imports, RECORD, STEP_ADDED, Signing, Step, Steps, published_already};
pub(crate) use recent_sources::Sources;
pub(crate) use record_validator::ClaimValidator;
pub(crate) use yank::signed_already;

use self::{
    announcer::Announcer, blocking_thread::Blocking, downloads::Downloads, keyword_provider::KeywordProvider,
    storage::Storage, store_quota::StoreQuota, trust::Trust,
};
use crate::{
    Config, Failure,
    home::Permission,
    index::{Catalog, CatalogError},
    keys::KeyStore,
    node::Handle,
    peers::PeerBook,
    trust::TrustFile,
};

/// The state that all operations share.
#[derive(Debug)]
pub(crate) struct Operations {
    pub(crate) config: Arc<Config>,
    /// Whether the home can be written to; `None` for a registry in memory.
    pub(crate) permission: Option<Permission>,
    pub(crate) store: Arc<dyn Blockstore>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) keys: KeyStore,
    pub(crate) peers: Arc<PeerBook>,
    /// `None` in offline mode.
    pub(crate) node: Option<Handle>,
    /// Whether the node is long-lived (`Daemon` or `Embedded`), so that it may announce itself as a provider of
    /// keywords.
    pub(crate) stays: bool,
    /// Whether catalog exchanges also request records of publishers that this home does not follow.
    pub(crate) follows: Arc<AtomicBool>,
    /// Notifies the catalog exchange of what gossip brought.
    pub(crate) heard: tokio::sync::mpsc::Sender<Heard>,
    /// Serializes publishes, because each signs a log entry on top of the one before.
    pub(crate) publishing: Arc<tokio::sync::Mutex<Steps>>,
    /// Remembers the files of imported directories.
    pub(crate) imports: Imports,
    /// Remembers the trees written to destinations.
    pub(crate) destinations: Arc<Destinations>,
    /// Notified of every claim that was new to the catalog.
    pub(crate) news: CatalogEvents,
    /// A copy of the user's pins outside the store.
    pub(crate) kept_pins: Arc<KeptPins>,
    /// Serializes garbage collections and evictions.
    pub(crate) collecting: Arc<tokio::sync::Mutex<store_quota::Evictions>>,
    /// What the store has lost, until a repair acknowledges it.
    pub(crate) losses: Arc<Losses>,
    pub(crate) mirror: Mirror,
    /// The publishers that this home trusts for namespaces.
    pub(crate) trust_file: Arc<TrustFile>,
    /// Recent claims of publishers, and the peers that sent them.
    pub(crate) sources: Arc<Sources>,
}

impl Operations {
    pub(crate) fn storage(&self) -> Storage {
        Storage { store: self.store.clone(), catalog: Arc::clone(&self.catalog), blocking: Blocking::Pool }
    }

    pub(crate) fn downloads(&self) -> Downloads {
        Downloads {
            storage: self.storage(),
            node: self.node.clone(),
            peers: Arc::clone(&self.peers),
            config: Arc::clone(&self.config),
        }
    }

    pub(crate) fn trust(&self) -> Trust {
        let (file, permission) = (Arc::clone(&self.trust_file), self.permission.clone());
        Trust { storage: self.storage(), file, permission }
    }

    pub(crate) fn store_quota(&self) -> StoreQuota {
        StoreQuota {
            storage: self.storage(),
            losses: Arc::clone(&self.losses),
            evictions: Arc::clone(&self.collecting),
            store_bytes: self.config.limits.store_bytes,
            package_bytes: self.config.limits.package_bytes,
        }
    }

    pub(crate) fn announcer(&self) -> Announcer {
        let keyword_node = self.node.clone().filter(|_| self.stays);
        Announcer {
            storage: self.storage(),
            keys: self.keys.clone(),
            node: self.node.clone(),
            config: Arc::clone(&self.config),
            keywords: KeywordProvider { node: keyword_node, config: Arc::clone(&self.config) },
            mirrored: self.mirror.book.clone(),
            publishing: Arc::clone(&self.publishing),
            naming: Arc::clone(&self.mirror.naming),
        }
    }

    /// Returns the node.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`](crate::ErrorKind::Usage) if the registry runs offline.
    pub(crate) fn node(&self) -> Result<&Handle, Failure> {
        self.node.as_ref().ok_or_else(|| failure::usage("this registry runs offline"))
    }

    /// Fails if the home cannot be written to.
    pub(crate) fn require_writable(&self) -> Result<(), Failure> {
        Ok(self.permission.as_ref().map_or(Ok(()), Permission::require)?)
    }

    /// Runs `work` on the catalog without blocking the async runtime.
    async fn with_catalog<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Catalog) -> Result<T, CatalogError> + Send + 'static,
    ) -> Result<T, Failure> {
        let catalog = Arc::clone(&self.catalog);
        failure::blocking(move || work(&catalog).map_err(failure::catalog)).await
    }
}
