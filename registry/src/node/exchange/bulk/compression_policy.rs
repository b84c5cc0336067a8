//! Whether compression is worth its time: not if the link is faster than the compressor, and not for data that does not
//! shrink. The client acknowledges each frame, so data in buffers is not mistaken for a fast link.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::node::{
    exchange::bulk::{
        codec::{self, LEVEL, TRIAL_LEVEL},
        compression_effort::{Effort, mean},
    },
    transport::tcp::NEAR,
};

/// Number of frames sent uncompressed after one that did not shrink, before the next trial. It doubles with each
/// further frame that does not shrink, up to a limit.
const SKIPPED_PARTS: u32 = 8;
const MOST_SKIPPED_PARTS: u32 = 128;
/// A frame that is acknowledged within [`NEAR`] and the time for its bytes at this rate, in bytes per second, took a
/// short path, on which time matters more than bytes.
const NEAR_RATE: f64 = 50e6;
/// A compressed frame must be at most this share of the raw size to be worth the client's time.
const WORTH_RATIO: f64 = 0.97;
/// The factor by which the link must be faster than the compressor.
const FASTER_FACTOR: f64 = 1.1;
/// Number of frames after which the rate of uncompressed frames is measured again.
const TRY_AGAIN_PARTS: u32 = 64;
/// A frame with fewer raw bytes is not representative of others.
const TELLING_BYTES: usize = 128 << 10;
/// A frame of fewer bytes on the wire does not measure the link: buffers and bursts absorb it.
const TELLING_WIRE_BYTES: usize = 128 << 10;
/// Maximum number of unacknowledged frames that are tracked.
const MAX_UNTAKEN: usize = 64;

/// Measurements of one link.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Input rate of the compressor, in bytes per second.
    compressor: Option<f64>,
    /// Lower bound of the time per byte of compressed frames, in seconds: the longest round trip to a near peer is
    /// subtracted. If the link may be faster than the compressor by this bound, frames are sent uncompressed as a trial
    /// until the first of them is acknowledged.
    seconds_per_byte: Option<f64>,
    /// Rate at which the client takes uncompressed frames, in bytes per second.
    identity: Option<f64>,
    skip: u32,
    /// The number that `skip` was last set to; 0 if the last trial shrank.
    skips: u32,
    since_tried: u32,
    /// The last acknowledged frame took a short path.
    is_near: bool,
    effort: Effort,
}

/// How a frame was compressed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packed {
    pub(super) level: i32,
    pub(super) spent: Duration,
}

/// The unacknowledged frames of one response.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    parts: VecDeque<Sent>,
    taken_at: Option<Instant>,
}

#[derive(Debug)]
struct Sent {
    packed: Option<Packed>,
    tells: bool,
    bytes: usize,
    at: Instant,
}

impl Pace {
    /// Whether to compress the next frame.
    pub(super) fn compresses(&mut self) -> bool {
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        let Some(compressor) = self.compressor else { return true };
        match (self.identity, self.seconds_per_byte) {
            (Some(identity), _) => {
                self.since_tried += 1;
                if self.since_tried >= TRY_AGAIN_PARTS {
                    (self.identity, self.since_tried) = (None, 0);
                }
                identity <= FASTER_FACTOR * compressor
            }
            (None, Some(seconds)) => seconds * FASTER_FACTOR * compressor >= 1.0,
            (None, None) => true,
        }
    }

    /// Whether the last compressed frame shrank; `None` if there was none.
    pub(super) fn shrinks(&self) -> Option<bool> {
        self.compressor.map(|_| self.skips == 0)
    }

    /// Whether the last acknowledged frame took a short path.
    pub(super) fn is_near(&self) -> bool {
        self.is_near
    }

    /// Whether uncompressed frames are known to be best, and not a trial, on a short path.
    pub(super) fn is_near_and_settled(&self) -> bool {
        self.is_near && (self.skips > 0 || self.identity.is_some())
    }

    /// Returns the level for a frame of this many bytes, dictionary included, in a long response or a short one.
    pub(super) fn level(&self, bytes: usize, is_long: bool) -> i32 {
        match (self.skips, self.is_near) {
            (0, false) if is_long => self.effort.level(),
            (0, false) => codec::level(bytes),
            (0, true) => LEVEL,
            // The last frame did not shrink: any level shows whether this one does.
            _ => TRIAL_LEVEL,
        }
    }

    /// Records a compressed frame. Returns whether it is worth sending compressed.
    pub(super) fn on_compressed(&mut self, raw: usize, packed: usize, spent: Duration) -> bool {
        let worth = is_worth(raw, packed);
        if raw < TELLING_BYTES {
            return worth;
        }
        self.compressor = Some(mean(self.compressor, raw as f64 / spent.as_secs_f64().max(1e-6)));
        self.skips = if worth { 0 } else { (self.skips * 2).clamp(SKIPPED_PARTS, MOST_SKIPPED_PARTS) };
        self.skip = self.skips;
        worth
    }

    /// Records that the client has taken the next frame of `untaken`.
    pub(super) fn on_taken(&mut self, untaken: &mut InFlight, now: Instant) {
        let Some(Sent { packed, tells, bytes, at }) = untaken.parts.pop_front() else { return };
        let is_first = untaken.taken_at.is_none();
        let since = untaken.taken_at.map_or(at, |taken_at| taken_at.max(at));
        untaken.taken_at = Some(now);
        let took = now.saturating_duration_since(since);
        self.is_near = took < NEAR + Duration::from_secs_f64(bytes as f64 / NEAR_RATE);
        if !tells {
            return;
        }
        let Some(Packed { level, spent }) = packed else {
            self.identity = Some(mean(self.identity, bytes as f64 / took.as_secs_f64().max(1e-6)));
            return;
        };
        if bytes >= TELLING_WIRE_BYTES {
            let seconds = took.saturating_sub(NEAR).as_secs_f64() / bytes as f64;
            self.seconds_per_byte = Some(mean(self.seconds_per_byte, seconds));
        }
        if !is_first {
            self.effort.on_taken(level, spent, took);
        }
    }
}

impl InFlight {
    /// Records that a frame of `bytes` on the wire, `raw` bytes uncompressed, is being sent.
    pub(super) fn on_sending(&mut self, packed: Option<Packed>, raw: usize, bytes: usize, at: Instant) {
        if self.parts.len() < MAX_UNTAKEN {
            self.parts.push_back(Sent { packed, tells: raw >= TELLING_BYTES, bytes, at });
        }
    }
}

/// Whether data has shrunk enough to be sent compressed.
pub(super) fn is_worth(raw: usize, packed: usize) -> bool {
    packed as f64 <= raw as f64 * WORTH_RATIO
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAW: usize = 1 << 20;

    /// Sends frames over a link of `link` bytes per second. Returns which of them were compressed.
    fn sends(link: f64, compressor: f64, ratio: f64) -> Vec<bool> {
        let (mut pace, mut untaken) = (Pace::default(), InFlight::default());
        let (mut now, mut compressed) = (Instant::now(), Vec::new());
        for _ in 0..40 {
            let mut wire = RAW;
            let mut packed = None;
            compressed.push(pace.compresses());
            if compressed.last() == Some(&true) {
                let (level, spent) = (pace.level(RAW, true), Duration::from_secs_f64(RAW as f64 / compressor));
                now += spent;
                if pace.on_compressed(RAW, (RAW as f64 * ratio) as usize, spent) {
                    wire = (RAW as f64 * ratio) as usize;
                    packed = Some(Packed { level, spent });
                }
            }
            untaken.on_sending(packed, RAW, wire, now);
            now += Duration::from_secs_f64(wire as f64 / link);
            pace.on_taken(&mut untaken, now);
        }
        compressed
    }

    /// As `sends`. Returns how many of the last ten frames were compressed.
    fn settle(link: f64, compressor: f64, ratio: f64) -> usize {
        sends(link, compressor, ratio)[30..].iter().filter(|compressed| **compressed).count()
    }

    #[test]
    fn a_slow_link_never_gets_bytes_as_they_are_however_slow_the_compressor_and_much_it_saves() {
        for (link, compressor) in [(2e6, 20e6), (12.5e6, 100e6)] {
            for ratio in [0.5, 0.15, 0.126, 0.1, 0.063, 0.02, 0.002] {
                assert_eq!(sends(link, compressor, ratio), [true; 40], "{link} {ratio}");
            }
        }
    }

    #[test]
    fn a_link_faster_than_the_compressor_gets_bytes_as_they_are() {
        assert_eq!(settle(600e6, 250e6, 0.2), 0);
    }

    #[test]
    fn a_slower_one_gets_them_compressed() {
        assert_eq!(settle(12.5e6, 250e6, 0.2), 10);
        assert_eq!(settle(110e6, 250e6, 0.2), 10);
    }

    #[test]
    fn a_small_part_that_does_not_shrink_says_nothing_of_the_next() {
        let mut pace = Pace::default();
        assert!(!pace.on_compressed(6000, 6100, Duration::from_millis(1)));
        assert!(pace.compresses());
    }

    #[test]
    fn bytes_count_on_a_long_way_and_time_on_a_short_one() {
        for (milliseconds, expected) in [(1, LEVEL), (50, codec::level(10_000))] {
            let (mut pace, mut untaken) = (Pace::default(), InFlight::default());
            let now = Instant::now();
            assert_eq!(pace.level(10_000, false), codec::level(10_000), "nothing is known yet");
            let packed = Packed { level: LEVEL, spent: Duration::from_micros(20) };
            untaken.on_sending(Some(packed), 10_000, 3000, now);
            pace.on_taken(&mut untaken, now + Duration::from_millis(milliseconds));
            assert_eq!(pace.level(10_000, false), expected);
        }
    }

    #[test]
    fn what_does_not_shrink_is_tried_ever_more_rarely_and_cheaply() {
        let mut pace = Pace::default();
        let tries = (0..1000).filter(|_| {
            let tries = pace.compresses();
            if tries {
                pace.on_compressed(RAW, RAW, Duration::from_millis(4));
                assert_eq!(pace.level(RAW, false), TRIAL_LEVEL);
            }
            tries
        });
        assert_eq!(tries.count(), 5 + (1000 - 9 - 17 - 33 - 65) / 129);
        pace.on_compressed(RAW, RAW / 2, Duration::from_millis(4));
        assert_eq!(pace.level(RAW, false), codec::level(RAW));
    }

    #[test]
    fn what_does_not_shrink_is_tried_now_and_then_only() {
        assert!(settle(12.5e6, 250e6, 1.0) <= 2);
    }
}
