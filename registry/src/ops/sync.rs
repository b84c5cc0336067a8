//! News from others: judged before they are passed on, kept if they are good.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use ggen_blockstore::Block;
use libp2p::PeerId;
use tokio::sync::mpsc;

use super::{
    Operations, clock, failure,
    limiter::Limiter,
    news::{News, is_news},
    peers::{is_lie, provision},
};
use crate::{
    Fault, Outcome,
    index::{Acceptance, Announcement},
    node::{Gossip, Verdict},
};

/// What an announcement that does not verify says of whoever passed it on.
const LIED: Outcome<'static> = Outcome::Failed { fault: Fault::InvalidRecord, package: None, bytes: 0 };

/// Announcements that one peer may pass on at once.
const BURST: f64 = 64.0;
/// Announcements per second that it may pass on in the long run.
const PER_SECOND: f64 = 4.0;

/// What an announcement was worth.
struct Judged {
    verdict: Verdict,
    /// Its publisher has published more than is known here: whoever passed it on may know.
    is_ahead: bool,
    /// What it proves, if it was news.
    proof: Option<Proof>,
}

/// The path through a publisher's catalog that an announcement carried.
struct Proof {
    news: News,
    is_followed: bool,
    blocks: Vec<Bytes>,
}

impl Operations {
    /// Judges gossip until the node stops.
    pub(crate) async fn follow_gossip(self: Arc<Self>, mut gossip: mpsc::Receiver<Gossip>) {
        let mut limiter = Limiter::new(BURST, PER_SECOND);
        while let Some(Gossip { id, source, data }) = gossip.recv().await {
            let judged = match limiter.admits(id.from, Instant::now()) {
                true => self.judge(data, id.from, source).await,
                // What is not read is asked for later, in one go.
                false => Judged { verdict: Verdict::Ignore, is_ahead: true, proof: None },
            };
            if judged.is_ahead {
                self.note_missed(id.from);
            }
            if let Some(proof) = judged.proof {
                self.keep_proof(proof).await;
            }
            let Some(node) = &self.node else { return };
            if node.judge(id, judged.verdict).await.is_err() {
                return;
            }
        }
    }

    /// Something was missed that a peer may know.
    fn note_missed(&self, peer: PeerId) {
        if self.missed.try_send(peer).is_err() {
            tracing::trace!(target: "ggen_marketplace::backend::p2p", %peer, "so much is missed that one peer less matters little");
        }
    }

    /// A false announcement costs whoever passed it on; one that is merely not news costs nothing.
    async fn judge(&self, data: Vec<u8>, from: PeerId, source: Option<PeerId>) -> Judged {
        let topic = self.config.packages_topic.clone();
        let now = clock::now();
        let (news, peers) = (self.news.clone(), Arc::clone(&self.peers));
        // What we announced ourselves says nothing about others.
        let source = source.filter(|source| self.node.as_ref().is_some_and(|node| node.peer_id() != *source));
        let judged = self.with_catalog(move |catalog| {
            let announcement = match Announcement::verify(&topic, &data, now) {
                Ok(announcement) => announcement,
                Err(error) => {
                    tracing::debug!(target: "ggen_marketplace::backend::p2p", %error, "announcement refused");
                    if is_lie(&error) {
                        peers.record(&from, LIED, now);
                    }
                    return Ok(Judged { verdict: Verdict::Reject, is_ahead: false, proof: None });
                }
            };
            let claim = announcement.claim();
            let known = catalog.summary(&claim.publisher())?.map_or(0, |known| known.order.log_seq);
            let accepted = catalog.accept_claim(claim, &from.to_string(), now)?;
            // Who says what everybody knows may be nobody who has it.
            if let (Some(source), Some(package), true) = (source, claim.package(), is_news(&accepted)) {
                peers.provides(&source, &provision(&claim.publisher(), package), now);
            }
            tracing::debug!(target: "ggen_marketplace::backend::p2p", package = ?claim.package(), ?accepted, "announced");
            news.tell(claim, &accepted);
            let is_ahead = accepted.head == Acceptance::Accepted && claim.head().order().log_seq > known + 1;
            if !is_news(&accepted) {
                return Ok(Judged { verdict: Verdict::Ignore, is_ahead, proof: None });
            }
            let blocks = claim.entry().and_then(|entry| entry.found.as_ref()).map(|found| found.proof.clone());
            let is_followed = catalog.is_followed(&claim.publisher())?;
            let news = News { publisher: claim.publisher(), package: claim.package().cloned() };
            let proof = blocks.map(|blocks| Proof { news, is_followed, blocks });
            Ok(Judged { verdict: Verdict::Accept, is_ahead, proof })
        });
        judged.await.unwrap_or_else(|failure| {
            tracing::warn!(target: "ggen_marketplace::backend::p2p", %failure, "cannot keep an announcement");
            Judged { verdict: Verdict::Ignore, is_ahead: false, proof: None }
        })
    }

    /// The blocks that prove an announcement go into the store, as cache, if its publisher is followed or mirrored: with those
    /// of the announcements before, they lead from its newest head to each of its packages, also when it is gone. Of
    /// others nothing is written: whoever can announce could fill the disk.
    async fn keep_proof(&self, proof: Proof) {
        let Proof { news, is_followed, blocks } = proof;
        if !is_followed && !self.concerns(&news).await {
            return;
        }
        let store = self.store.clone();
        let kept = failure::blocking(move || {
            let blocks: Result<Vec<_>, _> = blocks.into_iter().map(Block::dag_cbor).collect();
            store.put_many(&blocks.map_err(failure::store)?).map_err(failure::store)?;
            Ok(())
        });
        if let Err(failure) = kept.await {
            tracing::warn!(target: "ggen_marketplace::backend::p2p", %failure, "cannot keep what proves an announcement");
        }
    }
}
