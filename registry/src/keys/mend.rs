//! Repair of a key file with one flipped bit.
//!
//! The file contains the private and the public key, and the public key can be derived from the private one. A
//! candidate that differs from the file in a single bit and whose two keys match is therefore the key that was written.

use crate::identity::KeyPair;

/// Offset of the seed in the file: after the key type and the length.
const SEED_AT: usize = 4;
const SEED_BYTES: usize = 32;

/// Recovers the key of a file that differs from a valid one in one bit.
pub(super) fn one_flipped_bit(bytes: &[u8]) -> Option<KeyPair> {
    let seed: [u8; SEED_BYTES] = bytes.get(SEED_AT..SEED_AT + SEED_BYTES)?.try_into().ok()?;
    let flipped = (0..SEED_BYTES * 8).map(|bit| {
        let mut seed = seed;
        seed[bit / 8] ^= 1 << (bit % 8);
        seed
    });
    let mut candidates = std::iter::once(seed).chain(flipped).map(|seed| KeyPair::from_seed(&seed));
    candidates.find(|key| differing_bits(&key.to_protobuf(), bytes) == Some(1))
}

/// Number of bits in which two files of the same length differ.
fn differing_bits(a: &[u8], b: &[u8]) -> Option<u32> {
    (a.len() == b.len()).then(|| a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones()).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_single_flipped_bit_is_put_right_and_two_are_not() {
        let key = KeyPair::from_seed(&[7; 32]);
        let sound = key.to_protobuf();
        for bit in 0..sound.len() * 8 {
            let mut file = sound.clone();
            file[bit / 8] ^= 1 << (bit % 8);
            assert!(KeyPair::from_protobuf(&file).is_err(), "bit {bit}");
            assert_eq!(one_flipped_bit(&file).unwrap().to_seed(), key.to_seed(), "bit {bit}");
        }
        let mut twice = sound.clone();
        twice[10] ^= 1;
        twice[50] ^= 1;
        assert!(one_flipped_bit(&twice).is_none());
        for length in 0..sound.len() {
            assert!(one_flipped_bit(&sound[..length]).is_none());
        }
    }
}
