//! The marks of the connection manager, derived from `limits.connections`.

/// Maximum number of subscribers of the packages topic whose idle connections stay open. Gossip chooses its mesh among
/// them.
const MAX_FOLLOWERS: usize = 16;
/// Largest number of connections that wait until their peer has the message that this node is full.
const MAX_LEAVING: usize = 32;
/// A node with fewer peers looks for more, as far as its limit has room for them.
const WANTED_PEERS: usize = 6;
/// Number of peers that gossip aims at in its mesh.
const AIMED_MESH: usize = 6;
/// Largest number of peers of the gossip mesh.
const MAX_MESH: usize = 12;

/// How many connections of each kind a node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marks {
    /// Connections, those with exempt peers not counted.
    pub(crate) most: usize,
    /// Inbound connections. The rest is reserved for the node's own dials.
    pub(crate) inbound: usize,
    /// Trimming starts above this number,
    pub(crate) high: usize,
    /// and idle connections are trimmed down to this one.
    pub(crate) low: usize,
    /// New connections that useful ones make room for.
    pub(crate) newcomers: usize,
    /// Inbound connections from one [source](super::source::Source).
    pub(crate) per_source: usize,
    /// Connections with one peer.
    pub(crate) per_peer: usize,
    /// Peers that each of the reasons protects: three reasons leave a quarter for other peers.
    pub(crate) protected: usize,
    /// Subscribers of the packages topic whose idle connections stay open.
    pub(crate) followers: usize,
    /// Connections that wait until their peer has the message that this node is full. Further ones are closed without a
    /// message.
    pub(crate) leaving: usize,
    /// A node with fewer peers looks for more.
    pub(crate) wanted: usize,
}

impl Marks {
    pub(crate) fn new(most: u32, per_peer: u32) -> Self {
        let (most, per_peer) = (most as usize, per_peer as usize);
        let quarter = (most / 4).max(1);
        Self {
            most,
            inbound: (most - most / 4).max(1),
            high: most - most / 8,
            low: most - most / 4,
            newcomers: (most / 8).max(1),
            per_source: quarter,
            per_peer,
            protected: quarter,
            followers: quarter.min(MAX_FOLLOWERS),
            leaving: quarter.min(MAX_LEAVING),
            wanted: (most / 2).clamp(1, WANTED_PEERS),
        }
    }

    /// Number of peers in the gossip mesh: least, aimed at, most.
    pub(crate) fn mesh(&self) -> [usize; 3] {
        let most = self.protected.clamp(2, MAX_MESH);
        let aim = (most * 3 / 4).min(AIMED_MESH);
        [(aim - 1).max(1), aim, most]
    }
}
