//! Reads the messages of peers. Every field is bounded before memory is allocated for it.
//!
//! A stream carries protobuf messages, each after a varint with its length. They are parts of one message: Go sends the
//! signed peer record as a second part if the whole would exceed 2 KiB.
//!
//! | field | |
//! |---|---|
//! | 1 | public key, as protobuf |
//! | 2, repeated | addresses that the peer listens on, binary |
//! | 3, repeated | protocols |
//! | 4 | address at which the peer sees the receiver, binary |
//! | 5, 6 | protocol version, agent version |
//! | 8 | signed envelope with a peer record: the addresses again |

use ggen_blockstore::protobuf::{Fields, Value, WireError, read_varint};
use std::{io, time::Duration};

use futures::{AsyncRead, AsyncReadExt as _};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    core::{PeerRecord, SignedEnvelope},
    identity::PublicKey,
};
use tokio::time::timeout;

use crate::node::discovery::addresses::split_peer;

/// Maximum number of parts per message, and maximum size of a part in bytes (both as in Go).
const MAX_PARTS: usize = 10;
const MAX_PART_BYTES: usize = 8 << 10;
/// Longest varint before a part, in bytes.
const MAX_LENGTH_BYTES: usize = 4;
/// Maximum number of addresses and protocols taken from a message; further ones are ignored.
const MAX_ADDRESSES: usize = 1024;
const MAX_PROTOCOLS: usize = 256;
/// An agent version is cut to this many bytes.
const MAX_AGENT_BYTES: usize = 256;
/// Time limit for the next part or the end of the stream: some peers leave the stream open.
const NEXT_PART_TIMEOUT: Duration = Duration::from_secs(5);

/// Why identify failed, or a message was not sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the stream broke off: {0}")]
    Io(#[from] io::Error),
    #[error("the message is malformed: {0}")]
    Malformed(#[from] WireError),
    #[error("a part of the message has more than {MAX_PART_BYTES} bytes")]
    TooLong,
    #[error("the message has no public key")]
    NoKey,
    #[error("the message has the public key of another peer")]
    WrongKey,
    #[error("the peer takes too long")]
    TimedOut,
    #[error("no stream could be opened: {0}")]
    Unopened(String),
}

/// What the messages of a peer contain, merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Info {
    /// Agent version: name and version of its program.
    pub(crate) agent: String,
    /// Its listen addresses. If a valid signed record is present, only the addresses in it.
    pub(crate) addresses: Vec<Multiaddr>,
    pub(crate) protocols: Vec<StreamProtocol>,
    /// The address at which it sees this node.
    pub(crate) observed: Option<Multiaddr>,
}

/// One message: its parts merged, its key and signature checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    public_key: Vec<u8>,
    agent: Option<String>,
    addresses: Vec<Multiaddr>,
    protocols: Vec<StreamProtocol>,
    observed: Option<Multiaddr>,
    signed_record: Vec<u8>,
}

impl Message {
    pub(super) fn has_key(&self) -> bool {
        !self.public_key.is_empty()
    }

    /// Replaces the fields that the message has. A push may omit fields that have not changed.
    pub(super) fn update(self, info: &mut Info) {
        if let Some(agent) = self.agent {
            info.agent = agent;
        }
        if !self.addresses.is_empty() {
            info.addresses = self.addresses;
        }
        if !self.protocols.is_empty() {
            info.protocols = self.protocols;
        }
        if self.observed.is_some() {
            info.observed = self.observed;
        }
    }

    /// Adds a part: a singular field replaces the earlier value, a repeated one is appended.
    fn add_part(&mut self, part: &[u8]) -> Result<(), WireError> {
        let mut fields = Fields::new(part);
        while let Some((number, value)) = fields.next().transpose()? {
            let Value::Bytes(bytes) = value else { continue };
            match number {
                1 => self.public_key = bytes.to_vec(),
                2 if self.addresses.len() < MAX_ADDRESSES => self.addresses.extend(address(bytes)),
                3 if self.protocols.len() < MAX_PROTOCOLS => self.protocols.extend(protocol(bytes)),
                4 => self.observed = address(bytes),
                6 => self.agent = Some(agent(bytes)),
                8 => self.signed_record = bytes.to_vec(),
                _ => {}
            }
        }
        Ok(())
    }

    /// Checks that the message's key is that of `peer`, and replaces the addresses by those of a valid signed record.
    fn verify(&mut self, peer: PeerId) -> Result<(), Error> {
        if self.has_key() {
            let key = PublicKey::try_decode_protobuf(&self.public_key).map_err(|_| Error::WrongKey)?;
            if key.to_peer_id() != peer {
                return Err(Error::WrongKey);
            }
        }
        if let Some(signed) = signed_addresses(&self.signed_record, peer) {
            self.addresses = signed;
        }
        self.addresses.retain(|address| split_peer(address.clone()).1.is_none_or(|named| named == peer));
        Ok(())
    }
}

/// Parses an address; `None` if it is malformed or empty.
fn address(bytes: &[u8]) -> Option<Multiaddr> {
    Multiaddr::try_from(bytes.to_vec()).ok().filter(|address| !address.is_empty())
}

fn protocol(bytes: &[u8]) -> Option<StreamProtocol> {
    StreamProtocol::try_from_owned(str::from_utf8(bytes).ok()?.to_owned()).ok()
}

fn agent(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_AGENT_BYTES)]).into_owned()
}

/// The addresses of a peer record that `peer` has signed. `None` if the record is invalid or has no addresses.
fn signed_addresses(record: &[u8], peer: PeerId) -> Option<Vec<Multiaddr>> {
    let envelope = SignedEnvelope::from_protobuf_encoding(record).ok()?;
    let record = PeerRecord::from_signed_envelope_interop(envelope).ok()?;
    let addresses = record.addresses().iter().filter(|address| !address.is_empty());
    let addresses: Vec<_> = addresses.take(MAX_ADDRESSES).cloned().collect();
    (record.peer_id() == peer && !addresses.is_empty()).then_some(addresses)
}

/// Reads a message of `peer` to the end of the stream.
pub(super) async fn read(mut stream: impl AsyncRead + Unpin, peer: PeerId) -> Result<Message, Error> {
    let mut message = Message::default();
    let first = read_part(&mut stream).await?;
    message.add_part(&first.ok_or(io::Error::from(io::ErrorKind::UnexpectedEof))?)?;
    for _ in 1..MAX_PARTS {
        // If the stream breaks off or stays open, the parts received so far still count.
        match timeout(NEXT_PART_TIMEOUT, read_part(&mut stream)).await {
            Ok(Ok(Some(part))) => message.add_part(&part)?,
            Ok(Err(error @ (Error::Malformed(_) | Error::TooLong))) => return Err(error),
            Ok(Ok(None) | Err(_)) | Err(_) => break,
        }
    }
    message.verify(peer)?;
    Ok(message)
}

/// Reads one part; `None` at the end of the stream.
async fn read_part(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<Vec<u8>>, Error> {
    let mut length = Vec::new();
    loop {
        let mut byte = [0];
        if stream.read(&mut byte).await? == 0 {
            return if length.is_empty() {
                Ok(None)
            } else {
                Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
            };
        }
        length.push(byte[0]);
        if byte[0] & 0x80 == 0 {
            break;
        }
        if length.len() >= MAX_LENGTH_BYTES {
            return Err(Error::TooLong);
        }
    }
    let (length, _) = read_varint(&length)?;
    let length = usize::try_from(length).ok().filter(|length| *length <= MAX_PART_BYTES).ok_or(Error::TooLong)?;
    let mut part = vec![0; length];
    stream.read_exact(&mut part).await?;
    Ok(Some(part))
}

#[cfg(test)]
pub(super) mod tests;
