//! Opening listeners: before the driver runs, and when it is told to.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use futures::StreamExt;
use libp2p::{Multiaddr, Swarm, TransportError, core::transport::ListenerId, swarm::SwarmEvent};

use tokio::sync::oneshot;

use super::Driver;
use crate::node::{StartError, behaviour::Behaviour};

/// How long a listener may take to name its first address: an interface may have none.
const FIRST_ADDRESS: Duration = Duration::from_secs(5);

/// Listens on all of `addresses` and returns what they became (ports chosen, interfaces named), each as soon as it is
/// known.
pub(crate) async fn listen(
    swarm: &mut Swarm<Behaviour>,
    addresses: &[Multiaddr],
) -> Result<Vec<Multiaddr>, StartError> {
    let mut waiting = HashSet::new();
    for address in addresses {
        waiting.insert(open(swarm, address)?);
    }
    let all_named = async {
        while !waiting.is_empty() {
            match swarm.select_next_some().await {
                SwarmEvent::NewListenAddr { listener_id, .. } => {
                    waiting.remove(&listener_id);
                }
                SwarmEvent::ListenerClosed { listener_id, addresses, reason: Err(error) } => {
                    waiting.remove(&listener_id);
                    let address = addresses.into_iter().next().unwrap_or_else(Multiaddr::empty);
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

fn open(swarm: &mut Swarm<Behaviour>, address: &Multiaddr) -> Result<ListenerId, StartError> {
    swarm.listen_on(address.clone()).map_err(|error| {
        let reason = match error {
            TransportError::MultiaddrNotSupported(_) => "no transport supports this address".to_owned(),
            TransportError::Other(error) => super::peers::innermost(&error),
        };
        StartError::Listen { address: address.clone(), reason }
    })
}

/// Listeners opened on command that have not all named an address yet, and who waits for them.
#[derive(Debug, Default)]
pub(super) struct Openings {
    openings: Vec<Opening>,
}

#[derive(Debug)]
struct Opening {
    waiting: HashSet<ListenerId>,
    address: Multiaddr,
    give_up: Instant,
    reply: oneshot::Sender<Result<Vec<Multiaddr>, StartError>>,
}

impl Openings {
    pub(super) fn on_named(&mut self, listener: ListenerId, swarm: &Swarm<Behaviour>) {
        for opening in &mut self.openings {
            opening.waiting.remove(&listener);
        }
        self.answer(swarm, |opening| opening.waiting.is_empty());
    }

    pub(super) fn on_closed(&mut self, listener: ListenerId, reason: &str) {
        for opening in self.openings.extract_if(.., |opening| opening.waiting.contains(&listener)) {
            let (address, reason) = (opening.address, reason.to_owned());
            // An asker that no longer waits needs no answer.
            let _unasked = opening.reply.send(Err(StartError::Listen { address, reason }));
        }
    }

    /// When somebody has waited long enough: an interface may have no address to name.
    pub(super) fn give_up_at(&self) -> Option<Instant> {
        self.openings.iter().map(|opening| opening.give_up).min()
    }

    pub(super) fn give_up(&mut self, now: Instant, swarm: &Swarm<Behaviour>) {
        self.answer(swarm, |opening| opening.give_up <= now);
    }

    fn answer(&mut self, swarm: &Swarm<Behaviour>, is_ready: impl Fn(&Opening) -> bool) {
        for opening in self.openings.extract_if(.., |opening| is_ready(opening)) {
            // An asker that no longer waits needs no answer.
            let _unasked = opening.reply.send(Ok(swarm.listeners().cloned().collect()));
        }
    }
}

impl Driver {
    /// Opens listeners on all of `addresses`, or on none.
    pub(super) fn listen(
        &mut self,
        addresses: &[Multiaddr],
        reply: oneshot::Sender<Result<Vec<Multiaddr>, StartError>>,
    ) {
        let mut waiting = HashSet::new();
        for address in addresses {
            match open(&mut self.swarm, address) {
                Ok(listener) => waiting.insert(listener),
                Err(error) => {
                    for listener in waiting {
                        self.swarm.remove_listener(listener);
                    }
                    // An asker that no longer waits needs no answer.
                    let _unasked = reply.send(Err(error));
                    return;
                }
            };
        }
        let address = addresses.first().cloned().unwrap_or_else(Multiaddr::empty);
        self.openings.openings.push(Opening { waiting, address, give_up: Instant::now() + FIRST_ADDRESS, reply });
        self.openings.answer(&self.swarm, |opening| opening.waiting.is_empty());
    }
}
