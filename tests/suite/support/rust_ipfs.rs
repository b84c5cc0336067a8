//! An in-process node of rust-ipfs, an IPFS implementation that shares no code with ggen above libp2p. It listens on
//! loopback only, keeps its blocks in memory, and has no bootstrap nodes and no mDNS.

use std::path::Path;
use std::time::Duration;

use futures::StreamExt;
use rust_ipfs::builder::DefaultIpfsBuilder;
use rust_ipfs::unixfs::UnixfsStatus;
use rust_ipfs::{Ipfs, Multiaddr, PeerId, Protocol};

/// How long a connected peer may take to send a block.
const BLOCK_TIMEOUT: Duration = Duration::from_secs(60);

/// A running rust-ipfs node; call [`RustIpfs::stop`] at the end of the test.
pub(crate) struct RustIpfs {
    ipfs: Ipfs,
    peer_id: PeerId,
    addresses: Vec<Multiaddr>,
}

impl RustIpfs {
    /// Starts a node on a port that the system chooses; needs a tokio runtime.
    pub(crate) async fn start() -> Self {
        let ipfs = DefaultIpfsBuilder::new().with_default().enable_tcp().start().await.expect("rust-ipfs starts");
        let loopback = "/ip4/127.0.0.1/tcp/0".parse().expect("this is a multiaddress");
        let listener = ipfs.add_listening_address(loopback).await.expect("rust-ipfs listens on loopback");
        let peer_id = ipfs.keypair().public().to_peer_id();
        let listening = ipfs.get_listening_address(listener).await.expect("the listener stands");
        let addresses = listening.into_iter().map(|address| address.with(Protocol::P2p(peer_id))).collect();
        Self { ipfs, peer_id, addresses }
    }

    /// Returns the peer id in base58.
    pub(crate) fn peer_id(&self) -> String {
        self.peer_id.to_string()
    }

    /// Returns the listening addresses, each ending in `/p2p/<peer id>`.
    pub(crate) fn addrs(&self) -> Vec<String> {
        self.addresses.iter().map(Multiaddr::to_string).collect()
    }

    /// Connects to a multiaddress that ends in `/p2p/<peer id>`.
    pub(crate) async fn connect(&self, address: &str) {
        let address: Multiaddr = address.parse().unwrap_or_else(|error| panic!("no multiaddress `{address}`: {error}"));
        self.ipfs.connect(address).await.expect("the peer accepts a connection");
    }

    /// Adds a file (CIDv1, chunks of 256 KiB) and returns its CID.
    pub(crate) async fn add_file(&self, path: &Path) -> String {
        let mut statuses = self.ipfs.add_unixfs(path);
        while let Some(status) = statuses.next().await {
            match status {
                UnixfsStatus::CompletedStatus { path, .. } => {
                    return path.root().cid().expect("an added file has a CID").to_string();
                }
                UnixfsStatus::FailedStatus { error, .. } => {
                    panic!("rust-ipfs cannot add `{}`: {error}", path.display())
                }
                UnixfsStatus::ProgressStatus { .. } => {}
            }
        }
        panic!("rust-ipfs stopped adding `{}` without a word", path.display());
    }

    /// Returns the bytes of one block, from this node or from a connected peer.
    pub(crate) async fn block(&self, cid: &str) -> Vec<u8> {
        let cid: cid::Cid = cid.parse().unwrap_or_else(|error| panic!("no CID `{cid}`: {error}"));
        let block = self.ipfs.get_block(cid).timeout(BLOCK_TIMEOUT).await;
        block.unwrap_or_else(|error| panic!("rust-ipfs cannot get block {cid}: {error}")).data().to_vec()
    }

    /// Returns the bytes of a file; missing blocks are fetched from connected peers.
    pub(crate) async fn cat(&self, cid: &str) -> Vec<u8> {
        let path: rust_ipfs::IpfsPath = cid.parse().unwrap_or_else(|error| panic!("no path `{cid}`: {error}"));
        let mut chunks = self.ipfs.cat_unixfs(path).timeout(BLOCK_TIMEOUT);
        let mut bytes = Vec::new();
        while let Some(chunk) = chunks.next().await {
            bytes.extend_from_slice(&chunk.unwrap_or_else(|error| panic!("rust-ipfs cannot read {cid}: {error}")));
        }
        bytes
    }

    /// Ends the node and its tasks.
    pub(crate) async fn stop(self) {
        self.ipfs.exit_daemon().await;
    }
}
