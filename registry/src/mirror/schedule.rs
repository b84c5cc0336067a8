//! Decides when a mirror reads which publisher's catalog. Performs no I/O.
//!
//! An event of a publisher makes it due at once. At the start, every [`ROUND_EVERY`] and when the rules change, a round
//! looks for publishers that the rules cover. A publisher that could not be read is retried after a pause that doubles.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use crate::identity::PublisherId;

/// Time between two rounds.
const ROUND_EVERY: Duration = Duration::from_secs(900);
/// Pause after the first failure; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(5);
/// Longest pause.
const LONGEST_RETRY: Duration = Duration::from_secs(900);
/// Publishers followed at a time, so that a slow one delays few others.
const MAX_RUNNING: usize = 4;
/// Maximum number of waiting publishers; a round finds the rest again.
const MAX_WAITING: usize = 16_384;

/// The next action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Look for publishers that rules are about.
    Round,
    /// Read the catalog of this publisher.
    Follow(PublisherId),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Schedule {
    next_round: Instant,
    in_round: bool,
    waiting: BTreeMap<PublisherId, Instant>,
    running: BTreeSet<PublisherId>,
    failures: BTreeMap<PublisherId, u32>,
}

impl Schedule {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            next_round: now,
            in_round: false,
            waiting: BTreeMap::new(),
            running: BTreeSet::new(),
            failures: BTreeMap::new(),
        }
    }

    /// A publisher is to be looked at now.
    pub(crate) fn on_news(&mut self, publisher: PublisherId, now: Instant) {
        if self.waiting.len() < MAX_WAITING || self.waiting.contains_key(&publisher) {
            self.waiting.insert(publisher, now);
        }
    }

    /// A round is due now.
    pub(crate) fn round_now(&mut self, now: Instant) {
        self.next_round = now;
    }

    /// The next thing that is due.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Step> {
        if !self.in_round && self.next_round <= now {
            self.in_round = true;
            self.next_round = now + ROUND_EVERY;
            return Some(Step::Round);
        }
        if self.running.len() >= MAX_RUNNING {
            return None;
        }
        let due = |(publisher, at): &(&PublisherId, &Instant)| **at <= now && !self.running.contains(*publisher);
        let publisher = *self.waiting.iter().filter(due).min_by_key(|(_, at)| **at)?.0;
        self.waiting.remove(&publisher);
        self.running.insert(publisher);
        Some(Step::Follow(publisher))
    }

    /// A round has ended; whom it found is looked at, unless it waits already.
    pub(crate) fn round_done(&mut self, found: impl IntoIterator<Item = PublisherId>, now: Instant) {
        self.in_round = false;
        self.found(found, now);
    }

    /// Rules are about these publishers: they are looked at, unless they wait already.
    pub(crate) fn found(&mut self, found: impl IntoIterator<Item = PublisherId>, now: Instant) {
        for publisher in found {
            if !self.waiting.contains_key(&publisher) {
                self.on_news(publisher, now);
            }
        }
    }

    /// A publisher was looked at, with success or without.
    pub(crate) fn followed(&mut self, publisher: PublisherId, well: bool, now: Instant) {
        self.running.remove(&publisher);
        if well {
            self.failures.remove(&publisher);
            return;
        }
        let failures = self.failures.entry(publisher).or_default();
        *failures = failures.saturating_add(1);
        let pause = FIRST_RETRY.saturating_mul(1 << (*failures - 1).min(16)).min(LONGEST_RETRY);
        // An event in the meantime has made it due sooner.
        if !self.waiting.contains_key(&publisher) {
            self.on_news(publisher, now + pause);
        }
        if !self.waiting.contains_key(&publisher) {
            self.failures.remove(&publisher);
        }
    }

    /// When [`next`](Self::next) has something to say.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        let round = (!self.in_round).then_some(self.next_round);
        let waiting = self.waiting.iter().filter(|(publisher, _)| !self.running.contains(*publisher));
        let publisher = if self.running.len() < MAX_RUNNING { waiting.map(|(_, at)| *at).min() } else { None };
        round.into_iter().chain(publisher).min()
    }
}

#[cfg(test)]
mod tests {
    use ggen_blockstore::Block;

    use super::*;

    fn publisher(seed: u8) -> PublisherId {
        PublisherId::new(*Block::dag_cbor(vec![seed]).unwrap().cid()).unwrap()
    }

    #[test]
    fn a_round_comes_first_then_again_and_again() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        assert_eq!(schedule.next(start), Some(Step::Round));
        assert_eq!(schedule.next(start), None, "one at a time");
        schedule.found([publisher(1)], start);
        assert_eq!(schedule.next(start), Some(Step::Follow(publisher(1))), "no lookup holds up whom the catalog knows");
        schedule.round_done([], start);
        schedule.followed(publisher(1), true, start);
        assert_eq!(schedule.wake_at(), Some(start + ROUND_EVERY));
        assert_eq!(schedule.next(start + ROUND_EVERY - Duration::from_secs(1)), None);
        assert_eq!(schedule.next(start + ROUND_EVERY), Some(Step::Round));
    }

    #[test]
    fn news_during_a_look_lead_to_another_look() {
        let now = Instant::now();
        let mut schedule = Schedule::new(now);
        schedule.next(now);
        schedule.on_news(publisher(1), now);
        assert_eq!(schedule.next(now), Some(Step::Follow(publisher(1))));
        schedule.on_news(publisher(1), now);
        assert_eq!(schedule.next(now), None, "not beside the look that is under way");
        schedule.followed(publisher(1), true, now);
        assert_eq!(schedule.next(now), Some(Step::Follow(publisher(1))));
    }

    #[test]
    fn failures_pause_longer_and_longer_and_hold_up_nobody_else() {
        let mut now = Instant::now();
        let mut schedule = Schedule::new(now);
        schedule.next(now);
        schedule.round_done([], now);
        schedule.on_news(publisher(1), now);
        let mut pauses = Vec::new();
        for _ in 0..12 {
            assert_eq!(schedule.next(now), Some(Step::Follow(publisher(1))));
            schedule.round_now(now + ROUND_EVERY * 100);
            schedule.followed(publisher(1), false, now);
            let due = schedule.wake_at().unwrap();
            pauses.push((due - now).as_secs());
            now = due;
        }
        assert_eq!(pauses[..4], [5, 10, 20, 40]);
        assert_eq!(pauses[11], LONGEST_RETRY.as_secs());
        (2..20).for_each(|seed| schedule.on_news(publisher(seed), now));
        let started = std::iter::from_fn(|| schedule.next(now)).count();
        assert_eq!(started, MAX_RUNNING);
    }
}
