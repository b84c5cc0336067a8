//! What a DHT server keeps for others: value records and provider records, bounded and in memory.
//!
//! Value records are validated and merged before they are put here (see `admission`); this store only keeps them
//! within bounds. When it is full, the records whose keys lie farthest from the node's own id go first: those are the
//! ones that others are responsible for.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, hash_map::Values},
    time::Instant,
};

use libp2p::{
    PeerId,
    kad::{
        KBucketDistance, KBucketKey, ProviderRecord, Record, RecordKey,
        store::{Error, RecordStore as Store, Result},
    },
};

/// Most value records kept.
const MAX_RECORDS: usize = 8192;
/// Most bytes of value records kept.
const MAX_RECORD_BYTES: usize = 32 << 20;
/// Largest value kept, in bytes.
pub(crate) const MAX_VALUE_BYTES: usize = 512 << 10;
/// Most keys with providers kept.
const MAX_PROVIDED_KEYS: usize = 32_768;
/// Most providers kept for one key; those nearest to the key stay (Kademlia's k).
const MAX_PROVIDERS_PER_KEY: usize = 20;
/// Longest key of a provider record, in bytes (Amino).
const MAX_PROVIDER_KEY_BYTES: usize = 80;
/// Most addresses kept of one provider.
const MAX_PROVIDER_ADDRESSES: usize = 16;

/// A bounded record store.
#[derive(Debug)]
pub(crate) struct RecordStore {
    local: PeerId,
    records: HashMap<RecordKey, Record>,
    record_distances: BTreeMap<KBucketDistance, RecordKey>,
    record_bytes: usize,
    providers: HashMap<RecordKey, Vec<ProviderRecord>>,
    provider_distances: BTreeMap<KBucketDistance, RecordKey>,
    /// What this node itself provides: never evicted, its number is bounded by what the user published.
    provided: HashMap<RecordKey, ProviderRecord>,
}

impl RecordStore {
    pub(crate) fn new(local: PeerId) -> Self {
        Self {
            local,
            records: HashMap::new(),
            record_distances: BTreeMap::new(),
            record_bytes: 0,
            providers: HashMap::new(),
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
        while self.providers.len() > MAX_PROVIDED_KEYS {
            let Some((_, key)) = self.provider_distances.pop_last() else { return };
            self.providers.remove(&key);
        }
    }

    /// Forgets what has expired; called now and then by the event loop.
    pub(crate) fn expire(&mut self, now: Instant) {
        let stale: Vec<_> = self.records.values().filter(|r| r.is_expired(now)).map(|r| r.key.clone()).collect();
        for key in &stale {
            self.drop_record(key);
        }
        for list in self.providers.values_mut() {
            list.retain(|record| !record.is_expired(now));
        }
        let empty: Vec<_> = self.providers.iter().filter(|(_, list)| list.is_empty()).map(|(k, _)| k.clone()).collect();
        for key in empty {
            self.providers.remove(&key);
            self.provider_distances.remove(&self.distance(&key));
        }
    }
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
        record.addresses.truncate(MAX_PROVIDER_ADDRESSES);
        let key = record.key.clone();
        let target = KBucketKey::new(key.clone());
        let list = self.providers.entry(key.clone()).or_default();
        list.retain(|known| known.provider != record.provider);
        list.push(record);
        list.sort_by_cached_key(|known| KBucketKey::from(known.provider).distance(&target));
        list.truncate(MAX_PROVIDERS_PER_KEY);
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
        if let Some(list) = self.providers.get_mut(key) {
            list.retain(|known| known.provider != *provider);
            if list.is_empty() {
                self.providers.remove(key);
                self.provider_distances.remove(&self.distance(key));
            }
        }
    }
}
