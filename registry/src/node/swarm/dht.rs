//! What the driver does about the DHTs: lookups, announcements, and records that peers offer.

use std::{
    convert::Infallible,
    time::{Instant, SystemTime},
};

use libp2p::{
    PeerId,
    kad::{
        self, AddProviderError, GetClosestPeersError, GetClosestPeersOk, GetProvidersOk, GetRecordOk, InboundRequest,
        PeerInfo, PutRecordError, QueryResult, Quorum, Record, RecordKey, store::RecordStore as _,
    },
};
use tokio::sync::{mpsc, oneshot};

use crate::node::{
    behaviour::Dht,
    command::{FoundRecord, Tried, Walked},
    dht::{announcements::Item, queries::Purpose, records::MAX_VALUE_BYTES, validator::Refused},
    discovery::rendezvous,
    peer_observation::PeerObservation,
    swarm::Driver,
};

/// Maximum number of providers of one response that are dialled and passed on, so that one peer cannot make this node
/// dial thousands.
const MAX_DIALS_PER_ANSWER: usize = 20;
/// Maximum number of offered records under validation; further ones are dropped.
const MAX_ADMISSIONS: usize = 64;

/// A record of the ggen DHT after validation.
pub(crate) struct Admission {
    source: PeerId,
    offered: Record,
    /// The stored value at the start of the validation: `outcome` is merged with it.
    stored: Option<Vec<u8>>,
    /// Notified when this node serves the record, or when the record is refused.
    kept: Option<oneshot::Sender<()>>,
    outcome: Result<Vec<u8>, Refused>,
}

impl Driver {
    pub(super) fn find_providers(&mut self, key: &[u8], found: &mpsc::Sender<PeerId>) {
        for dht in Dht::ALL {
            self.find_providers_on(dht, key, found.clone());
        }
    }

    pub(super) fn try_providers(&mut self, key: &[u8], tried: &mpsc::Sender<Tried>) {
        for dht in Dht::ALL {
            self.dht_walks += 1;
            let id = self.kad(dht).get_providers(RecordKey::from(key.to_vec()));
            self.pending.add(dht, id, Purpose::Trial(tried.clone()));
        }
    }

    pub(super) fn find_providers_on(&mut self, dht: Dht, key: &[u8], found: mpsc::Sender<PeerId>) {
        self.dht_walks += 1;
        let id = self.kad(dht).get_providers(RecordKey::from(key.to_vec()));
        self.pending.add(dht, id, Purpose::Providers(found));
    }

    pub(super) fn find_record(&mut self, key: &[u8], found: mpsc::Sender<FoundRecord>, ended: oneshot::Sender<Walked>) {
        self.dht_walks += 1;
        let id = self.kad(Dht::Ggen).get_record(RecordKey::from(key.to_vec()));
        self.pending.add(Dht::Ggen, id, Purpose::Record { found, ended });
    }

    /// Looks up this node's own ID on every DHT. Identify adds the peers that are queried on the path to the routing
    /// tables.
    pub(super) fn explore(&mut self, done: &mpsc::Sender<Infallible>) {
        let me = *self.swarm.local_peer_id();
        for dht in Dht::ALL {
            let id = self.kad(dht).get_closest_peers(me);
            self.pending.add(dht, id, Purpose::Explore { _done: done.clone() });
        }
    }

    /// Starts the announcement of an item that is due.
    pub(super) fn announce_item(&mut self, item: Item, now: Instant) {
        match &item {
            Item::Provide(dht, key) => {
                let (dht, key) = (*dht, key.clone());
                self.announce_provider(dht, key, item, now);
            }
            Item::Word(key) => {
                let key = key.clone();
                self.announce_provider(Dht::Ggen, key, item, now);
            }
            Item::Record(key) => {
                let key = key.clone();
                self.keep_own_record(&key, None);
                let id = self.kad(Dht::Ggen).get_closest_peers(key);
                self.pending.add(Dht::Ggen, id, Purpose::ClosestFor(item));
            }
        }
    }

    /// Stops announcing a key. Provider records at other peers stay until they expire.
    pub(super) fn withdraw(&mut self, key: &[u8]) {
        for dht in Dht::ALL {
            self.republisher.remove(&Item::Provide(dht, key.to_vec()));
            self.kad(dht).stop_providing(&RecordKey::from(key.to_vec()));
        }
    }

    /// Stops republishing a record. This node serves its stored copy until that expires, as it does for records of
    /// other nodes.
    pub(super) fn unpublish(&mut self, key: Vec<u8>) {
        self.values.remove(&key);
        self.republisher.remove(&Item::Record(key));
    }

    fn announce_provider(&mut self, dht: Dht, key: Vec<u8>, item: Item, now: Instant) {
        match self.kad(dht).start_providing(RecordKey::from(key)) {
            Ok(id) => self.pending.add(dht, id, Purpose::Provide(item)),
            Err(error) => {
                tracing::warn!(target: crate::LOG_TARGET, %error, "cannot provide a key");
                self.republisher.done(&item, 0, now);
            }
        }
    }

    /// Stores the node's own record, so that this node serves it too. If the store holds another value under the same
    /// key, the record is validated and merged with that value first.
    pub(super) fn keep_own_record(&mut self, key: &[u8], kept: Option<oneshot::Sender<()>>) {
        let Some(value) = self.values.get(key).cloned() else { return };
        let source = *self.swarm.local_peer_id();
        let record = own_record(key, value);
        match self.stored_value(&record.key) {
            Some(stored) if stored == record.value => {}
            Some(_) => return self.judge_record(source, record, kept),
            None => {
                if let Err(error) = self.kad(Dht::Ggen).store_mut().put(record) {
                    self.refuse_record(source, &Refused { reason: error.to_string(), is_lie: false });
                }
            }
        }
        tell_kept(kept);
    }

    pub(super) fn on_kad_event(&mut self, dht: Dht, event: kad::Event) {
        match event {
            kad::Event::InboundRequest { request: InboundRequest::AddProvider { record: Some(record) } } => {
                if let Err(error) = self.kad(dht).store_mut().add_provider(record) {
                    tracing::debug!(target: crate::LOG_TARGET, %error, "provider record refused");
                }
            }
            kad::Event::InboundRequest { request: InboundRequest::PutRecord { source, record: Some(record), .. } }
                if dht == Dht::Ggen =>
            {
                self.judge_record(source, record, None)
            }
            kad::Event::OutboundQueryProgressed { id, result, step, stats } => {
                let (asked, answered) = (stats.num_requests() as usize, stats.num_successes() as usize);
                self.on_query(dht, id, result, step.last, Walked { asked, answered });
            }
            kad::Event::RoutingUpdated { is_new_peer: true, .. } => {
                let now = Instant::now();
                self.republisher.retry_failed(dht, now);
                self.count_peers(now);
            }
            _ => {}
        }
    }

    /// Validates a record off the event loop. [`MAX_ADMISSIONS`] does not apply to the node's own records.
    fn judge_record(&mut self, source: PeerId, offered: Record, kept: Option<oneshot::Sender<()>>) {
        let is_own = source == *self.swarm.local_peer_id();
        if self.admissions.len() >= MAX_ADMISSIONS && !is_own {
            tracing::debug!(target: crate::LOG_TARGET, %source, "offered record dropped");
            return;
        }
        if offered.value.len() > MAX_VALUE_BYTES {
            let reason = format!("it has more than {MAX_VALUE_BYTES} bytes");
            self.refuse_record(source, &Refused { reason, is_lie: true });
            return tell_kept(kept);
        }
        let stored = self.stored_value(&offered.key);
        let policy = self.policy.clone();
        self.admissions.spawn_blocking(move || {
            let outcome = policy.admit(offered.key.as_ref(), stored.as_deref(), &offered.value, SystemTime::now());
            Admission { source, offered, stored, kept, outcome }
        });
    }

    fn stored_value(&mut self, key: &RecordKey) -> Option<Vec<u8>> {
        self.kad(Dht::Ggen).store_mut().get(key).map(|known| known.value.clone())
    }

    pub(super) fn on_admission(&mut self, admission: Admission) {
        let Admission { source, offered, stored, kept, outcome } = admission;
        let refused = match outcome {
            // The stored value has changed during validation: validate again, or the change would be lost.
            Ok(_) if stored != self.stored_value(&offered.key) => return self.judge_record(source, offered, kept),
            Ok(value) => {
                let put = self.kad(Dht::Ggen).store_mut().put(Record { value, ..offered });
                put.err().map(|error| Refused { reason: error.to_string(), is_lie: false })
            }
            Err(refused) => Some(refused),
        };
        if let Some(refused) = refused {
            self.refuse_record(source, &refused);
        }
        tell_kept(kept);
    }

    /// Logs a refused record. If no honest peer offers such a record, its sender is also reported.
    fn refuse_record(&self, source: PeerId, refused: &Refused) {
        let Refused { reason, is_lie } = refused;
        tracing::info!(target: crate::LOG_TARGET, %source, reason, is_lie, "offered record refused");
        if *is_lie && source != *self.swarm.local_peer_id() {
            self.tell(PeerObservation::InvalidRecord { peer: source });
        }
    }

    fn on_query(&mut self, dht: Dht, id: kad::QueryId, result: QueryResult, last: bool, walked: Walked) {
        match &result {
            QueryResult::GetProviders(Ok(GetProvidersOk::FoundProviders { providers, .. })) => {
                self.on_providers(dht, id, providers.iter().copied());
            }
            QueryResult::GetRecord(Ok(GetRecordOk::FoundRecord(found))) => {
                if let Some(Purpose::Record { found: asker, .. }) = self.pending.get(dht, id)
                    && asker.try_send(FoundRecord { value: found.record.value.clone(), from: found.peer }).is_err()
                {
                    tracing::debug!(target: crate::LOG_TARGET, "a value found is not waited for");
                }
            }
            _ => {}
        }
        if last && let Some(purpose) = self.pending.finish(dht, id) {
            self.on_query_end(purpose, result, walked);
        }
    }

    /// Passes providers to the caller and dials them at once: the addresses found with them are known only while the
    /// query runs.
    fn on_providers(&mut self, dht: Dht, id: kad::QueryId, providers: impl Iterator<Item = PeerId>) {
        let local = *self.swarm.local_peer_id();
        let others = providers.filter(|peer| *peer != local).take(MAX_DIALS_PER_ANSWER);
        match self.pending.get(dht, id) {
            Some(Purpose::Providers(asker)) => {
                let asker = asker.clone();
                for peer in others {
                    self.dial_found(peer);
                    if asker.try_send(peer).is_err() {
                        return;
                    }
                }
            }
            Some(Purpose::Trial(tried)) => {
                let tried = tried.clone();
                others.for_each(|peer| self.try_peer(peer, tried.clone()));
            }
            Some(Purpose::Rendezvous) => others.for_each(|peer| self.dial_found(peer)),
            _ => {}
        }
    }

    fn on_query_end(&mut self, purpose: Purpose, result: QueryResult, walked: Walked) {
        let now = Instant::now();
        match (purpose, result) {
            (Purpose::ClosestFor(item), QueryResult::GetClosestPeers(found)) => {
                let peers = match found {
                    Ok(GetClosestPeersOk { peers, .. }) | Err(GetClosestPeersError::Timeout { peers, .. }) => peers,
                };
                self.put_to(item, peers, now);
            }
            (Purpose::Put(item), QueryResult::PutRecord(outcome)) => {
                let taken = match outcome {
                    Ok(_) => 1,
                    Err(PutRecordError::QuorumFailed { success, .. } | PutRecordError::Timeout { success, .. }) => {
                        success.len()
                    }
                };
                self.republisher.done(&item, taken, now);
            }
            (Purpose::Provide(item), QueryResult::StartProviding(outcome)) => {
                // `ADD_PROVIDER` has no response: the peers that answered the lookup are those that it is sent to.
                let told = match outcome {
                    Ok(_) => walked.answered,
                    Err(AddProviderError::Timeout { .. }) => 0,
                };
                self.republisher.done(&item, told, now);
            }
            (Purpose::ClosestFor(item) | Purpose::Put(item) | Purpose::Provide(item), _) => {
                self.republisher.done(&item, 0, now);
            }
            (Purpose::Rendezvous, _) => self.meet(rendezvous::Event::Ended, now),
            (Purpose::Record { found, ended }, _) => {
                // Before the values end, so that who waits for these finds it. An asker that is gone needs none.
                let _unasked = ended.send(walked);
                drop(found);
            }
            (Purpose::Providers(_) | Purpose::Trial(_) | Purpose::Explore { .. }, _) => {}
        }
        self.republish(now);
    }

    fn put_to(&mut self, item: Item, peers: Vec<PeerInfo>, now: Instant) {
        let Item::Record(key) = &item else { return };
        let Some(value) = self.values.get(key).cloned().filter(|_| !peers.is_empty()) else {
            return self.republisher.done(&item, 0, now);
        };
        for peer in &peers {
            for address in peer.addrs.iter().filter(|address| self.reach.admits(address)) {
                self.swarm.add_peer_address(peer.peer_id, address.clone());
            }
        }
        let record = own_record(key, value);
        let ids = peers.into_iter().map(|peer| peer.peer_id).collect::<Vec<_>>();
        let id = self.kad(Dht::Ggen).put_record_to(record, ids.into_iter(), Quorum::One);
        self.pending.add(Dht::Ggen, id, Purpose::Put(item));
    }
}

fn tell_kept(kept: Option<oneshot::Sender<()>>) {
    if let Some(kept) = kept {
        // A caller that no longer waits needs no reply.
        let _unasked = kept.send(());
    }
}

/// Returns a record without a publisher: kad drops an inbound record that names the local node as publisher.
fn own_record(key: &[u8], value: Vec<u8>) -> Record {
    Record { key: RecordKey::from(key.to_vec()), value, publisher: None, expires: None }
}

#[cfg(test)]
mod tests;
