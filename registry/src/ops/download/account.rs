//! Records in the peer book how each peer behaved in a retrieval, once, when the retrieval ends.

use std::{collections::HashMap, sync::Arc};

use libp2p::PeerId;

use crate::{Fault, Outcome, identity::Timestamp, ops::clock, peers::PeerBook};

/// Maximum number of peers recorded for one retrieval.
const MAX_PEERS: usize = 4096;

#[derive(Debug, Default)]
struct Deeds {
    bytes: u64,
    fault: Option<Fault>,
    /// Whether the peer is late, so that other peers had to be queried.
    late: bool,
}

/// The behaviour of the peers in one retrieval. Dropping it writes to the peer book.
#[derive(Debug)]
pub(super) struct Account {
    peers: Arc<PeerBook>,
    package: Option<String>,
    provision: Option<String>,
    deeds: HashMap<PeerId, Deeds>,
}

impl Account {
    pub(super) fn new(peers: Arc<PeerBook>) -> Self {
        Self { peers, package: None, provision: None, deeds: HashMap::new() }
    }

    /// Sets what is retrieved: its name for users and, once its publisher is verified, its name in the peer book.
    pub(super) fn about(&mut self, package: String, provision: Option<String>) {
        self.package = Some(package);
        self.provision = provision;
    }

    fn of(&mut self, peer: PeerId) -> Option<&mut Deeds> {
        (self.deeds.len() < MAX_PEERS || self.deeds.contains_key(&peer)).then(|| self.deeds.entry(peer).or_default())
    }

    /// Records a verified block of `bytes` bytes.
    pub(super) fn block(&mut self, from: PeerId, bytes: u64) {
        if let Some(deeds) = self.of(from) {
            deeds.bytes += bytes;
        }
    }

    /// Records a fault. Only a peer's first fault counts.
    pub(super) fn fault(&mut self, peer: PeerId, fault: Fault) {
        if let Some(deeds) = self.of(peer) {
            deeds.fault.get_or_insert(fault);
        }
    }

    pub(super) fn late(&mut self, peer: PeerId, late: bool) {
        if let Some(deeds) = self.of(peer) {
            deeds.late = late;
        }
    }

    /// Returns the number of peers that have not responded to a request, those at fault left aside.
    pub(super) fn silent(&self) -> usize {
        self.deeds.values().filter(|deeds| deeds.late && deeds.fault != Some(Fault::WrongBytes)).count()
    }

    /// Returns the peers that sent bytes which match no block that was requested.
    pub(super) fn wrong(&self) -> Vec<PeerId> {
        let wrong = self.deeds.iter().filter(|(_, deeds)| deeds.fault == Some(Fault::WrongBytes));
        let mut peers: Vec<_> = wrong.map(|(peer, _)| *peer).collect();
        peers.sort_unstable();
        peers
    }

    fn close(&mut self, now: Timestamp) {
        let package = self.package.as_deref();
        for (peer, Deeds { bytes, fault, late }) in self.deeds.drain() {
            let fault = fault.or((late && bytes == 0).then_some(Fault::Stalled));
            match fault {
                Some(fault) => self.peers.record(&peer, Outcome::Failed { fault, package, bytes }, now),
                None if bytes > 0 => self.peers.record(&peer, Outcome::Retrieved { package, bytes }, now),
                None => {}
            }
            if let Some(provision) = self.provision.as_deref().filter(|_| bytes > 0) {
                self.peers.provides(&peer, provision, now);
            }
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.close(clock::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retrieval_counts_once_for_each_peer() {
        let book = Arc::new(PeerBook::in_memory().unwrap());
        let [alice, bob, mallory, stalled, slow, idle] = std::array::from_fn(|_| PeerId::random());
        let mut account = Account::new(Arc::clone(&book));
        account.about("acme/http".to_owned(), Some("p/acme/http".to_owned()));
        (0..10).for_each(|_| account.block(alice, 100));
        account.block(bob, 50);
        account.block(mallory, 10);
        account.fault(mallory, Fault::WrongBytes);
        account.fault(mallory, Fault::Stalled);
        account.late(stalled, true);
        account.late(slow, true);
        account.late(slow, false);
        account.late(idle, false);
        account.late(mallory, true);
        assert_eq!((account.wrong(), account.silent()), (vec![mallory], 1));
        drop(account);
        let numbers = |peer| book.get(peer).map(|record| (record.successful, record.failed, record.packages));
        book.flush().unwrap();
        assert_eq!(numbers(&alice), Some((1, 0, 1)));
        assert_eq!(numbers(&bob), Some((1, 0, 1)));
        assert_eq!(numbers(&mallory), Some((0, 1, 1)));
        assert_eq!(numbers(&stalled), Some((0, 1, 0)));
        assert_eq!((numbers(&slow), numbers(&idle)), (None, None));
        let history = book.history(&mallory).unwrap();
        assert_eq!((history.len(), history[0].event.as_str(), history[0].bytes), (1, "wrong_bytes", 10));
        assert_eq!(history[0].package.as_deref(), Some("acme/http"));
        assert_eq!(book.history(&stalled).unwrap()[0].event, "stalled");
    }
}
