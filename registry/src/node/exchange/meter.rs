//! Measures how fast a peer is, and derives how much to request from it at once.
//!
//! The window is rate x (lowest latency + [`QUEUE_TIME`]). While the window limits the rate, it grows by that factor
//! per round trip. It settles when the peer has about [`QUEUE_TIME`] of our requests in its queue.

use std::time::{Duration, Instant};

use crate::node::transport::tcp::NEAR;

/// The time that a peer's queue of our requests should last.
const QUEUE_TIME: Duration = Duration::from_millis(150);
/// The window of a peer that was not measured yet.
const FIRST_WINDOW_BYTES: u64 = 2 << 20;
const MIN_WINDOW_BYTES: u64 = 1 << 20;
const MAX_WINDOW_BYTES: u64 = 16 << 20;
/// Shortest time over which a rate is measured.
const MIN_SAMPLE: Duration = Duration::from_millis(20);
/// The first rate needs a sample of this many bytes: fewer mostly measure the round trip, and a peer that seems slow
/// causes duplicate requests to other peers. A sample of this duration suffices too, because then the peer is slow.
const TELLING_BYTES: u64 = 64 << 10;
const TELLING_TIME: Duration = Duration::from_millis(500);
/// Latency and rate assumed for an unknown peer, only to compare peers with each other.
const ASSUMED_LATENCY: Duration = Duration::from_millis(100);
const ASSUMED_RATE: f64 = 4e6;
/// Bounds of the time that a peer may be silent while requests are pending.
const STALL_MIN: Duration = Duration::from_secs(2);
const STALL_MAX: Duration = Duration::from_secs(10);
const STALL_UNKNOWN: Duration = Duration::from_secs(5);
/// Bounds of the time that one want may stay unanswered by a peer that answers other wants.
const ANSWER_MIN: Duration = Duration::from_secs(5);
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// The measurements of one peer.
#[derive(Clone, Debug, Default)]
pub(super) struct Meter {
    latency: Option<Duration>,
    least_latency: Option<Duration>,
    /// Bytes per second.
    rate: Option<f64>,
    sample: Option<Sample>,
    active_at: Option<Instant>,
    /// Values of earlier connections, only to compare peers with each other until this connection is measured.
    expected_rate: Option<f64>,
    expected_latency: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    since: Instant,
    bytes: u64,
}

impl Meter {
    /// Creates a meter with values of earlier connections.
    pub(super) fn expecting(rate: Option<f64>, latency: Option<Duration>) -> Self {
        Self { expected_rate: rate, expected_latency: latency, ..Self::default() }
    }

    /// The peer, which had no pending requests, gets one.
    pub(super) fn on_asked(&mut self, now: Instant) {
        self.active_at = Some(now);
        self.sample = Some(Sample { since: now, bytes: 0 });
    }

    /// The peer has sent something.
    pub(super) fn on_sign(&mut self, now: Instant) {
        self.active_at = Some(now);
    }

    /// `bytes` of wanted blocks arrived, the first of them requested `latency` ago. `idle`: no requests are pending any
    /// more, so the rate may be lower than what the peer can do.
    pub(super) fn on_bytes(&mut self, bytes: u64, latency: Duration, idle: bool, now: Instant) {
        self.on_latency(latency);
        self.on_more_bytes(bytes, idle, now);
    }

    /// The first bytes of a response arrived, requested `latency` ago from a peer without other requests. The rate is
    /// measured from here on: with the round trip included, a fast peer would look slow.
    pub(super) fn on_first_bytes(&mut self, latency: Duration, idle: bool, now: Instant) {
        self.on_latency(latency);
        self.active_at = Some(now);
        self.sample = (!idle).then_some(Sample { since: now, bytes: 0 });
    }

    fn on_latency(&mut self, latency: Duration) {
        self.latency = Some(self.latency.map_or(latency, |old| (old * 7 + latency) / 8));
        self.least_latency = Some(self.least_latency.map_or(latency, |least| least.min(latency)));
    }

    /// As [`on_bytes`](Self::on_bytes), if the latency of the bytes is unknown.
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

    /// Whether the rate was not measured yet.
    pub(super) fn is_unmeasured(&self) -> bool {
        self.rate.is_none()
    }

    /// Whether the path to the peer is so short that a response arrives almost at once.
    pub(super) fn is_near(&self) -> bool {
        self.least_latency.is_some_and(|latency| latency < NEAR)
    }

    /// The size of requests to keep pending at the peer, in bytes.
    pub(super) fn window(&self) -> u64 {
        let (Some(rate), Some(latency)) = (self.rate, self.least_latency) else { return FIRST_WINDOW_BYTES };
        let window = rate * (latency + QUEUE_TIME).as_secs_f64();
        (window as u64).clamp(MIN_WINDOW_BYTES, MAX_WINDOW_BYTES)
    }

    /// The time that the peer needs for `bytes`, at its current rate.
    pub(super) fn eta(&self, bytes: u64) -> Duration {
        // An earlier low latency must not make a peer late sooner than an unknown one.
        let expected = || self.expected_latency.map_or(ASSUMED_LATENCY, |latency| latency.max(ASSUMED_LATENCY));
        let latency = self.least_latency.unwrap_or_else(expected);
        let seconds = bytes as f64 / self.rate.or(self.expected_rate).unwrap_or(ASSUMED_RATE).max(1.0);
        latency + Duration::from_secs_f64(seconds.min(3600.0))
    }

    /// How long the peer has been silent. Meaningful only while requests are pending.
    pub(super) fn silent(&self, now: Instant) -> Duration {
        self.active_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at))
    }

    /// The silence after which a peer with pending requests counts as stalled.
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

    /// Simulates a peer of `rate` bytes/s at `latency` that sends a small block, and then one window after the other.
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
