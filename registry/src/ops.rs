//! The operations: one file per thing a user can do, and the only place where index, node and store meet.

mod announcer;
pub(crate) mod blocking_thread;
mod catalog_events;
pub(crate) mod clock;
mod doctor;
mod download;
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
mod store_quota;
#[cfg(test)]
mod testing;
mod verify;
mod yank;

use std::sync::{Arc, atomic::AtomicBool};

use ggen_blockstore::Blockstore;

pub(crate) use catalog_events::CatalogEvents;
pub(crate) use exchange::Heard;
pub(crate) use failure::{catalog as catalog_failed, failed};
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

use crate::{
    Config, Failure, PeerBook,
    home::Permission,
    index::{Catalog, CatalogError},
    keys::KeyStore,
    node::Handle,
};

/// What the operations work on.
#[derive(Debug)]
pub(crate) struct Operations {
    pub(crate) config: Config,
    /// Whether the home can be written to; none in memory.
    pub(crate) permission: Option<Permission>,
    pub(crate) store: Arc<dyn Blockstore>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) keys: KeyStore,
    pub(crate) peers: Arc<PeerBook>,
    /// None in offline mode.
    pub(crate) node: Option<Handle>,
    /// This node stays and can be reached: others may be told to ask it.
    pub(crate) stays: bool,
    /// News of publishers that nobody here follows are taken in.
    pub(crate) follows: Arc<AtomicBool>,
    /// What came by gossip, said to whoever compares catalogs.
    pub(crate) heard: tokio::sync::mpsc::Sender<Heard>,
    /// One publish at a time: each signs on top of the one before.
    pub(crate) publishing: Arc<tokio::sync::Mutex<Steps>>,
    /// What is remembered of directories that were imported.
    pub(crate) imports: Imports,
    /// What is remembered of places that were written to.
    pub(crate) destinations: Arc<Destinations>,
    /// Told of every claim that was new to the catalog.
    pub(crate) news: CatalogEvents,
    /// The user's pins beside the store.
    pub(crate) kept_pins: Arc<KeptPins>,
    /// One collection or eviction at a time.
    pub(crate) collecting: Arc<tokio::sync::Mutex<store_quota::Evictions>>,
    /// What the store has lost, as far as the user knows of it or does not yet.
    pub(crate) losses: Arc<Losses>,
    pub(crate) mirror: Mirror,
    /// What lately came of publishers, and from whom.
    pub(crate) sources: Arc<Sources>,
}

impl Operations {
    /// The node, which an offline registry does not have.
    pub(crate) fn node(&self) -> Result<&Handle, Failure> {
        self.node.as_ref().ok_or_else(|| failure::usage("this registry runs offline"))
    }

    /// Refuses what would have to write, in a home that cannot be written to.
    pub(crate) fn require_writable(&self) -> Result<(), Failure> {
        Ok(self.permission.as_ref().map_or(Ok(()), Permission::require)?)
    }

    /// Runs `work` on the catalog, off the reactor.
    async fn with_catalog<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Catalog) -> Result<T, CatalogError> + Send + 'static,
    ) -> Result<T, Failure> {
        let catalog = Arc::clone(&self.catalog);
        failure::blocking(move || work(&catalog).map_err(failure::catalog)).await
    }
}
