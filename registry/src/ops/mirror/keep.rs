//! The releases that a mirror holds: it fetches, pins and provides them, and later unpins and withdraws them.

use std::collections::BTreeSet;

use ggen_blockstore::{Cid, Pin};

use super::{
    MirrorRules, MirrorState,
    followed::{Followed, Publishers},
};
use crate::{
    Failure,
    identity::Signed,
    index::{publisher_key, qualified_key},
    mirror::{
        Book,
        plan::{Candidate, surplus},
        reconcile::{Repair, label, proof_label, repairs},
    },
    node::Handle,
    ops::{
        announcer::Announcer,
        failure,
        peers::provision,
        pins,
        resolve::{release_of, walk},
        retrieval::Retriever,
        storage::Storage,
    },
    package::Release,
};

/// Maximum bytes of catalog nodes and records fetched for a release.
const CHECK_BYTES: u64 = 64 << 20;

/// Holds releases, and lets go of them.
#[derive(Clone, Debug)]
pub(in crate::ops) struct Keeper {
    pub(in crate::ops) mirror: MirrorState,
    pub(in crate::ops) storage: Storage,
    pub(in crate::ops) rules: MirrorRules,
    pub(in crate::ops) publishers: Publishers,
    pub(in crate::ops) retriever: Retriever,
    pub(in crate::ops) announcer: Announcer,
    /// `None` in offline mode.
    pub(in crate::ops) node: Option<Handle>,
}

impl Keeper {
    /// Fetches a release with all checks, pins it, and announces this node as its provider.
    pub(super) async fn hold(&self, followed: &Followed, release: &Candidate) -> Result<(), Failure> {
        let mut download = self.publishers.following(followed).await?;
        download.search_under(&release.release);
        // The plan reserved `bytes` for the release; the blocks fetched for the checks are extra.
        download.limit_bytes(release.bytes.saturating_add(CHECK_BYTES));
        let versions = walk(&mut download, followed.head.head().record().catalog, &release.package).await?;
        let Some(entry) = versions.iter().find(|entry| *entry.release.cid() == release.release) else {
            return Ok(());
        };
        let signed = release_of(&self.storage, &mut download, &followed.entry.chain, &release.package, entry).await?;
        download.about(release.package.to_string(), Some(provision(&signed.record().publisher, &release.package)));
        self.retriever.fetch_release(&mut download, *signed.cid(), signed.record().clone()).await?;
        self.take_in(release, &signed).await
    }

    /// Pins and provides a release whose blocks are in the store, unless no rule selects it any more.
    pub(super) async fn take_in(&self, release: &Candidate, signed: &Signed<Release>) -> Result<(), Failure> {
        // The lock excludes a concurrent `settle`, which would remove pins that the database does not list yet.
        let _settling = self.mirror.settling.lock().await;
        let pins = pins::pins_of_release(signed.cid(), signed.record(), &label(release));
        pins::set(&self.storage, pins).await?;
        let held = release.clone();
        let (package, version) = (&release.package, &release.version);
        if !self.mirror.book.with(move |book| book.set_held(&held, true)).await? {
            tracing::info!(target: crate::LOG_TARGET, %package, %version, "no longer to be mirrored");
            return self.unpin_labels(BTreeSet::from([label(release)])).await;
        }
        tracing::info!(target: crate::LOG_TARGET, %package, %version, "mirrored");
        self.announcer.provide(signed).await
    }

    /// Removes all pins with one of these labels.
    async fn unpin_labels(&self, labels: BTreeSet<String>) -> Result<(), Failure> {
        self.unpin(move |pin| labels.contains(&pin.label)).await
    }

    async fn unpin(&self, goes: impl Fn(&Pin) -> bool + Send + 'static) -> Result<(), Failure> {
        let store = self.storage.store.clone();
        self.storage
            .run(move || {
                for pin in store.pins().iter().filter(|pin| goes(pin)) {
                    store.unpin(&pin.label, &pin.cid).map_err(failure::store)?;
                }
                Ok(())
            })
            .await
    }

    /// Reconciles `mirror.db` with the pins, and removes everything held that no rule selects.
    pub(super) async fn settle(&self) -> Result<(), Failure> {
        let settling = self.mirror.settling.lock().await;
        let rules = self.rules.chosen().await?;
        let releases = self.mirror.book.with(Book::releases).await?;
        let store = self.storage.store.clone();
        let repairs = self.storage.run(move || Ok(repairs(&rules, &releases, &store.pins()))).await?;
        let mut unpinned = BTreeSet::new();
        for repair in repairs {
            match repair {
                Repair::Adopt(release) => {
                    self.mirror.book.with(move |book| book.set_held(&release, true)).await?;
                }
                Repair::Lost(release) => {
                    let (package, version) = (&release.package, &release.version);
                    tracing::warn!(target: crate::LOG_TARGET, %package, %version, "held, and not pinned");
                    self.mirror.book.with(move |book| book.set_held(&release, false)).await?;
                    self.mirror.look_again();
                }
                Repair::Unpin(pin) => {
                    unpinned.insert((pin.label, pin.cid));
                }
            }
        }
        if !unpinned.is_empty() {
            self.unpin(move |pin| unpinned.contains(&(pin.label.clone(), pin.cid))).await?;
        }
        self.mirror.book.with(Book::drop_idle_claims).await?;
        drop(settling);
        self.let_go_of_unwanted().await
    }

    /// Unpins and withdraws everything held that no rule selects.
    pub(super) async fn let_go_of_unwanted(&self) -> Result<(), Failure> {
        let _settling = self.mirror.settling.lock().await;
        let rules = self.rules.chosen().await?;
        let releases = self.mirror.book.with(Book::releases).await?;
        self.rules.keep_meanings(&rules, &releases).await?;
        let gone = surplus(&rules, &releases);
        if gone.is_empty() {
            return Ok(());
        }
        let keys: BTreeSet<_> = gone.iter().map(Candidate::key).collect();
        let held: Vec<_> = releases.into_iter().filter(|c| c.held && !keys.contains(&c.key())).collect();
        self.mirror.look_again();
        self.let_go(gone, &held).await
    }

    /// Unpins releases and withdraws their announcements; `held` are the remaining ones. The database is written first:
    /// the next [`settle`](Self::settle) removes an excess pin, but a release wrongly marked as held would never be
    /// fetched.
    async fn let_go(&self, gone: Vec<Candidate>, held: &[Candidate]) -> Result<(), Failure> {
        let mut labels: BTreeSet<_> = gone.iter().map(label).collect();
        let kept_packages: BTreeSet<_> = held.iter().map(|held| (held.publisher, &held.package)).collect();
        let packages = gone.iter().map(|gone| (gone.publisher, &gone.package));
        let packages: BTreeSet<_> = packages.filter(|package| !kept_packages.contains(package)).collect();
        labels.extend(packages.iter().map(|(publisher, package)| proof_label(publisher, package)));
        for release in &gone {
            let (package, version) = (&release.package, &release.version);
            tracing::info!(target: crate::LOG_TARGET, %package, %version, "no longer mirrored");
        }
        let written = gone.clone();
        self.mirror
            .book
            .with(move |book| {
                written.iter().try_for_each(|gone| book.set_held(gone, false).map(drop))?;
                book.drop_idle_claims()
            })
            .await?;
        self.unpin_labels(labels).await?;
        let Some(node) = &self.node else { return Ok(()) };
        let contents: BTreeSet<Cid> = held.iter().map(|held| held.content).collect();
        for cid in gone.iter().flat_map(|gone| [gone.release, gone.content]) {
            if !contents.contains(&cid) && !self.is_published_here(cid).await? {
                node.withdraw(cid.hash().to_bytes()).await.map_err(failure::stopped)?;
            }
        }
        let publishers: BTreeSet<_> = held.iter().map(|held| held.publisher).collect();
        for (publisher, package) in packages {
            if !self.publishers.is_own(publisher).await? {
                node.unpublish(qualified_key(&publisher, package)).await.map_err(failure::stopped)?;
                if !publishers.contains(&publisher) {
                    node.unpublish(publisher_key(&publisher)).await.map_err(failure::stopped)?;
                }
            }
            self.announcer.publish_name(package, None).await?;
        }
        Ok(())
    }

    /// Returns whether `cid` is a release of this home, or the content of one.
    async fn is_published_here(&self, cid: Cid) -> Result<bool, Failure> {
        let store = self.storage.store.clone();
        let releases = self.storage.with_catalog(move |catalog| catalog.releases_of_content(&cid)).await?;
        self.storage
            .run(move || {
                let own = |release: &Cid| store.pins_of(release).iter().any(|pin| pin.label.starts_with("release/"));
                Ok(own(&cid) || releases.iter().any(|entry| own(entry.release.cid())))
            })
            .await
    }
}
