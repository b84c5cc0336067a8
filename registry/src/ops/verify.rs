//! Verify: hashes blocks again and, if requested, refetches damaged and missing ones.
//!
//! For the whole store, every block is read and hashed. All blocks below pins, the records of the store's own files and
//! the pins of this home's publications must be present. A repair of the store ends by recording which blocks remain
//! lost, so that later collections skip them (`losses`).
//!
//! For a target, only its own blocks are checked. A package given by name is also checked for its signatures; a CID
//! identifies content but not its publisher.

mod check;
mod losses;
mod pins;

use std::sync::Arc;

use ggen_blockstore::Cid;
use tokio::sync::Mutex;

pub(crate) use self::pins::restore_own_records;
use self::{
    check::{Bad, Checked, check_all, check_dags, drop_damaged},
    losses::settle_losses,
};
use super::{
    Losses, Steps,
    download::{Download, DownloadLimits},
    downloads::Downloads,
    failure,
    failure::usage,
    own_records::put_all_back,
    resolve::Resolver,
    storage::Storage,
};
use crate::{
    BadBlock, ErrorKind, Failure, Hint, Operation, Reporter, Setting, StoreDamage, VerifyReport, VerifyRequest,
    error::hint,
    identity::Record as _,
    keys::KeyStore,
    package::{Release, Target},
};

/// Maximum number of bad blocks, and of roots, whose providers are looked up.
const MAX_SEARCHED: usize = 16;
/// Maximum rounds of a repair: a restored node may show that blocks below it are missing too.
const MAX_ROUNDS: usize = ggen_blockstore::MAX_WALK_DEPTH;

/// What to check.
enum Scope {
    Store,
    /// These DAGs (`recursive`), and these single blocks (`direct`).
    Dags {
        recursive: Vec<Cid>,
        direct: Vec<Cid>,
    },
}

/// Checks blocks, and repairs them.
#[derive(Clone, Debug)]
pub(crate) struct Verify {
    pub(super) storage: Storage,
    pub(super) keys: KeyStore,
    pub(super) downloads: Downloads,
    pub(super) resolver: Resolver,
    pub(super) losses: Arc<Losses>,
    /// Held while a publish signs.
    pub(super) publishing: Arc<Mutex<Steps>>,
}

impl Verify {
    /// Hashes blocks again.
    pub(crate) async fn verify(
        &self,
        request: VerifyRequest,
        reporter: Arc<dyn Reporter>,
    ) -> Result<VerifyReport, Failure> {
        let mut download = self.repairing(&request, reporter.clone()).await?;
        let scope = match &request.target {
            None => Scope::Store,
            Some(target) => {
                let scope = self.scope(&mut download, failure::target(target)?, &reporter).await;
                scope.map_err(|failure| if request.repair { failure } else { without_repair(failure, target) })?
            }
        };
        let scope = Arc::new(scope);
        let of_store = matches!(*scope, Scope::Store);
        let damage = if of_store { self.damage().await? } else { Vec::new() };
        let mends_all = of_store && request.repair;
        let mut repaired = if mends_all { put_all_back(&self.storage, &self.publishing).await? } else { 0 };
        let mut lost_pins =
            if of_store { pins::lost_pins(&self.storage, &self.keys, request.repair).await? } else { Vec::new() };
        let mut checked = self.check(&scope, &reporter).await?;
        let blocks = checked.blocks;
        if request.repair {
            for _ in 0..MAX_ROUNDS {
                let brought = self.repair(&mut download, &checked).await?;
                repaired += brought;
                if of_store && brought > 0 {
                    // A restored node may show which pins are missing.
                    lost_pins.extend(pins::lost_pins(&self.storage, &self.keys, true).await?);
                }
                if checked.bad.is_empty() || brought == 0 {
                    break;
                }
                checked = self.check(&scope, &reporter).await?;
            }
        }
        let missing_records = self.losses.has_lost_records();
        let (incomplete, unpinned) = match mends_all {
            true => settle_losses(&self.storage, &self.losses, &checked, !damage.is_empty(), missing_records).await?,
            false => Default::default(),
        };
        let bad = checked.bad.into_iter().map(|Bad { cid, reason }| BadBlock { cid: cid.to_string(), reason });
        let lost_pins = lost_pins.iter().map(super::pins::report).collect();
        Ok(VerifyReport {
            checked_blocks: blocks,
            bad: bad.collect(),
            repaired,
            damage,
            lost_pins,
            lost_records: of_store && missing_records,
            incomplete,
            unpinned,
        })
    }

    /// Returns where the files of the store are damaged.
    async fn damage(&self) -> Result<Vec<StoreDamage>, Failure> {
        let store = self.storage.store.clone();
        self.storage
            .run(move || {
                let report = |ggen_blockstore::Damage { file, bytes, is_lost }| StoreDamage {
                    file,
                    offset: bytes.start,
                    bytes: bytes.end - bytes.start,
                    lost: is_lost,
                };
                Ok(store.damage().map_err(failure::store)?.into_iter().map(report).collect())
            })
            .await
    }

    /// Creates a download, which holds a lease on the store. It is offline unless the request is a repair and there is
    /// a node.
    async fn repairing(&self, request: &VerifyRequest, reporter: Arc<dyn Reporter>) -> Result<Download, Failure> {
        let limits = DownloadLimits { idle_timeout: request.timeout, max_bytes: u64::MAX, least_reputation: 0.0 };
        match request.repair {
            true => self.downloads.online(limits, reporter).await,
            false => Ok(self.downloads.offline(limits, reporter)),
        }
    }

    /// Returns the blocks of a target. A name is resolved, and its signatures are verified.
    async fn scope(
        &self,
        download: &mut Download,
        target: Target,
        reporter: &Arc<dyn Reporter>,
    ) -> Result<Scope, Failure> {
        let (cid, release) = match target {
            Target::Package { publisher, package, requirement } => {
                let (package, requirement, yanked_too) = (&package, &requirement, true);
                let meaning = self.resolver.trust.meaning(publisher, package).await?;
                let wanted = super::resolve::Wanted { meaning, package, requirement, yanked_too };
                let signed = self.resolver.resolve(download, &wanted, reporter).await?.release;
                (*signed.cid(), Some(signed.into_record()))
            }
            Target::Content { cid, path } if path.is_empty() => {
                let store = self.storage.store.clone();
                let payload = self.storage.run(move || Ok(store.get(&cid).ok().flatten())).await?;
                (cid, payload.and_then(|payload| Release::from_payload(&payload).ok()))
            }
            _ => return Err(usage("a CID, or the name of a package, can be verified; a path or an IPNS name cannot")),
        };
        let direct = release.and_then(|release| release.executables_block).map(|block| *block.cid());
        Ok(Scope::Dags { recursive: vec![cid], direct: direct.into_iter().collect() })
    }

    async fn check(&self, scope: &Arc<Scope>, reporter: &Arc<dyn Reporter>) -> Result<Checked, Failure> {
        let (store, scope, reporter) = (self.storage.store.clone(), Arc::clone(scope), Arc::clone(reporter));
        self.storage
            .run(move || {
                let checked = match &*scope {
                    Scope::Store => check_all(&*store, &*reporter),
                    Scope::Dags { recursive, direct } => check_dags(&*store, recursive, direct, &*reporter),
                };
                checked.map_err(failure::store)
            })
            .await
    }

    /// Deletes damaged blocks, and fetches these and the missing ones. Returns the number of blocks that are sound now.
    async fn repair(&self, download: &mut Download, checked: &Checked) -> Result<u64, Failure> {
        if checked.bad.is_empty() || download.is_offline() {
            return Ok(0);
        }
        let (store, bad) = (self.storage.store.clone(), checked.bad.clone());
        let cids = self.storage.run(move || drop_damaged(&*store, &bad).map_err(failure::store)).await?;
        if cids.is_empty() {
            return Ok(0);
        }
        for cid in checked.roots.iter().take(MAX_SEARCHED).chain(cids.iter().take(MAX_SEARCHED)) {
            download.search_under(cid);
        }
        if let Err(error) = download.list(cids.iter().map(|cid| (*cid, None).into()).collect()).await {
            // Blocks that have arrived are kept; the rest is reported as bad.
            tracing::info!(target: crate::LOG_TARGET, %error, "not all that was bad could be fetched again");
        }
        let store = self.storage.store.clone();
        self.storage
            .run(move || {
                let sound = cids.iter().filter(|cid| check::is_sound(&*store, cid)).count() as u64;
                store.sync().map_err(failure::store)?;
                Ok(sound)
            })
            .await
    }
}

/// Adapts the hint of a failure for a verification without repair, which reads only the local store. A repair can fetch
/// the blocks below a record of this home; a package that is not in this home has to be fetched first.
fn without_repair(failure: Failure, target: &str) -> Failure {
    let hint = failure.hint.as_ref().filter(|_| failure.kind == ErrorKind::NotFound);
    match hint.and_then(|hint| hint.strip_suffix(&failure::online_hint())) {
        Some(before) if before == Hint::default() => {
            failure.hinted(hint![Operation::Verify.on(target).with(Setting::Repair), " fetches the missing blocks"])
        }
        Some(before) => failure.hinted(hint![before, "fetch it first: ", Operation::Fetch.on(target)]),
        None => failure,
    }
}
