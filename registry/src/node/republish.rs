//! When what this node published is told to the DHTs again: a pure schedule.
//!
//! Every item is due at once, then every [`INTERVAL`] after a success. An attempt that reached nobody is repeated with
//! growing pauses, and at once when the first peers appear, so that a package published without a network is found soon
//! after there is one.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use super::behaviour::Dht;

/// Time between two successful announcements of an item (Amino: 22 h of a validity of 48 h).
const INTERVAL: Duration = Duration::from_secs(22 * 3600);
/// Pause after the first failure; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(5);
/// Longest pause between failed attempts.
const LONGEST_RETRY: Duration = Duration::from_secs(600);
/// Most attempts under way at once.
const MAX_UNDER_WAY: usize = 16;

/// Something that is published, on one DHT.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Item {
    /// This node has the DAG under this multihash.
    Provide(Dht, Vec<u8>),
    /// A value record of the ggen DHT, by its key.
    Record(Vec<u8>),
}

#[derive(Debug)]
struct Entry {
    due: Instant,
    failures: u32,
    under_way: bool,
    /// Set when the item changed while an attempt was under way.
    again: bool,
}

/// The schedule.
#[derive(Debug, Default)]
pub(crate) struct Republisher {
    entries: HashMap<Item, Entry>,
    queue: BTreeSet<(Instant, Item)>,
    under_way: usize,
}

impl Republisher {
    /// Adds an item, or makes a known one due at once because its value changed.
    pub(crate) fn add(&mut self, item: Item, now: Instant) {
        if let Some(entry) = self.entries.get_mut(&item)
            && entry.under_way
        {
            entry.again = true;
            return;
        }
        self.schedule(item, now, 0);
    }

    /// Returns an item that is due, and counts it as under way until [`done`](Self::done).
    pub(crate) fn next_due(&mut self, now: Instant) -> Option<Item> {
        if self.under_way >= MAX_UNDER_WAY || self.queue.first()?.0 > now {
            return None;
        }
        let (_, item) = self.queue.pop_first()?;
        self.entries.get_mut(&item)?.under_way = true;
        self.under_way += 1;
        Some(item)
    }

    /// Takes the outcome of an attempt: how many peers took the item.
    pub(crate) fn done(&mut self, item: &Item, peers: usize, now: Instant) {
        let Some(entry) = self.entries.get_mut(item) else { return };
        self.under_way -= usize::from(std::mem::take(&mut entry.under_way));
        let failures = if peers > 0 { 0 } else { entry.failures.saturating_add(1) };
        let pause = match (entry.again, failures) {
            (true, _) => Duration::ZERO,
            (false, 0) => INTERVAL,
            (false, n) => FIRST_RETRY.saturating_mul(1 << (n - 1).min(16)).min(LONGEST_RETRY),
        };
        self.schedule(item.clone(), now + pause, failures);
    }

    /// Makes everything that reached nobody so far due at once: peers have appeared.
    pub(crate) fn retry_failed(&mut self, now: Instant) {
        let failed: Vec<_> =
            self.entries.iter().filter(|(_, e)| e.failures > 0 && !e.under_way).map(|(i, _)| i.clone()).collect();
        for item in failed {
            self.schedule(item, now, 1);
        }
    }

    /// Says whether every item was attempted since it was added or changed.
    pub(crate) fn is_settled(&self, now: Instant) -> bool {
        self.under_way == 0 && self.queue.first().is_none_or(|(due, _)| *due > now)
    }

    /// When [`next_due`](Self::next_due) has something to say.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        if self.under_way >= MAX_UNDER_WAY { None } else { self.queue.first().map(|(due, _)| *due) }
    }

    fn schedule(&mut self, item: Item, due: Instant, failures: u32) {
        if let Some(former) = self.entries.get(&item) {
            self.queue.remove(&(former.due, item.clone()));
        }
        self.queue.insert((due, item.clone()));
        self.entries.insert(item, Entry { due, failures, under_way: false, again: false });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str) -> Item {
        Item::Record(name.as_bytes().to_vec())
    }

    #[test]
    fn a_success_is_repeated_after_the_interval() {
        let (mut republisher, start) = (Republisher::default(), Instant::now());
        republisher.add(record("a"), start);
        assert_eq!(republisher.next_due(start), Some(record("a")));
        assert_eq!(republisher.next_due(start), None);
        assert!(!republisher.is_settled(start));
        republisher.done(&record("a"), 3, start);
        assert!(republisher.is_settled(start));
        assert_eq!(republisher.next_due(start + INTERVAL - Duration::from_secs(1)), None);
        assert_eq!(republisher.wake_at(), Some(start + INTERVAL));
        assert_eq!(republisher.next_due(start + INTERVAL), Some(record("a")));
    }

    #[test]
    fn failures_back_off_until_peers_appear() {
        let (mut republisher, start) = (Republisher::default(), Instant::now());
        republisher.add(record("a"), start);
        let mut now = start;
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let due = republisher.wake_at().unwrap();
            pauses.push(due - now);
            now = due;
            let item = republisher.next_due(now).unwrap();
            republisher.done(&item, 0, now);
        }
        assert_eq!(&pauses[..3], [Duration::ZERO, FIRST_RETRY, FIRST_RETRY * 2]);
        assert_eq!(pauses[11], LONGEST_RETRY);
        republisher.retry_failed(now);
        assert_eq!(republisher.next_due(now), Some(record("a")));
    }

    #[test]
    fn an_item_that_changes_under_way_is_announced_again() {
        let (mut republisher, now) = (Republisher::default(), Instant::now());
        republisher.add(record("a"), now);
        let item = republisher.next_due(now).unwrap();
        republisher.add(record("a"), now);
        assert_eq!(republisher.next_due(now), None);
        republisher.done(&item, 5, now);
        assert_eq!(republisher.next_due(now), Some(record("a")));
    }

    #[test]
    fn attempts_under_way_are_bounded() {
        let (mut republisher, now) = (Republisher::default(), Instant::now());
        for n in 0..100 {
            republisher.add(record(&n.to_string()), now);
        }
        let started = std::iter::from_fn(|| republisher.next_due(now)).count();
        assert_eq!(started, MAX_UNDER_WAY);
        assert_eq!(republisher.wake_at(), None);
    }
}
