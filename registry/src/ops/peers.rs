//! Peers: records the node's observations in the peer book, and serves the users' requests from it.

use std::{collections::HashSet, sync::Arc, time::Duration};

use libp2p::PeerId;
use tokio::sync::mpsc;

use super::{blocking_thread::Blocking, clock, failure, failure::usage};
use crate::{
    ErrorKind, Failure, Fault, Listing, Operation, Outcome, PeerEvent, PeerHistory, PeerInfoRequest, PeerListRequest,
    PeerLists, PeerRecord, PeerReport, PeerRule, PeerRuleRequest, SearchHit,
    error::hint,
    identity::{PublisherId, Timestamp},
    index::{ClaimError, HeadError},
    node::{AccessPolicy, Handle, Offence, PeerObservation, Prior, Priors},
    peers::PeerBook,
};

/// The peer book and the connected peers, as users see them.
#[derive(Clone, Debug)]
pub(crate) struct PeerReports {
    pub(super) peers: Arc<PeerBook>,
    /// `None` in offline mode.
    pub(super) node: Option<Handle>,
}

impl PeerReports {
    /// Records the node's observations of its peers until the node stops.
    pub(crate) async fn follow_observations(self, mut observations: mpsc::Receiver<PeerObservation>) {
        while let Some(observation) = observations.recv().await {
            note(&self.peers, observation, clock::now());
        }
    }

    /// Lists the peers that are connected or known: the connected ones first, then by reputation.
    pub(crate) async fn list(&self, request: PeerListRequest) -> Result<Vec<PeerReport>, Failure> {
        let least = request.min_reputation.unwrap_or(0.0);
        if !(0.0..=1.0).contains(&least) {
            return Err(usage(format!("a reputation is from 0 to 1, not {least}")));
        }
        let connected = self.connected().await?;
        let mut records = self.known().await?;
        let known: HashSet<PeerId> = records.iter().map(|record| record.peer).collect();
        let others = connected.iter().filter(|peer| !known.contains(peer));
        records.extend(others.map(|peer| PeerRecord::new(*peer, clock::now())));
        records.retain(|record| record.reputation() >= least);
        let rank = |record: &PeerRecord| (connected.contains(&record.peer), record.reputation(), record.last_seen);
        records.sort_by(|left, right| {
            let (left, right) = ((rank(left), left.peer), (rank(right), right.peer));
            let by_reputation = right.0.1.total_cmp(&left.0.1);
            right.0.0.cmp(&left.0.0).then(by_reputation).then(right.0.2.cmp(&left.0.2)).then(left.1.cmp(&right.1))
        });
        Ok(records.into_iter().map(|record| report(record, &connected, None)).collect())
    }

    /// Describes one peer.
    pub(crate) async fn info(&self, request: PeerInfoRequest) -> Result<PeerReport, Failure> {
        let peer = parse(&request.peer)?;
        let connected = self.connected().await?;
        let records = self.known().await?;
        let met = || connected.contains(&peer).then(|| PeerRecord::new(peer, clock::now()));
        let record = records.into_iter().find(|record| record.peer == peer).or_else(met);
        let record = record.ok_or_else(|| unknown(&peer))?;
        let history = match request.full {
            true => {
                let peers = Arc::clone(&self.peers);
                Some(Blocking::Pool.run(move || Ok(peers.history(&peer)?)).await?)
            }
            false => None,
        };
        Ok(report(record, &connected, history))
    }

    /// Adds a peer to a list or resets it, and returns the lists.
    pub(crate) async fn set_rule(&self, request: PeerRuleRequest) -> Result<PeerLists, Failure> {
        let peer = parse(&request.peer)?;
        if self.node.as_ref().is_some_and(|node| node.peer_id() == peer) {
            return Err(usage(format!("{peer} is this node itself")));
        }
        let peers = Arc::clone(&self.peers);
        let lists = Blocking::Pool.run(move || {
            match request.rule {
                PeerRule::Allow => peers.put_on(&peer, Listing::Allowed, clock::now())?,
                PeerRule::Deny => peers.put_on(&peer, Listing::Denied, clock::now())?,
                PeerRule::Reset if !peers.reset(&peer) => return Err(unknown(&peer)),
                PeerRule::Reset => {}
            }
            peers.flush()?;
            let names = |listing| {
                let mut names: Vec<String> = peers.listed(listing).iter().map(PeerId::to_string).collect();
                names.sort_unstable();
                names
            };
            Ok(PeerLists { allowed: names(Listing::Allowed), denied: names(Listing::Denied) })
        });
        let lists = lists.await?;
        if let Some(node) = &self.node {
            let access_policy = match request.rule {
                PeerRule::Allow => AccessPolicy::Exempt,
                PeerRule::Deny => AccessPolicy::Refused,
                PeerRule::Reset => AccessPolicy::Usual,
            };
            node.treat(peer, access_policy).await.map_err(failure::stopped)?;
        }
        Ok(lists)
    }

    async fn connected(&self) -> Result<HashSet<PeerId>, Failure> {
        match &self.node {
            Some(node) => Ok(node.snapshot().await.map_err(failure::stopped)?.connected.into_iter().collect()),
            None => Ok(HashSet::new()),
        }
    }

    /// Returns all records of the peer book, with package counts up to date.
    async fn known(&self) -> Result<Vec<PeerRecord>, Failure> {
        let peers = Arc::clone(&self.peers);
        Blocking::Pool
            .run(move || {
                peers.flush()?;
                Ok(peers.list())
            })
            .await
    }
}

/// Sets the number of providers and the best reputation of each hit, and removes hits with a reputation below
/// `least`. A hit without a known provider is rated by the peer that the catalog received it from; without such a
/// peer it has the reputation of an unknown peer.
pub(super) async fn rated(
    peers: &Arc<PeerBook>,
    found: Vec<(SearchHit, String)>,
    least: Option<f64>,
    limit: usize,
) -> Result<Vec<SearchHit>, Failure> {
    let peers = Arc::clone(peers);
    Blocking::Pool
        .run(move || {
            let names: Vec<_> = found.iter().map(|(hit, _)| format!("{}/{}", hit.publisher, hit.package)).collect();
            let mut providers = peers.providers_of(&names)?;
            let rate = |((mut hit, source), name): ((SearchHit, String), String)| {
                let known = providers.remove(&name).unwrap_or_else(|| source.parse().ok().into_iter().collect());
                let useful =
                    |peer: &&PeerId| peers.get(peer).is_none_or(|record| record.listing != Some(Listing::Denied));
                hit.providers = known.iter().filter(useful).count() as u64;
                let best = known.iter().filter(useful).map(|peer| peers.reputation(peer)).max_by(f64::total_cmp);
                hit.reputation = best.unwrap_or(if known.is_empty() { 1.0 } else { 0.0 });
                hit
            };
            let hits = found.into_iter().zip(names).map(rate);
            Ok(hits.filter(|hit| least.is_none_or(|least| hit.reputation >= least)).take(limit).collect())
        })
        .await
}

fn note(peers: &PeerBook, observation: PeerObservation, now: Timestamp) {
    match observation {
        PeerObservation::Connected { peer, address } => {
            peers.seen(&peer, address.as_slice(), now);
        }
        PeerObservation::Introduced { peer, agent, addresses } => {
            peers.seen(&peer, &addresses, now);
            peers.introduced(&peer, &agent, now);
        }
        PeerObservation::Latency { peer, latency } => peers.latency(&peer, latency, now),
        PeerObservation::Traffic { peer, sent, received, rate } => peers.traffic(&peer, sent, received, rate, now),
        PeerObservation::Misbehaved { peer, malformed } => {
            let fault = if malformed { Fault::Malformed } else { Fault::WrongBytes };
            peers.record(&peer, Outcome::Failed { fault, package: None, bytes: 0 }, now);
        }
        PeerObservation::InvalidRecord { peer } => {
            let fault = Fault::InvalidRecord;
            peers.record(&peer, Outcome::Failed { fault, package: None, bytes: 0 }, now);
        }
        PeerObservation::Follows { peer } | PeerObservation::Gone { peer } => peers.seen(&peer, &[], now),
    }
}

/// Returns the name of a package in the peer book. It includes the publisher, because two publishers may use one name.
pub(super) fn provision(publisher: &PublisherId, package: &crate::PackageId) -> String {
    format!("{publisher}/{package}")
}

/// Returns whether a record that does not verify is a fault of the peer that sent it. An expired record or one from the
/// future is not, because a clock may be wrong.
pub(super) fn is_lie(error: &ClaimError) -> bool {
    !matches!(error, ClaimError::Expired { .. } | ClaimError::Head(HeadError::Future { .. }))
}

impl From<Offence> for Fault {
    fn from(offence: Offence) -> Self {
        match offence {
            Offence::WrongBytes => Self::WrongBytes,
            Offence::Stalled => Self::Stalled,
            Offence::FalseHave => Self::FalseHave,
            Offence::Malformed => Self::Malformed,
        }
    }
}

/// The peer book, as the node queries it.
#[derive(Debug)]
pub(crate) struct KnownPeers(pub(crate) Arc<PeerBook>);

impl Priors for KnownPeers {
    fn prior(&self, peer: &PeerId) -> Prior {
        let mut random = [u8::MAX];
        if let Err(error) = getrandom::fill(&mut random) {
            tracing::debug!(target: crate::LOG_TARGET, %error, "no peer of low reputation is probed");
        }
        let standing = self.0.standing(peer, clock::now(), random[0]);
        Prior {
            reputation: standing.reputation,
            rate: standing.rate,
            latency: standing.latency,
            held_back: standing.held_back,
        }
    }
}

/// Returns the access policies for the peers on the user's lists.
pub(crate) fn access_policies(peers: &PeerBook) -> Vec<(PeerId, AccessPolicy)> {
    let all = |listing, access_policy| peers.listed(listing).into_iter().map(move |peer| (peer, access_policy));
    all(Listing::Allowed, AccessPolicy::Exempt).chain(all(Listing::Denied, AccessPolicy::Refused)).collect()
}

/// Parses a peer id, alone or at the end of an address.
fn parse(text: &str) -> Result<PeerId, Failure> {
    let id = text.trim().rsplit('/').next().unwrap_or_default();
    id.parse().map_err(|_| {
        usage(format!("`{text}` is not a peer id")).hinted(hint![
            "a peer id begins with `12D3Koo` or `Qm`; ",
            Operation::PeerList,
            " shows those that are known"
        ])
    })
}

fn unknown(peer: &PeerId) -> Failure {
    Failure::new(ErrorKind::NotFound, format!("nothing is known of the peer {peer}"))
        .hinted(hint![Operation::PeerList, " shows the peers that are known"])
}

fn report(record: PeerRecord, connected: &HashSet<PeerId>, history: Option<Vec<PeerHistory>>) -> PeerReport {
    let connected = connected.contains(&record.peer);
    let last_seen = if connected { clock::now() } else { record.last_seen };
    let event = |PeerHistory { time, event, package, bytes }: PeerHistory| PeerEvent {
        time: time.to_string(),
        event,
        package,
        bytes,
    };
    PeerReport {
        reputation: record.reputation(),
        peer_id: record.peer.to_string(),
        addresses: record.addresses.iter().map(ToString::to_string).collect(),
        agent: record.agent,
        connected,
        successful_retrievals: record.successful,
        failed_retrievals: record.failed,
        packages_provided: record.packages,
        last_seen: (last_seen > Timestamp::default()).then(|| last_seen.to_string()),
        latency_ms: record.latency.map(milliseconds),
        bytes_sent: record.bytes_sent,
        bytes_received: record.bytes_received,
        listed: record.listing.map(|listing| listing.name().to_owned()),
        history: history.map(|history| history.into_iter().map(event).collect()),
    }
}

/// Converts to milliseconds, rounded to tenths.
fn milliseconds(latency: Duration) -> f64 {
    (latency.as_secs_f64() * 10_000.0).round() / 10.0
}
