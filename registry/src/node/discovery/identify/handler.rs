//! Identify on one connection: requests the peer's message at once and then at intervals, responds to its requests,
//! reads its pushes, and pushes changes of this node.

use std::{
    collections::{HashSet, VecDeque},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{
    FutureExt as _, StreamExt as _,
    future::{BoxFuture, Either},
    stream::FuturesUnordered,
};
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol,
    core::upgrade::{ReadyUpgrade, SelectUpgrade},
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, SubstreamProtocol, SupportedProtocols,
        handler::{
            ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound, ProtocolSupport,
        },
    },
};
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::node::discovery::identify::{
    message::{self, Error, Info, Message},
    own::{self, Own},
};

const REQUEST: StreamProtocol = StreamProtocol::new("/ipfs/id/1.0.0");
const PUSH: StreamProtocol = StreamProtocol::new("/ipfs/id/push/1.0.0");
/// Interval between requests to a peer.
const INTERVAL: Duration = Duration::from_secs(300);
/// Maximum number of open inbound streams; further ones are closed.
pub(super) const MAX_INBOUND_STREAMS: usize = 10;
/// Time limit of a message, in either direction.
const STREAM_TIMEOUT: Duration = Duration::from_secs(60);

/// Notifies a handler that the addresses of this node have changed.
#[derive(Debug)]
pub(crate) struct Changed {
    pub(super) own: Arc<Own>,
    /// Push them to the peer at once.
    pub(super) push: bool,
}

/// What an outbound stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Request,
    Push,
}

/// The result of a stream that has ended.
enum Ended {
    /// The response to our request.
    Request(Result<Message, Error>),
    /// Our push was sent, or failed.
    Push(Result<(), Error>),
    /// The response to the peer's request was sent, or failed.
    InboundRequest(Result<(), Error>),
    /// A push of the peer.
    InboundPush(Result<Message, Error>),
}

/// State of the pushes to the peer.
#[derive(Clone, Copy, Debug, Default)]
struct Pushes {
    is_due: bool,
    /// A push is under way; the next waits for it.
    is_open: bool,
}

type Event = ConnectionHandlerEvent<ReadyUpgrade<StreamProtocol>, Purpose, Result<Info, Error>>;

/// The handler of [`Behaviour`](crate::node::discovery::identify::Behaviour).
pub(crate) struct Handler {
    peer: PeerId,
    own: Arc<Own>,
    /// The address at which this node sees the peer.
    observed: Multiaddr,
    own_protocols: SupportedProtocols,
    /// All messages of the peer on this connection, merged.
    info: Option<Info>,
    reported_protocols: HashSet<StreamProtocol>,
    /// A response was sent to the peer; a change makes it outdated.
    has_answered: bool,
    request_at: Pin<Box<Sleep>>,
    pushes: Pushes,
    inbound: usize,
    streams: FuturesUnordered<BoxFuture<'static, Ended>>,
    events: VecDeque<Event>,
}

impl Handler {
    pub(super) fn new(peer: PeerId, own: Arc<Own>, observed: Multiaddr) -> Self {
        Self {
            peer,
            own,
            observed,
            own_protocols: SupportedProtocols::default(),
            info: None,
            reported_protocols: HashSet::new(),
            has_answered: false,
            request_at: Box::pin(sleep(Duration::ZERO)),
            pushes: Pushes::default(),
            inbound: 0,
            streams: FuturesUnordered::new(),
            events: VecDeque::new(),
        }
    }

    fn read(&self, mut stream: Stream) -> impl Future<Output = Result<Message, Error>> + Send + use<> {
        stream.ignore_for_keep_alive();
        within(message::read(stream, self.peer))
    }

    fn write(&self, mut stream: Stream) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        stream.ignore_for_keep_alive();
        within(own::write(stream, self.own.parts(self.own_protocols.iter(), &self.observed)))
    }

    fn on_inbound(&mut self, stream: Either<Stream, Stream>) {
        if self.inbound >= MAX_INBOUND_STREAMS {
            tracing::debug!(peer = %self.peer, "an identify stream is closed: too many are open");
            return;
        }
        self.inbound += 1;
        let ended = match stream {
            Either::Left(stream) => {
                self.has_answered = true;
                self.write(stream).map(Ended::InboundRequest).boxed()
            }
            Either::Right(stream) => self.read(stream).map(Ended::InboundPush).boxed(),
        };
        self.streams.push(ended);
    }

    fn on_outbound(&mut self, stream: Stream, purpose: Purpose) {
        let ended = match purpose {
            Purpose::Request => self.read(stream).map(Ended::Request).boxed(),
            Purpose::Push => self.write(stream).map(Ended::Push).boxed(),
        };
        self.streams.push(ended);
    }

    fn on_ended(&mut self, ended: Ended) {
        match ended {
            Ended::Request(answer) => {
                let outcome = answer.and_then(|message| self.take(message));
                self.report(outcome);
            }
            Ended::InboundPush(message) => {
                self.inbound -= 1;
                // A push that cannot be used leaves the known information unchanged.
                match message.and_then(|message| self.take(message)) {
                    Ok(info) => self.report(Ok(info)),
                    Err(error) => tracing::debug!(peer = %self.peer, %error, "an identify push is ignored"),
                }
            }
            Ended::InboundRequest(sent) => {
                self.inbound -= 1;
                self.note_unsent(sent);
            }
            Ended::Push(sent) => {
                self.pushes.is_open = false;
                self.note_unsent(sent);
            }
        }
    }

    fn note_unsent(&self, sent: Result<(), Error>) {
        if let Err(error) = sent {
            tracing::debug!(peer = %self.peer, %error, "an identify message is not sent");
        }
    }

    /// Merges a message into the known information. The first one must contain the peer's key, as complete ones do.
    fn take(&mut self, message: Message) -> Result<Info, Error> {
        if self.info.is_none() && !message.has_key() {
            return Err(Error::NoKey);
        }
        let info = self.info.get_or_insert_default();
        message.update(info);
        Ok(info.clone())
    }

    fn report(&mut self, outcome: Result<Info, Error>) {
        if let Ok(info) = &outcome {
            self.report_protocols(info.protocols.iter().cloned().collect());
        }
        self.events.push_back(ConnectionHandlerEvent::NotifyBehaviour(outcome));
    }

    /// Reports protocol changes to the swarm, which notifies the handlers of other protocols.
    fn report_protocols(&mut self, protocols: HashSet<StreamProtocol>) {
        let added: HashSet<_> = protocols.difference(&self.reported_protocols).cloned().collect();
        let removed: HashSet<_> = self.reported_protocols.difference(&protocols).cloned().collect();
        if !added.is_empty() {
            let added = ProtocolSupport::Added(added);
            self.events.push_back(ConnectionHandlerEvent::ReportRemoteProtocols(added));
        }
        if !removed.is_empty() {
            let removed = ProtocolSupport::Removed(removed);
            self.events.push_back(ConnectionHandlerEvent::ReportRemoteProtocols(removed));
        }
        self.reported_protocols = protocols;
    }

    /// Returns what the next stream is for, if one is due.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Option<Purpose> {
        if self.pushes.is_due && !self.pushes.is_open {
            self.pushes = Pushes { is_due: false, is_open: true };
            return Some(Purpose::Push);
        }
        self.request_at.as_mut().poll(cx).is_ready().then(|| {
            self.request_at.as_mut().reset(Instant::now() + INTERVAL);
            Purpose::Request
        })
    }
}

async fn within<T>(stream: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(STREAM_TIMEOUT, stream).await.unwrap_or(Err(Error::TimedOut))
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Changed;
    type ToBehaviour = Result<Info, Error>;
    type InboundProtocol = SelectUpgrade<ReadyUpgrade<StreamProtocol>, ReadyUpgrade<StreamProtocol>>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Purpose;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(SelectUpgrade::new(ReadyUpgrade::new(REQUEST), ReadyUpgrade::new(PUSH)), ())
    }

    fn on_behaviour_event(&mut self, Changed { own, push }: Changed) {
        self.own = own;
        self.pushes.is_due |= push;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(event);
            }
            if let Some(purpose) = self.poll_open(cx) {
                let protocol = match purpose {
                    Purpose::Request => REQUEST,
                    Purpose::Push => PUSH,
                };
                let protocol = SubstreamProtocol::new(ReadyUpgrade::new(protocol), purpose);
                return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
            }
            match self.streams.poll_next_unpin(cx) {
                Poll::Ready(Some(ended)) => self.on_ended(ended),
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol, (), Purpose>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: stream, .. }) => {
                self.on_inbound(stream);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: stream, info }) => {
                self.on_outbound(stream, info);
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                let error = Error::Unopened(error.to_string());
                self.on_ended(match info {
                    Purpose::Request => Ended::Request(Err(error)),
                    Purpose::Push => Ended::Push(Err(error)),
                });
            }
            ConnectionEvent::LocalProtocolsChange(change) => {
                self.pushes.is_due |= self.own_protocols.on_protocols_change(change) && self.has_answered;
            }
            _ => {}
        }
    }
}
