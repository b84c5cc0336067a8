//! Gossip intake: validates announcements before the node forwards them, and adds valid ones to the catalog.

use std::{collections::HashMap, sync::Arc, time::Instant};

use ggen_blockstore::Block;
use libp2p::PeerId;
use tokio::sync::mpsc;

use super::{
    Heard,
    catalog_events::{CatalogEvents, News, is_news},
    clock, failure,
    limiter::Limiter,
    mirror::MirrorRules,
    peers::{is_lie, provision},
    recent_sources::Sources,
    storage::Storage,
};
use crate::{
    Config, Fault, Outcome,
    identity::{PublisherId, Timestamp},
    index::{Acceptance, Announcement, Catalog, CatalogError, Claim, ClaimAcceptance},
    node::{Gossip, GossipId, Handle, Verdict},
    peers::PeerBook,
};

/// The outcome recorded for a peer that forwarded an announcement which does not verify.
const LIED: Outcome<'static> = Outcome::Failed { fault: Fault::InvalidRecord, package: None, bytes: 0 };

/// Maximum announcements validated in one batch.
const MAX_TOGETHER: usize = 32;
/// Announcements that one peer may forward in a burst.
const BURST: f64 = 64.0;
/// Announcements per second that one peer may forward in the long run.
const PER_SECOND: f64 = 4.0;

/// The outcome of validating an announcement.
struct Judged {
    verdict: Verdict,
    /// Its publisher has published records that this node lacks. The peer that forwarded it may have them.
    is_ahead: bool,
    /// Its claim, if that was new.
    news: Option<Fresh>,
}

impl Judged {
    fn ignored() -> Self {
        Self { verdict: Verdict::Ignore, is_ahead: false, news: None }
    }

    /// The outcome for an announcement that was dropped unread.
    fn missed() -> Self {
        Self { is_ahead: true, ..Self::ignored() }
    }
}

/// A claim that was new to the catalog.
struct Fresh {
    claim: Claim,
    is_followed: bool,
}

/// Validates announcements and adds them to the catalog.
#[derive(Clone, Debug)]
pub(crate) struct GossipIntake {
    pub(super) storage: Storage,
    pub(super) peers: Arc<PeerBook>,
    pub(super) news: CatalogEvents,
    pub(super) sources: Arc<Sources>,
    pub(super) rules: MirrorRules,
    pub(super) config: Arc<Config>,
    /// Notifies the catalog exchange of what gossip brought.
    pub(super) heard: mpsc::Sender<Heard>,
}

impl GossipIntake {
    /// Validates gossip until the node stops. Queued announcements are validated in batches, so a burst costs few
    /// transactions.
    pub(crate) async fn follow_gossip(self, node: Handle, mut gossip: mpsc::Receiver<Gossip>) {
        let mut limiter = Limiter::new(BURST, PER_SECOND);
        let mut waiting = Vec::new();
        while gossip.recv_many(&mut waiting, MAX_TOGETHER).await > 0 {
            let now = Instant::now();
            let (read, unread): (Vec<_>, Vec<_>) =
                waiting.drain(..).partition(|gossip: &Gossip| limiter.admits(gossip.id.from, now));
            // An exchange later requests the unread announcements' records together.
            let unread = unread.into_iter().map(|gossip| (gossip.id, Judged::missed()));
            let judged = self.judge(node.peer_id(), read, now).await;
            if judged.iter().any(|(_, judged)| judged.news.is_some()) {
                self.say_heard(Heard::News);
            }
            for (id, Judged { verdict, is_ahead, news }) in judged.into_iter().chain(unread) {
                if is_ahead {
                    self.say_heard(Heard::Ahead(id.from));
                }
                if let Some(fresh) = news {
                    self.keep_proof(fresh).await;
                }
                if node.judge(id, verdict).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Notifies the catalog exchange. A full queue drops the notification, because enough others are queued.
    fn say_heard(&self, heard: Heard) {
        if self.heard.try_send(heard).is_err() {
            tracing::trace!(target: crate::LOG_TARGET, ?heard, "not queued for the comparison of catalogs");
        }
    }

    /// Validates announcements. An invalid one counts against the peer that forwarded it; one that is only not new does
    /// not.
    async fn judge(&self, me: PeerId, gossip: Vec<Gossip>, came: Instant) -> Vec<(GossipId, Judged)> {
        if gossip.is_empty() {
            return Vec::new();
        }
        let ids: Vec<GossipId> = gossip.iter().map(|gossip| gossip.id.clone()).collect();
        let topic = self.config.packages_topic.clone();
        let (news, peers, sources) = (self.news.clone(), Arc::clone(&self.peers), Arc::clone(&self.sources));
        let judged = self.storage.with_catalog(move |catalog| {
            let now = clock::now();
            let judging = Judging { catalog, news: &news, peers: &peers, me, sources: &sources, came, now };
            judging.judge(&topic, &gossip)
        });
        let judged = judged.await.unwrap_or_else(|failure| {
            tracing::warn!(target: crate::LOG_TARGET, %failure, "cannot keep announcements");
            ids.iter().map(|_| Judged::ignored()).collect()
        });
        ids.into_iter().zip(judged).collect()
    }

    /// Stores the proof blocks of an announcement, as cache, if its publisher is followed or mirrored. With the blocks
    /// of earlier announcements they lead from its newest head to each of its packages, even when the publisher is
    /// offline. Nothing is stored for other publishers, because any publisher could then fill the disk.
    async fn keep_proof(&self, fresh: Fresh) {
        let Some(found) = fresh.claim.entry().and_then(|entry| entry.found.as_ref()) else { return };
        let news = News { publisher: fresh.claim.publisher(), package: fresh.claim.package().cloned() };
        if !fresh.is_followed && !self.rules.concerns(&news).await {
            return;
        }
        let blocks = found.proof.clone();
        let store = self.storage.store.clone();
        let kept = self.storage.run(move || {
            let blocks: Result<Vec<_>, _> = blocks.into_iter().map(Block::dag_cbor).collect();
            store.put_many(&blocks.map_err(failure::store)?).map_err(failure::store)?;
            Ok(())
        });
        if let Err(failure) = kept.await {
            tracing::warn!(target: crate::LOG_TARGET, %failure, "cannot keep what proves an announcement");
        }
    }
}

/// The context in which announcements are validated.
struct Judging<'a> {
    catalog: &'a Catalog,
    news: &'a CatalogEvents,
    peers: &'a PeerBook,
    /// This node, whose own announcements are not recorded as those of a provider.
    me: PeerId,
    sources: &'a Sources,
    came: Instant,
    now: Timestamp,
}

impl Judging<'_> {
    /// Validates announcements in the order of arrival, and adds the valid ones to the catalog in one transaction.
    fn judge(&self, topic: &str, gossip: &[Gossip]) -> Result<Vec<Judged>, CatalogError> {
        let announced: Vec<Option<Announcement>> = gossip.iter().map(|gossip| self.verified(topic, gossip)).collect();
        let sources: Vec<String> = gossip.iter().map(|gossip| gossip.id.from.to_string()).collect();
        let claims = || announced.iter().map(|announcement| announcement.as_ref().map(Announcement::claim));
        let mut known = HashMap::new();
        for claim in claims().flatten() {
            let summary = self.catalog.summary(&claim.publisher())?;
            known.insert(claim.publisher(), summary.map_or(0, |summary| summary.order.log_seq));
        }
        let offered = claims().zip(&sources).filter_map(|(claim, source)| Some((claim?, source.as_str())));
        let mut accepted = self.catalog.accept_claims(offered, self.now)?.into_iter();
        let mut judged = Vec::with_capacity(gossip.len());
        for (gossip, claim) in gossip.iter().zip(claims()) {
            judged.push(match (claim, claim.and_then(|_| accepted.next())) {
                (Some(claim), Some(accepted)) => self.weigh(gossip, claim, &accepted, &mut known)?,
                _ => Judged { verdict: Verdict::Reject, is_ahead: false, news: None },
            });
        }
        Ok(judged)
    }

    fn verified(&self, topic: &str, gossip: &Gossip) -> Option<Announcement> {
        match Announcement::verify_with(topic, &gossip.data, self.now, &**self.catalog.signatures()) {
            Ok(announcement) => Some(announcement),
            Err(error) => {
                tracing::debug!(target: crate::LOG_TARGET, %error, "announcement refused");
                if is_lie(&error) {
                    self.peers.record(&gossip.id.from, LIED, self.now);
                }
                None
            }
        }
    }

    /// Returns the outcome for a claim that was offered to the catalog. `known` holds the length of each publisher's
    /// log before that.
    fn weigh(
        &self,
        gossip: &Gossip,
        claim: &Claim,
        accepted: &ClaimAcceptance,
        known: &mut HashMap<PublisherId, u64>,
    ) -> Result<Judged, CatalogError> {
        let (publisher, package) = (claim.publisher(), claim.package());
        tracing::debug!(target: crate::LOG_TARGET, ?package, ?accepted, "announced");
        // Only a new claim shows that its source has the package: any peer can repeat a known one.
        if let (Some(source), Some(package), true) = (gossip.source, package, is_news(accepted))
            && source != self.me
        {
            self.peers.provides(&source, &provision(&publisher, package), self.now);
        }
        if is_news(accepted) && !matches!(accepted.head, Acceptance::Refused(_)) {
            let peer = gossip.source.unwrap_or(gossip.id.from);
            self.sources.heard(claim.clone(), peer, self.came);
        }
        self.news.tell(claim, accepted);
        let mut is_ahead = false;
        if accepted.head == Acceptance::Accepted {
            let log_seq = claim.head().order().log_seq;
            is_ahead = known.insert(publisher, log_seq).is_some_and(|known| log_seq > known + 1);
        }
        if !is_news(accepted) {
            return Ok(Judged { is_ahead, ..Judged::ignored() });
        }
        let fresh = Fresh { claim: claim.clone(), is_followed: self.catalog.is_followed(&publisher)? };
        Ok(Judged { verdict: Verdict::Accept, is_ahead, news: Some(fresh) })
    }
}
