//! The compression level of a long response: as high as the link allows.
//!
//! While a frame is being sent, the next is compressed. Compression that takes less time than sending is free; longer
//! compression leaves the link idle.

use std::time::Duration;

use crate::node::exchange::bulk::codec::LEVEL;

/// Levels, each with the time of the next level relative to its own, measured with `zstd -b` on source files.
const STEPS: [(i32, f64); 4] = [(LEVEL, 2.3), (5, 1.6), (6, 1.4), (9, f64::INFINITY)];
/// The level rises if the next one is expected to take less than this share of the time between frames.
const RAISE_BELOW: f64 = 0.7;
/// The level falls if it takes more than this share of the time between frames.
const LOWER_ABOVE: f64 = 0.95;

/// The level of frames in long responses, with the mean times that it depends on, in seconds.
#[derive(Debug, Default)]
pub(super) struct Effort {
    step: usize,
    spent: Option<f64>,
    took: Option<f64>,
}

impl Effort {
    /// The level for the next frame.
    pub(super) fn level(&self) -> i32 {
        STEPS[self.step].0
    }

    /// Records a frame that was compressed at `level` in the time `spent`, and that the client took the time `took`
    /// after the frame before it.
    pub(super) fn on_taken(&mut self, level: i32, spent: Duration, took: Duration) {
        if level != self.level() {
            return;
        }
        let (spent, took) = (mean(self.spent, spent.as_secs_f64()), mean(self.took, took.as_secs_f64()));
        (self.spent, self.took) = (Some(spent), Some(took));
        let load = spent / took.max(1e-6);
        let costs = STEPS[self.step].1;
        if load * costs < RAISE_BELOW {
            self.step += 1;
            self.spent = Some(spent * costs);
        } else if load > LOWER_ABOVE && self.step > 0 {
            self.step -= 1;
            self.spent = Some(spent / STEPS[self.step].1);
        }
    }
}

/// A moving mean in which the newest value counts half.
pub(super) fn mean(known: Option<f64>, new: f64) -> f64 {
    known.map_or(new, |known| known * 0.5 + new * 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The level that long responses settle at over a link of `link` bytes per second.
    fn settle(link: f64) -> i32 {
        let speed = |level| match level {
            3 => 400e6,
            5 => 178e6,
            6 => 115e6,
            _ => 85e6,
        };
        let (mut effort, raw, ratio) = (Effort::default(), 4e6_f64, 0.14);
        for _ in 0..20 {
            let level = effort.level();
            let spent = raw / speed(level);
            let took = spent.max(raw * ratio / link);
            effort.on_taken(level, Duration::from_secs_f64(spent), Duration::from_secs_f64(took));
        }
        effort.level()
    }

    #[test]
    fn the_slower_the_link_the_harder_it_is_compressed() {
        assert_eq!(settle(1e6), 9);
        assert_eq!(settle(12.5e6), 5);
        assert_eq!(settle(125e6), 3);
    }

    #[test]
    fn a_link_that_gets_faster_is_not_kept_waiting() {
        let mut effort = Effort::default();
        let mut part = |spent, took| {
            effort.on_taken(effort.level(), Duration::from_millis(spent), Duration::from_millis(took));
            effort.level()
        };
        assert_eq!([part(5, 400), part(12, 400), part(20, 400)], [5, 6, 9]);
        for _ in 0..12 {
            part(28, 28);
        }
        assert!(part(28, 28) < 9);
    }

    #[test]
    fn what_was_compressed_at_another_level_says_nothing() {
        let mut effort = Effort::default();
        effort.on_taken(9, Duration::from_millis(1), Duration::from_secs(1));
        assert_eq!(effort.level(), LEVEL);
    }
}
