//! How fast a peer is, and how much to ask of it at once.
//!
//! The window is rate x (least latency + [`QUEUE_TIME`]): while the window is what limits the rate, it grows by
//! that factor per round trip, and it comes to rest when the peer keeps about [`QUEUE_TIME`] of work queued for us.

use std::time::{Duration, Instant};

use crate::node::transport::tcp::NEAR;

/// Work that a peer should always have queued for us, as time.
const QUEUE_TIME: Duration = Duration::from_millis(150);
/// Bytes asked of a peer of which nothing is known.
const FIRST_WINDOW_BYTES: u64 = 2 << 20;
const MIN_WINDOW_BYTES: u64 = 1 << 20;
const MAX_WINDOW_BYTES: u64 = 16 << 20;
/// Shortest time over which a rate is measured.
const MIN_SAMPLE: Duration = Duration::from_millis(20);
/// What the first rate is measured by at least: little is mostly round trip, and whoever seems slow has others asked for
/// the same. Who takes this long for less is slow.
const TELLING_BYTES: u64 = 64 << 10;
const TELLING_TIME: Duration = Duration::from_millis(500);
/// Latency and rate assumed of a peer of which nothing is known (only to compare peers with each other).
const ASSUMED_LATENCY: Duration = Duration::from_millis(100);
const ASSUMED_RATE: f64 = 4e6;
/// How long a peer may be silent while it is asked.
const STALL_MIN: Duration = Duration::from_secs(2);
const STALL_MAX: Duration = Duration::from_secs(10);
const STALL_UNKNOWN: Duration = Duration::from_secs(5);
/// How long one want may stay unanswered by a peer that answers others.
const ANSWER_MIN: Duration = Duration::from_secs(5);
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Measures one peer.
#[derive(Clone, Debug, Default)]
pub(super) struct Meter {
    latency: Option<Duration>,
    least_latency: Option<Duration>,
    /// Bytes per second.
    rate: Option<f64>,
    sample: Option<Sample>,
    active_at: Option<Instant>,
    /// What former connections say; only to compare peers with each other until this one is measured.
    expected_rate: Option<f64>,
    expected_latency: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    since: Instant,
    bytes: u64,
}

impl Meter {
    /// A meter of a peer of which something is known from earlier.
    pub(super) fn expecting(rate: Option<f64>, latency: Option<Duration>) -> Self {
        Self { expected_rate: rate, expected_latency: latency, ..Self::default() }
    }

    /// The peer, which had nothing to do, is asked something.
    pub(super) fn on_asked(&mut self, now: Instant) {
        self.active_at = Some(now);
        self.sample = Some(Sample { since: now, bytes: 0 });
    }

    /// The peer gave a sign of life.
    pub(super) fn on_sign(&mut self, now: Instant) {
        self.active_at = Some(now);
    }

    /// `bytes` of wanted blocks came, the first of them asked for `latency` ago; `idle`: nothing more is asked of
    /// the peer, so the rate says nothing about what it could do.
    pub(super) fn on_bytes(&mut self, bytes: u64, latency: Duration, idle: bool, now: Instant) {
        self.on_latency(latency);
        self.on_more_bytes(bytes, idle, now);
    }

    /// The first bytes of an answer came, asked for `latency` ago of a peer that had nothing else to do. How fast it is
    /// shows only in what comes after them: with the round trip in it, a quick peer's rate would look like a slow one's.
    pub(super) fn on_first_bytes(&mut self, latency: Duration, idle: bool, now: Instant) {
        self.on_latency(latency);
        self.active_at = Some(now);
        self.sample = (!idle).then_some(Sample { since: now, bytes: 0 });
    }

    fn on_latency(&mut self, latency: Duration) {
        self.latency = Some(self.latency.map_or(latency, |old| (old * 7 + latency) / 8));
        self.least_latency = Some(self.least_latency.map_or(latency, |least| least.min(latency)));
    }

    /// The same where it cannot be said what the bytes waited for.
    pub(super) fn on_more_bytes(&mut self, bytes: u64, idle: bool, now: Instant) {
        self.active_at = Some(now);
        let sample = self.sample.get_or_insert(Sample { since: now, bytes: 0 });
        sample.bytes += bytes;
        let elapsed = now.saturating_duration_since(sample.since);
        let tells = sample.bytes >= TELLING_BYTES || (!idle && elapsed >= TELLING_TIME);
        if elapsed >= MIN_SAMPLE && (tells || self.rate.is_some()) {
            let rate = sample.bytes as f64 / elapsed.as_secs_f64();
            self.rate = Some(match self.rate {
                Some(old) if rate < old && idle => old,
                Some(old) if rate < old => old * 0.75 + rate * 0.25,
                _ => rate,
            });
            *sample = Sample { since: now, bytes: 0 };
        }
        if idle {
            self.sample = None;
        }
    }

    /// Nothing is known of the peer's rate.
    pub(super) fn is_unmeasured(&self) -> bool {
        self.rate.is_none()
    }

    /// The way to the peer is so short that what is asked for next is there at once.
    pub(super) fn is_near(&self) -> bool {
        self.least_latency.is_some_and(|latency| latency < NEAR)
    }

    /// Bytes to have asked of the peer at any time.
    pub(super) fn window(&self) -> u64 {
        let (Some(rate), Some(latency)) = (self.rate, self.least_latency) else { return FIRST_WINDOW_BYTES };
        let window = rate * (latency + QUEUE_TIME).as_secs_f64();
        (window as u64).clamp(MIN_WINDOW_BYTES, MAX_WINDOW_BYTES)
    }

    /// How long the peer will need for `bytes`, if it goes on as it did.
    pub(super) fn eta(&self, bytes: u64) -> Duration {
        // Nobody is late sooner than a stranger, for having been quick once.
        let expected = || self.expected_latency.map_or(ASSUMED_LATENCY, |latency| latency.max(ASSUMED_LATENCY));
        let latency = self.least_latency.unwrap_or_else(expected);
        let seconds = bytes as f64 / self.rate.or(self.expected_rate).unwrap_or(ASSUMED_RATE).max(1.0);
        latency + Duration::from_secs_f64(seconds.min(3600.0))
    }

    /// How long the peer has been silent; to be asked only while it has something to do.
    pub(super) fn silent(&self, now: Instant) -> Duration {
        self.active_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at))
    }

    /// The silence after which a peer that is asked counts as stalled.
    pub(super) fn stall_after(&self) -> Duration {
        self.latency.map_or(STALL_UNKNOWN, |latency| (latency * 4 + Duration::from_secs(1)).clamp(STALL_MIN, STALL_MAX))
    }

    /// The age at which a single want counts as refused.
    pub(super) fn answer_within(&self) -> Duration {
        self.latency.map_or(ANSWER_MAX / 2, |latency| (latency * 8).clamp(ANSWER_MIN, ANSWER_MAX))
    }

    /// Bytes per second, zero if unknown.
    pub(super) fn rate(&self) -> f64 {
        self.rate.or(self.expected_rate).unwrap_or(0.0)
    }

    /// Bytes per second as measured on this connection.
    pub(super) fn measured_rate(&self) -> Option<f64> {
        self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets a peer of `rate` bytes/s at `latency` send a small block, and then a window again and again.
    fn settle(rate: f64, latency: Duration) -> Meter {
        let mut now = Instant::now();
        let mut meter = Meter::default();
        meter.on_asked(now);
        now += latency;
        meter.on_bytes(1000, latency, false, now);
        for _ in 0..60 {
            let window = meter.window();
            let took = Duration::from_secs_f64(window as f64 / rate).max(latency);
            now += took;
            meter.on_bytes(window, took, false, now);
        }
        meter
    }

    #[test]
    fn the_window_covers_the_bandwidth_delay_product_and_not_much_more() {
        for (rate, milliseconds) in [(12.5e6, 50), (3.75e6, 50), (50e6, 100)] {
            let latency = Duration::from_millis(milliseconds);
            let window = settle(rate, latency).window() as f64;
            let product = rate * latency.as_secs_f64();
            let most = rate * (2.0 * latency.as_secs_f64() + 0.5);
            assert!(window >= product.min(MAX_WINDOW_BYTES as f64), "{rate}: {window}");
            assert!(window <= most.max(MIN_WINDOW_BYTES as f64), "{rate}: {window}");
        }
    }

    #[test]
    fn a_fast_peer_is_given_the_largest_window_and_a_slow_one_the_least() {
        assert_eq!(settle(600e6, Duration::from_millis(1)).window(), MAX_WINDOW_BYTES);
        assert_eq!(settle(100e3, Duration::from_millis(50)).window(), MIN_WINDOW_BYTES);
    }

    #[test]
    fn a_short_request_does_not_make_a_fast_peer_slow() {
        let mut meter = settle(600e6, Duration::from_millis(1));
        let now = Instant::now() + Duration::from_secs(3600);
        meter.on_asked(now);
        meter.on_bytes(100, Duration::from_millis(30), true, now + Duration::from_millis(30));
        assert_eq!(meter.window(), MAX_WINDOW_BYTES);
    }

    #[test]
    fn a_short_answer_says_nothing_of_the_rate_and_neither_does_the_way_to_the_first_bytes() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        meter.on_asked(start);
        meter.on_bytes(4000, Duration::from_millis(100), true, at(100));
        assert!(meter.is_unmeasured());
        meter.on_asked(at(100));
        meter.on_first_bytes(Duration::from_millis(100), false, at(200));
        meter.on_more_bytes(300_000, false, at(230));
        assert_eq!(meter.measured_rate(), Some(1e7));
    }

    #[test]
    fn who_takes_long_for_little_is_slow() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        meter.on_asked(start);
        meter.on_bytes(4000, Duration::from_secs(1), false, start + Duration::from_secs(1));
        assert_eq!(meter.measured_rate(), Some(4000.0));
    }

    #[test]
    fn silence_is_counted_from_the_last_sign_of_life() {
        let start = Instant::now();
        let mut meter = Meter::default();
        meter.on_asked(start);
        assert_eq!(meter.silent(start + STALL_UNKNOWN), meter.stall_after());
        meter.on_sign(start + STALL_UNKNOWN);
        assert_eq!(meter.silent(start + STALL_UNKNOWN), Duration::ZERO);
        meter.on_bytes(1, Duration::from_millis(10), false, start + STALL_UNKNOWN);
        assert_eq!(meter.stall_after(), STALL_MIN);
    }
}
