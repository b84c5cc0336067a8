//! The hash trie of a sharded directory: the bucket of a name.
//!
//! The hash of a name is the first 64 bits of murmur3-x64-128, read from the most significant bit: each level of the
//! trie consumes as many bits as its fanout needs. A link's name is its bucket in upper-case hexadecimal, followed by
//! the entry's name, or by nothing if the link points to a shard of the next level.

use super::murmur::murmur3_64;

/// Multihash code of the hash function.
pub(crate) const MURMUR3_64: u64 = 0x22;
/// Smallest fanout accepted.
pub(crate) const MIN_FANOUT: u64 = 8;
/// Largest fanout accepted (the specification requires larger ones to be refused).
pub(crate) const MAX_FANOUT: u64 = 1024;

/// The hash of a name.
pub(crate) fn hash(name: &[u8]) -> u64 {
    murmur3_64(name)
}

/// The bucket of a hash at a level, the root being level 0; `None` below the last level for which the hash has bits.
pub(crate) fn bucket(hash: u64, level: u32, fanout: usize) -> Option<usize> {
    let bits = fanout.trailing_zeros();
    let used = level.checked_mul(bits)?;
    let shift = 64_u32.checked_sub(used.checked_add(bits)?)?;
    Some((hash >> shift) as usize & (fanout - 1))
}

/// Sets a bucket's bit: the bitfield is one big-endian number, bucket 0 its lowest bit.
pub(crate) fn set_bit(bits: &mut [u8], bucket: usize) {
    let last = bits.len() - 1;
    bits[last - bucket / 8] |= 1 << (bucket % 8);
}

/// Returns whether a bucket's bit is set in a bitfield that may lack leading zeros.
pub(crate) fn bit(bits: &[u8], bucket: usize) -> bool {
    bits.len().checked_sub(bucket / 8 + 1).is_some_and(|at| bits[at] & 1 << (bucket % 8) != 0)
}

/// The parsed name of a link in a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bucket<'a> {
    pub(crate) index: usize,
    /// Name of the entry; empty for a shard of the next level.
    pub(crate) name: &'a [u8],
}

impl<'a> Bucket<'a> {
    /// Number of digits of a bucket's number.
    pub(crate) fn width(fanout: usize) -> usize {
        format!("{:X}", fanout - 1).len()
    }

    /// The prefix of a link's name for a bucket.
    pub(crate) fn prefix(index: usize, fanout: usize) -> String {
        format!("{index:0width$X}", width = Self::width(fanout))
    }

    /// Parses the name of a link.
    pub(crate) fn parse(link: &'a [u8], fanout: usize) -> Option<Self> {
        let (digits, name) = link.split_at_checked(Self::width(fanout))?;
        let mut index = 0;
        for digit in digits {
            index = index * 16
                + match digit {
                    b'0'..=b'9' => usize::from(digit - b'0'),
                    b'A'..=b'F' => usize::from(digit - b'A') + 10,
                    _ => return None,
                };
        }
        (index < fanout).then_some(Self { index, name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_take_the_hash_from_its_top() {
        let hash = 0x1234_5678_9abc_def0;
        assert_eq!(bucket(hash, 0, 256), Some(0x12));
        assert_eq!(bucket(hash, 7, 256), Some(0xf0));
        assert_eq!(bucket(hash, 8, 256), None);
        assert_eq!(bucket(hash, 0, 8), Some(0));
        assert_eq!(bucket(hash, 1, 8), Some(0b100));
        assert_eq!(bucket(hash, 21, 8), None);
        assert_eq!(bucket(hash, u32::MAX, 8), None);
    }

    #[test]
    fn link_names_are_parsed_as_they_are_written() {
        assert_eq!(Bucket::prefix(0x0a, 256), "0A");
        assert_eq!(Bucket::prefix(0x0a, 1024), "00A");
        assert_eq!(Bucket::prefix(5, 8), "5");
        assert_eq!(Bucket::parse(b"0Aname", 256), Some(Bucket { index: 10, name: b"name" }));
        assert_eq!(Bucket::parse(b"FF", 256), Some(Bucket { index: 255, name: b"" }));
        for (link, fanout) in [(&b"0aname"[..], 256), (b"8x", 8), (b"F", 256), (b"400", 1024)] {
            assert_eq!(Bucket::parse(link, fanout), None);
        }
    }

    #[test]
    fn bits_are_found_without_leading_zeros() {
        let mut bits = [0; 32];
        set_bit(&mut bits, 0);
        set_bit(&mut bits, 9);
        assert_eq!(bits[30..], [0b10, 1]);
        assert!(bit(&bits[30..], 0) && bit(&bits[30..], 9) && !bit(&bits[30..], 8) && !bit(&bits[30..], 200));
    }
}
