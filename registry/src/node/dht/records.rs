//! What a DHT server stores for other peers: value records and provider records, bounded and in memory.
//!
//! Value records of the ggen DHT are validated and merged before they are put (see `validator`); this store only
//! enforces its limits. Values of the IPFS DHT are validated by `put` (see `amino`): a refusal resets the stream, so
//! that the sender is notified before kad confirms the value. When the store is full, it evicts the records whose keys
//! are farthest from the node's own ID: other peers are responsible for those.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, hash_map::Values},
    time::{Instant, SystemTime},
};

use libp2p::{
    PeerId,
    kad::{
        KBucketDistance, KBucketKey, ProviderRecord, Record, RecordKey,
        store::{Error, RecordStore as Store, Result},
    },
};

use crate::node::dht::amino;

/// Rate limit of signature checks for values of the IPFS DHT: a burst, and a rate. The task that owns the swarm does
/// them, and one takes up to 0.5 ms (RSA with 8192 bits). Values beyond the limit are refused; their senders try again
/// or use another server.
const CHECKS_AT_ONCE: f64 = 256.0;
const CHECKS_PER_SECOND: f64 = 128.0;
/// Maximum number of value records.
const MAX_RECORDS: usize = 8192;
/// Maximum size of all value records together, in bytes.
const MAX_RECORD_BYTES: usize = 32 << 20;
/// Largest value, in bytes.
pub(crate) const MAX_VALUE_BYTES: usize = 512 << 10;
/// Maximum number of keys with providers.
const MAX_PROVIDED_KEYS: usize = 32_768;
/// Maximum number of providers per key; those nearest to the key stay (Kademlia's k).
const MAX_PROVIDERS_PER_KEY: usize = 20;
/// Longest key of a provider record, in bytes (Amino).
const MAX_PROVIDER_KEY_BYTES: usize = 80;
/// Maximum number of addresses per provider.
const MAX_PROVIDER_ADDRESSES: usize = 16;
/// Longest address of a provider, in bytes.
const MAX_ADDRESS_BYTES: usize = 256;
/// Maximum size of all provider records together, in bytes, with keys and addresses.
const MAX_PROVIDER_BYTES: usize = 32 << 20;

/// How `put` treats a value record.
#[derive(Debug)]
enum Rule {
    /// The caller has validated it.
    Keep,
    /// `put` validates it as a value of the IPFS DHT.
    Amino(Checks),
}

/// The rate limit of signature checks: a token bucket.
#[derive(Debug)]
struct Checks {
    tokens: f64,
    filled: Instant,
}

impl Checks {
    fn take(&mut self, now: Instant) -> bool {
        let seconds = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + seconds * CHECKS_PER_SECOND).min(CHECKS_AT_ONCE);
        self.filled = now;
        let has_one = self.tokens >= 1.0;
        if has_one {
            self.tokens -= 1.0;
        }
        has_one
    }
}

/// A bounded record store.
#[derive(Debug)]
pub(crate) struct RecordStore {
    local: PeerId,
    rule: Rule,
    records: HashMap<RecordKey, Record>,
    record_distances: BTreeMap<KBucketDistance, RecordKey>,
    record_bytes: usize,
    providers: HashMap<RecordKey, Vec<ProviderRecord>>,
    provider_bytes: usize,
    provider_distances: BTreeMap<KBucketDistance, RecordKey>,
    /// What this node itself provides. Never evicted: its number is bounded by what the user published.
    provided: HashMap<RecordKey, ProviderRecord>,
}

impl RecordStore {
    /// Creates a store for values that are validated before they are put.
    pub(crate) fn new(local: PeerId) -> Self {
        Self::with_rule(local, Rule::Keep)
    }

    /// Creates the store of an IPFS DHT server: it accepts valid IPNS records and public keys only.
    pub(crate) fn amino(local: PeerId) -> Self {
        Self::with_rule(local, Rule::Amino(Checks { tokens: CHECKS_AT_ONCE, filled: Instant::now() }))
    }

    fn with_rule(local: PeerId, rule: Rule) -> Self {
        Self {
            local,
            rule,
            records: HashMap::new(),
            record_distances: BTreeMap::new(),
            record_bytes: 0,
            providers: HashMap::new(),
            provider_bytes: 0,
            provider_distances: BTreeMap::new(),
            provided: HashMap::new(),
        }
    }

    fn distance(&self, key: &RecordKey) -> KBucketDistance {
        KBucketKey::from(self.local).distance(&KBucketKey::new(key.clone()))
    }

    fn drop_record(&mut self, key: &RecordKey) {
        if let Some(record) = self.records.remove(key) {
            self.record_bytes -= record.value.len();
            self.record_distances.remove(&self.distance(key));
        }
    }

    fn evict_farthest_records(&mut self) {
        while self.records.len() > MAX_RECORDS || self.record_bytes > MAX_RECORD_BYTES {
            let Some((_, key)) = self.record_distances.pop_last() else { return };
            self.drop_record(&key);
        }
    }

    fn evict_farthest_providers(&mut self) {
        while self.providers.len() > MAX_PROVIDED_KEYS || self.provider_bytes > MAX_PROVIDER_BYTES {
            let Some((_, key)) = self.provider_distances.pop_last() else { return };
            let gone = self.providers.remove(&key).unwrap_or_default();
            self.provider_bytes -= bytes_of(&gone);
        }
    }

    /// Validates a value if this is a store of the IPFS DHT. The value expires no later than its validity ends.
    fn validated(&mut self, mut record: Record, now: Instant, time: SystemTime) -> Result<Record> {
        let Rule::Amino(checks) = &mut self.rule else { return Ok(record) };
        let stored = self.records.get(&record.key).filter(|known| !known.is_expired(now));
        let stored = stored.map(|known| known.value.as_slice());
        // A stored value needs no check: publishers and resolvers put the same record again every few hours.
        if stored != Some(&record.value) && !checks.take(now) {
            return Err(Error::MaxRecords);
        }
        match amino::admit(record.key.as_ref(), stored, &record.value, time) {
            Ok(valid_until) => {
                let left = valid_until.map(|end| end.duration_since(time).unwrap_or_default());
                let ends = left.and_then(|left| now.checked_add(left));
                record.expires = record.expires.into_iter().chain(ends).min();
                Ok(record)
            }
            Err(error) => {
                tracing::debug!(target: crate::LOG_TARGET, %error, "a value of the IPFS DHT is refused");
                // kad has no error for a refusal; any error resets the stream.
                Err(Error::MaxRecords)
            }
        }
    }

    /// Removes expired records. The event loop calls it periodically.
    pub(crate) fn expire(&mut self, now: Instant) {
        let stale: Vec<_> = self.records.values().filter(|r| r.is_expired(now)).map(|r| r.key.clone()).collect();
        for key in &stale {
            self.drop_record(key);
        }
        for key in self.providers.keys().cloned().collect::<Vec<_>>() {
            self.keep_providers(&key, |record| !record.is_expired(now));
        }
    }

    /// Keeps those providers of a key for which `wanted` returns true.
    fn keep_providers(&mut self, key: &RecordKey, wanted: impl Fn(&ProviderRecord) -> bool) {
        let Some(list) = self.providers.get_mut(key) else { return };
        let before = bytes_of(list);
        list.retain(wanted);
        let after = bytes_of(list);
        let is_empty = list.is_empty();
        self.provider_bytes -= before - after;
        if is_empty {
            self.providers.remove(key);
            self.provider_distances.remove(&self.distance(key));
        }
    }
}

/// Memory that the provider records of one key use, in bytes.
fn bytes_of(records: &[ProviderRecord]) -> usize {
    let addresses = |record: &ProviderRecord| record.addresses.iter().map(|address| address.len()).sum::<usize>();
    records.iter().map(|record| size_of::<ProviderRecord>() + record.key.as_ref().len() + addresses(record)).sum()
}

impl Store for RecordStore {
    type RecordsIter<'a> = std::iter::Map<Values<'a, RecordKey, Record>, fn(&'a Record) -> Cow<'a, Record>>;
    type ProvidedIter<'a> =
        std::iter::Map<Values<'a, RecordKey, ProviderRecord>, fn(&'a ProviderRecord) -> Cow<'a, ProviderRecord>>;

    fn get(&self, key: &RecordKey) -> Option<Cow<'_, Record>> {
        self.records.get(key).map(Cow::Borrowed)
    }

    fn put(&mut self, record: Record) -> Result<()> {
        if record.value.len() > MAX_VALUE_BYTES {
            return Err(Error::ValueTooLarge);
        }
        let record = self.validated(record, Instant::now(), SystemTime::now())?;
        self.drop_record(&record.key);
        self.record_bytes += record.value.len();
        self.record_distances.insert(self.distance(&record.key), record.key.clone());
        self.records.insert(record.key.clone(), record);
        self.evict_farthest_records();
        Ok(())
    }

    fn remove(&mut self, key: &RecordKey) {
        self.drop_record(key);
    }

    fn records(&self) -> Self::RecordsIter<'_> {
        self.records.values().map(Cow::Borrowed)
    }

    fn add_provider(&mut self, mut record: ProviderRecord) -> Result<()> {
        if record.key.as_ref().is_empty() || record.key.as_ref().len() > MAX_PROVIDER_KEY_BYTES {
            return Err(Error::ValueTooLarge);
        }
        if record.provider == self.local {
            self.provided.insert(record.key.clone(), record);
            return Ok(());
        }
        record.addresses.retain(|address| address.len() <= MAX_ADDRESS_BYTES);
        record.addresses.truncate(MAX_PROVIDER_ADDRESSES);
        let key = record.key.clone();
        let target = KBucketKey::new(key.clone());
        let list = self.providers.entry(key.clone()).or_default();
        let before = bytes_of(list);
        list.retain(|known| known.provider != record.provider);
        list.push(record);
        list.sort_by_cached_key(|known| KBucketKey::from(known.provider).distance(&target));
        list.truncate(MAX_PROVIDERS_PER_KEY);
        self.provider_bytes = self.provider_bytes + bytes_of(list) - before;
        self.provider_distances.insert(self.distance(&key), key);
        self.evict_farthest_providers();
        Ok(())
    }

    fn providers(&self, key: &RecordKey) -> Vec<ProviderRecord> {
        let others = self.providers.get(key).into_iter().flatten();
        self.provided.get(key).into_iter().chain(others).cloned().collect()
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        self.provided.values().map(Cow::Borrowed)
    }

    fn remove_provider(&mut self, key: &RecordKey, provider: &PeerId) {
        if *provider == self.local {
            self.provided.remove(key);
            return;
        }
        self.keep_providers(key, |known| known.provider != *provider);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use libp2p::{Multiaddr, identity::Keypair, multiaddr::Protocol};

    use super::*;

    fn key(name: &str) -> RecordKey {
        RecordKey::from(name.as_bytes().to_vec())
    }

    fn provider(name: &str, address: &str) -> ProviderRecord {
        ProviderRecord::new(key(name), PeerId::random(), vec![address.parse().unwrap()])
    }

    #[test]
    fn the_providers_nearest_to_a_key_stay() {
        let mut store = RecordStore::new(PeerId::random());
        let mut all: Vec<_> = (0..3 * MAX_PROVIDERS_PER_KEY).map(|_| provider("k", "/ip4/8.8.8.8/tcp/1")).collect();
        for record in &all {
            store.add_provider(record.clone()).unwrap();
        }
        let target = KBucketKey::new(key("k"));
        all.sort_by_cached_key(|record| KBucketKey::from(record.provider).distance(&target));
        let kept: Vec<_> = store.providers(&key("k")).into_iter().map(|record| record.provider).collect();
        assert_eq!(kept, all[..MAX_PROVIDERS_PER_KEY].iter().map(|record| record.provider).collect::<Vec<_>>());
    }

    #[test]
    fn endless_addresses_are_not_kept() {
        let mut store = RecordStore::new(PeerId::random());
        let mut long = Multiaddr::empty();
        for _ in 0..100 {
            long.push(Protocol::Dns("a-rather-long-name.example.org".into()));
        }
        let mut record = provider("k", "/ip4/8.8.8.8/tcp/1");
        record.addresses = std::iter::repeat_n(long, 1000).chain(record.addresses).collect();
        store.add_provider(record).unwrap();
        let kept = store.providers(&key("k"));
        assert_eq!(kept[0].addresses, ["/ip4/8.8.8.8/tcp/1".parse().unwrap()]);
        assert_eq!(store.provider_bytes, bytes_of(&kept));
    }

    #[test]
    fn what_others_are_responsible_for_goes_first() {
        let local = PeerId::random();
        let mut store = RecordStore::new(local);
        let value = vec![0; MAX_VALUE_BYTES];
        let names: Vec<_> = (0..2 * MAX_RECORD_BYTES / MAX_VALUE_BYTES).map(|n| n.to_string()).collect();
        for name in &names {
            store.put(Record::new(key(name), value.clone())).unwrap();
        }
        assert!(store.record_bytes <= MAX_RECORD_BYTES);
        let nearest = names.iter().min_by_key(|name| store.distance(&key(name))).unwrap();
        assert!(store.get(&key(nearest)).is_some());
        assert!(store.put(Record::new(key("x"), vec![0; MAX_VALUE_BYTES + 1])).is_err());
    }

    fn ipns(sequence: u64, validity: &str, key: &Keypair) -> Record {
        let name = [b"/ipns/", &key.public().to_peer_id().to_bytes()[..]].concat();
        Record::new(name, amino::Draft::new(sequence, validity).signed(key))
    }

    #[test]
    fn a_record_of_the_ipfs_dht_lives_no_longer_than_it_is_valid() {
        let (mut store, now, key) = (RecordStore::amino(PeerId::random()), Instant::now(), Keypair::generate_ed25519());
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let mut validated = |record: Record, at| store.validated(record, now, time + Duration::from_secs(at));
        let record = ipns(1, "2023-11-14T22:13:30Z", &key);
        let kept = validated(record.clone(), 0).unwrap();
        assert_eq!(kept.expires, Some(now + Duration::from_secs(10)));
        let soon = Some(now + Duration::from_secs(3));
        assert_eq!(validated(Record { expires: soon, ..record.clone() }, 0).unwrap().expires, soon);
        assert!(validated(record, 11).is_err());
    }

    #[test]
    fn signatures_are_checked_at_a_bounded_rate_and_what_is_known_is_not_checked_again() {
        let (mut store, now, time) = (RecordStore::amino(PeerId::random()), Instant::now(), SystemTime::now());
        let key = Keypair::generate_ed25519();
        let known = ipns(1, "2130-01-01T00:00:00Z", &key);
        store.put(known.clone()).unwrap();
        let junk = || Record::new(b"/ipns/x".to_vec(), Vec::new());
        (0..CHECKS_AT_ONCE as u32).for_each(|_| drop(store.validated(junk(), now, time)));
        let newer = ipns(2, "2130-01-01T00:00:00Z", &key);
        assert!(store.validated(newer.clone(), now, time).is_err());
        assert!(store.validated(known, now, time).is_ok());
        assert!(store.validated(newer, now + Duration::from_secs(1), time).is_ok());
    }

    #[test]
    fn what_has_expired_is_forgotten_and_its_bytes_are_free_again() {
        let (mut store, now) = (RecordStore::new(PeerId::random()), Instant::now());
        let mut record = provider("k", "/ip4/8.8.8.8/tcp/1");
        record.expires = Some(now + Duration::from_secs(10));
        store.add_provider(record).unwrap();
        store.expire(now + Duration::from_secs(9));
        assert_eq!(store.providers(&key("k")).len(), 1);
        store.expire(now + Duration::from_secs(10));
        assert_eq!((store.providers(&key("k")).len(), store.provider_bytes), (0, 0));
        assert!(store.provider_distances.is_empty());
    }
}
