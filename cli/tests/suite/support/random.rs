//! Reproducible randomness.

use std::{
    env,
    hash::{BuildHasher, RandomState},
};

/// The variable that repeats a run: its value is the seed printed by the failed run.
const SEED_VARIABLE: &str = "GGEN_TEST_SEED";

/// A stream of numbers determined by its seed (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    /// The same numbers every time.
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A seed from the environment, or a new one. It is printed, because the harness shows the output of a failed test.
    pub(crate) fn seeded() -> Self {
        let given = env::var(SEED_VARIABLE).ok();
        let seed = given.map(|text| text.parse().expect("a seed is a number"));
        let state = seed.unwrap_or_else(|| RandomState::new().hash_one(0));
        eprintln!("to repeat this run: {SEED_VARIABLE}={state}");
        Self { state }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `0..limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("it is below a usize")
    }

    /// A number in `[0, 1)`.
    pub(crate) fn fraction(&mut self) -> f64 {
        self.below(1 << 30) as f64 / f64::from(1 << 30)
    }

    /// Incompressible bytes.
    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        std::iter::repeat_with(|| self.next().to_le_bytes()).flatten().take(length).collect()
    }
}
