//! The operations: one file per thing a user can do, and the only place where index, node and store meet.

mod claims;
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

use std::sync::Arc;

use ggen_blockstore::Blockstore;

pub(crate) use failure::failed;
pub(crate) use policy::ClaimPolicy;

use crate::{
    Config, Failure,
    index::{Catalog, CatalogError},
    keys::KeyStore,
    node::Handle,
};

/// What the operations work on.
#[derive(Debug)]
pub(crate) struct Operations {
    pub(crate) config: Config,
    pub(crate) store: Arc<dyn Blockstore>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) keys: KeyStore,
    /// None in offline mode.
    pub(crate) node: Option<Handle>,
    /// One publish at a time: each signs on top of the one before.
    pub(crate) publishing: Arc<tokio::sync::Mutex<()>>,
}

impl Operations {
    /// Runs `work` on the catalog, off the reactor.
    async fn with_catalog<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Catalog) -> Result<T, CatalogError> + Send + 'static,
    ) -> Result<T, Failure> {
        let catalog = Arc::clone(&self.catalog);
        failure::blocking(move || work(&catalog).map_err(failure::failed)).await
    }
}
