//! Asking others: connected peers, and peers that stand under the query's words in the ggen DHT.
//!
//! All are asked at once, each once, within one deadline; whoever has not answered by then is not waited for. Every hit is
//! a claim, verified and compared with the query before it is kept; one false hit, and the whole answer is refused.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use libp2p::PeerId;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use crate::{
    Failure, Fault,
    identity::Timestamp,
    index::{
        CatalogError, Claim, ClaimError, Matcher, SearchAnswer, SearchFilters, SearchQuestion, WORD_BUCKETS, word_key,
    },
    node::{AskError, Handle, Protocol},
    ops::{
        Operations, clock,
        exchange::{blame, fault_of as fault_of_claim, fault_of_ask},
        failure,
        peers::provision,
    },
};

/// A search waits this long for others, all in all.
pub(super) const PATIENCE: Duration = Duration::from_millis(1500);
/// Connected peers that are asked.
const MAX_CONNECTED: usize = 16;
/// Peers that are asked, those found by words included.
const MAX_ASKED: usize = 24;
/// Words of a query that are looked up, the longest first: they say most.
const MAX_LOOKED_UP: usize = 2;
/// Peers found by words that wait to be asked.
const FOUND_QUEUE: usize = 64;

/// Why an answer is refused.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("a hit does not verify")]
    Claim(#[from] ClaimError),
    #[error("a hit names no package")]
    NoPackage,
    #[error("`{0}` does not fit the query")]
    OtherQuery(String),
    #[error(transparent)]
    Here(#[from] CatalogError),
}

impl Refused {
    fn fault(&self) -> Option<Fault> {
        match self {
            Self::Claim(error) => fault_of_claim(error),
            Self::NoPackage | Self::OtherQuery(_) => Some(Fault::InvalidRecord),
            Self::Here(_) => None,
        }
    }
}

/// What the lack of an answer says of a peer. One that keeps a stream open and then closes it has stalled; which side gives
/// up first is chance.
fn fault_of(error: &AskError, after: Duration) -> Option<Fault> {
    match error {
        AskError::Declined if after >= PATIENCE => Some(Fault::Stalled),
        other => fault_of_ask(other),
    }
}

/// Checks answers to one query.
struct Examiner {
    matcher: Matcher,
    limit: u64,
    now: Timestamp,
    /// Claims that were verified already: most peers give the same.
    seen: HashMap<[u8; 32], String>,
}

/// What is left of an answer once it was checked.
#[derive(Debug, Default)]
struct Examined {
    new: Vec<Claim>,
    /// Packages that the peer says to have, as the book names them.
    held: Vec<String>,
}

impl Operations {
    /// Asks others for what fits a query and keeps what is true of it in the catalog.
    pub(super) async fn ask_others(
        &self,
        node: &Handle,
        query: &str,
        filters: &SearchFilters,
        limit: usize,
    ) -> Result<(), Failure> {
        let question = SearchQuestion::new(&self.config.packages_topic, query, filters, limit);
        if !question.is_bounded() {
            return Ok(());
        }
        let matcher = Matcher::new(query, filters).map_err(failure::failed)?;
        let mut examiner = Examiner { matcher, limit: question.limit, now: clock::now(), seen: HashMap::new() };
        let question = question.encode().map_err(failure::failed)?;
        let deadline = Instant::now() + PATIENCE;
        let gathering = async {
            self.know_somebody().await?;
            let mut connected = node.speakers(Protocol::Search).await.map_err(failure::stopped)?;
            connected.truncate(MAX_CONNECTED);
            let mut found = self.look_words_up(node, query).await?;
            let (mut asked, mut asking) = (HashSet::new(), FuturesUnordered::new());
            let mut ask = |peer: PeerId, asking: &mut FuturesUnordered<_>| {
                if asked.len() < MAX_ASKED && asked.insert(peer) {
                    let (node, question) = (node.clone(), question.clone());
                    // Not ended with the search: who does not answer at all is known only later.
                    let peers = self.peers.clone();
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
                    asking.push(async move { (peer, answer.await.ok().flatten()) });
                }
            };
            for peer in connected {
                ask(peer, &mut asking);
            }
            let mut looking = true;
            while looking || !asking.is_empty() {
                tokio::select! {
                    Some((peer, answer)) = asking.next() => if let Some(answer) = answer {
                        examiner = self.take_answer(peer, answer, examiner).await?;
                    },
                    peer = found.recv(), if looking => match peer {
                        Some(peer) => ask(peer, &mut asking),
                        None => looking = false,
                    },
                }
            }
            Ok::<_, Failure>(())
        };
        match tokio::time::timeout_at(deadline.into(), gathering).await {
            Ok(gathered) => gathered?,
            Err(_) => tracing::debug!(target: "ggen_marketplace::backend::p2p", "some did not answer a search in time"),
        }
        Ok(())
    }

    /// Finds peers that stand under the query's words. The channel closes when all lookups have ended.
    async fn look_words_up(&self, node: &Handle, query: &str) -> Result<mpsc::Receiver<PeerId>, Failure> {
        let lower = query.to_lowercase();
        let parts = lower.split(|character: char| !character.is_alphanumeric()).filter(|word| !word.is_empty());
        let mut words: Vec<&str> = parts.collect();
        words.sort_by_key(|word| std::cmp::Reverse(word.len()));
        words.dedup();
        let (sender, receiver) = mpsc::channel(FOUND_QUEUE);
        for word in words.into_iter().take(MAX_LOOKED_UP) {
            for bucket in 0..WORD_BUCKETS {
                let key = word_key(&self.config.packages_topic, word, bucket);
                let mut found = node.find_knowing(key).await.map_err(failure::stopped)?;
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

    /// Checks an answer and keeps what is new of it.
    async fn take_answer(&self, peer: PeerId, answer: Vec<u8>, mut examiner: Examiner) -> Result<Examiner, Failure> {
        let (outcome, examiner) = failure::blocking(move || {
            let outcome = examiner.examine(&answer);
            Ok((outcome, examiner))
        })
        .await?;
        let Examined { new, held } = match outcome {
            Ok(examined) => examined,
            Err(Refused::Here(error)) => return Err(failure::failed(error)),
            Err(refused) => {
                if let Some(fault) = refused.fault() {
                    self.blame(peer, fault, &refused);
                }
                return Ok(examiner);
            }
        };
        for package in held {
            self.peers.provides(&peer, &package, examiner.now);
        }
        if !new.is_empty() {
            let (source, now) = (peer.to_string(), examiner.now);
            let news = self.news.clone();
            self.with_catalog(move |catalog| {
                let accepted = catalog.accept_claims(&new, &source, now)?;
                new.iter().zip(&accepted).for_each(|(claim, accepted)| news.tell(claim, accepted));
                Ok(())
            })
            .await?;
        }
        Ok(examiner)
    }
}

impl Examiner {
    /// Checks every hit of an answer: all of them count, or none.
    fn examine(&mut self, answer: &[u8]) -> Result<Examined, Refused> {
        let mut examined = Examined::default();
        let mut verified = Vec::new();
        for hit in SearchAnswer::decode(answer, self.limit)?.hits {
            let digest: [u8; 32] = Sha256::digest(&hit.0).into();
            let package = match self.seen.get(&digest) {
                Some(package) => package.clone(),
                None => {
                    let claim = Claim::verify(&hit.0, self.now)?;
                    let release = claim.entry().ok_or(Refused::NoPackage)?.release.record();
                    if !self.matcher.fits(release)? {
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
