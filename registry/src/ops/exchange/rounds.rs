//! Decides when to exchange catalogs with a connected peer although no gap is known: some seconds after new records
//! arrive, then at growing intervals. Performs no I/O.

use std::time::{Duration, Instant};

/// Shortest delay between new records and the next round, because gossip may have lost the last message. The delay is
/// random up to twice this, so that nodes which received the same gossip do not query at the same time.
const AFTER_NEWS: Duration = Duration::from_secs(5);
/// Shortest time between two rounds, regardless of how fast new records arrive.
const PAUSE: Duration = AFTER_NEWS.saturating_mul(2);
/// Longest time between two rounds, if no new records arrive.
const ROUTINE: Duration = Duration::from_secs(60);

/// When the next round is due.
#[derive(Debug)]
pub(super) struct Rounds {
    due: Instant,
    last: Option<Instant>,
    pause: Duration,
}

impl Rounds {
    pub(super) fn new(now: Instant) -> Self {
        Self { due: now + ROUTINE, last: None, pause: ROUTINE }
    }

    /// Schedules a round soon: new records arrived, or a peer expected to have missed records failed to respond.
    /// `chance` is a random number from 0 to 1.
    pub(super) fn want_soon(&mut self, now: Instant, chance: f64) {
        let soon = now + AFTER_NEWS.mul_f64(1.0 + chance.clamp(0.0, 1.0));
        let due = self.last.map_or(soon, |last| soon.max(last + PAUSE));
        self.due = self.due.min(due);
        self.pause = PAUSE;
    }

    /// Records that the due round was made.
    pub(super) fn made(&mut self, now: Instant) {
        self.last = Some(now);
        self.due = now + self.pause;
        self.pause = (2 * self.pause).min(ROUTINE);
    }

    pub(super) fn due(&self) -> Instant {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the pauses before the next rounds, in seconds.
    fn pauses(rounds: &mut Rounds, count: usize) -> Vec<u64> {
        let next = |_| {
            let now = rounds.due();
            rounds.made(now);
            (rounds.due() - now).as_secs()
        };
        (0..count).map(next).collect()
    }

    #[test]
    fn after_news_somebody_is_asked_soon_and_then_ever_less_often() {
        let start = Instant::now();
        let mut rounds = Rounds::new(start);
        assert_eq!(rounds.due(), start + ROUTINE);
        let now = start + Duration::from_secs(7);
        rounds.want_soon(now, 0.0);
        rounds.want_soon(now + Duration::from_secs(1), 0.0);
        assert_eq!(rounds.due(), now + AFTER_NEWS, "what comes later delays nothing");
        assert_eq!(pauses(&mut rounds, 6), [10, 20, 40, 60, 60, 60]);
    }

    #[test]
    fn news_without_end_cost_a_round_every_ten_seconds() {
        let start = Instant::now();
        let (mut rounds, mut made) = (Rounds::new(start), 0);
        for second in 0..100 {
            let now = start + Duration::from_secs(second);
            rounds.want_soon(now, 0.5);
            if rounds.due() <= now {
                rounds.made(now);
                made += 1;
            }
        }
        assert_eq!(made, 10);
    }

    #[test]
    fn those_who_heard_the_same_do_not_ask_at_the_same_time() {
        let start = Instant::now();
        let due = |chance| {
            let mut rounds = Rounds::new(start);
            rounds.want_soon(start, chance);
            rounds.due() - start
        };
        assert_eq!([0.0, 0.5, 1.0].map(due), [AFTER_NEWS, AFTER_NEWS * 3 / 2, AFTER_NEWS * 2]);
    }
}
