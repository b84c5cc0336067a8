//! The identify message of this node: small enough for every implementation, and signed as the specification requires.

use ggen_blockstore::protobuf::{bytes_field_len, put_bytes_field, put_varint};
use std::{
    cmp::Reverse,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::BytesMut;
use futures::{AsyncWrite, AsyncWriteExt as _};
use libp2p::{Multiaddr, StreamProtocol, core::PeerRecord, identity::Keypair};

use crate::node::discovery::{addresses::scope, identify::message::Error};

const PROTOCOL_VERSION: &str = "ipfs/0.1.0";
/// A message that would have more bytes is sent in two parts (Go: `legacyIDSize`).
const MAX_WHOLE_BYTES: usize = 2048;
/// Maximum size of this node's addresses in its message, in bytes. With the other fields, a part stays below the 4 KiB
/// that rust-libp2p reads.
const MAX_ADDRESS_BYTES: usize = 2048;
/// Longest observed address that is sent to a peer, in bytes.
const MAX_OBSERVED_BYTES: usize = 256;

/// What this node sends on every connection. Replaced when the node's addresses change.
#[derive(Debug)]
pub(super) struct Own {
    public_key: Vec<u8>,
    agent: String,
    addresses: Vec<Multiaddr>,
    /// The signed envelope of a peer record; `None` if signing fails.
    record: Option<Vec<u8>>,
}

impl Own {
    /// Signs `addresses`. If there are too many for a message, those with the widest range are kept.
    pub(super) fn new(key: &Keypair, agent: &str, mut addresses: Vec<Multiaddr>) -> Self {
        addresses.sort_unstable_by(|one, other| (Reverse(scope(one)), one).cmp(&(Reverse(scope(other)), other)));
        addresses.dedup();
        let mut bytes = 0;
        addresses.retain(|address| {
            bytes += bytes_field_len(bytes_field_len(address.len()));
            bytes <= MAX_ADDRESS_BYTES
        });
        let record = sign(key, &addresses);
        Self { public_key: key.public().encode_protobuf(), agent: agent.to_owned(), addresses, record }
    }

    /// Returns the parts of a message to a peer that is seen at `observed`; `protocols` are those that this node
    /// supports.
    pub(super) fn parts<'a>(
        &self,
        protocols: impl Iterator<Item = &'a StreamProtocol>,
        observed: &Multiaddr,
    ) -> Vec<Vec<u8>> {
        let mut message = BytesMut::new();
        put_bytes_field(&mut message, 1, &self.public_key);
        for address in &self.addresses {
            put_bytes_field(&mut message, 2, address.as_ref());
        }
        for protocol in protocols {
            put_bytes_field(&mut message, 3, protocol.as_ref().as_bytes());
        }
        if observed.len() <= MAX_OBSERVED_BYTES {
            put_bytes_field(&mut message, 4, observed.as_ref());
        }
        put_bytes_field(&mut message, 5, PROTOCOL_VERSION.as_bytes());
        put_bytes_field(&mut message, 6, self.agent.as_bytes());
        let mut second = BytesMut::new();
        if let Some(record) = &self.record {
            put_bytes_field(&mut second, 8, record);
        }
        if message.len() + second.len() <= MAX_WHOLE_BYTES {
            message.unsplit(second);
            return vec![message.to_vec()];
        }
        vec![message.to_vec(), second.to_vec()]
    }
}

fn sign(key: &Keypair, addresses: &[Multiaddr]) -> Option<Vec<u8>> {
    // libp2p takes the sequence number from the clock, and panics before 1970.
    if SystemTime::now() < UNIX_EPOCH {
        return None;
    }
    let signed = PeerRecord::new_interop(key, addresses.to_vec());
    let signed = signed.inspect_err(|error| tracing::debug!(%error, "the peer record of this node is not signed"));
    signed.ok().map(|record| record.into_signed_envelope().into_protobuf_encoding())
}

/// Writes a message and closes the stream.
pub(super) async fn write(mut stream: impl AsyncWrite + Unpin, parts: Vec<Vec<u8>>) -> Result<(), Error> {
    let mut framed = BytesMut::new();
    for part in parts {
        put_varint(&mut framed, part.len() as u64);
        framed.extend_from_slice(&part);
    }
    stream.write_all(&framed).await?;
    Ok(stream.close().await?)
}

#[cfg(test)]
mod tests;
