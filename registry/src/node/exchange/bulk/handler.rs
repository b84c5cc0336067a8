//! The handler of one connection: opens a stream for each request, and passes inbound streams on.

use std::{
    collections::VecDeque,
    sync::Weak,
    task::{Context, Poll},
};

use libp2p::{
    StreamProtocol,
    core::upgrade::ReadyUpgrade,
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, Stream, StreamUpgradeError, SubstreamProtocol,
        handler::{
            ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound, ProtocolsChange,
        },
    },
};

use crate::node::exchange::bulk::request::BulkRequestId;

/// The protocol's name on the wire.
pub(super) const PROTOCOL: StreamProtocol = StreamProtocol::new("/ggen/blocks/1.0.0");
/// Maximum number of inbound streams that wait for the behaviour; further ones are dropped.
const MAX_WAITING: usize = 16;

/// Commands of the behaviour.
#[derive(Clone, Debug)]
pub enum ToHandler {
    /// Open a stream, for this request if there is one.
    Open(Option<BulkRequestId>),
    /// The use count of the connection, which stays alive while a reference besides that of the behaviour exists.
    Uses(Weak<()>),
}

/// A report to the behaviour.
#[derive(Debug)]
pub struct Report(pub(super) ReportKind);

#[derive(Debug)]
pub(super) enum ReportKind {
    Supports(bool),
    Opened(Option<BulkRequestId>, Stream),
    Failed { request: Option<BulkRequestId>, unsupported: bool },
    Asked(Stream),
}

type HandlerEvent = ConnectionHandlerEvent<ReadyUpgrade<StreamProtocol>, Option<BulkRequestId>, Report>;

/// The connection handler of the bulk protocol.
#[derive(Debug, Default)]
pub struct Handler {
    requests: VecDeque<Option<BulkRequestId>>,
    reports: VecDeque<ReportKind>,
    supports: bool,
    uses: Weak<()>,
}

impl Handler {
    fn waiting(&self) -> usize {
        self.reports.iter().filter(|report| matches!(report, ReportKind::Asked(_))).count()
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = ToHandler;
    type ToBehaviour = Report;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Option<BulkRequestId>;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ())
    }

    fn on_behaviour_event(&mut self, event: ToHandler) {
        match event {
            ToHandler::Open(request) => self.requests.push_back(request),
            ToHandler::Uses(uses) => self.uses = uses,
        }
    }

    /// One of the references belongs to the behaviour itself.
    fn connection_keep_alive(&self) -> bool {
        self.uses.strong_count() > 1
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<HandlerEvent> {
        if let Some(request) = self.requests.pop_front() {
            let protocol = SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), request);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        match self.reports.pop_front() {
            Some(report) => Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(Report(report))),
            None => Poll::Pending,
        }
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol, (), Option<BulkRequestId>>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: stream, .. })
                if self.waiting() < MAX_WAITING =>
            {
                self.reports.push_back(ReportKind::Asked(stream));
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: stream, info }) => {
                self.reports.push_back(ReportKind::Opened(info, stream));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                let unsupported = matches!(error, StreamUpgradeError::NegotiationFailed);
                self.reports.push_back(ReportKind::Failed { request: info, unsupported });
            }
            ConnectionEvent::RemoteProtocolsChange(change) => {
                let supports = match change {
                    ProtocolsChange::Added(mut added) => self.supports || added.any(|protocol| *protocol == PROTOCOL),
                    ProtocolsChange::Removed(mut removed) => {
                        self.supports && !removed.any(|protocol| *protocol == PROTOCOL)
                    }
                };
                if supports != self.supports {
                    self.supports = supports;
                    self.reports.push_back(ReportKind::Supports(supports));
                }
            }
            _ => {}
        }
    }
}
