//! The storage of a registry: a home directory, or memory.

mod own;

use std::{
    fmt::Display,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use ggen_blockstore::{Blockstore, DAMAGE, Damage, MemoryBlockstore, SegmentBlockstore, SegmentOptions};

use crate::{
    Failure,
    database::{Access, DatabaseError, MEMORY},
    home::Home,
    identity::{KeyPair, Timestamp},
    index::{Catalog, CatalogError},
    keys::KeyStore,
    mirror::Book,
    ops::{book_failed, catalog_failed, failed},
    peers::PeerBook,
};

/// The storage of a registry. All operations work the same on a home and in memory.
#[derive(Clone, Debug, Default)]
pub struct Place {
    home: Option<PathBuf>,
    node_key: Option<KeyPair>,
    store: Option<Arc<dyn Blockstore>>,
    frees_space: bool,
}

impl Place {
    /// A home directory, created if it does not exist. It persists keys, blocks and catalog.
    pub fn home(path: impl Into<PathBuf>) -> Self {
        Self { home: Some(path.into()), ..Self::default() }
    }

    /// Memory: the node's key, the publisher's key, the blocks and the catalog are lost with the registry.
    pub fn memory() -> Self {
        Self::default()
    }

    /// Sets the node's own key. It is not written to disk.
    #[must_use]
    pub fn with_node_key(self, key: KeyPair) -> Self {
        Self { node_key: Some(key), ..self }
    }

    /// Sets the store for blocks. The caller is responsible for its durability and for what it retains.
    #[must_use]
    pub fn with_store(self, store: Arc<dyn Blockstore>) -> Self {
        Self { store: Some(store), ..self }
    }

    /// For operations that free space: on a full disk they consume the space that the home keeps in reserve. Other
    /// operations must not consume it, or freeing space would become impossible.
    #[must_use]
    pub fn to_free_space(self) -> Self {
        Self { frees_space: true, ..self }
    }

    /// Opens everything. Blocks the calling thread.
    pub(crate) fn open(self) -> Result<Opened, Failure> {
        let Self { home, node_key, store, frees_space } = self;
        let home = home.map(|path| Home::open(&path)).transpose()?;
        let access = home.as_ref().map_or(Access::Write, Home::access);
        if let Some(home) = home.as_ref().filter(|_| frees_space && access == Access::Write) {
            home.use_reserve_if_full();
        }
        let (store, lost_records) = match (store, &home) {
            (Some(store), _) => (store, false),
            (None, Some(home)) => open_store(home)?,
            (None, None) => (Arc::new(MemoryBlockstore::new()) as Arc<dyn Blockstore>, false),
        };
        let keys = match &home {
            Some(home) if access == Access::Copy => KeyStore::read_only(home.keys()),
            Some(home) => KeyStore::new(home.keys()),
            None => KeyStore::in_memory(),
        };
        let (catalog, notes) = match &home {
            Some(home) => open_catalog(&home.catalog(), access, &keys, &*store)?,
            None => (Catalog::in_memory().map_err(catalog_failed)?, Vec::new()),
        };
        let keys = match node_key {
            Some(key) => keys.with_node(key),
            None => keys,
        };
        let peers = Arc::new(match &home {
            Some(home) => PeerBook::open_with(&home.peers(), access)?,
            None => PeerBook::in_memory()?,
        });
        let memory = || Path::new(MEMORY).to_owned();
        let mirror = Book::open(&home.as_ref().map_or_else(memory, Home::mirror), access).map_err(book_failed)?;
        Ok(Opened { home, store, lost_records, catalog, keys, peers, mirror, notes })
    }
}

/// The opened storage.
pub(crate) struct Opened {
    /// Held until the registry is dropped; none in memory.
    pub(crate) home: Option<Home>,
    pub(crate) store: Arc<dyn Blockstore>,
    /// Opening the store found that records are lost, possibly pins among them.
    pub(crate) lost_records: bool,
    pub(crate) catalog: Catalog,
    pub(crate) keys: KeyStore,
    pub(crate) peers: Arc<PeerBook>,
    pub(crate) mirror: Book,
    /// Messages about damaged files that were rebuilt or cannot be used.
    pub(crate) notes: Vec<String>,
}

/// Opens the store, and returns whether it has lost records.
fn open_store(home: &Home) -> Result<(Arc<dyn Blockstore>, bool), Failure> {
    let opened = match home.access() {
        Access::Write => SegmentBlockstore::open(home.store(), SegmentOptions::default()),
        Access::Copy => SegmentBlockstore::open_read_only(home.store(), SegmentOptions::default()),
    };
    let store = opened.map_err(failed)?;
    for Damage { file, bytes, is_lost } in store.found_damaged() {
        let file = home.store().join(file);
        let (file, lost) = (file.display(), if *is_lost { "what stood there is lost" } else { "nothing is lost" });
        tracing::warn!(target: DAMAGE, %file, offset = bytes.start, lost, "the store is damaged and needs a repair");
    }
    let lost_records = store.lost_records();
    Ok((Arc::new(store), lost_records))
}

/// Opens the catalog. If the catalog was lost, damaged or left behind by a crash, the records that this home has
/// published are restored from the blocks.
fn open_catalog(
    path: &Path,
    access: Access,
    keys: &KeyStore,
    store: &dyn Blockstore,
) -> Result<(Catalog, Vec<String>), Failure> {
    let now = Timestamp::from_system(SystemTime::now());
    let is_lost = fs::metadata(path).map_or(0, |file| file.len()) == 0 && store.stats().blocks > 0;
    if is_lost {
        tracing::warn!(
            target: DAMAGE, file = %path.display(),
            "the catalog is gone and is made again: what this home has published is in it; names of other packages come back \
             from peers, with a node that is connected, and until then the CIDs of their pins work"
        );
    }
    let opened = match Catalog::was_damaged(path) {
        true => Err(Catalog::damaged_before(path)),
        false => Catalog::open_with(path, access),
    };
    let catalog = match opened {
        Err(error @ CatalogError::Database(DatabaseError::Damaged { .. })) => remake(path, access, &error, now)?,
        opened => opened.map_err(catalog_failed)?,
    };
    match own::mend(keys, &catalog, store, now) {
        // Reading a record of this home's own publishers failed.
        Err(failure) if Catalog::was_damaged(path) => {
            drop(catalog);
            let catalog = remake(path, access, &failure, now)?;
            let notes = own::mend(keys, &catalog, store, now)?;
            Ok((catalog, notes))
        }
        notes => Ok((catalog, notes?)),
    }
}

/// A catalog rebuilt from the readable part of a damaged one.
fn remake(path: &Path, access: Access, error: &dyn Display, now: Timestamp) -> Result<Catalog, Failure> {
    tracing::warn!(target: DAMAGE, %error, "the catalog is made again");
    let salvaged = Catalog::salvage(path);
    let (catalog, refused) =
        Catalog::rebuild(access.made_again_at(path), salvaged.records, now).map_err(catalog_failed)?;
    for publisher in &salvaged.followed {
        catalog.follow(publisher, now).map_err(catalog_failed)?;
    }
    let publishers = catalog.counts().map_err(catalog_failed)?.publishers;
    tracing::warn!(target: DAMAGE, publishers, refused, "what could be read was kept");
    Ok(catalog)
}

#[cfg(test)]
mod tests;
