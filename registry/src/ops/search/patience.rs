//! How long a search waits for others: a pure rule.

use std::time::{Duration, Instant};

/// A search waits this long for others, all in all.
pub(super) const PATIENCE: Duration = Duration::from_millis(1500);
/// Once there is enough, whoever has not answered yet is waited for this long.
pub(super) const TAIL: Duration = Duration::from_millis(250);
/// Enough is when so many of those asked have answered, with nobody left to look for.
const ENOUGH: (usize, usize) = (2, 3);

/// One search's patience.
#[derive(Debug)]
pub(super) struct Patience {
    began: Instant,
    asked: usize,
    answered: usize,
    looking: bool,
    /// Since when there is enough.
    enough_since: Option<Instant>,
}

impl Patience {
    /// Begins to wait, and to look for somebody to ask.
    pub(super) fn begin(now: Instant) -> Self {
        Self { began: now, asked: 0, answered: 0, looking: true, enough_since: None }
    }

    /// One more is asked.
    pub(super) fn asks(&mut self) {
        self.asked += 1;
    }

    /// One has answered, or will not.
    pub(super) fn hears(&mut self, now: Instant) {
        self.answered += 1;
        self.judge(now);
    }

    /// Nobody else is looked for.
    pub(super) fn has_looked(&mut self, now: Instant) {
        self.looking = false;
        self.judge(now);
    }

    /// What was looked for by its name is there.
    pub(super) fn is_satisfied(&mut self, now: Instant) {
        self.enough_since.get_or_insert(now);
    }

    fn judge(&mut self, now: Instant) {
        let (part, whole) = ENOUGH;
        if !self.looking && self.answered * whole >= self.asked * part {
            self.enough_since.get_or_insert(now);
        }
    }

    /// Nobody is waited for any more.
    pub(super) fn is_over(&self) -> bool {
        !self.looking && self.answered == self.asked
    }

    /// Nobody is waited for longer than this.
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
