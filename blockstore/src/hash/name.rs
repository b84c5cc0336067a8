//! Hash functions by the codes and names of the multicodec table.

use std::fmt;

use crate::{IDENTITY, SHA2_256};

pub(super) const SHA1: u64 = 0x11;
pub(super) const SHAKE_256: u64 = 0x19;
pub(super) const BLAKE3: u64 = 0x1e;
pub(super) const DBL_SHA2_256: u64 = 0x56;
/// blake2b-8; the code increases by one for each further byte.
pub(super) const BLAKE2B_8: u64 = 0xb201;
pub(super) const BLAKE2B_160: u64 = 0xb214;
pub(super) const BLAKE2B_512: u64 = 0xb240;
pub(super) const BLAKE2S_8: u64 = 0xb241;
pub(super) const BLAKE2S_160: u64 = 0xb254;
pub(super) const BLAKE2S_256: u64 = 0xb260;

/// Functions that are not accepted, or that have a plain name (multiformats/multicodec: `table.csv`).
const NAMES: &[(u64, &str)] = &[
    (IDENTITY, "identity"),
    (SHA1, "sha1"),
    (SHA2_256, "sha2-256"),
    (0x13, "sha2-512"),
    (0x14, "sha3-512"),
    (0x15, "sha3-384"),
    (0x16, "sha3-256"),
    (0x17, "sha3-224"),
    (0x18, "shake-128"),
    (SHAKE_256, "shake-256"),
    (0x1a, "keccak-224"),
    (0x1b, "keccak-256"),
    (0x1c, "keccak-384"),
    (0x1d, "keccak-512"),
    (BLAKE3, "blake3"),
    (0x20, "sha2-384"),
    (0x22, "murmur3-x64-64"),
    (0x23, "murmur3-32"),
    (DBL_SHA2_256, "dbl-sha2-256"),
    (0xd4, "md4"),
    (0xd5, "md5"),
    (0x1012, "sha2-256-trunc254-padded"),
    (0x1013, "sha2-224"),
    (0x1014, "sha2-512-224"),
    (0x1015, "sha2-512-256"),
    (0x1022, "murmur3-x64-128"),
    (0x1052, "ripemd-128"),
    (0x1053, "ripemd-160"),
    (0x1054, "ripemd-256"),
    (0x1055, "ripemd-320"),
    (0x1100, "x11"),
    (0x1d01, "kangarootwelve"),
    (0x534d, "sm3-256"),
    (0xb401, "poseidon-bls12_381-a2-fc1"),
    (0xb402, "poseidon-bls12_381-a2-fc1-sc"),
    (0xb3e1, "xxh-32"),
];

/// A hash function for display: its name if the multicodec table has one, and its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashName(
    /// Its multihash code.
    pub u64,
);

impl fmt::Display for HashName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.0;
        match code {
            BLAKE2B_8..=BLAKE2B_512 => write!(formatter, "blake2b-{}", (code - BLAKE2B_8 + 1) * 8),
            BLAKE2S_8..=BLAKE2S_256 => write!(formatter, "blake2s-{}", (code - BLAKE2S_8 + 1) * 8),
            _ => match NAMES.iter().find(|(known, _)| *known == code) {
                Some((_, name)) => formatter.write_str(name),
                None => write!(formatter, "0x{code:x}"),
            },
        }
    }
}
