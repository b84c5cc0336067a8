//! Decoding. Block data is sliced from the frame, never copied.

use bytes::Bytes;
use ggen_blockstore::protobuf::{Fields, Value, read_varint};
use ggen_blockstore::{Cid, DAG_PB, SHA2_256};

use crate::node::exchange::bitswap::message::{
    DecodeError, MAX_BLOCKS, MAX_CID_BYTES, MAX_ENTRIES, Payload, Presence, Received, Want, WantKind,
};

const SHA2_256_BYTES: u64 = 32;

impl Received {
    /// Decodes one frame's content.
    ///
    /// # Errors
    /// [`DecodeError`]: the whole message is invalid, as in Kubo.
    pub(in crate::node::exchange::bitswap) fn decode(frame: &Bytes) -> Result<Self, DecodeError> {
        let mut message = Self::default();
        let mut fields = Fields::new(frame);
        while let Some((field, value)) = fields.next().transpose()? {
            match (field, value) {
                (1, Value::Bytes(wantlist)) => message.decode_wantlist(wantlist)?,
                (2, Value::Bytes(data)) => message.push_payload(Payload {
                    version: 0,
                    codec: DAG_PB,
                    hash_code: SHA2_256,
                    digest_bytes: SHA2_256_BYTES,
                    data: frame.slice_ref(data),
                })?,
                (3, Value::Bytes(block)) => message.push_payload(decode_payload(frame, block)?)?,
                (4, Value::Bytes(presence)) => message.decode_presence(presence)?,
                (1..=4, _) => return Err(DecodeError::FieldType { message: "Message", field }),
                _ => {}
            }
        }
        Ok(message)
    }

    fn push_payload(&mut self, payload: Payload) -> Result<(), DecodeError> {
        if self.payloads.len() == MAX_BLOCKS {
            return Err(DecodeError::TooManyBlocks);
        }
        self.payloads.push(payload);
        Ok(())
    }

    fn decode_wantlist(&mut self, wantlist: &[u8]) -> Result<(), DecodeError> {
        let mut fields = Fields::new(wantlist);
        while let Some((field, value)) = fields.next().transpose()? {
            match (field, value) {
                (1, Value::Bytes(entry)) => {
                    let want = decode_want(entry)?;
                    self.wants.extend(want.filter(|_| self.wants.len() < MAX_ENTRIES));
                }
                (2, Value::Varint(full)) => self.full |= full != 0,
                (1 | 2, _) => return Err(DecodeError::FieldType { message: "Wantlist", field }),
                _ => {}
            }
        }
        Ok(())
    }

    fn decode_presence(&mut self, presence: &[u8]) -> Result<(), DecodeError> {
        let mut fields = Fields::new(presence);
        let (mut cid, mut kind) = (None, Presence::Have);
        while let Some((field, value)) = fields.next().transpose()? {
            match (field, value) {
                (1, Value::Bytes(bytes)) => cid = Some(bytes),
                (2, Value::Varint(0)) => kind = Presence::Have,
                (2, Value::Varint(1)) => kind = Presence::DontHave,
                (2, Value::Varint(value)) => return Err(DecodeError::UnknownEnum { name: "presence", value }),
                (1 | 2, _) => return Err(DecodeError::FieldType { message: "BlockPresence", field }),
                _ => {}
            }
        }
        let cid = decode_cid(cid.unwrap_or_default(), "BlockPresence")?;
        self.presences.extend(cid.filter(|_| self.presences.len() < MAX_ENTRIES).map(|cid| (cid, kind)));
        Ok(())
    }
}

/// Decodes one want-list entry, `None` if its CID is too long.
fn decode_want(entry: &[u8]) -> Result<Option<Want>, DecodeError> {
    let mut fields = Fields::new(entry);
    let mut cid = None;
    let (mut priority, mut cancel, mut kind, mut send_dont_have) = (0, false, WantKind::Block, false);
    while let Some((field, value)) = fields.next().transpose()? {
        match (field, value) {
            (1, Value::Bytes(bytes)) => cid = Some(bytes),
            (2, Value::Varint(value)) => priority = value as i32,
            (3, Value::Varint(value)) => cancel = value != 0,
            (4, Value::Varint(0)) => kind = WantKind::Block,
            (4, Value::Varint(1)) => kind = WantKind::Have,
            (4, Value::Varint(value)) => return Err(DecodeError::UnknownEnum { name: "wantType", value }),
            (5, Value::Varint(value)) => send_dont_have = value != 0,
            (1..=5, _) => return Err(DecodeError::FieldType { message: "Wantlist.Entry", field }),
            _ => {}
        }
    }
    let cid = decode_cid(cid.unwrap_or_default(), "Wantlist.Entry")?;
    Ok(cid.map(|cid| Want { cid, kind, priority, cancel, send_dont_have }))
}

/// Decodes a CID, `None` if it is longer than [`MAX_CID_BYTES`].
fn decode_cid(bytes: &[u8], message: &'static str) -> Result<Option<Cid>, DecodeError> {
    if bytes.len() > MAX_CID_BYTES {
        return Ok(None);
    }
    Cid::try_from(bytes).map(Some).map_err(|_| DecodeError::InvalidCid { message })
}

fn decode_payload(frame: &Bytes, block: &[u8]) -> Result<Payload, DecodeError> {
    let mut fields = Fields::new(block);
    let (mut prefix, mut data): (&[u8], &[u8]) = (&[], &[]);
    while let Some((field, value)) = fields.next().transpose()? {
        match (field, value) {
            (1, Value::Bytes(bytes)) => prefix = bytes,
            (2, Value::Bytes(bytes)) => data = bytes,
            (1 | 2, _) => return Err(DecodeError::FieldType { message: "Block", field }),
            _ => {}
        }
    }
    let mut numbers = [0; 4];
    for number in &mut numbers {
        (*number, prefix) = read_varint(prefix).map_err(|_| DecodeError::InvalidPrefix)?;
    }
    let [version, codec, hash_code, digest_bytes] = numbers;
    Ok(Payload { version, codec, hash_code, digest_bytes, data: frame.slice_ref(data) })
}
