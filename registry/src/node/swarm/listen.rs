//! Opening listeners before the driver runs.

use std::{collections::HashSet, time::Duration};

use futures::StreamExt;
use libp2p::{Multiaddr, Swarm, TransportError, core::transport::ListenerId, swarm::SwarmEvent};

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
