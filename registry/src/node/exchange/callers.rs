//! The callers of sessions and presence queries: where events and replies go to.

use std::{
    collections::{BTreeMap, HashMap},
    task::Waker,
};

use tokio::sync::oneshot;

use crate::node::exchange::{
    SessionId,
    channel::{SessionEvent, SessionSender},
};

/// The callers' ends of all channels.
#[derive(Debug, Default)]
pub(super) struct Callers {
    sessions: BTreeMap<SessionId, SessionSender>,
    queries: HashMap<SessionId, oneshot::Sender<bool>>,
    next: u64,
}

impl Callers {
    fn next_id(&mut self) -> SessionId {
        self.next += 1;
        SessionId(self.next - 1)
    }

    pub(super) fn add_session(&mut self, output: SessionSender) -> SessionId {
        let id = self.next_id();
        self.sessions.insert(id, output);
        id
    }

    pub(super) fn add_query(&mut self, reply: oneshot::Sender<bool>) -> SessionId {
        let id = self.next_id();
        self.queries.insert(id, reply);
        id
    }

    /// Passes an event to the consumer of a session.
    pub(super) fn notify(&self, id: SessionId, event: SessionEvent) {
        if let Some(session) = self.sessions.get(&id) {
            session.send(event);
        }
    }

    /// Answers a query.
    pub(super) fn reply(&mut self, id: SessionId, has: bool) {
        if let Some(reply) = self.queries.remove(&id) {
            // A caller that no longer waits needs no reply.
            let _unasked = reply.send(has);
        }
    }

    pub(super) fn close(&mut self, id: SessionId) {
        self.sessions.remove(&id);
        self.queries.remove(&id);
    }

    /// Returns the sessions whose consumer has room again, or is gone, since the last call. Wakes `waker` when there
    /// are more.
    pub(super) fn poll_changed(&self, waker: &Waker) -> Vec<SessionId> {
        let changed = self.sessions.iter().filter(|(_, session)| session.poll_changed(waker));
        changed.map(|(id, _)| *id).collect()
    }

    /// Whether the consumer of a session is gone.
    pub(super) fn is_gone(&self, id: SessionId) -> bool {
        self.sessions.get(&id).is_some_and(SessionSender::is_closed)
    }

    /// The sessions and queries whose caller is gone.
    pub(super) fn gone(&self) -> Vec<SessionId> {
        let sessions = self.sessions.keys().copied().filter(|id| self.is_gone(*id));
        let queries = self.queries.iter().filter(|(_, reply)| reply.is_closed()).map(|(id, _)| *id);
        sessions.chain(queries).collect()
    }
}
