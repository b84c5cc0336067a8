//! The UnixFS message in a dag-pb node's data (`ipfs/specs: unixfs.md`).
//!
//! | number | field | wire type |
//! |---|---|---|
//! | 1 | Type: 0 raw, 1 directory, 2 file, 3 metadata, 4 symlink, 5 HAMT shard | varint |
//! | 2 | Data: content of a file, target of a symlink, bitfield of a shard | bytes |
//! | 3 | filesize | varint |
//! | 4 | blocksizes, repeated, not packed | varint |
//! | 5, 6 | hashType, fanout of a shard | varint |
//! | 7 | mode: the low 12 bits as in POSIX | varint |
//! | 8 | mtime { 1 seconds, 2 nanoseconds } | bytes |

use bytes::Bytes;

use crate::protobuf::{Fields, Value, put_bytes_field, put_fixed32_field, put_varint_field, read_varint};

/// The type of a UnixFS node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnixfsKind {
    /// A leaf of a file, as old versions wrote it.
    Raw,
    /// A directory whose links are its entries.
    Directory,
    /// A file, or a part of one.
    File,
    /// Never used in practice.
    Metadata,
    /// A symbolic link.
    Symlink,
    /// A part of a directory that is spread over a hash trie.
    Shard,
}

impl UnixfsKind {
    const ALL: [Self; 6] = [Self::Raw, Self::Directory, Self::File, Self::Metadata, Self::Symlink, Self::Shard];

    fn code(self) -> u64 {
        self as u64
    }
}

/// The message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixfsData {
    /// The type of the node.
    pub kind: UnixfsKind,
    /// Content, target or bitfield: a slice of the block.
    pub data: Option<Bytes>,
    /// Length of the file below this node, in bytes.
    pub file_size: Option<u64>,
    /// Length of the file part below each link, in bytes.
    pub block_sizes: Vec<u64>,
    /// Multihash code of a shard's hash function.
    pub hash_type: Option<u64>,
    /// Number of buckets of a shard.
    pub fanout: Option<u64>,
    /// POSIX mode.
    pub mode: Option<u32>,
    /// Time of modification: seconds since 1970, and nanoseconds of a second.
    pub mtime: Option<(i64, Option<u32>)>,
}

impl UnixfsData {
    /// A message with this type and no other fields.
    pub fn new(kind: UnixfsKind) -> Self {
        Self {
            kind,
            data: None,
            file_size: None,
            block_sizes: Vec::new(),
            hash_type: None,
            fanout: None,
            mode: None,
            mtime: None,
        }
    }

    /// Decodes the data of a dag-pb node. Unknown fields are skipped, as protobuf readers do.
    ///
    /// # Errors
    /// The reason, as the end of a sentence.
    pub fn decode(message: &Bytes) -> Result<Self, &'static str> {
        let mut kind = None;
        let mut decoded = Self::new(UnixfsKind::Raw);
        for field in Fields::new(message) {
            match field? {
                (1, Value::Varint(code)) => {
                    let known = usize::try_from(code).ok().and_then(|code| UnixfsKind::ALL.get(code));
                    kind = Some(*known.ok_or("its UnixFS type is unknown")?);
                }
                (2, Value::Bytes(data)) => decoded.data = Some(message.slice_ref(data)),
                (3, Value::Varint(size)) => decoded.file_size = Some(size),
                (4, Value::Varint(size)) => decoded.block_sizes.push(size),
                (4, Value::Bytes(sizes)) => read_packed(sizes, &mut decoded.block_sizes)?,
                (5, Value::Varint(code)) => decoded.hash_type = Some(code),
                (6, Value::Varint(fanout)) => decoded.fanout = Some(fanout),
                (7, Value::Varint(mode)) => decoded.mode = Some(mode as u32),
                (8, Value::Bytes(time)) => decoded.mtime = Some(read_time(time)?),
                (1..=8, _) => return Err("a UnixFS field has the wrong type"),
                _ => {}
            }
        }
        decoded.kind = kind.ok_or("its UnixFS type is missing")?;
        Ok(decoded)
    }

    /// Encodes the message as Go does.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32 + self.data.as_ref().map_or(0, Bytes::len) + 4 * self.block_sizes.len());
        put_varint_field(&mut out, 1, self.kind.code());
        if let Some(data) = &self.data {
            put_bytes_field(&mut out, 2, data);
        }
        let mut number = |number, value: Option<u64>| {
            if let Some(value) = value {
                put_varint_field(&mut out, number, value);
            }
        };
        number(3, self.file_size);
        for size in &self.block_sizes {
            number(4, Some(*size));
        }
        number(5, self.hash_type);
        number(6, self.fanout);
        number(7, self.mode.map(u64::from));
        if let Some((seconds, nanoseconds)) = self.mtime {
            let mut time = Vec::with_capacity(16);
            put_varint_field(&mut time, 1, seconds as u64);
            if let Some(nanoseconds) = nanoseconds {
                put_fixed32_field(&mut time, 2, nanoseconds);
            }
            put_bytes_field(&mut out, 8, &time);
        }
        out
    }

    /// Returns whether the owner may execute the file.
    pub fn is_executable(&self) -> bool {
        self.mode.is_some_and(|mode| mode & 0o100 != 0)
    }
}

fn read_packed(mut packed: &[u8], sizes: &mut Vec<u64>) -> Result<(), &'static str> {
    while !packed.is_empty() {
        let (size, rest) = read_varint(packed)?;
        sizes.push(size);
        packed = rest;
    }
    Ok(())
}

/// The specification has it that nanoseconds are left out where they are 0; Kubo reads a 0 that is there.
fn read_time(message: &[u8]) -> Result<(i64, Option<u32>), &'static str> {
    let mut seconds = None;
    let mut nanoseconds = None;
    for field in Fields::new(message) {
        match field? {
            (1, Value::Varint(value)) => seconds = Some(value as i64),
            (2, Value::Fixed32(value @ 0..=999_999_999)) => nanoseconds = Some(value),
            _ => return Err("its modification time is malformed"),
        }
    }
    Ok((seconds.ok_or("its modification time has no seconds")?, nanoseconds))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*};

    use super::*;

    fn any_data() -> impl Strategy<Value = UnixfsData> {
        let time = (any::<i64>(), option::of(0..=999_999_999_u32));
        let shard = (option::of(any::<u64>()), option::of(any::<u64>()), option::of(any::<u32>()), option::of(time));
        (0..6_usize, option::of(vec(any::<u8>(), 0..30)), option::of(any::<u64>()), vec(any::<u64>(), 0..5), shard)
            .prop_map(|(kind, data, file_size, block_sizes, (hash_type, fanout, mode, mtime))| UnixfsData {
                kind: UnixfsKind::ALL[kind],
                data: data.map(Bytes::from),
                file_size,
                block_sizes,
                hash_type,
                fanout,
                mode,
                mtime,
            })
    }

    proptest! {
        #[test]
        fn a_message_decodes_to_what_was_encoded(data in any_data()) {
            prop_assert_eq!(UnixfsData::decode(&data.encode().into()), Ok(data));
        }

        #[test]
        fn any_bytes_decode_stably_or_not_at_all(bytes: Vec<u8>) {
            if let Ok(decoded) = UnixfsData::decode(&bytes.into()) {
                prop_assert_eq!(UnixfsData::decode(&decoded.encode().into()), Ok(decoded));
            }
        }
    }

    #[test]
    fn packed_block_sizes_are_read_too() {
        let packed = Bytes::from_static(&[0x08, 0x02, 0x22, 0x03, 0x05, 0x80, 0x01]);
        assert_eq!(UnixfsData::decode(&packed).unwrap().block_sizes, [5, 128]);
    }

    #[test]
    fn a_modification_time_has_less_than_a_second_of_nanoseconds() {
        let mut data = UnixfsData::new(UnixfsKind::File);
        for nanoseconds in [0, 999_999_999] {
            data.mtime = Some((5, Some(nanoseconds)));
            assert_eq!(UnixfsData::decode(&data.encode().into()).as_ref(), Ok(&data));
        }
        for nanoseconds in [1_000_000_000, u32::MAX] {
            data.mtime = Some((5, Some(nanoseconds)));
            assert!(UnixfsData::decode(&data.encode().into()).is_err());
        }
    }
}
