//! Queries peers for a search: connected peers, and peers that provide the query's keywords in the ggen DHT.
//!
//! All peers are queried concurrently, each once. The request lists the releases that are known already. Peers that
//! have not responded when the search's patience ends are not waited for. Every hit is a claim, which is verified and
//! matched against the query before it is kept. One false hit rejects the whole response.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use libp2p::PeerId;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::patience::{PATIENCE, Patience};
use crate::{
    Config, Failure, Fault,
    identity::{KnownSignatures, Timestamp},
    index::{
        CatalogError, Claim, ClaimError, Hit, Matcher, SearchAnswer, SearchFilters, SearchQuestion, WORD_BUCKETS,
        looked_up, search_mark, word_key,
    },
    node::{AskError, Handle, Protocol},
    ops::{
        CatalogEvents,
        claim_lookup::ClaimLookup,
        clock,
        exchange::{blame, fault_of as fault_of_claim, fault_of_ask},
        failure,
        peers::provision,
        storage::Storage,
    },
    peers::PeerBook,
};

/// Maximum number of connected peers queried.
const MAX_CONNECTED: usize = 16;
/// Maximum number of peers queried, including those found by keyword.
const MAX_ASKED: usize = 24;
/// Maximum number of a query's keywords that are looked up in the DHT, the most specific ones.
const MAX_LOOKED_UP: usize = 2;
/// Capacity of the queue of peers found by keyword.
const FOUND_QUEUE: usize = 64;

/// Why a response is rejected.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("a hit does not verify")]
    Claim(#[from] ClaimError),
    #[error("a hit names no package")]
    NoPackage,
    #[error("`{0}` does not fit the query")]
    OtherQuery(String),
    #[error("it says that it has something that it was not asked for")]
    Unasked,
    #[error(transparent)]
    Here(#[from] CatalogError),
}

impl Refused {
    fn fault(&self) -> Option<Fault> {
        match self {
            Self::Claim(error) => fault_of_claim(error),
            Self::NoPackage | Self::OtherQuery(_) | Self::Unasked => Some(Fault::InvalidRecord),
            Self::Here(_) => None,
        }
    }
}

/// Returns the fault of a peer that did not respond. A peer that declines after the deadline has stalled, like one that
/// times out: which side gives up first is chance.
fn fault_of(error: &AskError, after: Duration) -> Option<Fault> {
    match error {
        AskError::Declined if after >= PATIENCE => Some(Fault::Stalled),
        other => fault_of_ask(other),
    }
}

/// Checks responses to one query.
struct Examiner {
    query: String,
    filters: SearchFilters,
    /// Created for the first unknown hit, because most responses have none.
    matcher: Option<Matcher>,
    signatures: Arc<KnownSignatures>,
    limit: u64,
    now: Timestamp,
    /// Local hits before any peer was queried, by search mark.
    known: HashMap<u64, String>,
    /// Claims verified already, because most peers send the same ones.
    seen: HashMap<[u8; 32], String>,
}

/// The result of checking a response.
#[derive(Debug, Default)]
struct Examined {
    new: Vec<Claim>,
    /// Packages that the peer reports to have, by their names in the peer book.
    held: Vec<String>,
}

/// A query, and the hits of the local catalog.
pub(super) struct Asking<'a> {
    pub(super) query: &'a str,
    pub(super) filters: &'a SearchFilters,
    pub(super) limit: usize,
    pub(super) found: Vec<Hit>,
}

/// A queried peer, and its response if it sent one.
type Answered = (PeerId, Option<Vec<u8>>);

/// Queries peers.
#[derive(Clone, Debug)]
pub(in crate::ops) struct PeerSearch {
    pub(in crate::ops) storage: Storage,
    pub(in crate::ops) node: Handle,
    pub(in crate::ops) lookup: ClaimLookup,
    pub(in crate::ops) peers: Arc<PeerBook>,
    pub(in crate::ops) news: CatalogEvents,
    pub(in crate::ops) config: Arc<Config>,
}

impl PeerSearch {
    /// Queries peers and adds the verified hits to the catalog.
    pub(super) async fn ask_others(&self, asking: Asking<'_>) -> Result<(), Failure> {
        let Asking { query, filters, limit, found } = asking;
        let known: HashMap<u64, String> = found.iter().map(marked).collect();
        let marks: Vec<u64> = known.keys().copied().collect();
        let question = SearchQuestion::new(&self.config.packages_topic, query, filters, limit, &marks);
        if !question.is_bounded() {
            return Ok(());
        }
        let mut patience = Patience::begin(Instant::now());
        if is_satisfied(&found) {
            patience.is_satisfied(Instant::now());
        }
        let examiner = Examiner {
            query: query.to_owned(),
            filters: filters.clone(),
            matcher: None,
            signatures: Arc::clone(self.storage.catalog.signatures()),
            limit: question.limit,
            now: clock::now(),
            known,
            seen: HashMap::new(),
        };
        let question = question.encode().map_err(failure::failed)?;
        let deadline = Instant::now() + PATIENCE;
        let gathering = self.gather(query, question, patience, examiner);
        match tokio::time::timeout_at(deadline.into(), gathering).await {
            Ok(gathered) => gathered?,
            Err(_) => tracing::debug!(target: crate::LOG_TARGET, "a search took too long"),
        }
        Ok(())
    }

    /// Queries connected peers and peers found by keyword, and processes their responses, as long as `patience` lasts.
    async fn gather(
        &self,
        query: &str,
        question: Vec<u8>,
        mut patience: Patience,
        mut examiner: Examiner,
    ) -> Result<(), Failure> {
        self.lookup.wait_for_dht_peers().await?;
        let (mut asked, mut asking) = (HashSet::new(), FuturesUnordered::new());
        let mut connected = self.node.supporting(Protocol::Search).await.map_err(failure::stopped)?;
        connected.truncate(MAX_CONNECTED);
        for peer in connected {
            asked.insert(peer);
            patience.asks();
            asking.push(self.ask_one(peer, question.clone()));
        }
        let mut found = self.look_words_up(query).await?;
        let mut looking = true;
        while !patience.is_over() {
            tokio::select! {
                Some((peer, answer)) = asking.next() => {
                    if let Some(answer) = answer {
                        let (examined, is_new) = self.take_answer(peer, answer, examiner).await?;
                        examiner = examined;
                        if is_new && self.names_it(examiner.query.clone(), examiner.filters.clone()).await? {
                            patience.is_satisfied(Instant::now());
                        }
                    }
                    patience.hears(Instant::now());
                }
                peer = found.recv(), if looking => match peer {
                    Some(peer) if asked.len() < MAX_ASKED && asked.insert(peer) => {
                        patience.asks();
                        asking.push(self.ask_one(peer, question.clone()));
                    }
                    Some(_) => {}
                    None => {
                        looking = false;
                        patience.has_looked(Instant::now());
                    }
                },
                () = tokio::time::sleep_until(patience.until().into()) => {
                    tracing::debug!(target: crate::LOG_TARGET, "some did not answer a search in time");
                    break;
                }
            }
        }
        Ok(())
    }

    /// Sends a request. Its task continues after the search has ended, to record a peer that never responds.
    fn ask_one(&self, peer: PeerId, question: Vec<u8>) -> impl Future<Output = Answered> + use<> {
        let (node, peers) = (self.node.clone(), Arc::clone(&self.peers));
        let answer = tokio::spawn(async move {
            let asked = Instant::now();
            let answer = node.ask(peer, Protocol::Search, question).await;
            if let Err(error) = &answer
                && let Some(fault) = fault_of(error, asked.elapsed())
            {
                blame(&peers, peer, fault, error);
            }
            answer.ok()
        });
        async move { (peer, answer.await.ok().flatten()) }
    }

    /// Returns whether the catalog now has a package with the queried name.
    async fn names_it(&self, query: String, filters: SearchFilters) -> Result<bool, Failure> {
        self.storage.with_catalog(move |catalog| Ok(is_satisfied(&catalog.search(&query, &filters, 1)?))).await
    }

    /// Looks up providers of the query's keywords. The channel closes when all lookups have ended.
    async fn look_words_up(&self, query: &str) -> Result<mpsc::Receiver<PeerId>, Failure> {
        let (sender, receiver) = mpsc::channel(FOUND_QUEUE);
        for word in looked_up(query).into_iter().take(MAX_LOOKED_UP) {
            for bucket in 0..WORD_BUCKETS {
                let key = word_key(&self.config.packages_topic, &word, bucket);
                let mut found = self.node.find_knowing(key).await.map_err(failure::stopped)?;
                let sender = sender.clone();
                tokio::spawn(async move {
                    while let Some(peer) = found.recv().await {
                        if sender.send(peer).await.is_err() {
                            return;
                        }
                    }
                });
            }
        }
        Ok(receiver)
    }

    /// Checks a response and adds new claims to the catalog. Returns whether there were any.
    async fn take_answer(
        &self,
        peer: PeerId,
        answer: Vec<u8>,
        mut examiner: Examiner,
    ) -> Result<(Examiner, bool), Failure> {
        let (outcome, examiner) = self
            .storage
            .run(move || {
                let outcome = examiner.examine(&answer);
                Ok((outcome, examiner))
            })
            .await?;
        let Examined { new, held } = match outcome {
            Ok(examined) => examined,
            Err(Refused::Here(error)) => return Err(failure::failed(error)),
            Err(refused) => {
                if let Some(fault) = refused.fault() {
                    blame(&self.peers, peer, fault, &refused);
                }
                return Ok((examiner, false));
            }
        };
        for package in held {
            self.peers.provides(&peer, &package, examiner.now);
        }
        let is_new = !new.is_empty();
        if is_new {
            let (source, now) = (peer.to_string(), examiner.now);
            let news = self.news.clone();
            self.storage
                .with_catalog(move |catalog| {
                    let accepted = catalog.accept_claims(new.iter().map(|claim| (claim, source.as_str())), now)?;
                    new.iter().zip(&accepted).for_each(|(claim, accepted)| news.tell(claim, accepted));
                    Ok(())
                })
                .await?;
        }
        Ok((examiner, is_new))
    }
}

/// Returns whether the first hit is a package with the queried name.
fn is_satisfied(hits: &[Hit]) -> bool {
    hits.first().is_some_and(Hit::is_named)
}

/// Returns the mark of a hit in requests and responses, and its name in the peer book.
fn marked(hit: &Hit) -> (u64, String) {
    let release = &hit.entry.release;
    (search_mark(release.cid()), provision(&release.record().publisher, &release.record().package))
}

impl Examiner {
    /// Checks every hit of a response. One invalid hit rejects all of them.
    fn examine(&mut self, answer: &[u8]) -> Result<Examined, Refused> {
        let answer = SearchAnswer::decode(answer, self.limit)?;
        let mut examined = Examined::default();
        for mark in answer.held() {
            examined.held.push(self.known.get(&mark).ok_or(Refused::Unasked)?.clone());
        }
        let mut verified = Vec::new();
        for hit in answer.hits {
            let digest: [u8; 32] = Sha256::digest(&hit.0).into();
            let package = match self.seen.get(&digest) {
                Some(package) => package.clone(),
                None => {
                    let claim = Claim::verify_with(&hit.0, self.now, &*self.signatures)?;
                    let release = claim.entry().ok_or(Refused::NoPackage)?.release.record();
                    let matcher = match &mut self.matcher {
                        Some(matcher) => matcher,
                        none => none.insert(Matcher::new(&self.query, &self.filters)?),
                    };
                    if !matcher.fits(release)? {
                        return Err(Refused::OtherQuery(release.package.to_string()));
                    }
                    let package = provision(&release.publisher, &release.package);
                    verified.push((digest, package.clone()));
                    examined.new.push(claim);
                    package
                }
            };
            if hit.1 {
                examined.held.push(package);
            }
        }
        self.seen.extend(verified);
        Ok(examined)
    }
}
