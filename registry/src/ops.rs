//! The operations: one file per thing a user can do, and the only place where index, node and store meet.

mod clock;
mod download;
mod failure;
mod fetch;
mod node;
mod policy;
mod publish;
mod resolve;
mod search;
mod sync;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ggen_blockstore::Blockstore;

pub(crate) use failure::failed;
pub(crate) use policy::ClaimPolicy;

use crate::{Config, Failure, index::Catalog, keys::KeyStore, node::Handle};

/// What the operations work on.
#[derive(Debug)]
pub(crate) struct Operations {
    pub(crate) config: Config,
    pub(crate) store: Arc<dyn Blockstore>,
    pub(crate) catalog: SharedCatalog,
    pub(crate) keys: KeyStore,
    /// None in offline mode.
    pub(crate) node: Option<Handle>,
    /// One publish at a time: each signs on top of the one before.
    pub(crate) publishing: tokio::sync::Mutex<()>,
}

/// The catalog, shared by the operations; used only from threads that may block.
#[derive(Clone, Debug)]
pub(crate) struct SharedCatalog(Arc<Mutex<Catalog>>);

impl SharedCatalog {
    pub(crate) fn new(catalog: Catalog) -> Self {
        Self(Arc::new(Mutex::new(catalog)))
    }

    fn lock(&self) -> MutexGuard<'_, Catalog> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` on the catalog, off the reactor.
    pub(crate) async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Catalog) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let catalog = self.clone();
        failure::blocking(move || work(&mut catalog.lock())).await
    }
}
