//! When published items are announced on the DHTs: a pure schedule.
//!
//! Every item is due at once, then every [`INTERVAL`] after a success. An attempt that reached no peer is repeated with
//! growing pauses, and at once when the DHT has a new peer, so that a package published without a network is found soon
//! after there is one. Keywords are many and no caller waits for them: they have the lowest priority, with few under
//! way and pauses in between.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use crate::node::behaviour::Dht;

/// Time between two successful announcements of an item (Amino: 22 h of a validity of 48 h).
const INTERVAL: Duration = Duration::from_secs(22 * 3600);
/// Pause after the first failure; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(5);
/// Longest pause between failed attempts.
const LONGEST_RETRY: Duration = Duration::from_secs(600);
/// Maximum number of attempts under way, keywords not counted.
const MAX_UNDER_WAY: usize = 16;
/// Maximum number of keywords under way.
const MAX_WORDS_UNDER_WAY: usize = 2;
/// Time between two keywords, so that hundreds of them do not delay lookups that a caller waits for.
const WORD_PAUSE: Duration = Duration::from_millis(20);
/// Maximum number of keywords a node provides; further ones are ignored.
pub(in crate::node) const MAX_WORDS: usize = 2048;

/// A published item, on one DHT.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Item {
    /// This node provides the DAG under this multihash.
    Provide(Dht, Vec<u8>),
    /// A value record of the ggen DHT, by its key.
    Record(Vec<u8>),
    /// This node provides the multihash of a keyword on the ggen DHT.
    Word(Vec<u8>),
}

impl Item {
    fn dht(&self) -> Dht {
        match self {
            Self::Provide(dht, _) => *dht,
            Self::Record(_) | Self::Word(_) => Dht::Ggen,
        }
    }

    fn is_word(&self) -> bool {
        matches!(self, Self::Word(_))
    }
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
    words: BTreeSet<(Instant, Item)>,
    words_under_way: usize,
    /// No further keyword is due before this time.
    words_rest_until: Option<Instant>,
}

impl Republisher {
    /// Adds an item, or makes a known one due at once because its value changed.
    ///
    /// A known keyword keeps its schedule. Keywords beyond [`MAX_WORDS`] are ignored.
    pub(crate) fn add(&mut self, item: Item, now: Instant) {
        if item.is_word() && (self.entries.contains_key(&item) || self.number_of_words() >= MAX_WORDS) {
            return;
        }
        if let Some(entry) = self.entries.get_mut(&item)
            && entry.under_way
        {
            entry.again = true;
            return;
        }
        self.schedule(item, now, 0);
    }

    /// Forgets an item. An attempt under way ends by itself.
    pub(crate) fn remove(&mut self, item: &Item) {
        let Some(entry) = self.entries.remove(item) else { return };
        let (queue, under_way) = match item.is_word() {
            true => (&mut self.words, &mut self.words_under_way),
            false => (&mut self.queue, &mut self.under_way),
        };
        queue.remove(&(entry.due, item.clone()));
        *under_way -= usize::from(entry.under_way);
    }

    /// Returns an item that is due, and counts it as under way until [`done`](Self::done).
    pub(crate) fn next_due(&mut self, now: Instant) -> Option<Item> {
        if self.under_way < MAX_UNDER_WAY && self.queue.first().is_some_and(|(due, _)| *due <= now) {
            let (_, item) = self.queue.pop_first()?;
            self.entries.get_mut(&item)?.under_way = true;
            self.under_way += 1;
            return Some(item);
        }
        if self.word_due().is_none_or(|due| due > now) || self.under_way > 0 {
            return None;
        }
        let (_, item) = self.words.pop_first()?;
        self.entries.get_mut(&item)?.under_way = true;
        self.words_under_way += 1;
        self.words_rest_until = Some(now + WORD_PAUSE);
        Some(item)
    }

    /// When the next keyword is due.
    fn word_due(&self) -> Option<Instant> {
        let (due, _) = self.words.first().filter(|_| self.words_under_way < MAX_WORDS_UNDER_WAY)?;
        Some(self.words_rest_until.map_or(*due, |rest| rest.max(*due)))
    }

    fn number_of_words(&self) -> usize {
        self.words.len() + self.words_under_way
    }

    /// Records the outcome of an attempt: the number of peers that the item reached.
    pub(crate) fn done(&mut self, item: &Item, peers: usize, now: Instant) {
        let Some(entry) = self.entries.get_mut(item) else { return };
        let ended = usize::from(std::mem::take(&mut entry.under_way));
        match item.is_word() {
            true => self.words_under_way -= ended,
            false => self.under_way -= ended,
        }
        let failures = if peers > 0 { 0 } else { entry.failures.saturating_add(1) };
        let pause = match (entry.again, failures) {
            (true, _) => Duration::ZERO,
            (false, 0) => INTERVAL,
            (false, n) => FIRST_RETRY.saturating_mul(1 << (n - 1).min(16)).min(LONGEST_RETRY),
        };
        self.schedule(item.clone(), now + pause, failures);
    }

    /// Makes every failed item of one DHT due at once, because the DHT has a new peer.
    pub(crate) fn retry_failed(&mut self, dht: Dht, now: Instant) {
        let failed =
            self.entries.iter().filter(|(item, entry)| entry.failures > 0 && !entry.under_way && item.dht() == dht);
        let failed: Vec<_> = failed.map(|(item, _)| item.clone()).collect();
        for item in failed {
            self.schedule(item, now, 1);
        }
    }

    /// Whether every item was attempted since it was added or changed. Keywords do not count.
    pub(crate) fn is_settled(&self, now: Instant) -> bool {
        self.under_way == 0 && self.queue.first().is_none_or(|(due, _)| *due > now)
    }

    /// When [`next_due`](Self::next_due) returns the next item.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        // The end of an attempt recomputes this time, so keywords need no wake-up while other items are under way.
        let urgent = self.queue.first().filter(|_| self.under_way < MAX_UNDER_WAY).map(|(due, _)| *due);
        let word = if self.under_way == 0 { self.word_due() } else { None };
        urgent.into_iter().chain(word).min()
    }

    fn schedule(&mut self, item: Item, due: Instant, failures: u32) {
        let queue = if item.is_word() { &mut self.words } else { &mut self.queue };
        if let Some(former) = self.entries.get(&item) {
            queue.remove(&(former.due, item.clone()));
        }
        queue.insert((due, item.clone()));
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
        republisher.retry_failed(Dht::Lan, now);
        assert_eq!(republisher.next_due(now), None, "a peer of another DHT is of no use");
        republisher.retry_failed(Dht::Ggen, now);
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
    fn what_is_removed_is_announced_no_more_and_leaves_its_place() {
        let (mut republisher, now) = (Republisher::default(), Instant::now());
        for n in 0..MAX_UNDER_WAY + 1 {
            republisher.add(record(&n.to_string()), now);
        }
        let started: Vec<_> = std::iter::from_fn(|| republisher.next_due(now)).collect();
        republisher.remove(&started[0]);
        let last = republisher.next_due(now).expect("a place is free");
        republisher.done(&started[0], 0, now);
        started[1..].iter().chain([&last]).for_each(|item| republisher.done(item, 1, now));
        assert!(republisher.is_settled(now));
        assert_eq!(republisher.next_due(now + LONGEST_RETRY), None, "the late end of the attempt brings nothing back");
        republisher.remove(&last);
        assert_eq!(republisher.queue.len(), MAX_UNDER_WAY - 1);
    }

    #[test]
    fn words_come_last_few_at_a_time_and_nobody_waits_for_them() {
        let (mut republisher, start) = (Republisher::default(), Instant::now());
        let word = |number: usize| Item::Word(number.to_be_bytes().to_vec());
        for number in 0..2 * MAX_WORDS {
            republisher.add(word(number), start);
        }
        assert_eq!(republisher.number_of_words(), MAX_WORDS);
        republisher.add(record("a"), start);
        assert_eq!(republisher.next_due(start), Some(record("a")));
        assert_eq!(republisher.next_due(start), None, "a word waits until the rest is done");
        republisher.done(&record("a"), 1, start);
        assert!(republisher.is_settled(start));
        let mut now = start;
        let mut told = Vec::new();
        while told.len() < 10 {
            match republisher.next_due(now) {
                Some(item) => told.push(item),
                None if republisher.words_under_way == MAX_WORDS_UNDER_WAY => {
                    let item = told.last().unwrap().clone();
                    republisher.done(&item, 1, now);
                }
                None => now = republisher.wake_at().unwrap(),
            }
        }
        assert!(now >= start + WORD_PAUSE * 9, "there are pauses");
        assert_eq!(told[..2], [word(0), word(1)]);
        republisher.add(word(0), now);
        assert_eq!(republisher.number_of_words(), MAX_WORDS, "a word told is not told again before its time");
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
