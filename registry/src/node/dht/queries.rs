//! DHT queries under way, and the callers that wait for them.

use std::{collections::HashMap, convert::Infallible};

use libp2p::{PeerId, kad::QueryId};
use tokio::sync::{mpsc, oneshot};

use crate::node::{
    behaviour::Dht,
    command::{FoundRecord, Tried, Walked},
    dht::announcements::Item,
};

/// What a query is for.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// A caller wants the providers of a key.
    Providers(mpsc::Sender<PeerId>),
    /// A caller wants the outcomes of dialling the providers of a key.
    Trial(mpsc::Sender<Tried>),
    /// The rendezvous looks for other nodes of this network.
    Rendezvous,
    /// A caller wants the values under a key.
    Record { found: mpsc::Sender<FoundRecord>, ended: oneshot::Sender<Walked> },
    /// A caller waits until the lookup of this node's own ID has ended.
    Explore { _done: mpsc::Sender<Infallible> },
    /// This node announces that it provides a key.
    Provide(Item),
    /// Looks for the peers nearest to a record's key, to put the record there.
    ClosestFor(Item),
    /// A record is being put to peers.
    Put(Item),
}

/// The queries of all DHTs. Query ids are unique per DHT only.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    queries: HashMap<(Dht, QueryId), Purpose>,
}

impl Pending {
    pub(crate) fn add(&mut self, dht: Dht, id: QueryId, purpose: Purpose) {
        self.queries.insert((dht, id), purpose);
    }

    pub(crate) fn get(&self, dht: Dht, id: QueryId) -> Option<&Purpose> {
        self.queries.get(&(dht, id))
    }

    pub(crate) fn finish(&mut self, dht: Dht, id: QueryId) -> Option<Purpose> {
        self.queries.remove(&(dht, id))
    }

    /// Queries whose caller is gone: they can be ended.
    pub(crate) fn abandoned(&self) -> Vec<(Dht, QueryId)> {
        let is_abandoned = |purpose: &Purpose| match purpose {
            Purpose::Providers(found) => found.is_closed(),
            Purpose::Record { found, .. } => found.is_closed(),
            Purpose::Trial(tried) => tried.is_closed(),
            Purpose::Explore { .. }
            | Purpose::Rendezvous
            | Purpose::Provide(_)
            | Purpose::ClosestFor(_)
            | Purpose::Put(_) => false,
        };
        self.queries.iter().filter(|(_, purpose)| is_abandoned(purpose)).map(|(id, _)| *id).collect()
    }
}
