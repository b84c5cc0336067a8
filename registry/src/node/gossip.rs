//! How fast this node announces: a burst as it comes, then so many a second, each the latest of its subject. A pure rule.
//!
//! Whoever hears the latest asks for what came before it, in one go. So hundreds of announcements in a row cost those who
//! hear them little more than a few.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Announcements that go out as they come.
const BURST: u32 = 16;
/// After those, one goes out in this time.
const EVERY: Duration = Duration::from_millis(500);
/// How far ahead of its time a burst may be.
const AHEAD: Duration = EVERY.saturating_mul(BURST - 1);
/// Subjects with an announcement that waits: the publishers of one home. Beyond that the one that waits longest goes out.
const MAX_WAITING: usize = 64;

/// What is announced, and what waits.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// When a whole burst may go out again.
    whole_at: Option<Instant>,
    /// Subject and announcement, in the order in which the subjects came.
    waiting: VecDeque<(Vec<u8>, Vec<u8>)>,
}

impl Pace {
    /// Takes an announcement: it waits for its turn, in the place of an earlier one of the same subject.
    pub(crate) fn add(&mut self, subject: Vec<u8>, data: Vec<u8>) {
        match self.waiting.iter_mut().find(|(other, _)| *other == subject) {
            Some((_, earlier)) => *earlier = data,
            None => self.waiting.push_back((subject, data)),
        }
    }

    /// Returns an announcement whose turn it is.
    pub(crate) fn next_due(&mut self, now: Instant) -> Option<Vec<u8>> {
        let whole_at = self.whole_at.map_or(now, |whole| whole.max(now));
        if whole_at > now + AHEAD && self.waiting.len() <= MAX_WAITING {
            return None;
        }
        let (_, data) = self.waiting.pop_front()?;
        self.whole_at = Some(whole_at + EVERY);
        Some(data)
    }

    /// When [`next_due`](Self::next_due), which has nothing to say now, will have something.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        self.waiting.front()?;
        self.whole_at?.checked_sub(AHEAD)
    }

    /// Says whether nothing waits.
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

    /// What goes out at this time.
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
        // After a rest there may be a burst again.
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
