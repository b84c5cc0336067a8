//! Requests to one peer and their responses: bytes, bounded in size, time and number. The `ops` modules define their
//! content.
//!
//! One request is one stream: a length (4 bytes, big endian) and that many bytes in each direction. The length is
//! checked before the message is read, and memory grows only with the bytes that have arrived. A request without a
//! response (too many at once, above a rate limit, malformed) ends with its stream closed.

use std::{io, time::Duration};

use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use libp2p::{
    PeerId, StreamProtocol,
    request_response::{self, ProtocolSupport, ResponseChannel},
};

/// Capacity of the queue of inbound requests.
pub(crate) const ASKED_QUEUE: usize = 64;
/// Capacity of the queue of newly identified peers.
pub(crate) const MET_QUEUE: usize = 64;
/// Maximum number of outbound requests under way; further ones fail with [`AskError::Busy`].
pub(super) const MAX_ASKING: usize = 256;
/// Maximum number of inbound requests under way, of all peers together.
pub(super) const MAX_ANSWERING: usize = 64;
/// Maximum number of inbound requests under way per peer and protocol.
pub(super) const MAX_ANSWERING_PER_PEER: usize = 4;
/// Maximum number of requests on one connection, inbound and outbound together.
const MAX_STREAMS_PER_CONNECTION: usize = 16;
/// Bytes of the length prefix of each message.
const LENGTH_BYTES: usize = 4;
/// A read buffer starts with at most this many bytes and grows as data arrives.
const READ_STEP_BYTES: usize = 16 << 10;

/// A request protocol, with its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Protocol {
    /// `/ggen/search/1.0.0`: which releases match this query?
    Search,
    /// `/ggen/catalog/1.0.0`: which records do you have that I lack?
    Catalog,
    /// `/ggen/claim/1.0.0`: what is the newest claim of this publisher's package?
    Claim,
}

impl Protocol {
    pub(crate) const ALL: [Self; 3] = [Self::Search, Self::Catalog, Self::Claim];

    /// The protocol's name on the wire.
    pub(crate) const fn name(self) -> StreamProtocol {
        match self {
            Self::Search => StreamProtocol::new("/ggen/search/1.0.0"),
            Self::Catalog => StreamProtocol::new("/ggen/catalog/1.0.0"),
            Self::Claim => StreamProtocol::new("/ggen/claim/1.0.0"),
        }
    }

    /// Largest request, in bytes.
    pub(crate) const fn max_request_bytes(self) -> usize {
        match self {
            Self::Search => 16 << 10,
            Self::Catalog => 64 << 10,
            Self::Claim => 1 << 10,
        }
    }

    /// Largest response, in bytes.
    pub(crate) const fn max_answer_bytes(self) -> usize {
        match self {
            Self::Search => 256 << 10,
            Self::Catalog => 512 << 10,
            Self::Claim => 64 << 10,
        }
    }

    /// Timeout of a request or a response, without the dial.
    const fn deadline(self) -> Duration {
        match self {
            Self::Search | Self::Claim => Duration::from_secs(5),
            Self::Catalog => Duration::from_secs(15),
        }
    }
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AskError {
    /// The peer cannot be reached.
    #[error("the peer cannot be reached")]
    Unreachable,
    /// The connection was lost before the response.
    #[error("the connection to the peer was lost")]
    Lost,
    /// The peer does not support the protocol.
    #[error("the peer does not speak this protocol")]
    Unsupported,
    /// The peer did not respond in time.
    #[error("the peer did not answer in time")]
    TimedOut,
    /// The peer closed the stream without a response.
    #[error("the peer did not want to answer")]
    Declined,
    /// The response is longer than the protocol allows.
    #[error("the peer's answer is too large")]
    TooLarge,
    /// Too many outbound requests are under way.
    #[error("too many questions are under way")]
    Busy,
    /// This node has stopped.
    #[error("the node has stopped")]
    Stopped,
}

/// A request of a peer.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) protocol: Protocol,
    pub(crate) peer: PeerId,
    pub(crate) data: Vec<u8>,
    /// Sends the response; if dropped, the peer gets none.
    pub(crate) reply: Reply,
}

/// The response channel of an inbound request.
#[derive(Debug)]
pub(crate) struct Reply(pub(super) ResponseChannel<Vec<u8>>);

/// An identified peer that supports request protocols.
#[derive(Clone, Debug)]
pub(crate) struct Met {
    pub(crate) peer: PeerId,
    pub(crate) supports: Vec<Protocol>,
}

/// The behaviour of one protocol.
pub(crate) type Behaviour = request_response::Behaviour<Codec>;

/// Returns the behaviour of `protocol`. If `answers` is false, it supports outbound requests only.
pub(super) fn behaviour(protocol: Protocol, answers: bool) -> Behaviour {
    let config = request_response::Config::default()
        .with_request_timeout(protocol.deadline())
        .with_max_concurrent_streams(MAX_STREAMS_PER_CONNECTION);
    let support = if answers { ProtocolSupport::Full } else { ProtocolSupport::Outbound };
    Behaviour::with_codec(Codec(protocol), [(protocol.name(), support)], config)
}

/// Reads and writes messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Codec(Protocol);

impl request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T>(&mut self, _: &StreamProtocol, stream: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(stream, self.0.max_request_bytes()).await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, stream: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(stream, self.0.max_answer_bytes()).await
    }

    async fn write_request<T>(&mut self, _: &StreamProtocol, stream: &mut T, data: Vec<u8>) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(stream, &data).await
    }

    async fn write_response<T>(&mut self, _: &StreamProtocol, stream: &mut T, data: Vec<u8>) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(stream, &data).await
    }
}

async fn read<T: AsyncRead + Unpin + Send>(stream: &mut T, limit: usize) -> io::Result<Vec<u8>> {
    let mut length = [0; LENGTH_BYTES];
    stream.read_exact(&mut length).await?;
    let length = u32::from_be_bytes(length) as usize;
    if length > limit {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{length} bytes, the limit is {limit}")));
    }
    let mut data = Vec::with_capacity(length.min(READ_STEP_BYTES));
    stream.take(length as u64).read_to_end(&mut data).await?;
    match data.len() == length {
        true => Ok(data),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

async fn write<T: AsyncWrite + Unpin + Send>(stream: &mut T, data: &[u8]) -> io::Result<()> {
    let length = u32::try_from(data.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(data).await?;
    stream.flush().await
}

#[cfg(test)]
mod tests;
