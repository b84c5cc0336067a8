//! Decides how long a search waits for peers. Performs no I/O.

use std::time::{Duration, Instant};

/// Maximum total time that a search waits for peers.
pub(super) const PATIENCE: Duration = Duration::from_millis(1500);
/// How long a search waits for further responses once there are enough.
pub(super) const TAIL: Duration = Duration::from_millis(250);
/// The fraction of queried peers whose responses are enough, once all lookups have ended.
const ENOUGH: (usize, usize) = (2, 3);

/// The state of one search's waiting.
#[derive(Debug)]
pub(super) struct Patience {
    began: Instant,
    asked: usize,
    answered: usize,
    looking: bool,
    /// When there were first enough responses.
    enough_since: Option<Instant>,
}

impl Patience {
    /// Starts to wait, with lookups in progress.
    pub(super) fn begin(now: Instant) -> Self {
        Self { began: now, asked: 0, answered: 0, looking: true, enough_since: None }
    }

    /// Records that one more peer is queried.
    pub(super) fn asks(&mut self) {
        self.asked += 1;
    }

    /// Records that a request to a peer has ended, with or without a response.
    pub(super) fn hears(&mut self, now: Instant) {
        self.answered += 1;
        self.judge(now);
    }

    /// Records that all lookups have ended.
    pub(super) fn has_looked(&mut self, now: Instant) {
        self.looking = false;
        self.judge(now);
    }

    /// Records that a package with the queried name is found, which is enough.
    pub(super) fn is_satisfied(&mut self, now: Instant) {
        self.enough_since.get_or_insert(now);
    }

    fn judge(&mut self, now: Instant) {
        let (part, whole) = ENOUGH;
        if !self.looking && self.answered * whole >= self.asked * part {
            self.enough_since.get_or_insert(now);
        }
    }

    /// Returns whether all lookups and requests have ended.
    pub(super) fn is_over(&self) -> bool {
        !self.looking && self.answered == self.asked
    }

    /// Returns the time at which the search stops waiting.
    pub(super) fn until(&self) -> Instant {
        let end = self.began + PATIENCE;
        self.enough_since.map_or(end, |since| end.min(since + TAIL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(number: usize) -> (Patience, Instant) {
        let now = Instant::now();
        let mut patience = Patience::begin(now);
        (0..number).for_each(|_| patience.asks());
        (patience, now)
    }

    const STEP: Duration = Duration::from_millis(100);

    #[test]
    fn all_have_answered_and_it_is_over() {
        let (mut patience, start) = asking(2);
        patience.hears(start);
        patience.hears(start);
        assert!(!patience.is_over(), "others may still be found");
        patience.asks();
        patience.has_looked(start);
        assert!(!patience.is_over());
        patience.hears(start);
        assert!(patience.is_over());
    }

    #[test]
    fn one_that_says_nothing_is_waited_for_to_the_end_if_it_is_half_of_all() {
        let (mut patience, start) = asking(2);
        patience.has_looked(start);
        patience.hears(start + STEP);
        assert_eq!(patience.until(), start + PATIENCE);
    }

    #[test]
    fn once_most_have_answered_the_rest_is_waited_for_a_little() {
        let (mut patience, start) = asking(6);
        (0..5).for_each(|_| patience.hears(start));
        assert_eq!(patience.until(), start + PATIENCE, "others may still be found");
        patience.has_looked(start + STEP);
        assert_eq!(patience.until(), start + STEP + TAIL);
        assert!(!patience.is_over());
    }

    #[test]
    fn what_is_there_by_its_name_is_shown_soon() {
        let (mut patience, start) = asking(6);
        patience.is_satisfied(start);
        assert_eq!(patience.until(), start + TAIL);
        patience.is_satisfied(start + STEP);
        assert_eq!(patience.until(), start + TAIL, "the first time counts");
        let (mut late, start) = asking(6);
        late.is_satisfied(start + PATIENCE - STEP);
        assert_eq!(late.until(), start + PATIENCE, "never longer than at all");
    }
}
