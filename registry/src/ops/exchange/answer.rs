//! Responds to requests of peers from the catalog, with limits on rate, size and concurrency.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_bytes::ByteBuf;
use tokio::{sync::mpsc, task::JoinSet};

use super::blame_for;
use crate::{
    Config, Failure,
    identity::Signed,
    index::{
        Catalog, CatalogAnswer, CatalogError, CatalogQuestion, Claim, ClaimError, ClaimQuestion, OfferedHit,
        SearchAnswer, SearchQuestion, Summary, search_mark,
    },
    node::{Asked, Handle, Protocol},
    ops::{announcer::claim, blocking_thread, clock, failure, limiter::Limiter, storage::Storage},
    package::Release,
    peers::PeerBook,
};

/// Requests processed at once.
const MAX_ANSWERING: usize = 8;
/// Requests that one peer may send in a burst, and per second in the long run.
const BURST: f64 = 128.0;
const PER_SECOND: f64 = 16.0;
/// The same for requests for one claim, which cost a hundredth: an installing peer sends one for every package.
const CLAIMS_BURST: f64 = 4096.0;
const CLAIMS_PER_SECOND: f64 = 256.0;
/// Bytes of claims after which a search response is full; the protocol's limit is higher.
const SEARCH_BYTES: usize = 192 << 10;
/// Bytes of the releases of one page; the protocol's limit is higher.
const PAGE_BYTES: usize = 192 << 10;
/// Time after which no peer waits for a search response any more. Hits that are found later are left out.
const SEARCH_PATIENCE: Duration = Duration::from_secs(2);

/// Answers requests of peers.
#[derive(Clone, Debug)]
pub(crate) struct Answerer {
    pub(in crate::ops) storage: Storage,
    pub(in crate::ops) peers: Arc<PeerBook>,
    pub(in crate::ops) config: Arc<Config>,
}

impl Answerer {
    /// Responds to peers until the node stops. A request that cannot be served is dropped without a response.
    pub(crate) async fn answer_questions(self, node: Handle, mut asked: mpsc::Receiver<Asked>) {
        let (mut limiter, mut claims) =
            (Limiter::new(BURST, PER_SECOND), Limiter::new(CLAIMS_BURST, CLAIMS_PER_SECOND));
        let mut answering = JoinSet::new();
        while let Some(question) = asked.recv().await {
            let now = Instant::now();
            let limiter = if question.protocol == Protocol::Claim { &mut claims } else { &mut limiter };
            if !limiter.admits(question.peer, now) {
                tracing::debug!(target: crate::LOG_TARGET, peer = %question.peer, "asks too much");
                continue;
            }
            while answering.len() >= MAX_ANSWERING {
                // A task that panicked has logged why.
                let _ended = answering.join_next().await;
            }
            let (answerer, node) = (self.clone(), node.clone());
            answering.spawn(blocking_thread::run(move |blocking| async move {
                let storage = Storage { blocking, ..answerer.storage.clone() };
                Self { storage, ..answerer }.answer(node, question, now).await;
                Ok(())
            }));
        }
    }

    async fn answer(self, node: Handle, question: Asked, came: Instant) {
        let Asked { protocol, peer, data, reply } = question;
        let answerer = self.clone();
        let answer = self.storage.run(move || {
            Ok(match protocol {
                Protocol::Search => answerer.answer_search(&data, came)?,
                Protocol::Catalog => answerer.answer_catalog(&data)?,
                Protocol::Claim => answerer.answer_claim(&data)?,
            })
        });
        match answer.await {
            Ok(Ok(answer)) => {
                // It fails only if the node has stopped.
                let _stopped = node.answer(protocol, reply, answer).await;
            }
            // A request of a node of another network is not a fault.
            Ok(Err(ClaimError::OtherTopic { actual })) => {
                tracing::debug!(target: crate::LOG_TARGET, %peer, actual, "a question of another network");
            }
            Ok(Err(error)) => blame_for(&self.peers, peer, &error),
            Err(failure) => tracing::warn!(target: crate::LOG_TARGET, %failure, "cannot answer a peer"),
        }
    }

    /// Returns the encoded response to a search request: claims on matching releases, which the requester can verify.
    fn answer_search(&self, data: &[u8], came: Instant) -> Result<Result<Vec<u8>, ClaimError>, Failure> {
        let question = match SearchQuestion::decode(data) {
            Ok(question) if question.topic == self.config.packages_topic => question,
            Ok(question) => return Ok(Err(ClaimError::OtherTopic { actual: question.topic })),
            Err(error) => return Ok(Err(error)),
        };
        let limit = usize::try_from(question.limit).unwrap_or(usize::MAX);
        let found =
            self.storage.catalog.search(&question.query, &question.filters(), limit).map_err(failure::failed)?;
        let (have, mut held, mut hits, mut bytes) = (question.have(), Vec::new(), Vec::new(), 0);
        for hit in found {
            if bytes >= SEARCH_BYTES || came.elapsed() > SEARCH_PATIENCE {
                break;
            }
            let release = &hit.entry.release;
            let holds = self.storage.store.has(&release.record().content).map_err(failure::store)?;
            let mark = search_mark(release.cid());
            if have.contains(&mark) {
                // The requester has this release: it needs no claim, only whether this node has the content.
                held.extend(holds.then_some(mark));
                continue;
            }
            let Some(claim) = self.claim_on(release)? else { continue };
            bytes += claim.encoded().len();
            hits.push(OfferedHit(ByteBuf::from(claim.encoded()), holds));
        }
        Ok(Ok(SearchAnswer::new(hits, &held).encode().map_err(failure::failed)?))
    }

    /// Returns a claim on a release of the catalog: without proof if the current keys have signed the release,
    /// otherwise with the proof from the publisher's catalog tree, if its blocks are in the local store. `None` if
    /// neither is possible.
    fn claim_on(&self, release: &Signed<Release>) -> Result<Option<Claim>, Failure> {
        let record = release.record();
        let Some(publisher) = self.storage.catalog.publisher(&record.publisher).map_err(failure::failed)? else {
            return Ok(None);
        };
        let (None, Some(head)) = (&publisher.equivocation, &publisher.head) else { return Ok(None) };
        let signatures = &**self.storage.catalog.signatures();
        let plain = Claim::for_package_with(&publisher.chain, head, release, None, clock::now(), signatures);
        Ok(plain
            .ok()
            .or_else(|| claim(&self.storage, &publisher.chain, head, &record.package).ok().map(|(claim, _)| claim)))
    }

    /// Returns the claim as it is stored in the DHT, with the proof from the publisher's catalog tree; empty if this
    /// node cannot build it.
    fn answer_claim(&self, data: &[u8]) -> Result<Result<Vec<u8>, ClaimError>, Failure> {
        let question = match ClaimQuestion::decode(data, &self.config.packages_topic) {
            Ok(question) => question,
            Err(error) => return Ok(Err(error)),
        };
        let publisher = self.storage.catalog.publisher(&question.publisher).map_err(failure::failed)?;
        let claim = publisher.filter(|publisher| publisher.equivocation.is_none()).and_then(|publisher| {
            // Without the blocks of the proof the response is empty.
            claim(&self.storage, &publisher.chain, publisher.head.as_ref()?, &question.package).ok()
        });
        Ok(Ok(claim.map_or_else(Vec::new, |(claim, _)| claim.encoded().to_vec())))
    }

    fn answer_catalog(&self, data: &[u8]) -> Result<Result<Vec<u8>, ClaimError>, Failure> {
        let question = match CatalogQuestion::decode(data, &self.config.packages_topic) {
            Ok(question) => question,
            Err(error) => return Ok(Err(error)),
        };
        let answer = match question {
            CatalogQuestion::Known { known, news } => {
                let offers = offers(&self.storage.catalog, &known, news).map_err(failure::failed)?;
                CatalogAnswer::known(&offers)
            }
            CatalogQuestion::Pull(pull) => {
                let page = self.storage.catalog.page(&pull, PAGE_BYTES).map_err(failure::failed)?;
                CatalogAnswer::page(page.as_ref())
            }
        };
        Ok(Ok(answer.map_err(failure::failed)?))
    }
}

/// Returns the summaries where this catalog may know more: of the publishers in `known`, and of up to `news` others
/// that were seen most recently.
fn offers(catalog: &Catalog, known: &[Summary], news: u64) -> Result<Vec<Summary>, CatalogError> {
    let mut offers = Vec::new();
    for theirs in known {
        if let Some(ours) = catalog.summary(&theirs.publisher)?
            && (ours.marks != theirs.marks || ours.order > theirs.order)
        {
            offers.push(ours);
        }
    }
    let news = usize::try_from(news).unwrap_or(usize::MAX);
    let lately = catalog.lately_seen(known.len() + news)?;
    let unnamed = lately.into_iter().filter(|ours| known.iter().all(|theirs| theirs.publisher != ours.publisher));
    offers.extend(unnamed.take(news));
    Ok(offers)
}
