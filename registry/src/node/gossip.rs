//! The rate at which this node announces: a burst at once, then one announcement per interval, the latest of its
//! subject. A pure state machine.
//!
//! A receiver of the latest announcement fetches what came before it in one exchange. So hundreds of announcements in a
//! row cost a receiver little more than a few.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Announcements that are sent without delay.
const BURST: u32 = 16;
/// Interval between announcements after a burst.
const EVERY: Duration = Duration::from_millis(500);
/// How far a burst may run ahead of one announcement per interval.
const AHEAD: Duration = EVERY.saturating_mul(BURST - 1);
/// Maximum number of subjects (publishers of one home) with a delayed announcement. Beyond it the oldest is sent.
const MAX_WAITING: usize = 64;

/// The state of the rate limit, and the announcements that wait.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// When a whole burst may be sent again.
    whole_at: Option<Instant>,
    /// Pairs of subject and announcement, by arrival of the subject.
    waiting: VecDeque<(Vec<u8>, Vec<u8>)>,
}

impl Pace {
    /// Adds an announcement. It replaces a waiting one of the same subject and takes its place.
    pub(crate) fn add(&mut self, subject: Vec<u8>, data: Vec<u8>) {
        match self.waiting.iter_mut().find(|(other, _)| *other == subject) {
            Some((_, earlier)) => *earlier = data,
            None => self.waiting.push_back((subject, data)),
        }
    }

    /// Removes and returns an announcement that may be sent now.
    pub(crate) fn next_due(&mut self, now: Instant) -> Option<Vec<u8>> {
        let whole_at = self.whole_at.map_or(now, |whole| whole.max(now));
        if whole_at > now + AHEAD && self.waiting.len() <= MAX_WAITING {
            return None;
        }
        let (_, data) = self.waiting.pop_front()?;
        self.whole_at = Some(whole_at + EVERY);
        Some(data)
    }

    /// When [`next_due`](Self::next_due), which returns `None` now, returns an announcement. `None` if nothing waits.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        self.waiting.front()?;
        self.whole_at?.checked_sub(AHEAD)
    }

    /// Whether no announcement waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(pace: &mut Pace, subject: u8, number: usize) {
        pace.add(vec![subject], number.to_be_bytes().to_vec());
    }

    /// The announcements that may be sent at this time.
    fn out(pace: &mut Pace, now: Instant) -> Vec<usize> {
        let number = |data: Vec<u8>| usize::from_be_bytes(data.try_into().unwrap());
        std::iter::from_fn(|| pace.next_due(now)).map(number).collect()
    }

    #[test]
    fn of_hundreds_in_a_row_a_few_go_out_and_the_last_of_them_surely() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let (mut now, mut told) = (start, Vec::new());
        for number in 0..200 {
            add(&mut pace, 0, number);
            told.extend(out(&mut pace, now));
            now += Duration::from_millis(50);
        }
        assert_eq!(told[..16], (0..16).collect::<Vec<_>>(), "a burst goes out as it comes");
        assert_eq!(told.len(), 35, "then two a second");
        let wake_at = pace.wake_at().expect("the last one waits");
        assert!(wake_at >= now && wake_at < now + EVERY);
        assert_eq!(out(&mut pace, wake_at), [199]);
        assert!(pace.is_empty() && pace.wake_at().is_none());
        // After a pause a burst is possible again.
        let later = wake_at + EVERY * BURST;
        (0..20).for_each(|subject| add(&mut pace, subject, 0));
        assert_eq!(out(&mut pace, later).len(), BURST as usize);
    }

    #[test]
    fn no_publisher_takes_the_place_of_another() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        (0..16).for_each(|number| add(&mut pace, 0, number));
        assert_eq!(out(&mut pace, now).len(), 1, "the latest of one subject");
        for number in 0..BURST as usize {
            add(&mut pace, 0, number);
            out(&mut pace, now);
        }
        add(&mut pace, 1, 1);
        add(&mut pace, 2, 2);
        add(&mut pace, 1, 3);
        let later = now + EVERY * BURST;
        assert_eq!(out(&mut pace, later), [BURST as usize - 1, 3, 2]);
    }

    #[test]
    fn what_waits_is_bounded() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        for subject in 0..=255 {
            add(&mut pace, subject, 0);
            out(&mut pace, now);
            assert!(pace.waiting.len() <= MAX_WAITING);
        }
    }
}
