//! Bitswap on one connection: two outbound streams (wants, responses), a bounded number of inbound ones, and the
//! hashing of received blocks. Runs in the connection's own task, off the swarm's event loop.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use ggen_blockstore::{Block, Cid, MAX_BLOCK_BYTES, cid_from_prefix};
use libp2p::swarm::{
    ConnectionHandler, ConnectionHandlerEvent, Stream, StreamUpgradeError, SubstreamProtocol,
    handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
};
use tokio::time::Sleep;

use crate::node::exchange::bitswap::{
    frame::{Budget, FrameError, FrameReader},
    message::{DecodeError, Message, Payload, Presence, Received, Version, Want},
    outbound_stream::{Cause, OutboundStream, Prospect, StreamEvent},
    protocol::{Negotiated, Protocol},
};

/// Maximum number of inbound streams per connection. Kubo opens one per message, from eight workers.
const MAX_INBOUND_STREAMS: usize = 32;
/// Memory for messages that are arriving on one connection, in bytes: enough for the longest one.
const INBOUND_BUDGET_BYTES: usize = 8 << 20;
/// How long a message that is arriving may make no progress.
const STUCK_AFTER: Duration = Duration::from_secs(60);
/// How long an outbound stream may have data to write without progress.
const LANE_STUCK_AFTER: Duration = Duration::from_secs(30);
/// Interval of the check for stuck streams while something is under way.
const WATCH_EVERY: Duration = Duration::from_secs(10);
/// Interval of progress reports for a message that is arriving.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);
/// After a frame of at least this many bytes was hashed, the executor gets a turn.
const YIELD_AFTER_BYTES: usize = 256 << 10;

/// The name of an outbound stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutboundStreamName {
    /// Our wants and cancels.
    Wants,
    /// Blocks and presences for the peer.
    Answers,
}

/// A command of the behaviour to a connection.
#[derive(Debug)]
pub struct Command(pub(in crate::node::exchange) CommandKind);

#[derive(Debug)]
pub(in crate::node::exchange) enum CommandKind {
    Send(OutboundStreamName, Message),
    /// Whether the connection stays open while it is idle.
    KeepAlive(bool),
}

/// A report of a connection to the behaviour.
#[derive(Debug)]
pub struct Report(pub(in crate::node::exchange) ReportKind);

#[derive(Debug)]
pub(in crate::node::exchange) enum ReportKind {
    Message(Arrived),
    /// Bytes of an incomplete message have arrived.
    Progress,
    /// A message was written completely, in this version of the protocol.
    Sent(OutboundStreamName, Message, Option<Version>),
    /// A stream failed, and these messages were not written.
    Failed {
        stream_out: OutboundStreamName,
        lost: Vec<Message>,
        prospect: Prospect,
    },
    /// The peer violated the protocol; the stream is reset.
    Malformed(Malformed),
}

/// A received message, with its blocks hashed.
#[derive(Debug, Default)]
pub(in crate::node::exchange) struct Arrived {
    pub(in crate::node::exchange) full: bool,
    pub(in crate::node::exchange) wants: Vec<Want>,
    pub(in crate::node::exchange) blocks: Vec<Block>,
    pub(in crate::node::exchange) presences: Vec<(Cid, Presence)>,
    /// Length of the frame that the blocks are slices of, in bytes.
    pub(in crate::node::exchange) frame_bytes: usize,
    /// CIDs and sizes in bytes of blocks that are too large.
    pub(in crate::node::exchange) oversized: Vec<(Cid, u64)>,
    /// Number of blocks for which no CID can be computed, e.g. because the hash function is unknown.
    pub(in crate::node::exchange) refused_blocks: u32,
}

/// How a peer violated the protocol.
#[derive(Debug, thiserror::Error)]
pub(in crate::node::exchange) enum Malformed {
    #[error(transparent)]
    Frame(FrameError),
    #[error(transparent)]
    Message(DecodeError),
}

#[derive(Debug)]
struct Inbound {
    stream: Stream,
    reader: FrameReader,
    progress_at: Instant,
}

type Event = ConnectionHandlerEvent<Protocol, OutboundStreamName, Report>;

/// The [`ConnectionHandler`] of [`Behaviour`](crate::node::exchange::Behaviour).
#[derive(Debug)]
pub struct Handler {
    wants: OutboundStream<Stream>,
    answers: OutboundStream<Stream>,
    inbound: Vec<Inbound>,
    budget: Budget,
    reports: VecDeque<ReportKind>,
    keep_alive: bool,
    /// Yield to the executor before reading more.
    give_way: bool,
    progress_reported_at: Instant,
    watch: Option<Pin<Box<Sleep>>>,
}

impl Handler {
    pub(in crate::node::exchange) fn new(now: Instant) -> Self {
        Self {
            wants: OutboundStream::new(now),
            answers: OutboundStream::new(now),
            inbound: Vec::new(),
            budget: Budget::new(INBOUND_BUDGET_BYTES),
            reports: VecDeque::new(),
            keep_alive: false,
            give_way: false,
            progress_reported_at: now,
            watch: None,
        }
    }

    fn stream_out(&mut self, name: OutboundStreamName) -> &mut OutboundStream<Stream> {
        match name {
            OutboundStreamName::Wants => &mut self.wants,
            OutboundStreamName::Answers => &mut self.answers,
        }
    }

    fn is_busy(&self) -> bool {
        self.wants.is_busy() || self.answers.is_busy() || self.inbound.iter().any(|inbound| !inbound.reader.is_idle())
    }

    fn lane_failed(&mut self, name: OutboundStreamName, event: StreamEvent) {
        if let StreamEvent::Failed { lost, prospect } = event {
            self.reports.push_back(ReportKind::Failed { stream_out: name, lost, prospect });
        }
    }

    fn accept(&mut self, mut stream: Stream, now: Instant) {
        if self.inbound.len() >= MAX_INBOUND_STREAMS {
            let idle = (0..self.inbound.len()).filter(|index| self.inbound[*index].reader.is_idle());
            let Some(oldest) = idle.min_by_key(|index| self.inbound[*index].progress_at) else {
                tracing::debug!("too many inbound bitswap streams in use, one more is refused");
                return;
            };
            self.drop_inbound(oldest);
        }
        stream.ignore_for_keep_alive();
        self.inbound.push(Inbound { stream, reader: FrameReader::new(), progress_at: now });
    }

    fn drop_inbound(&mut self, index: usize) {
        self.inbound.swap_remove(index).reader.release(&mut self.budget);
    }

    fn poll_lane(&mut self, name: OutboundStreamName, now: Instant, cx: &mut Context<'_>) -> Poll<Event> {
        match std::task::ready!(self.stream_out(name).poll(now, cx)) {
            StreamEvent::Open => Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                protocol: SubstreamProtocol::new(Protocol, name),
            }),
            StreamEvent::Sent(message) => {
                let version = self.stream_out(name).version();
                Poll::Ready(report(ReportKind::Sent(name, message, version)))
            }
            StreamEvent::Failed { lost, prospect } => {
                Poll::Ready(report(ReportKind::Failed { stream_out: name, lost, prospect }))
            }
        }
    }

    /// Reads from every inbound stream until one yields a message.
    fn poll_inbound(&mut self, now: Instant, cx: &mut Context<'_>) -> Poll<ReportKind> {
        let mut progress = 0;
        let mut index = 0;
        while let Some(inbound) = self.inbound.get_mut(index) {
            let before = progress;
            let read = inbound.reader.poll_frame(&mut inbound.stream, &mut self.budget, &mut progress, cx);
            if progress > before {
                inbound.progress_at = now;
            }
            match read {
                Poll::Pending => index += 1,
                Poll::Ready(Ok(Some(frame))) => {
                    self.progress_reported_at = now;
                    self.give_way = frame.len() >= YIELD_AFTER_BYTES;
                    return Poll::Ready(match Received::decode(&frame) {
                        Ok(received) => ReportKind::Message(hash(received, frame.len())),
                        Err(error) => {
                            self.drop_inbound(index);
                            ReportKind::Malformed(Malformed::Message(error))
                        }
                    });
                }
                Poll::Ready(Ok(None)) => self.drop_inbound(index),
                Poll::Ready(Err(error)) => {
                    self.drop_inbound(index);
                    if matches!(error, FrameError::TooLong) {
                        return Poll::Ready(ReportKind::Malformed(Malformed::Frame(error)));
                    }
                    tracing::debug!(%error, "an inbound bitswap stream broke off");
                }
            }
        }
        if progress > 0 && now.saturating_duration_since(self.progress_reported_at) >= PROGRESS_EVERY {
            self.progress_reported_at = now;
            return Poll::Ready(ReportKind::Progress);
        }
        Poll::Pending
    }

    /// Drops streams on which a message has made no progress for too long.
    fn poll_watch(&mut self, now: Instant, cx: &mut Context<'_>) {
        if !self.is_busy() {
            self.watch = None;
            return;
        }
        let watch = self.watch.get_or_insert_with(|| Box::pin(tokio::time::sleep(WATCH_EVERY)));
        while watch.as_mut().poll(cx).is_ready() {
            watch.as_mut().reset(tokio::time::Instant::now() + WATCH_EVERY);
            for name in [OutboundStreamName::Wants, OutboundStreamName::Answers] {
                let stream_out = match name {
                    OutboundStreamName::Wants => &mut self.wants,
                    OutboundStreamName::Answers => &mut self.answers,
                };
                if stream_out.is_stuck(now, LANE_STUCK_AFTER)
                    && let StreamEvent::Failed { lost, prospect } = stream_out.fail(Cause::TimedOut, now)
                {
                    self.reports.push_back(ReportKind::Failed { stream_out: name, lost, prospect });
                }
            }
            let stuck = |inbound: &Inbound| {
                !inbound.reader.is_idle() && now.saturating_duration_since(inbound.progress_at) > STUCK_AFTER
            };
            while let Some(index) = self.inbound.iter().position(stuck) {
                self.inbound.swap_remove(index).reader.release(&mut self.budget);
            }
        }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Command;
    type ToBehaviour = Report;
    type InboundProtocol = Protocol;
    type OutboundProtocol = Protocol;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = OutboundStreamName;

    fn listen_protocol(&self) -> SubstreamProtocol<Protocol> {
        SubstreamProtocol::new(Protocol, ())
    }

    fn connection_keep_alive(&self) -> bool {
        self.keep_alive || self.is_busy()
    }

    fn on_behaviour_event(&mut self, Command(command): Command) {
        match command {
            CommandKind::Send(name, message) => self.stream_out(name).push(message, now()),
            CommandKind::KeepAlive(keep_alive) => self.keep_alive = keep_alive,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        let now = now();
        if let Some(kind) = self.reports.pop_front() {
            return Poll::Ready(report(kind));
        }
        for name in [OutboundStreamName::Wants, OutboundStreamName::Answers] {
            if let Poll::Ready(event) = self.poll_lane(name, now, cx) {
                return Poll::Ready(event);
            }
        }
        if std::mem::take(&mut self.give_way) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Poll::Ready(kind) = self.poll_inbound(now, cx) {
            return Poll::Ready(report(kind));
        }
        self.poll_watch(now, cx);
        self.reports.pop_front().map_or(Poll::Pending, |kind| Poll::Ready(report(kind)))
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Protocol, Protocol, (), OutboundStreamName>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: (stream, _), .. }) => {
                self.accept(stream, now());
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info }) => {
                let (mut stream, version): Negotiated = protocol;
                stream.ignore_for_keep_alive();
                self.stream_out(info).opened(stream, version, now());
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                tracing::debug!(%error, "cannot open a bitswap stream");
                let cause = match error {
                    StreamUpgradeError::NegotiationFailed => Cause::Unsupported,
                    StreamUpgradeError::Timeout => Cause::TimedOut,
                    StreamUpgradeError::Apply(_) | StreamUpgradeError::Io(_) => Cause::Broken,
                };
                let event = self.stream_out(info).fail(cause, now());
                self.lane_failed(info, event);
            }
            _ => {}
        }
    }
}

fn report(kind: ReportKind) -> Event {
    ConnectionHandlerEvent::NotifyBehaviour(Report(kind))
}

/// The current time, from the clock that tests can pause.
pub(in crate::node::exchange) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Makes blocks of the payloads. Received bytes are hashed only here.
fn hash(received: Received, frame_bytes: usize) -> Arrived {
    let Received { full, wants, payloads, presences } = received;
    let mut blocks = Vec::with_capacity(payloads.len());
    let (mut oversized, mut refused_blocks) = (Vec::new(), 0);
    for Payload { version, codec, hash_code, digest_bytes, data } in payloads {
        let hashed = match data.len() > MAX_BLOCK_BYTES {
            // A message has at most 4 MiB, so hashing a block that is too large costs no more than hashing valid ones.
            true => cid_from_prefix(version, codec, hash_code, digest_bytes, &data)
                .map(|cid| oversized.push((cid, data.len() as u64))),
            false => Block::from_prefix(version, codec, hash_code, digest_bytes, data).map(|block| blocks.push(block)),
        };
        if let Err(error) = hashed {
            tracing::debug!(%error, "a block cannot be named");
            refused_blocks += 1;
        }
    }
    Arrived { full, wants, blocks, presences, frame_bytes, oversized, refused_blocks }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A peer that is stopped for a minute does not answer the negotiation of stream after stream.
    #[test]
    fn a_peer_that_answers_no_stream_for_long_is_not_taken_for_one_without_bitswap() {
        let mut cx = Context::from_waker(futures::task::noop_waker_ref());
        let mut handler = Handler::new(now());
        let mut fail = |error| {
            let message = Message { full: true, ..Message::default() };
            handler.on_behaviour_event(Command(CommandKind::Send(OutboundStreamName::Wants, message)));
            let opens = handler.poll(&mut cx);
            assert!(matches!(opens, Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { .. })), "{opens:?}");
            let info = OutboundStreamName::Wants;
            handler.on_connection_event(ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }));
            match handler.poll(&mut cx) {
                Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(Report(ReportKind::Failed {
                    prospect, ..
                }))) => prospect,
                other => panic!("{other:?}"),
            }
        };
        for _ in 0..10 {
            assert_ne!(fail(StreamUpgradeError::Timeout), Prospect::None);
        }
        assert_eq!(fail(StreamUpgradeError::NegotiationFailed), Prospect::None);
    }
}
