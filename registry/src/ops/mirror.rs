//! Mirrors: keep and republish the releases that the operator selects, so that they outlive their publisher's node.
//!
//! Rules (`MirrorRule`) select publishers, namespaces or packages. The mirror reads a publisher's catalog under its
//! newest head (`follow`) on an event of the publisher, at the start, and every quarter of an hour. The releases in the
//! plan (`plan`) are fetched with all checks of a fetch, pinned and provided, and the publisher's own claims are
//! republished. The mirror signs nothing. Releases that are no longer in the plan are unpinned and withdrawn.

mod follow;
mod followed;
mod keep;
mod mirror_book;
mod names;
mod tell;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};
use tokio::{
    sync::{Mutex, Notify, broadcast::error::RecvError},
    task::{Id, JoinSet},
};

pub(crate) use self::mirror_book::MirrorBook;
pub(crate) use self::names::MirrorRules;
pub(super) use self::{follow::Follower, followed::Publishers, keep::Keeper, tell::Teller};
use self::{follow::Looks, names::choice};
use super::{CatalogEvents, claim_lookup::ClaimLookup, failure::usage, storage::Storage};
use crate::{
    ErrorKind, Failure, MirrorReport, MirrorRequest, MirrorRule, MirrorScope, Operation,
    changes::ChangeNotifier,
    config::check_rule,
    error::hint,
    identity::PublisherId,
    index::{Catalog, package_key, publisher_key, qualified_key},
    mirror::{
        Book,
        plan::{Chosen, over_budget, wanted_by},
        schedule::{Schedule, Step},
    },
    node::Handle,
};

/// Longest sleep of the mirror's loop if nothing is scheduled.
const IDLE: Duration = Duration::from_secs(3600);
/// Names of rules looked up at a time.
const LOOKUPS_AT_ONCE: usize = 8;

/// The state of a node's mirror.
#[derive(Clone, Debug)]
pub(crate) struct MirrorState {
    pub(super) book: MirrorBook,
    /// Notified when the rules change.
    changed: Arc<Notify>,
    /// Held while the held releases change, in the store and in the database.
    settling: Arc<Mutex<()>>,
    /// Held while the DHT record under a package key is published, so that the last one published includes all changes.
    pub(super) naming: Arc<Mutex<()>>,
    looks: Arc<Looks>,
}

impl MirrorState {
    pub(crate) fn new(book: Book) -> Self {
        Self {
            book: MirrorBook::new(book),
            changed: Arc::default(),
            settling: Arc::default(),
            naming: Arc::default(),
            looks: Arc::default(),
        }
    }

    /// Makes the mirror read every publisher's catalog again.
    fn look_again(&self) {
        self.looks.forget_done();
    }
}

/// Runs the mirror, and serves the verbs on its rules.
#[derive(Clone, Debug)]
pub(crate) struct Mirror {
    pub(super) mirror: MirrorState,
    pub(super) storage: Storage,
    pub(super) lookup: ClaimLookup,
    pub(super) news: CatalogEvents,
    pub(super) changes: ChangeNotifier,
    pub(super) follower: Follower,
}

impl Mirror {
    /// Runs the mirror until the node stops.
    pub(crate) async fn run(self, node: Handle) {
        let mut news = self.news.follow();
        let rules = &self.follower.keeper.rules;
        let mut schedule = Schedule::new(Instant::now());
        let mut running = JoinSet::new();
        let mut steps: HashMap<Id, Step> = HashMap::new();
        if let Err(failure) = self.follower.keeper.settle().await {
            warn(&failure, "what is mirrored cannot be compared with what is pinned");
        }
        if let Err(failure) = self.follower.teller.tell_again().await {
            warn(&failure, "what is mirrored is not told again");
        }
        loop {
            while let Some(step) = schedule.next(Instant::now()) {
                if step == Step::Round {
                    running.spawn(self.clone().look_into_the_catalog());
                }
                let task = running.spawn(self.clone().step(step));
                steps.insert(task.id(), step);
            }
            let wake = schedule.wake_at().unwrap_or_else(|| Instant::now() + IDLE);
            tokio::select! {
                heard = news.recv() => match heard {
                    Ok(news) if rules.concerns(&news).await => schedule.on_news(news.publisher, Instant::now()),
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => schedule.round_now(Instant::now()),
                    Err(RecvError::Closed) => break,
                },
                () = self.mirror.changed.notified() => schedule.round_now(Instant::now()),
                Some(ended) = running.join_next_with_id() => {
                    let (id, done) = match ended {
                        Ok((id, done)) => (id, Some(done)),
                        Err(error) => {
                            tracing::error!(target: crate::LOG_TARGET, %error, "a mirror's task died");
                            (error.id(), None)
                        }
                    };
                    match (steps.remove(&id), done) {
                        (_, Some(Done::Known(found))) => schedule.found(found, Instant::now()),
                        (_, Some(Done::Round(found))) => schedule.round_done(found, Instant::now()),
                        (_, Some(Done::Followed(publisher, well))) => schedule.followed(publisher, well, Instant::now()),
                        // A step whose task panicked has ended too.
                        (Some(Step::Round), None) => schedule.round_done([], Instant::now()),
                        (Some(Step::Follow(publisher)), None) => schedule.followed(publisher, false, Instant::now()),
                        (None, None) => {}
                    }
                    self.changes.ring();
                }
                () = tokio::time::sleep_until(wake.into()) => {}
                () = node.stopped() => break,
            }
        }
        // Blocking work cannot be cancelled and uses the store, so the shutdown waits for it.
        while running.join_next().await.is_some() {}
    }

    async fn step(self, step: Step) -> Done {
        match step {
            Step::Round => {
                if let Err(failure) = self.look_around().await {
                    warn(&failure, "a round of the mirror has failed");
                }
                Done::Round(self.known_publishers().await)
            }
            Step::Follow(publisher) => {
                let outcome = self.follower.follow_publisher(publisher).await;
                if let Err(failure) = &outcome {
                    let causes = failure.causes.join(": ");
                    tracing::info!(target: crate::LOG_TARGET, %publisher, %failure, causes, "not all is mirrored yet");
                }
                Done::Followed(publisher, outcome.is_ok())
            }
        }
    }

    /// Adds a rule, or changes it. A running mirror applies it at once.
    pub(crate) async fn add_rule(&self, request: MirrorRequest) -> Result<Vec<MirrorReport>, Failure> {
        let MirrorRequest { rule } = request;
        check_rule(&rule).map_err(usage)?;
        let what = rule.what.clone();
        // A rule that is there may be changed whatever has become of its name: `mirror ls` says so.
        if !self.follower.keeper.rules.bare_rules().await?.iter().any(|other| other.what == what) {
            self.follower.keeper.rules.refuse_contested(&rule).await?;
        }
        self.mirror.book.with(move |book| book.set_rule(&rule)).await?;
        self.follower.keeper.settle().await?;
        self.mirror.changed.notify_one();
        let mut rules = self.list_rules().await?;
        rules.retain(|report| report.rule == what.to_string());
        Ok(rules)
    }

    /// Removes a rule, and unpins what no other rule selects.
    pub(crate) async fn remove_rule(&self, request: MirrorRequest) -> Result<Vec<MirrorReport>, Failure> {
        let what = request.rule.what.to_string();
        let mut reports = self.list_rules().await?;
        reports.retain(|report| report.rule == what);
        let name = what.clone();
        let dropped = self
            .mirror
            .book
            .with(move |book| {
                let dropped = book.drop_rule(&name)?;
                book.forget_offers()?;
                Ok(dropped)
            })
            .await?;
        if !dropped && reports.is_empty() {
            return Err(Failure::new(ErrorKind::NotFound, format!("there is no mirror rule for `{what}`"))
                .hinted(hint![Operation::MirrorLs, " shows the rules"]));
        }
        if !dropped {
            let message = format!("the mirror rule for `{what}` stands in the configuration");
            return Err(Failure::new(ErrorKind::Usage, message).hinted("take it out of `mirror.rules` there"));
        }
        self.follower.keeper.settle().await?;
        // Delete the released entries too, so that a later rule determines them again.
        self.mirror.book.with(Book::forget_offers).await?;
        self.mirror.changed.notify_one();
        Ok(reports)
    }

    /// Lists the rules, with the storage that each uses.
    pub(crate) async fn list_rules(&self) -> Result<Vec<MirrorReport>, Failure> {
        let rules = self.follower.keeper.rules.rules().await?;
        let chosen = self.follower.keeper.rules.chosen().await?;
        let contested = self.follower.keeper.rules.contested(&chosen).await?;
        let known = self.mirror.book.with(Book::releases).await?;
        let releases: Vec<_> = known.iter().filter(|release| release.held).cloned().collect();
        let report = |(rule, origin): (MirrorRule, &str)| {
            let chosen = chosen.iter().find(|chosen| chosen.rule == rule);
            let held = chosen.map(|chosen| wanted_by(chosen, &releases)).unwrap_or_default();
            let claimants = contested.get(&rule.what).into_iter().flatten();
            let packages: BTreeSet<_> = held.iter().map(|release| (&release.publisher, &release.package)).collect();
            MirrorReport {
                rule: rule.what.to_string(),
                versions: rule.versions,
                max_bytes: rule.max_bytes,
                origin: origin.to_owned(),
                packages_held: packages.len() as u64,
                releases_held: held.len() as u64,
                bytes_held: held.iter().map(|release| release.bytes).sum(),
                releases_over_budget: chosen.map_or(0, |chosen| over_budget(chosen, &known)),
                contested_by: claimants.map(|publisher| choice(&rule.what, publisher)).collect(),
            }
        };
        Ok(rules.into_iter().map(report).collect())
    }

    /// Looks up the names in the rules in the DHT, and removes what the rules no longer select.
    async fn look_around(&self) -> Result<(), Failure> {
        self.follower.keeper.settle().await?;
        let rules = self.follower.keeper.rules.chosen().await?;
        self.follower.keeper.rules.warn_of_contested(&rules).await?;
        let keys = rules.iter().filter_map(|rule| match &rule.rule.what {
            MirrorScope::Package(package) => Some(package_key(package)),
            MirrorScope::PackageOf(publisher, package) => Some(qualified_key(publisher, package)),
            MirrorScope::Publisher(publisher) => Some(publisher_key(publisher)),
            MirrorScope::Namespace(_) | MirrorScope::All => None,
        });
        let keys: Vec<_> = keys.collect();
        let look_up = async |key| {
            if let Err(failure) = self.lookup.claims_under(key).await {
                warn(&failure, "a rule's name cannot be looked up");
            }
        };
        stream::iter(keys).for_each_concurrent(LOOKUPS_AT_ONCE, look_up).await;
        Ok(())
    }

    /// Returns the publishers that are known already, which are followed first, because lookups may take long.
    async fn look_into_the_catalog(self) -> Done {
        Done::Known(self.known_publishers().await)
    }

    /// Returns the publishers in the catalog that the rules cover.
    async fn known_publishers(&self) -> BTreeSet<PublisherId> {
        let known = async {
            let rules: Vec<Chosen> = self.follower.keeper.rules.chosen().await?;
            let mut publishers = self.storage.with_catalog(Catalog::publishers).await?;
            publishers.retain(|publisher| rules.iter().any(|rule| rule.admits(publisher)));
            Ok::<_, Failure>(publishers)
        };
        match known.await {
            Ok(publishers) => publishers.into_iter().collect(),
            Err(failure) => {
                warn(&failure, "a round of the mirror has failed");
                BTreeSet::new()
            }
        }
    }
}

enum Done {
    Known(BTreeSet<PublisherId>),
    Round(BTreeSet<PublisherId>),
    Followed(PublisherId, bool),
}

fn warn(failure: &Failure, what: &str) {
    let causes = failure.causes.join(": ");
    tracing::warn!(target: crate::LOG_TARGET, %failure, causes, "{what}");
}
