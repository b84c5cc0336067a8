//! How fast blocks travel between two swarms on loopback, memory to memory: TCP, tls, yamux, Bitswap.
//!
//! `cargo bench -p ggen-marketplace --bench bitswap_throughput [-- MEBIBYTES]` prints one line per block size: the
//! median and the best of [`ROUNDS`] rounds, each with bytes that were never sent before. Nothing is asserted.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for people at a terminal")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::StreamExt;
use ggen_blockstore::{Block, Blockstore, Cid, MemoryBlockstore};
use ggen_marketplace::node::exchange::{Behaviour, Config, SessionEvent, SessionSpec, session_channel};
use libp2p::{Multiaddr, PeerId, Swarm, SwarmBuilder, swarm::SwarmEvent, tcp, tls, yamux};
use tokio::runtime::{Builder, Runtime};

const ROUNDS: usize = 7;
const CREDIT_BYTES: u64 = 64 << 20;
const BLOCK_BYTES: [usize; 4] = [1 << 20, 256 << 10, 16 << 10, 2 << 10];

fn main() {
    let mebibytes = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(256);
    let runtime = Builder::new_multi_thread().enable_all().build().expect("a runtime starts");
    for block_bytes in BLOCK_BYTES {
        let bytes = (mebibytes << 20).min(block_bytes * 100_000);
        let mut seconds: Vec<f64> = (0..ROUNDS).map(|round| fetch(&runtime, bytes, block_bytes, round)).collect();
        seconds.sort_by(f64::total_cmp);
        let (median, best) = (seconds[ROUNDS / 2], seconds[0]);
        let rate = bytes as f64 / median / 1e6;
        println!(
            "{:>4} MiB in blocks of {:>4} KiB: {median:.3} s (best {best:.3}), {rate:.0} MB/s",
            bytes >> 20,
            block_bytes >> 10
        );
    }
}

fn fetch(runtime: &Runtime, bytes: usize, block_bytes: usize, round: usize) -> f64 {
    let store = MemoryBlockstore::new();
    let blocks: Vec<Block> = (0..bytes / block_bytes).map(|index| block(block_bytes, round, index)).collect();
    store.put_many(&blocks).expect("memory takes blocks");
    let wants: Vec<(Cid, Option<u64>)> = blocks.iter().map(|block| (*block.cid(), Some(block_bytes as u64))).collect();
    runtime.block_on(async {
        let (address, provider) = serve(store).await;
        transfer(address, provider, wants, bytes).await
    })
}

fn block(bytes: usize, round: usize, index: usize) -> Block {
    let mut data = vec![round as u8; bytes];
    data[..8].copy_from_slice(&index.to_le_bytes());
    Block::raw(data).expect("a block of legal size")
}

fn swarm(store: MemoryBlockstore) -> Swarm<Behaviour> {
    SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), tls::Config::new, yamux::Config::default)
        .expect("tls starts")
        .with_behaviour(|_| Behaviour::new(Arc::new(store), Config::default()))
        .expect("a behaviour cannot fail")
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(10)))
        .build()
}

/// Starts a node that serves `store` until the connection to it is closed.
async fn serve(store: MemoryBlockstore) -> (Multiaddr, PeerId) {
    let mut swarm = swarm(store);
    let peer = *swarm.local_peer_id();
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().expect("an address")).expect("loopback listens");
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            break address;
        }
    };
    tokio::spawn(
        async move { while !matches!(swarm.select_next_some().await, SwarmEvent::ConnectionClosed { .. }) {} },
    );
    (address, peer)
}

/// Fetches `wants` and returns the seconds from the first want to the last block, the connection standing already.
async fn transfer(address: Multiaddr, provider: PeerId, wants: Vec<(Cid, Option<u64>)>, bytes: usize) -> f64 {
    let mut swarm = swarm(MemoryBlockstore::new());
    swarm.dial(address).expect("a loopback address can be dialled");
    while !matches!(swarm.select_next_some().await, SwarmEvent::ConnectionEstablished { .. }) {}
    let (output, mut receiver) = session_channel(CREDIT_BYTES);
    let start = Instant::now();
    let id = swarm.behaviour_mut().open_session(SessionSpec { output, peers: vec![provider], least_reputation: 0.0 });
    swarm.behaviour_mut().want(id, wants);
    let node = tokio::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    });
    let mut received = 0;
    while received < bytes {
        if let SessionEvent::Block { block, .. } = receiver.recv().await.expect("the session stays open") {
            received += block.data().len();
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    node.abort();
    seconds
}
