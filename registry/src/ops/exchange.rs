//! Catalog exchange: nodes request from each other the records that gossip did not bring, so that catalogs converge.
//!
//! An exchange with a peer runs when the peer connects, when a gap in the records shows that gossip was missed, some
//! seconds after gossip brought new records, and periodically with one of the connected peers. The node sends summaries
//! of the publishers it follows, receives the peer's summaries that differ, and fetches the missing records page by
//! page. Followed publishers are fetched first. Records of other publishers are limited by a budget, so a node never
//! downloads the catalog of the whole network.

pub(super) mod answer;
mod rounds;
mod schedule;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use libp2p::PeerId;
use tokio::{sync::mpsc, task::JoinSet};

use self::{
    rounds::Rounds,
    schedule::{Brought, Schedule},
};
use super::{CatalogEvents, clock, failure, peers::is_lie, storage::Storage};
use crate::{
    Config, Failure, Fault, Outcome,
    identity::{PublisherId, RecordError},
    index::{CatalogAnswer, CatalogQuestion, ClaimError, MAX_HAVE, MAX_NEWS, MAX_SUMMARIES, Pull, Summary, read_page},
    node::{AskError, Handle, Met, Protocol},
    peers::PeerBook,
};

/// Maximum bytes of responses in one exchange about followed publishers.
const FOLLOWED_BYTES: usize = 16 << 20;
/// Maximum bytes of responses in one exchange about publishers that this home does not follow.
const NEWS_BYTES: usize = 1 << 20;
/// Maximum pages of one publisher requested in one exchange.
const MAX_PAGES: usize = 256;
/// Maximum messages of [`MAX_SUMMARIES`] followed publishers that one exchange compares.
const MAX_COMPARISONS: usize = 16;
/// Time limit of one exchange. The records it has received are kept, so the next exchange continues from there.
const EXCHANGE_PATIENCE: Duration = Duration::from_secs(60);

/// What gossip intake reports to the catalog exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Heard {
    /// Gossip brought new records.
    News,
    /// Gossip shows that records were missed. This peer may have them.
    Ahead(PeerId),
}

/// Why an exchange ended early.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Unanswered(#[from] AskError),
    #[error("the answer is not what was asked for")]
    Answer(#[from] ClaimError),
    #[error(transparent)]
    Here(#[from] Failure),
}

/// The bytes that an exchange may still receive.
struct Budget {
    followed: usize,
    news: usize,
}

impl Budget {
    fn left(&mut self, is_followed: bool) -> &mut usize {
        if is_followed { &mut self.followed } else { &mut self.news }
    }
}

/// Exchanges catalogs with peers.
#[derive(Clone, Debug)]
pub(crate) struct CatalogExchange {
    pub(super) storage: Storage,
    pub(super) peers: Arc<PeerBook>,
    pub(super) news: CatalogEvents,
    pub(super) config: Arc<Config>,
    /// Whether exchanges also request records of publishers that this home does not follow.
    pub(super) follows: Arc<AtomicBool>,
}

impl CatalogExchange {
    /// Schedules and runs exchanges with peers until the node stops.
    pub(crate) async fn follow_catalogs(
        self,
        node: Handle,
        mut met: mpsc::Receiver<Met>,
        mut heard: mpsc::Receiver<Heard>,
    ) {
        let (mut schedule, mut rounds) = (Schedule::default(), Rounds::new(Instant::now()));
        let (mut exchanges, mut asked) = (JoinSet::new(), HashMap::new());
        loop {
            if rounds.due() <= Instant::now() {
                let Ok(peers) = node.supporting(Protocol::Catalog).await else { return };
                schedule.again(&peers, Instant::now());
                rounds.made(Instant::now());
            }
            while let Some(peer) = schedule.next(Instant::now()) {
                let (catalogs, node) = (self.clone(), node.clone());
                let exchange = exchanges.spawn(async move { catalogs.exchange_within_patience(&node, peer).await });
                asked.insert(exchange.id(), peer);
            }
            let wake = schedule.wake_at().map_or(rounds.due(), |due| due.min(rounds.due()));
            tokio::select! {
                Some(Met { peer, supports }) = met.recv() => {
                    if supports.contains(&Protocol::Catalog) {
                        schedule.met(peer, Instant::now());
                    }
                }
                Some(heard) = heard.recv() => match heard {
                    Heard::News => rounds.want_soon(Instant::now(), chance()),
                    Heard::Ahead(peer) => schedule.missed(peer, Instant::now()),
                },
                Some(ended) = exchanges.join_next_with_id() => {
                    let (id, brought) = ended.unwrap_or_else(|error| {
                        tracing::error!(target: crate::LOG_TARGET, %error, "an exchange died");
                        (error.id(), Brought::Failed)
                    });
                    let now = Instant::now();
                    if asked.remove(&id).is_some_and(|peer| schedule.done(&peer, brought, now)) {
                        rounds.want_soon(now, chance());
                    }
                }
                () = tokio::time::sleep_until(wake.into()) => {}
                () = node.stopped() => return,
            }
        }
    }

    /// Runs one exchange within [`EXCHANGE_PATIENCE`]. Returns whether it brought new records, even if it ended early.
    /// Does nothing if the peer is no longer connected: a dial for an exchange would cost another peer its connection
    /// where nodes are full, and that peer would dial in turn.
    async fn exchange_within_patience(&self, node: &Handle, peer: PeerId) -> Brought {
        if !node.supporting(Protocol::Catalog).await.is_ok_and(|peers| peers.contains(&peer)) {
            return Brought::Nothing;
        }
        let mut new = 0;
        let outcome = tokio::time::timeout(EXCHANGE_PATIENCE, self.exchange(node, peer, &mut new)).await;
        let end = match outcome {
            Ok(Ok(())) => Brought::Nothing,
            Ok(Err(Broken::Answer(error))) => {
                blame_for(&self.peers, peer, &error);
                return Brought::Failed;
            }
            Ok(Err(Broken::Unanswered(AskError::Declined | AskError::Busy))) => {
                tracing::debug!(target: crate::LOG_TARGET, %peer, "too busy to compare catalogs");
                Brought::Nothing
            }
            Ok(Err(Broken::Unanswered(error))) => {
                blame_unanswered(&self.peers, peer, &error);
                Brought::Failed
            }
            Ok(Err(Broken::Here(error))) => {
                tracing::debug!(target: crate::LOG_TARGET, %peer, %error, "catalogs not compared");
                Brought::Nothing
            }
            Err(_) => {
                tracing::debug!(target: crate::LOG_TARGET, %peer, "comparing catalogs took too long");
                Brought::Failed
            }
        };
        tracing::debug!(target: crate::LOG_TARGET, %peer, new, "learned from a peer's catalog");
        if new > 0 { Brought::New } else { end }
    }

    /// Compares catalogs with one peer and adds new records to the catalog. `new` counts them, also if an error ends
    /// the exchange.
    async fn exchange(&self, node: &Handle, peer: PeerId, new: &mut u64) -> Result<(), Broken> {
        let mut budget = Budget { followed: FOLLOWED_BYTES, news: NEWS_BYTES };
        let mut after = None;
        for round in 0..MAX_COMPARISONS {
            let known =
                self.storage.with_catalog(move |catalog| catalog.followed(after.as_ref(), MAX_SUMMARIES)).await?;
            after = known.get(MAX_SUMMARIES - 1).map(|last| last.publisher);
            let asked: HashSet<PublisherId> = known.iter().map(|summary| summary.publisher).collect();
            let wants_news = round == 0 && self.follows.load(Ordering::Relaxed);
            let news = if wants_news { MAX_NEWS as u64 } else { 0 };
            let answer = self.ask_catalog(node, peer, &CatalogQuestion::Known { known, news }).await?;
            let CatalogAnswer::Known(mut offered) = answer else { return Err(unasked()) };
            if offered.iter().filter(|offer| !asked.contains(&offer.publisher)).count() as u64 > news {
                return Err(unasked());
            }
            // Followed publishers first. The sort is stable: the others stay in the order of the response, latest
            // first.
            offered.sort_by_key(|offer| !asked.contains(&offer.publisher));
            for offer in offered {
                self.take_offer(node, peer, &offer, &mut budget, new).await?;
            }
            if after.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Fetches the records of a publisher that the peer has and this node lacks, within the budget.
    async fn take_offer(
        &self,
        node: &Handle,
        peer: PeerId,
        offer: &Summary,
        budget: &mut Budget,
        new: &mut u64,
    ) -> Result<(), Broken> {
        let Summary { publisher, order, marks } = *offer;
        let (known, is_followed) = self
            .storage
            .with_catalog(move |catalog| Ok((catalog.summary(&publisher)?, catalog.is_followed(&publisher)?)))
            .await?;
        if known.is_some_and(|known| known.marks == marks && known.order >= order) {
            return Ok(());
        }
        let left = budget.left(is_followed);
        let mut after = (String::new(), String::new());
        for _ in 0..MAX_PAGES {
            if *left == 0 {
                break;
            }
            let from = after.clone();
            let pull = self.storage.with_catalog(move |catalog| catalog.pull(&publisher, from, MAX_HAVE)).await?;
            let until = pull.until.clone();
            let (taken, bytes, next) = self.take_page(node, peer, pull).await?;
            *left = left.saturating_sub(bytes);
            *new += taken;
            // Continue where the page ended within its range, or else where the range ended.
            match next.or(until) {
                Some(place) => after = place,
                None => break,
            }
        }
        Ok(())
    }

    /// Fetches one page. Returns the number of new records, the page's size in bytes, and the position where it ended
    /// if that is before the end of its range.
    async fn take_page(
        &self,
        node: &Handle,
        peer: PeerId,
        pull: Pull,
    ) -> Result<(u64, usize, Option<(String, String)>), Broken> {
        let answer = self.ask_catalog(node, peer, &CatalogQuestion::Pull(Box::new(pull.clone()))).await?;
        let bytes = match answer {
            CatalogAnswer::Page(bytes) => bytes,
            CatalogAnswer::Nothing => return Ok((0, 0, None)),
            CatalogAnswer::Known(_) => return Err(unasked()),
        };
        let (size, now, source) = (bytes.len(), clock::now(), peer.to_string());
        let signatures = Arc::clone(self.storage.catalog.signatures());
        let page = self.storage.run(move || Ok(read_page(&bytes, &pull, now, &*signatures))).await??;
        let (next, publisher) = (page.next.clone(), page.chain.publisher());
        let news = self.storage.with_catalog(move |catalog| catalog.accept_page(&page, &source, now)).await?;
        if news.head && news.packages.is_empty() {
            self.news.tell_of(publisher, None);
        }
        for package in news.packages {
            self.news.tell_of(publisher, Some(package));
        }
        Ok((news.releases + u64::from(news.head), size, next))
    }

    async fn ask_catalog(
        &self,
        node: &Handle,
        peer: PeerId,
        question: &CatalogQuestion,
    ) -> Result<CatalogAnswer, Broken> {
        let question = question.encode(&self.config.packages_topic).map_err(failure::failed)?;
        let answer = node.ask(peer, Protocol::Catalog, question).await?;
        Ok(CatalogAnswer::decode(answer)?)
    }
}

/// Records a fault of a peer whose claim was rejected, unless the error may be due to clocks.
fn blame_for(peers: &PeerBook, peer: PeerId, error: &ClaimError) {
    match fault_of(error) {
        Some(fault) => blame(peers, peer, fault, error),
        None => tracing::debug!(target: crate::LOG_TARGET, %peer, %error, "not taken"),
    }
}

fn blame_unanswered(peers: &PeerBook, peer: PeerId, error: &AskError) {
    match fault_of_ask(error) {
        Some(fault) => blame(peers, peer, fault, error),
        None => tracing::debug!(target: crate::LOG_TARGET, %peer, %error, "a peer did not answer"),
    }
}

/// Records a peer's fault in the peer book.
pub(super) fn blame(peers: &PeerBook, peer: PeerId, fault: Fault, error: &dyn std::error::Error) {
    let reason = error.to_string();
    tracing::info!(target: crate::LOG_TARGET, %peer, reason, "a peer answered wrongly");
    peers.record(&peer, Outcome::Failed { fault, package: None, bytes: 0 }, clock::now());
}

/// Returns the fault of the peer that sent a rejected response; `None` if the error may be due to clocks.
pub(super) fn fault_of(error: &ClaimError) -> Option<Fault> {
    match error {
        ClaimError::Message { .. }
        | ClaimError::Record(RecordError::Malformed { .. } | RecordError::TooLarge { .. }) => Some(Fault::Malformed),
        error => is_lie(error).then_some(Fault::InvalidRecord),
    }
}

/// Returns the fault of a peer that did not respond; `None` if it could not be reached or declined.
pub(super) fn fault_of_ask(error: &AskError) -> Option<Fault> {
    match error {
        AskError::TimedOut => Some(Fault::Stalled),
        AskError::TooLarge => Some(Fault::Malformed),
        _ => None,
    }
}

/// Returns a random number from 0 to 1.
fn chance() -> f64 {
    f64::from(getrandom::u32().unwrap_or_default()) / f64::from(u32::MAX)
}

fn unasked() -> Broken {
    Broken::Answer(ClaimError::Message { reason: "it answers something else".to_owned() })
}

#[cfg(test)]
mod tests;
