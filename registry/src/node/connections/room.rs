//! Which connections a node has room for: a pure state machine.
//!
//! A new connection is admitted while the limits allow it, and otherwise in place of the one that is worth least. The
//! order of worth: idle connections, then new ones in their [`GRACE`] period, then useful ones. While there are only few
//! new ones, useful ones make room for them, so that peers which send a cheap request now and then cannot keep newcomers
//! out. [Protected](Standing::is_protected) peers are never trimmed.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use libp2p::{PeerId, swarm::ConnectionId};

use super::{marks::Marks, source::Source, standing::Standing};

/// How long a connection may take to prove useful.
pub(crate) const GRACE: Duration = Duration::from_secs(20);
/// How long a peer may take to receive the message that this node is full.
pub(crate) const LEAVE_WITHIN: Duration = Duration::from_secs(2);

/// A connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    pub(crate) peer: PeerId,
    /// `None` for a source without a limit of its own.
    pub(crate) source: Option<Source>,
    pub(crate) is_inbound: bool,
}

/// An input of the state machine.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// A connection is established.
    Established(Connection),
    /// A connection is closed, or was never handed over.
    Closed(ConnectionId),
    /// Time has passed.
    Tick,
}

/// What the caller must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Tell the peer of this connection that the node is full, and close the connection then.
    TurnAway(PeerId, ConnectionId),
    /// Close this connection; a new one is denied.
    Close(PeerId, ConnectionId),
}

#[derive(Clone, Copy, Debug)]
struct Open {
    connection: Connection,
    since: Instant,
}

/// The connections of a node.
#[derive(Debug)]
pub(crate) struct Room {
    marks: Marks,
    open: HashMap<ConnectionId, Open>,
    /// Connections that are about to be closed, and since when.
    leaving: HashMap<ConnectionId, (PeerId, Instant)>,
}

impl Room {
    pub(crate) fn new(marks: Marks) -> Self {
        Self { marks, open: HashMap::new(), leaving: HashMap::new() }
    }

    pub(crate) fn on(&mut self, event: Event, standing: &Standing, now: Instant) -> Vec<Action> {
        match event {
            Event::Established(connection) => self.admit(connection, standing, now),
            Event::Closed(id) => {
                self.open.remove(&id);
                self.leaving.remove(&id);
                Vec::new()
            }
            Event::Tick => self.trim(standing, now),
        }
    }

    /// Number of peers with a connection that is not about to be closed.
    pub(crate) fn peers(&self) -> usize {
        self.open.values().map(|open| open.connection.peer).collect::<HashSet<_>>().len()
    }

    fn admit(&mut self, connection: Connection, standing: &Standing, now: Instant) -> Vec<Action> {
        let Connection { id, peer, source, is_inbound } = connection;
        let mut actions = Vec::new();
        if !standing.is_exempt(&peer) {
            if self.count(standing, |open| open.connection.peer == peer) >= self.marks.per_peer {
                return vec![Action::Close(peer, id)];
            }
            let of_source = |open: &Open| open.connection.is_inbound && open.connection.source == source;
            let inbound = |open: &Open| open.connection.is_inbound;
            let victim = if is_inbound && source.is_some() && self.count(standing, of_source) >= self.marks.per_source {
                Some(self.victim(standing, now, of_source))
            } else if is_inbound && self.count(standing, inbound) >= self.marks.inbound {
                Some(self.victim(standing, now, inbound))
            } else if self.count(standing, |_| true) >= self.marks.most {
                Some(self.victim(standing, now, |_| true))
            } else {
                None
            };
            match victim {
                Some(None) => return vec![self.turn_away(peer, id, now)],
                Some(Some(victim)) => actions.push(self.turn_away(victim.peer, victim.id, now)),
                None => {}
            }
        }
        self.open.insert(id, Open { connection, since: now });
        actions
    }

    /// Trims above the high mark: idle connections down to the low mark, others down to the high one. Closes connections
    /// whose peer does not receive the message.
    fn trim(&mut self, standing: &Standing, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        let is_late = |since: &Instant| now.saturating_duration_since(*since) >= LEAVE_WITHIN;
        for (id, (peer, _)) in self.leaving.extract_if(|_, (_, since)| is_late(since)) {
            actions.push(Action::Close(peer, id));
        }
        let mut count = self.count(standing, |_| true);
        if count <= self.marks.high {
            return actions;
        }
        let is_past_grace = |open: &Open| now.saturating_duration_since(open.since) >= GRACE;
        let is_idle = |open: &Open| is_past_grace(open) && !standing.is_useful(&open.connection.peer, now);
        while count > self.marks.low {
            let victim = self.victim(standing, now, is_idle);
            let is_over = count > self.marks.high;
            let Some(victim) = victim.or_else(|| self.victim(standing, now, is_past_grace).filter(|_| is_over)) else {
                break;
            };
            actions.push(self.turn_away(victim.peer, victim.id, now));
            count -= 1;
        }
        actions
    }

    fn count(&self, standing: &Standing, is_counted: impl Fn(&Open) -> bool) -> usize {
        self.open.values().filter(|open| is_counted(open) && !standing.is_exempt(&open.connection.peer)).count()
    }

    /// The connection that is worth least among those that are not protected. Of equal ones, the one of the source with
    /// most connections, inbound before outbound, the longest without use.
    fn victim(&self, standing: &Standing, now: Instant, may_go: impl Fn(&Open) -> bool) -> Option<Connection> {
        let mut crowds: HashMap<Source, usize> = HashMap::new();
        let mut new = 0;
        for open in self.open.values() {
            if let Some(source) = open.connection.source {
                *crowds.entry(source).or_default() += 1;
            }
            new += usize::from(self.is_new(open, standing, now));
        }
        let rank =
            |open: &Open| match (self.is_new(open, standing, now), standing.is_useful(&open.connection.peer, now)) {
                (true, _) => 1 + u8::from(new <= self.marks.newcomers) * 2,
                (false, true) => 2,
                (false, false) => 0,
            };
        let crowd = |open: &Open| open.connection.source.map_or(0, |source| crowds[&source]);
        let unprotected =
            self.open.values().filter(|open| may_go(open) && !standing.is_protected(&open.connection.peer));
        let worst = unprotected.min_by_key(|open| {
            let used = standing.last_used(&open.connection.peer).map_or(open.since, |used| used.max(open.since));
            (rank(open), Reverse(crowd(open)), !open.connection.is_inbound, used, open.connection.id)
        });
        worst.map(|open| open.connection)
    }

    fn is_new(&self, open: &Open, standing: &Standing, now: Instant) -> bool {
        now.saturating_duration_since(open.since) < GRACE && !standing.is_protected(&open.connection.peer)
    }

    fn turn_away(&mut self, peer: PeerId, id: ConnectionId, now: Instant) -> Action {
        self.open.remove(&id);
        if self.leaving.len() >= self.marks.leaving {
            return Action::Close(peer, id);
        }
        self.leaving.insert(id, (peer, now));
        Action::TurnAway(peer, id)
    }
}

#[cfg(test)]
mod tests;
