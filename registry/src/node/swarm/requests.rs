//! What the driver does about requests and responses: pending callers, pending peers, and limits.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    time::Instant,
};

use libp2p::{
    PeerId, StreamProtocol,
    request_response::{Event, InboundRequestId, Message, OutboundFailure, OutboundRequestId},
};
use tokio::sync::{mpsc, oneshot};

use crate::node::{
    rpc::{AskError, Asked, MAX_ANSWERING, MAX_ANSWERING_PER_PEER, MAX_ASKING, Met, Protocol, Reply},
    swarm::Driver,
};

type Answer = Result<Vec<u8>, AskError>;

/// Inbound and outbound requests under way.
#[derive(Debug)]
pub(super) struct Requests {
    /// Callers that wait for a response.
    asking: HashMap<(Protocol, OutboundRequestId), oneshot::Sender<Answer>>,
    /// Peers that wait for a response.
    answering: HashMap<(Protocol, InboundRequestId), PeerId>,
    /// The request protocols that each connected peer supports.
    supporting: HashMap<PeerId, BTreeSet<Protocol>>,
    asked: mpsc::Sender<Asked>,
    met: mpsc::Sender<Met>,
}

impl Requests {
    pub(super) fn new(asked: mpsc::Sender<Asked>, met: mpsc::Sender<Met>) -> Self {
        let (asking, answering, supporting) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { asking, answering, supporting, asked, met }
    }

    /// Stores which request protocols a peer supports, and queues a [`Met`] the first time since the peer connected.
    pub(super) fn on_identified(&mut self, peer: PeerId, protocols: &[StreamProtocol]) {
        let supports: BTreeSet<_> =
            Protocol::ALL.into_iter().filter(|protocol| protocols.contains(&protocol.name())).collect();
        let is_new = !self.supporting.contains_key(&peer);
        if is_new
            && !supports.is_empty()
            && self.met.try_send(Met { peer, supports: supports.iter().copied().collect() }).is_err()
        {
            tracing::debug!(target: crate::LOG_TARGET, %peer, "a peer met is not looked at");
        }
        self.supporting.insert(peer, supports);
    }

    pub(super) fn on_gone(&mut self, peer: &PeerId) {
        self.supporting.remove(peer);
    }

    pub(super) fn supporting(&self, protocol: Protocol) -> Vec<PeerId> {
        self.supporting.iter().filter(|(_, supports)| supports.contains(&protocol)).map(|(peer, _)| *peer).collect()
    }

    fn has_room_for(&self, protocol: Protocol, peer: &PeerId) -> bool {
        let of_peer = self.answering.iter().filter(|((other, _), asker)| *other == protocol && *asker == peer).count();
        self.answering.len() < MAX_ANSWERING && of_peer < MAX_ANSWERING_PER_PEER
    }
}

impl Driver {
    pub(super) fn ask(&mut self, peer: &PeerId, protocol: Protocol, data: Vec<u8>, reply: oneshot::Sender<Answer>) {
        if self.requests.asking.len() >= MAX_ASKING {
            let _unasked = reply.send(Err(AskError::Busy));
            return;
        }
        let id = self.swarm.behaviour_mut().requests(protocol).send_request(peer, data);
        self.requests.asking.insert((protocol, id), reply);
    }

    pub(super) fn answer(&mut self, protocol: Protocol, reply: Reply, data: Vec<u8>) {
        if self.swarm.behaviour_mut().requests(protocol).send_response(reply.0, data).is_err() {
            tracing::debug!(target: crate::LOG_TARGET, "an answer is not waited for");
        }
    }

    pub(super) fn on_request_event(&mut self, protocol: Protocol, event: Event<Vec<u8>, Vec<u8>>) {
        match event {
            Event::Message { peer, message: Message::Request { request_id, request, channel }, .. } => {
                if !self.requests.has_room_for(protocol, &peer) {
                    tracing::debug!(target: crate::LOG_TARGET, %peer, "a question too many");
                    return;
                }
                let asked = Asked { protocol, peer, data: request, reply: Reply(channel) };
                if self.requests.asked.try_send(asked).is_ok() {
                    self.requests.answering.insert((protocol, request_id), peer);
                    self.connections().used(peer, Instant::now());
                }
            }
            Event::Message { peer, message: Message::Response { request_id, response }, .. } => {
                self.connections().used(peer, Instant::now());
                self.on_answer(protocol, request_id, Ok(response));
            }
            Event::OutboundFailure { request_id, error, .. } => {
                self.on_answer(protocol, request_id, Err(ask_error(&error)));
            }
            Event::InboundFailure { request_id, .. } | Event::ResponseSent { request_id, .. } => {
                self.requests.answering.remove(&(protocol, request_id));
            }
        }
    }

    fn on_answer(&mut self, protocol: Protocol, id: OutboundRequestId, answer: Answer) {
        if let Some(reply) = self.requests.asking.remove(&(protocol, id)) {
            // A caller that no longer waits needs no reply.
            let _unasked = reply.send(answer);
        }
    }
}

fn ask_error(error: &OutboundFailure) -> AskError {
    match error {
        OutboundFailure::DialFailure => AskError::Unreachable,
        OutboundFailure::ConnectionClosed => AskError::Lost,
        OutboundFailure::Timeout => AskError::TimedOut,
        OutboundFailure::UnsupportedProtocols => AskError::Unsupported,
        OutboundFailure::Io(error) if error.kind() == io::ErrorKind::InvalidData => AskError::TooLarge,
        OutboundFailure::Io(_) => AskError::Declined,
    }
}
