//! Encoding. Large blocks are not copied: a frame is a list of chunks.

use bytes::{Bytes, BytesMut};
use ggen_blockstore::Cid;
use ggen_blockstore::protobuf::{
    bytes_field_len, put_bytes_field, put_bytes_key, put_nonzero_field, put_varint, varint_len,
};

use crate::node::exchange::bitswap::message::{Message, Presence, Version, Want, WantKind};

/// Blocks below this size in bytes are copied into one chunk, so that a frame is not split into tiny writes.
const MIN_CHUNK_BYTES: usize = 16 << 10;

impl Message {
    /// Encodes the message for a stream of this `version`, with a length prefix. What that version does not support is
    /// omitted: before 1.2.0 there are no presences and every want is for a block; in 1.0.0 blocks have no prefix.
    pub(in crate::node::exchange::bitswap) fn encode(&self, version: Version) -> Vec<Bytes> {
        let entries: Vec<Bytes> = self.wants.iter().map(|want| encode_want(want, version)).collect();
        let wantlist =
            entries.iter().map(|entry| bytes_field_len(entry.len())).sum::<usize>() + 2 * usize::from(self.full);
        let presences: &[_] = if version == Version::V1_2 { &self.presences } else { &[] };
        let presences: Vec<Bytes> = presences.iter().map(|(cid, presence)| encode_presence(cid, *presence)).collect();
        let length = bytes_field_len(wantlist)
            + self.blocks.iter().map(|(cid, data)| block_field_len(cid, data, version)).sum::<usize>()
            + presences.iter().map(|presence| bytes_field_len(presence.len())).sum::<usize>();

        let mut chunks = Chunks::default();
        put_varint(&mut chunks.tail, length as u64);
        // The want-list is present even if empty: Go peers read its `full` without a check.
        put_bytes_key(&mut chunks.tail, 1, wantlist);
        for entry in &entries {
            put_bytes_field(&mut chunks.tail, 1, entry);
        }
        put_nonzero_field(&mut chunks.tail, 2, u64::from(self.full));
        for (cid, data) in &self.blocks {
            put_block(&mut chunks, cid, data, version);
        }
        for presence in &presences {
            put_bytes_field(&mut chunks.tail, 4, presence);
        }
        chunks.finish()
    }
}

#[derive(Default)]
struct Chunks {
    done: Vec<Bytes>,
    tail: BytesMut,
}

impl Chunks {
    fn put_data(&mut self, data: &Bytes) {
        if data.len() < MIN_CHUNK_BYTES {
            self.tail.extend_from_slice(data);
            return;
        }
        self.done.push(self.tail.split().freeze());
        self.done.push(data.clone());
    }

    fn finish(mut self) -> Vec<Bytes> {
        self.done.push(self.tail.freeze());
        self.done.retain(|chunk| !chunk.is_empty());
        self.done
    }
}

/// Upper bound of the encoded length of a want for `cid`, in bytes.
pub(in crate::node::exchange) fn max_want_len(cid: &Cid) -> usize {
    bytes_field_len(bytes_field_len(cid.encoded_len()) + 1 + varint_len(u64::MAX) + 3 * 2)
}

/// Upper bound of the bytes that the encoding adds to a block.
pub(in crate::node::exchange) const MAX_BLOCK_OVERHEAD_BYTES: usize = 64;

fn encode_want(want: &Want, version: Version) -> Bytes {
    let mut out = BytesMut::with_capacity(64);
    put_bytes_field(&mut out, 1, &want.cid.to_bytes());
    // A negative int32 is sign-extended to 64 bits.
    put_nonzero_field(&mut out, 2, i64::from(want.priority) as u64);
    put_nonzero_field(&mut out, 3, u64::from(want.cancel));
    if version == Version::V1_2 {
        put_nonzero_field(&mut out, 4, u64::from(want.kind == WantKind::Have));
        put_nonzero_field(&mut out, 5, u64::from(want.send_dont_have));
    }
    out.freeze()
}

fn encode_presence(cid: &Cid, presence: Presence) -> Bytes {
    let mut out = BytesMut::with_capacity(64);
    put_bytes_field(&mut out, 1, &cid.to_bytes());
    put_nonzero_field(&mut out, 2, u64::from(presence == Presence::DontHave));
    out.freeze()
}

fn prefix_of(cid: &Cid) -> [u64; 4] {
    [u64::from(cid.version()), cid.codec(), cid.hash().code(), u64::from(cid.hash().size())]
}

fn block_field_len(cid: &Cid, data: &Bytes, version: Version) -> usize {
    let data = bytes_field_len(data.len());
    match version {
        Version::V1_0 => data,
        Version::V1_1 | Version::V1_2 => bytes_field_len(bytes_field_len(prefix_len(cid)) + data),
    }
}

fn prefix_len(cid: &Cid) -> usize {
    prefix_of(cid).into_iter().map(varint_len).sum()
}

fn put_block(chunks: &mut Chunks, cid: &Cid, data: &Bytes, version: Version) {
    if version == Version::V1_0 {
        put_bytes_key(&mut chunks.tail, 2, data.len());
        return chunks.put_data(data);
    }
    let prefix = prefix_len(cid);
    put_bytes_key(&mut chunks.tail, 3, bytes_field_len(prefix) + bytes_field_len(data.len()));
    put_bytes_key(&mut chunks.tail, 1, prefix);
    for number in prefix_of(cid) {
        put_varint(&mut chunks.tail, number);
    }
    put_bytes_key(&mut chunks.tail, 2, data.len());
    chunks.put_data(data);
}
