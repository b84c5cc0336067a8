//! One connection of the connection manager: kept open or not, and the message that a node is full.
//!
//! The message is a stream of the protocol [`FULL`] without a byte in it: its negotiation says everything. The full node
//! opens it, and closes the connection when the other side has confirmed the protocol, does not support it, or takes
//! longer than [`LEAVE_WITHIN`].

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use libp2p::{
    StreamProtocol,
    core::upgrade::ReadyUpgrade,
    swarm::{ConnectionHandler, ConnectionHandlerEvent, SubstreamProtocol, handler::ConnectionEvent},
};

use super::room::LEAVE_WITHIN;

/// Says that the node which opens a stream of it is full.
pub(crate) const FULL: StreamProtocol = StreamProtocol::new("/ggen/full/1.0.0");

type Upgrade = ReadyUpgrade<StreamProtocol>;

/// Tells the peer that this node is full.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SayFull;

/// What a connection reports.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Report {
    /// The peer has the message that this node is full, or cannot receive it.
    Delivered,
    /// The peer says that it is full.
    IsFull,
}

/// The manager's part of one connection.
#[derive(Debug)]
pub(crate) struct Handler {
    /// Whether the connection stays open without use.
    stays: Arc<AtomicBool>,
    must_say: bool,
    reports: VecDeque<Report>,
}

impl Handler {
    pub(super) fn new(stays: Arc<AtomicBool>, must_say: bool) -> Self {
        Self { stays, must_say, reports: VecDeque::new() }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = SayFull;
    type ToBehaviour = Report;
    type InboundProtocol = Upgrade;
    type OutboundProtocol = Upgrade;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Upgrade> {
        SubstreamProtocol::new(ReadyUpgrade::new(FULL), ())
    }

    fn connection_keep_alive(&self) -> bool {
        self.stays.load(Ordering::Relaxed)
    }

    fn on_behaviour_event(&mut self, SayFull: SayFull) {
        self.must_say = true;
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Upgrade, (), Report>> {
        if std::mem::take(&mut self.must_say) {
            let protocol = SubstreamProtocol::new(ReadyUpgrade::new(FULL), ()).with_timeout(LEAVE_WITHIN);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        match self.reports.pop_front() {
            Some(report) => Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(report)),
            None => Poll::Pending,
        }
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Upgrade, Upgrade>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(_) if self.reports.is_empty() => {
                self.reports.push_back(Report::IsFull);
            }
            ConnectionEvent::FullyNegotiatedOutbound(_) | ConnectionEvent::DialUpgradeError(_) => {
                self.reports.push_back(Report::Delivered);
            }
            _ => {}
        }
    }
}
