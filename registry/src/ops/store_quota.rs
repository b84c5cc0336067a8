//! The store's quota: garbage collection on request, and eviction of cache when the store exceeds its limit.
//!
//! Pinned blocks (published, mirrored, pinned by the user) always stay. All other blocks are cache. If the store has
//! lost records and the user has not been informed yet (`losses`), nothing is removed.
//!
//! With `limits.store_bytes`, cache is evicted before a fetch that would not fit, after a fetch, every [`TIDY_EVERY`]
//! in a daemon, and during a publish after its import and before its signature. The least recently used blocks are
//! evicted first (see the collector of the blockstore). If pins alone exceed the limit, the next eviction waits until
//! pins or blocks change.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use ggen_blockstore::{Blockstore, Cid, Collected, Collector, Error, PinMode};
use tokio::sync::Mutex;

use super::{
    Losses,
    download::{Download, DownloadError},
    failure,
    manifest_parts::part,
    storage::Storage,
};
use crate::{
    ErrorKind, Failure, GcReport, GcRequest, Hint, Operation, Setting, error::hint, manifest::ManifestReader,
    node::Handle,
};

/// How often a daemon checks whether its store exceeds its limit.
const TIDY_EVERY: Duration = Duration::from_secs(60);
/// Approximate overhead of a record in the store, in bytes, in addition to its block.
const RECORD_BYTES: u64 = 72;
/// Dead bytes that the store may keep after a collection: one part in this many of the live bytes.
const SLACK_FRACTION: u64 = 4;
/// Part of the limit that an eviction leaves free (one in this many), so that not every fetch needs an eviction. The
/// store does not compact its files for less.
const SPARE_FRACTION: u64 = 16;
/// Bytes that an eviction makes room for if the size of a DAG is unknown.
const UNKNOWN_STEP_BYTES: u64 = 64 << 20;
/// Maximum bytes of the records of a publish, without its content. Only very large catalogs exceed it.
const PUBLICATION_BYTES: u64 = 64 << 10;

/// Hint if pins take all the space.
fn let_go() -> Hint {
    hint![
        "raise `limits.store_bytes` in the configuration, or remove a pin or a mirror rule: ",
        Operation::PinLs,
        " and ",
        Operation::MirrorLs,
        " list them"
    ]
}

/// Keeps the store within its limit.
#[derive(Clone, Debug)]
pub(crate) struct StoreQuota {
    pub(super) storage: Storage,
    pub(super) losses: Arc<Losses>,
    /// Serializes collections and evictions.
    pub(super) evictions: Arc<Mutex<Evictions>>,
    /// Most bytes of the store; 0 for no limit.
    pub(super) store_bytes: u64,
    /// Most bytes of a package.
    pub(super) package_bytes: u64,
}

impl StoreQuota {
    /// Removes every block that no pin keeps.
    pub(crate) async fn gc(&self, request: GcRequest) -> Result<GcReport, Failure> {
        let one_at_a_time = Arc::clone(&self.evictions).lock_owned().await;
        let (store, losses) = (self.storage.store.clone(), self.losses.clone());
        self.storage
            .run(move || {
                let _one_at_a_time = one_at_a_time;
                let collected = collect(&*store, &losses, request.dry_run)?;
                let Collected { removed_blocks, freed_bytes } = collected;
                Ok(GcReport { removed_blocks, freed_bytes, dry_run: request.dry_run })
            })
            .await
    }

    /// Keeps the store within its limit until the node stops.
    pub(crate) async fn keep_tidy(self, node: Handle) {
        let mut interval = tokio::time::interval(TIDY_EVERY);
        loop {
            tokio::select! {
                _ = interval.tick() => self.tidy().await,
                () = node.stopped() => return,
            }
        }
    }

    /// Evicts cache if the store exceeds its limit. Failures are logged.
    pub(crate) async fn tidy(&self) {
        let hindered = match self.make_room(0).await {
            Ok(room) => room.and_then(|room| room.hindered),
            Err(failure) => Some(failure),
        };
        if let Some(failure) = hindered {
            let causes = failure.causes.join(": ");
            tracing::warn!(target: crate::LOG_TARGET, %failure, causes, "the store is over its limit");
        }
    }

    /// Makes room for the blocks of a manifest that the store lacks. Those that it has stay while the caller holds a
    /// lease.
    pub(super) async fn room_for(&self, manifest: Arc<ManifestReader>) -> Result<(), Failure> {
        if self.store_bytes == 0 {
            return Ok(());
        }
        let store = self.storage.store.clone();
        let missing = self.storage.run(move || missing_bytes(&*store, &manifest)).await?;
        match self.make_room(missing).await? {
            Some(room) if room.bytes < missing => Err(self.does_not_fit(Some(missing), room)),
            _ => Ok(()),
        }
    }

    /// Returns whether this many bytes fit without an eviction.
    pub(super) fn has_room_for(&self, bytes: u64) -> bool {
        let limit = self.store_bytes;
        limit == 0 || fits(&*self.storage.store, limit, bytes)
    }

    /// Fetches a DAG of unknown size within the available room, and evicts cache step by step.
    pub(super) async fn bring_dag(&self, download: &mut Download, root: Cid) -> Result<(), Failure> {
        let limit = self.package_bytes;
        loop {
            let wanted = download.so_far().bytes.max(UNKNOWN_STEP_BYTES).min(self.store_bytes);
            let room = match self.make_room(wanted).await? {
                Some(room) if room.bytes == 0 => return Err(self.does_not_fit(None, room)),
                room => room.map_or(u64::MAX, |room| room.bytes),
            };
            let before = download.so_far().bytes;
            let allowed = before.saturating_add(room).min(limit);
            download.limit_bytes(allowed);
            match download.dag(root).await {
                Err(DownloadError::OverLimit { .. }) if allowed < limit && download.so_far().bytes > before => {}
                outcome => return outcome.map_err(|error| failure::download(&root, error)),
            }
        }
    }

    /// Evicts cache until `needed` more bytes fit into the store, as far as possible. Returns the available room;
    /// `None` without a limit.
    async fn make_room(&self, needed: u64) -> Result<Option<Room>, Failure> {
        let limit = self.store_bytes;
        if limit == 0 {
            return Ok(None);
        }
        let room = move |store: &dyn Blockstore| limit.saturating_sub(store.stats().stored_bytes);
        if fits(&*self.storage.store, limit, needed) {
            return Ok(Some(Room { bytes: room(&*self.storage.store), hindered: None }));
        }
        let mut evictions = Arc::clone(&self.evictions).lock_owned().await;
        let (store, losses) = (self.storage.store.clone(), self.losses.clone());
        self.storage
            .run(move || {
                let hindered = evictions.make_room(&*store, &losses, limit, needed)?;
                Ok(Some(Room { bytes: room(&*store), hindered }))
            })
            .await
    }

    /// Evicts cache to make room for the blocks that a publish has imported and holds a lease on. A publish without new
    /// blocks needs none.
    pub(super) async fn make_room_beside(&self, new_blocks: u64) -> Result<(), Failure> {
        if new_blocks == 0 {
            return Ok(());
        }
        match self.make_room(PUBLICATION_BYTES).await? {
            Some(room) if room.bytes < PUBLICATION_BYTES => Err(room.hindered.unwrap_or_else(|| {
                let (limit, stored) = (self.store_bytes, self.storage.store.stats().stored_bytes + PUBLICATION_BYTES);
                let message = format!(
                    "the package does not fit into the store: with it, what is published, pinned, mirrored or in use takes \
                     {stored} bytes, and `limits.store_bytes` is {limit}"
                );
                Failure::new(ErrorKind::Failed, message).hinted(let_go())
            })),
            _ => Ok(()),
        }
    }

    fn does_not_fit(&self, bytes: Option<u64>, room: Room) -> Failure {
        if let Some(hindered) = room.hindered {
            return hindered;
        }
        let (limit, stored) = (self.store_bytes, self.storage.store.stats().stored_bytes);
        let more = bytes.map_or_else(|| "more does".to_owned(), |bytes| format!("{bytes} bytes more do"));
        let message = format!(
            "{more} not fit into the store: `limits.store_bytes` is {limit}, and {stored} bytes are \
             published, pinned, mirrored or in use"
        );
        Failure::new(ErrorKind::Failed, message).hinted(let_go())
    }
}

fn collect(store: &dyn Blockstore, losses: &Losses, dry_run: bool) -> Result<Collected, Failure> {
    let collector = Collector::begin_past(store, &losses.gaps()?).map_err(cannot_mark)?;
    if dry_run {
        return collector.preview().map_err(failure::store);
    }
    let collected = collector.collect().map_err(failure::store)?;
    let alive = store.stats();
    let alive = alive.block_bytes + alive.blocks * RECORD_BYTES;
    store.reclaim(alive + alive / SLACK_FRACTION).map_err(failure::store)?;
    store.sync().map_err(failure::store)?;
    Ok(collected)
}

/// The available room in the store.
struct Room {
    bytes: u64,
    /// Why cache could not be evicted.
    hindered: Option<Failure>,
}

/// The state of evictions of a store.
#[derive(Debug, Default)]
pub(crate) struct Evictions {
    /// The state of the store when everything was pinned and there was still no room. Until it changes, an eviction is
    /// useless.
    in_vain: Option<Standing>,
}

/// The state of the store that determines what an eviction can remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Standing {
    /// A hash of all pins.
    pins: u64,
    blocks: u64,
    block_bytes: u64,
    stored_bytes: u64,
}

impl Standing {
    fn of(store: &dyn Blockstore) -> Self {
        let mut hasher = DefaultHasher::new();
        for pin in store.pins() {
            (pin.label, pin.cid.to_bytes(), pin.mode == PinMode::Recursive).hash(&mut hasher);
        }
        let stats = store.stats();
        Self {
            pins: hasher.finish(),
            blocks: stats.blocks,
            block_bytes: stats.block_bytes,
            stored_bytes: stats.stored_bytes,
        }
    }
}

impl Evictions {
    /// Evicts cache if that is necessary and may help. Returns why it cannot, if pinned blocks cannot be distinguished
    /// from cache.
    fn make_room(
        &mut self,
        store: &dyn Blockstore,
        losses: &Losses,
        limit: u64,
        needed: u64,
    ) -> Result<Option<Failure>, Failure> {
        let before = Standing::of(store);
        if fits(store, limit, needed) || self.in_vain == Some(before) {
            return Ok(None);
        }
        let gaps = match losses.gaps() {
            Ok(gaps) => gaps,
            Err(unknown) => return Ok(Some(unknown)),
        };
        let collector = match Collector::begin_past(store, &gaps) {
            Ok(collector) => collector,
            Err(error) if is_damage(&error) => return Ok(Some(cannot_mark(error))),
            Err(error) => return Err(cannot_mark(error)),
        };
        let all_pinned = collector.marks().bytes() >= before.block_bytes;
        evict(store, &collector, limit, needed)?;
        // The state before the eviction: a change since then is a reason to try again.
        let stored_bytes = store.stats().stored_bytes;
        self.in_vain = (all_pinned && !fits(store, limit, needed)).then_some(Standing { stored_bytes, ..before });
        Ok(None)
    }
}

fn fits(store: &dyn Blockstore, limit: u64, needed: u64) -> bool {
    let stored = store.stats().stored_bytes;
    stored <= limit && limit - stored >= needed
}

fn evict(
    store: &dyn Blockstore,
    collector: &Collector<'_, dyn Blockstore>,
    limit: u64,
    needed: u64,
) -> Result<(), Failure> {
    let stats = store.stats();
    let alive = stats.block_bytes + stats.blocks * RECORD_BYTES;
    let aim = (limit - limit / SPARE_FRACTION).saturating_sub(needed);
    let collected = collector.evict(alive.saturating_sub(aim)).map_err(failure::store)?;
    store.reclaim(limit.saturating_sub(needed)).map_err(failure::store)?;
    let Collected { removed_blocks, freed_bytes } = collected;
    tracing::info!(target: crate::LOG_TARGET, removed_blocks, freed_bytes, "cache evicted");
    Ok(())
}

/// The failure if pinned blocks cannot be distinguished from garbage.
fn cannot_mark(error: Error) -> Failure {
    let mendable = is_damage(&error);
    let failure = failure::store(error).while_doing("nothing is removed: a pinned DAG cannot be followed");
    let hint = hint![
        Operation::Verify.with(Setting::Repair),
        " fetches what is damaged again; what no peer has is not waited for after that"
    ];
    if mendable { failure.hinted(hint) } else { failure }
}

fn is_damage(error: &Error) -> bool {
    matches!(error, Error::NotFound { .. } | Error::Corrupt { .. })
}

fn missing_bytes(store: &dyn Blockstore, manifest: &ManifestReader) -> Result<u64, Failure> {
    let mut missing = 0;
    for index in 0..manifest.chunks().len() {
        let entries = part(store, manifest, index).map_err(|error| match error {
            DownloadError::Store(error) => failure::store(error),
            error => failure::verification(error),
        })?;
        let cids: Vec<Cid> = entries.iter().map(|entry| entry.cid).collect();
        let here = store.retain(&cids).map_err(failure::store)?;
        let sizes = entries.iter().zip(here).filter(|(_, here)| !here);
        missing += sizes.map(|(entry, _)| u64::from(entry.size) + RECORD_BYTES).sum::<u64>();
    }
    Ok(missing)
}

#[cfg(test)]
mod tests;
