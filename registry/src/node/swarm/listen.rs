//! Opens listeners: before the driver runs, and on command.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use futures::StreamExt;
use libp2p::{Multiaddr, Swarm, TransportError, core::transport::ListenerId, swarm::SwarmEvent};

use tokio::sync::oneshot;

use crate::node::{StartError, behaviour::Behaviour, swarm::Driver, transport::port};

/// Time limit for the first address of a listener: an interface may have none.
const FIRST_ADDRESS: Duration = Duration::from_secs(5);

/// Listens on all of `addresses`. Returns the addresses of all listeners (ports chosen, interfaces resolved) once each
/// listener has reported an address, or after `FIRST_ADDRESS`.
pub(crate) async fn listen(
    swarm: &mut Swarm<Behaviour>,
    addresses: &[Multiaddr],
) -> Result<Vec<Multiaddr>, StartError> {
    check_ports(swarm, addresses)?;
    let mut waiting = HashMap::new();
    for address in addresses {
        waiting.insert(open(swarm, address)?, address.clone());
    }
    let all_named = async {
        while !waiting.is_empty() {
            match swarm.select_next_some().await {
                SwarmEvent::NewListenAddr { listener_id, .. } => {
                    waiting.remove(&listener_id);
                }
                SwarmEvent::ListenerClosed { listener_id, addresses, reason: Err(error) } => {
                    // A listener that has reported an address is no longer in `waiting`: its own address identifies it.
                    let address = waiting.remove(&listener_id).or_else(|| addresses.into_iter().next());
                    let address = address.unwrap_or_else(Multiaddr::empty);
                    return Err(StartError::Listen { address, reason: error.to_string() });
                }
                _ => {}
            }
        }
        Ok(())
    };
    match tokio::time::timeout(FIRST_ADDRESS, all_named).await {
        Ok(Err(error)) => Err(error),
        Ok(Ok(())) | Err(_) => Ok(swarm.listeners().cloned().collect()),
    }
}

/// Fails if another program listens at one of `addresses`. This node may listen on one port at several addresses.
fn check_ports(swarm: &Swarm<Behaviour>, addresses: &[Multiaddr]) -> Result<(), StartError> {
    let own: HashSet<u16> = swarm.listeners().filter_map(port::of).collect();
    for address in addresses.iter().filter(|address| port::of(address).is_none_or(|port| !own.contains(&port))) {
        if let Err(error) = port::check(address) {
            return Err(StartError::Listen { address: address.clone(), reason: error.to_string() });
        }
    }
    Ok(())
}

fn open(swarm: &mut Swarm<Behaviour>, address: &Multiaddr) -> Result<ListenerId, StartError> {
    swarm.listen_on(address.clone()).map_err(|error| {
        let reason = match error {
            TransportError::MultiaddrNotSupported(_) => "no transport supports this address".to_owned(),
            TransportError::Other(error) => crate::node::swarm::peers::innermost(&error),
        };
        StartError::Listen { address: address.clone(), reason }
    })
}

type Reply = oneshot::Sender<Result<Vec<Multiaddr>, StartError>>;

/// Openings on command whose listeners have not all reported an address, failed openings whose listeners are still
/// closing, and the callers that wait for either.
#[derive(Debug, Default)]
pub(super) struct Openings {
    openings: Vec<Opening>,
    retreats: Vec<Retreat>,
}

#[derive(Debug)]
struct Opening {
    /// All of its listeners, each with the requested address.
    listeners: HashMap<ListenerId, Multiaddr>,
    /// The listeners that have not reported an address yet.
    waiting: HashSet<ListenerId>,
    give_up: Instant,
    reply: Reply,
}

/// A failed opening. The caller gets the error once all listeners of the opening are closed.
#[derive(Debug)]
struct Retreat {
    closing: HashSet<ListenerId>,
    error: StartError,
    reply: Reply,
}

impl Openings {
    fn add(&mut self, listeners: HashMap<ListenerId, Multiaddr>, reply: Reply, now: Instant) {
        let waiting = listeners.keys().copied().collect();
        self.openings.push(Opening { listeners, waiting, give_up: now + FIRST_ADDRESS, reply });
    }

    pub(super) fn on_named(&mut self, listener: ListenerId, swarm: &Swarm<Behaviour>) {
        self.note_named(listener);
        self.answer(swarm, |opening| opening.waiting.is_empty());
    }

    fn note_named(&mut self, listener: ListenerId) {
        for opening in &mut self.openings {
            opening.waiting.remove(&listener);
        }
    }

    /// Fails the opening that this listener belongs to. Returns the other listeners of the opening, which the caller
    /// must close.
    #[must_use]
    fn on_failed(&mut self, listener: ListenerId, reason: &str) -> Vec<ListenerId> {
        let mut others = Vec::new();
        for mut opening in self.openings.extract_if(.., |opening| opening.listeners.contains_key(&listener)) {
            let address = opening.listeners.remove(&listener).unwrap_or_else(Multiaddr::empty);
            let error = StartError::Listen { address, reason: reason.to_owned() };
            others.extend(opening.listeners.keys());
            let closing = opening.listeners.into_keys().collect();
            self.retreats.push(Retreat { closing, error, reply: opening.reply });
        }
        others
    }

    /// Notes that a listener is closed, for whatever reason. The swarm closes its socket when it is polled the next
    /// time.
    fn on_closed(&mut self, listener: ListenerId) {
        for retreat in &mut self.retreats {
            retreat.closing.remove(&listener);
        }
    }

    /// Whether the listeners of a failed opening are closed. Its caller is notified as soon as the swarm is idle.
    pub(super) fn have_closed(&self) -> bool {
        self.retreats.iter().any(|retreat| retreat.closing.is_empty())
    }

    /// Notifies the callers of failed openings. The swarm must be idle: only then are the sockets closed.
    pub(super) fn tell_closed(&mut self) {
        for retreat in self.retreats.extract_if(.., |retreat| retreat.closing.is_empty()) {
            // A caller that no longer waits needs no reply.
            let _unasked = retreat.reply.send(Err(retreat.error));
        }
    }

    /// The earliest time limit of all openings: an interface may have no address to report.
    pub(super) fn give_up_at(&self) -> Option<Instant> {
        self.openings.iter().map(|opening| opening.give_up).min()
    }

    pub(super) fn give_up(&mut self, now: Instant, swarm: &Swarm<Behaviour>) {
        self.answer(swarm, |opening| opening.give_up <= now);
    }

    fn answer(&mut self, swarm: &Swarm<Behaviour>, is_ready: impl Fn(&Opening) -> bool) {
        for opening in self.openings.extract_if(.., |opening| is_ready(opening)) {
            // A caller that no longer waits needs no reply.
            let _unasked = opening.reply.send(Ok(swarm.listeners().cloned().collect()));
        }
    }
}

impl Driver {
    /// Opens listeners on all of `addresses`, or on none.
    pub(super) fn listen(&mut self, addresses: &[Multiaddr], reply: Reply) {
        if let Err(error) = check_ports(&self.swarm, addresses) {
            // A caller that no longer waits needs no reply.
            let _unasked = reply.send(Err(error));
            return;
        }
        let mut listeners = HashMap::new();
        for address in addresses {
            match open(&mut self.swarm, address) {
                Ok(listener) => listeners.insert(listener, address.clone()),
                Err(error) => {
                    let closing = listeners.into_keys().filter(|id| self.swarm.remove_listener(*id)).collect();
                    self.openings.retreats.push(Retreat { closing, error, reply });
                    return;
                }
            };
        }
        self.openings.add(listeners, reply, Instant::now());
        self.openings.answer(&self.swarm, |opening| opening.waiting.is_empty());
    }

    /// Handles a closed listener. `failure` is `None` if it was closed on command.
    pub(super) fn on_listener_closed(&mut self, listener: ListenerId, failure: Option<&str>) {
        self.openings.on_closed(listener);
        let Some(reason) = failure else { return };
        for other in self.openings.on_failed(listener, reason) {
            if !self.swarm.remove_listener(other) {
                self.openings.on_closed(other);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_fails_is_named_and_takes_the_others_with_it() {
        let address = |port: u16| -> Multiaddr { format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap() };
        let [first, second, third] = [1, 2, 3].map(|port| (ListenerId::next(), address(port)));
        let (reply, mut answer) = oneshot::channel();
        let (other_reply, mut other_answer) = oneshot::channel();
        let mut openings = Openings::default();
        openings.add(HashMap::from([first.clone(), second.clone()]), reply, Instant::now());
        openings.add(HashMap::from([third.clone()]), other_reply, Instant::now());
        // The first listener has reported an address, and is closed all the same.
        openings.note_named(first.0);
        assert_eq!(openings.on_failed(second.0, "gone"), [first.0]);
        answer.try_recv().expect_err("the first is still open");
        openings.on_closed(first.0);
        answer.try_recv().expect_err("its socket is still open");
        assert!(openings.have_closed());
        openings.tell_closed();
        match answer.try_recv().unwrap() {
            Err(StartError::Listen { address, reason }) => assert_eq!((address, reason.as_str()), (second.1, "gone")),
            other => panic!("{other:?}"),
        }
        assert_eq!(openings.on_failed(second.0, "gone"), [], "once is enough");
        assert!(!openings.have_closed() && other_answer.try_recv().is_err(), "another opening goes on");
    }
}
