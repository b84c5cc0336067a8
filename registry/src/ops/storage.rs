//! The store and the catalog of a registry, and where the steps that use them run.

use std::sync::Arc;

use ggen_blockstore::Blockstore;

use super::{blocking_thread::Blocking, failure};
use crate::{
    Failure,
    index::{Catalog, CatalogError},
};

/// What most services read and write. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Storage {
    pub(crate) store: Arc<dyn Blockstore>,
    pub(crate) catalog: Arc<Catalog>,
    /// Where the steps of the operation run that this value was given to.
    pub(super) blocking: Blocking,
}

impl Storage {
    /// For operations in tasks of the async runtime.
    pub(crate) fn new(store: Arc<dyn Blockstore>, catalog: Arc<Catalog>) -> Self {
        Self { store, catalog, blocking: Blocking::Pool }
    }

    /// Runs a blocking step.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        step: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        self.blocking.run(step).await
    }

    /// Runs a blocking step with the catalog.
    pub(super) async fn with_catalog<T: Send + 'static>(
        &self,
        step: impl FnOnce(&Catalog) -> Result<T, CatalogError> + Send + 'static,
    ) -> Result<T, Failure> {
        let catalog = Arc::clone(&self.catalog);
        self.run(move || step(&catalog).map_err(failure::catalog)).await
    }
}
