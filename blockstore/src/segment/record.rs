//! The layout of one record in a segment.
//!
//! ```text
//! offset  bytes  field (integers little endian)
//!      0      8  check: xxh3-64 of bytes 8.. up to the end of the CID, seeded with the store's seed and the location
//!      8      4  magic `gSR1`
//!     12      1  kind: 1 block, 2 kill, 3 pin
//!     13      1  length of the CID
//!     14      2  zero
//!     16      4  length of the data
//!     20      4  durable: this many bytes of the segment were synced when the record was written
//!     24      8  xxh3-64 of the data
//!     32      -  CID in binary form
//!      -      -  data: the block; or the target of a kill; or mode and label of a pin
//! ```
//!
//! The check depends on location and store, so neither stale bytes of an earlier use of the file nor a block that
//! contains a copy of a segment can be mistaken for a record.
//!
//! *One wrong bit* is corrected: of all heads that differ from a damaged one in one bit, only the original head matches
//! its check (except with a probability of 2^-54). The same applies to the data of kills and pins, which are short.
//!
//! A *kill* invalidates the record at a location: kind of its target (1 byte), segment (4), offset (4), and the label
//! if the target is a pin. It is needed as long as the segment of its target exists. A kill of segment 0, which never
//! exists, kills nothing: it is written before a checkpoint for its field `durable`, so that damage before it is not
//! mistaken for the mark of a crash ([`mark`]).

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::{Cid, MAX_BLOCK_BYTES, MAX_PIN_LABEL_BYTES, Multihash, Pin, PinMode};

/// Length of the fixed part of a record.
pub(super) const HEADER_BYTES: usize = 32;
/// Longest CID: version, codec and hash code as varints of at most 9 bytes each, digest length, digest.
pub(super) const MAX_STORED_CID_BYTES: usize = 3 * 9 + 2 + crate::MAX_IDENTITY_BYTES;
/// Marks the start of a record, [`MAGIC_OFFSET`] bytes before it.
pub(super) const MAGIC: [u8; 4] = *b"gSR1";
/// Offset of the magic in a record.
pub(super) const MAGIC_OFFSET: usize = 8;

const CHECK_BYTES: usize = 8;
const TARGET_BYTES: usize = 9;

/// Location of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Location {
    /// Number of the segment file.
    pub(super) segment: u32,
    /// Byte offset in it.
    pub(super) offset: u32,
}

/// The kind of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Block = 1,
    Kill = 2,
    Pin = 3,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Block, Self::Kill, Self::Pin].into_iter().find(|kind| *kind as u8 == byte)
    }

    fn max_data_bytes(self) -> usize {
        match self {
            Self::Block => MAX_BLOCK_BYTES,
            Self::Kill => TARGET_BYTES + MAX_PIN_LABEL_BYTES,
            Self::Pin => 1 + MAX_PIN_LABEL_BYTES,
        }
    }
}

/// The fixed part of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) cid_len: u8,
    pub(super) data_len: u32,
    pub(super) durable: u32,
    pub(super) data_hash: u64,
}

impl Header {
    /// Length of the whole record.
    pub(super) fn record_len(&self) -> u32 {
        record_len(self.cid_len, self.data_len)
    }

    /// Offset of the data in the record.
    pub(super) fn data_start(&self) -> usize {
        HEADER_BYTES + usize::from(self.cid_len)
    }
}

/// Length of a record with a CID and data of these lengths.
pub(super) fn record_len(cid_len: u8, data_len: u32) -> u32 {
    HEADER_BYTES as u32 + u32::from(cid_len) + data_len
}

/// Checksum of a record's data.
pub(super) fn hash_data(data: &[u8]) -> u64 {
    xxh3_64(data)
}

/// The key of a multihash in the index.
pub(super) fn fingerprint(seed: u64, hash: &Multihash) -> u64 {
    xxh3_64_with_seed(hash.digest(), seed ^ hash.code())
}

/// Number of bytes of `cid` in binary form.
pub(super) fn cid_len(cid: &Cid) -> u8 {
    u8::try_from(cid.encoded_len()).expect("the longest CID is shorter than 256 bytes")
}

/// Appends header and CID of a record to `out`.
pub(super) fn encode(header: &Header, cid: &Cid, seed: u64, location: Location, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend([0; CHECK_BYTES]);
    out.extend(MAGIC);
    out.extend([header.kind as u8, header.cid_len, 0, 0]);
    out.extend(header.data_len.to_le_bytes());
    out.extend(header.durable.to_le_bytes());
    out.extend(header.data_hash.to_le_bytes());
    cid.write_bytes(&mut *out).expect("writing to memory does not fail");
    let check = check(&out[start..], seed, location);
    out[start..start + CHECK_BYTES].copy_from_slice(&check.to_le_bytes());
}

/// Decodes header and CID from the start of `bytes`; `None` if this is not a complete and valid record head.
pub(super) fn decode(bytes: &[u8], seed: u64, location: Location) -> Option<(Header, Cid)> {
    if bytes.get(MAGIC_OFFSET..MAGIC_OFFSET + MAGIC.len())? != MAGIC {
        return None;
    }
    let header = Header {
        kind: Kind::from_byte(*bytes.get(12)?)?,
        cid_len: *bytes.get(13)?,
        data_len: read_u32(bytes, 16)?,
        durable: read_u32(bytes, 20)?,
        data_hash: read_u64(bytes, 24)?,
    };
    let head = bytes.get(..header.data_start())?;
    if header.data_len as usize > header.kind.max_data_bytes() || read_u64(bytes, 0)? != check(head, seed, location) {
        return None;
    }
    let cid = Cid::try_from(&head[HEADER_BYTES..]).ok()?;
    Some((header, cid))
}

/// The bit of `bytes` to flip to obtain a valid record head, `None` if there is no single one.
pub(super) fn wrong_bit_of_head(bytes: &[u8], seed: u64, location: Location) -> Option<usize> {
    let magic = bytes.get(MAGIC_OFFSET..MAGIC_OFFSET + MAGIC.len())?;
    // This test recognises most bytes that are no record without hashing.
    if magic.iter().zip(MAGIC).map(|(is, should)| (is ^ should).count_ones()).sum::<u32>() > 1 {
        return None;
    }
    let mut head = bytes[..bytes.len().min(HEADER_BYTES + MAX_STORED_CID_BYTES)].to_vec();
    let bits = (HEADER_BYTES + usize::from(*bytes.get(13)?)).min(head.len()) * 8;
    wrong_bit(&mut head, bits, |head| decode(head, seed, location).is_some())
}

/// The bit of the data of a kill or a pin to flip to match its checksum.
pub(super) fn wrong_bit_of_data(data: &[u8], data_hash: u64) -> Option<usize> {
    let mut data = data.to_vec();
    let bits = data.len() * 8;
    wrong_bit(&mut data, bits, |data| hash_data(data) == data_hash)
}

/// Flips a bit, counted from the lowest of the first byte.
pub(super) fn flip(bytes: &mut [u8], bit: usize) {
    if let Some(byte) = bytes.get_mut(bit / 8) {
        *byte ^= 1 << (bit % 8);
    }
}

fn wrong_bit(bytes: &mut [u8], bits: usize, is_sound: impl Fn(&[u8]) -> bool) -> Option<usize> {
    (0..bits).find(|bit| {
        flip(bytes, *bit);
        let sound = is_sound(bytes);
        flip(bytes, *bit);
        sound
    })
}

/// Reads header and CID like [`decode`], and corrects one wrong bit; returns its position.
pub(super) fn decode_mended(bytes: &[u8], seed: u64, location: Location) -> Option<(Header, Cid, Option<usize>)> {
    if let Some((header, cid)) = decode(bytes, seed, location) {
        return Some((header, cid, None));
    }
    let bit = wrong_bit_of_head(bytes, seed, location)?;
    let mut head = bytes[..bytes.len().min(HEADER_BYTES + MAX_STORED_CID_BYTES)].to_vec();
    flip(&mut head, bit);
    decode(&head, seed, location).map(|(header, cid)| (header, cid, Some(bit)))
}

/// The kill without a target; see the module documentation.
pub(super) fn mark() -> (Cid, Target) {
    let nothing = Multihash::wrap(crate::IDENTITY, &[]).expect("an empty digest fits");
    let target = Target { location: Location { segment: 0, offset: 0 }, label: None };
    (Cid::new_v1(crate::RAW, nothing), target)
}

/// The target of a kill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) location: Location,
    /// The label, if it is a pin.
    pub(super) label: Option<String>,
}

impl Target {
    pub(super) fn encode(&self) -> Vec<u8> {
        let kind = if self.label.is_some() { Kind::Pin } else { Kind::Block };
        let mut out = vec![kind as u8];
        out.extend(self.location.segment.to_le_bytes());
        out.extend(self.location.offset.to_le_bytes());
        out.extend(self.label.as_deref().unwrap_or_default().as_bytes());
        out
    }

    pub(super) fn decode(data: &[u8]) -> Option<Self> {
        let location = Location { segment: read_u32(data, 1)?, offset: read_u32(data, 5)? };
        let label = match Kind::from_byte(*data.first()?)? {
            Kind::Block => None,
            Kind::Pin => Some(String::from_utf8(data[TARGET_BYTES..].to_vec()).ok()?),
            Kind::Kill => return None,
        };
        Some(Self { location, label })
    }
}

/// The data of a pin record.
pub(super) fn encode_pin(pin: &Pin) -> Vec<u8> {
    let mode = match pin.mode {
        PinMode::Recursive => 0,
        PinMode::Direct => 1,
    };
    let mut out = vec![mode];
    out.extend(pin.label.as_bytes());
    out
}

/// The pin that a pin record for `cid` sets.
pub(super) fn decode_pin(cid: Cid, data: &[u8]) -> Option<Pin> {
    let (mode, label) = data.split_first()?;
    let mode = match mode {
        0 => PinMode::Recursive,
        1 => PinMode::Direct,
        _ => return None,
    };
    Some(Pin { label: String::from_utf8(label.to_vec()).ok()?, cid, mode })
}

fn check(head: &[u8], seed: u64, location: Location) -> u64 {
    let place = u64::from(location.segment) << 32 | u64::from(location.offset);
    xxh3_64_with_seed(&head[CHECK_BYTES..], seed ^ place)
}

pub(super) fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn read_u64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Block;

    const HERE: Location = Location { segment: 3, offset: 77 };

    fn sample() -> (Header, Cid, Vec<u8>) {
        let block = Block::raw(&b"hello"[..]).unwrap();
        let (cid, data) = block.into_parts();
        let header = Header {
            kind: Kind::Block,
            cid_len: cid_len(&cid),
            data_len: data.len() as u32,
            durable: 9,
            data_hash: hash_data(&data),
        };
        let mut bytes = Vec::new();
        encode(&header, &cid, 42, HERE, &mut bytes);
        (header, cid, bytes)
    }

    #[test]
    fn a_record_head_is_read_back_in_its_place_only() {
        let (header, cid, bytes) = sample();
        assert_eq!(bytes.len(), header.data_start());
        assert_eq!(decode(&bytes, 42, HERE), Some((header, cid)));
        assert_eq!(decode(&bytes, 43, HERE), None);
        assert_eq!(decode(&bytes, 42, Location { offset: 78, ..HERE }), None);
        assert_eq!(decode(&bytes, 42, Location { segment: 4, ..HERE }), None);
    }

    #[test]
    fn any_flipped_bit_and_any_cut_of_a_record_head_is_noticed() {
        let (_, _, bytes) = sample();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&damaged, 42, HERE), None, "bit {bit}");
            let (header, cid, wrong) = decode_mended(&damaged, 42, HERE).unwrap();
            assert_eq!((header, cid, wrong), (sample().0, sample().1, Some(bit)));
            damaged[0] ^= 1 << ((bit + 1) % 8);
            if bit / 8 > 0 {
                assert_eq!(decode_mended(&damaged, 42, HERE), None, "bit {bit} and another");
            }
        }
        for len in 0..bytes.len() {
            assert_eq!(decode(&bytes[..len], 42, HERE), None, "cut to {len}");
        }
    }

    #[test]
    fn kills_and_pins_are_read_back() {
        let block = Block::raw(&b"hello"[..]).unwrap();
        for label in [None, Some(String::new()), Some("release/a@1.0.0".to_owned())] {
            let target = Target { location: HERE, label };
            assert_eq!(Target::decode(&target.encode()), Some(target));
        }
        for mode in [PinMode::Recursive, PinMode::Direct] {
            let pin = Pin { label: "user".into(), cid: *block.cid(), mode };
            assert_eq!(decode_pin(*block.cid(), &encode_pin(&pin)), Some(pin));
        }
        assert_eq!(Target::decode(&[2, 0, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(Target::decode(&[1, 0]), None);
        assert_eq!(decode_pin(*block.cid(), &[]), None);
        assert_eq!(decode_pin(*block.cid(), &[7]), None);
    }
}
