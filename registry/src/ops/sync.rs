//! News from others: judged before they are passed on, kept if they are good.

mod limiter;

use std::{sync::Arc, time::Instant};

use tokio::sync::mpsc;

use self::limiter::Limiter;
use super::{Operations, clock};
use crate::{
    index::{Acceptance, Announcement},
    node::{Gossip, Verdict},
};

impl Operations {
    /// Judges gossip until the node stops.
    pub(crate) async fn follow_gossip(self: Arc<Self>, mut gossip: mpsc::Receiver<Gossip>) {
        let mut limiter = Limiter::default();
        while let Some(Gossip { id, data }) = gossip.recv().await {
            let verdict = match limiter.admits(id.from, Instant::now()) {
                true => self.judge(data, id.from.to_string()).await,
                false => Verdict::Ignore,
            };
            let Some(node) = &self.node else { return };
            if node.judge(id, verdict).await.is_err() {
                return;
            }
        }
    }

    /// A false announcement costs whoever passed it on; one that is merely not news costs nothing.
    async fn judge(&self, data: Vec<u8>, from: String) -> Verdict {
        let topic = self.config.packages_topic.clone();
        let now = clock::now();
        let judged = self.with_catalog(move |catalog| {
            let announcement = match Announcement::verify(&topic, &data, now) {
                Ok(announcement) => announcement,
                Err(error) => {
                    tracing::debug!(target: "ggen_marketplace::backend::p2p", %error, "announcement refused");
                    return Ok(Verdict::Reject);
                }
            };
            let claim = announcement.claim();
            let accepted = catalog.accept_claim(claim, &from, now)?;
            tracing::debug!(target: "ggen_marketplace::backend::p2p", package = ?claim.package(), ?accepted, "announced");
            let is_news = accepted.head == Acceptance::Accepted || accepted.release == Some(Acceptance::Accepted);
            Ok(if is_news { Verdict::Accept } else { Verdict::Ignore })
        });
        judged.await.unwrap_or_else(|failure| {
            tracing::warn!(target: "ggen_marketplace::backend::p2p", %failure, "cannot keep an announcement");
            Verdict::Ignore
        })
    }
}
