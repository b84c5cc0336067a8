//! Nodes on loopback for the tests.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use ggen_blockstore::{Block, Blockstore, Cid, MemoryBlockstore};
use libp2p::{Multiaddr, PeerId, Swarm, SwarmBuilder, noise, swarm::SwarmEvent, tcp, yamux};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
};

use crate::node::exchange::*;

/// Time limit of every step.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// Idle timeout of connections, in tests about that. In all others it is [`PATIENCE`]: a busy machine uses a connection
/// late, and does not redial.
const IDLE: Duration = Duration::from_secs(1);

type Act = Box<dyn FnOnce(&mut Swarm<Behaviour>) + Send>;

/// A node whose swarm runs in a task of its own.
pub(super) struct Node {
    pub(super) peer: PeerId,
    pub(super) address: Multiaddr,
    pub(super) store: MemoryBlockstore,
    acts: mpsc::UnboundedSender<Act>,
    pub(super) events: mpsc::UnboundedReceiver<Event>,
    /// Peers whose connection was closed.
    pub(super) closed: mpsc::UnboundedReceiver<PeerId>,
    task: AbortHandle,
    _tasks: JoinSet<()>,
}

pub(super) fn swarm<B: libp2p::swarm::NetworkBehaviour>(behaviour: B, idle: Duration) -> Swarm<B> {
    SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| behaviour)
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(idle))
        .build()
}

pub(super) async fn listen<B: libp2p::swarm::NetworkBehaviour>(swarm: &mut Swarm<B>) -> Multiaddr {
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            return address;
        }
    }
}

impl Node {
    pub(super) async fn start(blocks: &[Block]) -> Self {
        let store = MemoryBlockstore::new();
        store.put_many(blocks).unwrap();
        Self::with_store(store.clone(), Arc::new(store)).await
    }

    /// A node without blocks that closes idle connections.
    pub(super) async fn that_hangs_up() -> Self {
        let store = MemoryBlockstore::new();
        Self::run(store.clone(), Arc::new(store), IDLE).await
    }

    /// A node that serves `served`, which reads from `store`.
    pub(super) async fn with_store(store: MemoryBlockstore, served: Arc<dyn Blockstore>) -> Self {
        Self::run(store, served, PATIENCE).await
    }

    async fn run(store: MemoryBlockstore, served: Arc<dyn Blockstore>, idle: Duration) -> Self {
        let mut swarm = swarm(Behaviour::new(served, Config::default()), idle);
        let address = listen(&mut swarm).await;
        let peer = *swarm.local_peer_id();
        let (acts, mut to_do) = mpsc::unbounded_channel::<Act>();
        let (sender, events) = mpsc::unbounded_channel();
        let (closed_sender, closed) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        let task = tasks.spawn(async move {
            loop {
                tokio::select! {
                    act = to_do.recv() => match act {
                        Some(act) => act(&mut swarm),
                        None => return,
                    },
                    event = swarm.select_next_some() => match event {
                        SwarmEvent::Behaviour(event) => drop(sender.send(event)),
                        SwarmEvent::ConnectionClosed { peer_id, .. } => drop(closed_sender.send(peer_id)),
                        _ => {}
                    }
                }
            }
        });
        Self { peer, address, store, acts, events, closed, task, _tasks: tasks }
    }

    /// Runs a closure with the swarm, and returns its result.
    pub(super) async fn act<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Swarm<Behaviour>) -> T + Send + 'static,
    ) -> T {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let act: Act = Box::new(move |swarm| drop(sender.send(act(swarm))));
        assert!(self.acts.send(act).is_ok(), "the node runs");
        receiver.await.unwrap()
    }

    pub(super) async fn dial(&self, address: &Multiaddr) {
        let address = address.clone();
        self.act(move |swarm| swarm.dial(address).unwrap()).await;
    }

    /// Stops the node without closing its connections.
    pub(super) fn kill(&self) {
        self.task.abort();
    }

    pub(super) async fn open(&self, limit: u64, peers: &[PeerId], cids: &[Cid]) -> (SessionId, SessionReceiver) {
        let (output, receiver) = session_channel(limit);
        let spec = SessionSpec { output, peers: peers.to_vec(), least_reputation: 0.0 };
        let wants: Vec<_> = cids.iter().map(|cid| (*cid, None)).collect();
        let id = self
            .act(move |swarm| {
                let id = swarm.behaviour_mut().open_session(spec);
                swarm.behaviour_mut().want(id, wants);
                id
            })
            .await;
        (id, receiver)
    }

    pub(super) async fn event(&mut self) -> Event {
        in_time(self.events.recv()).await.unwrap()
    }
}

pub(super) async fn in_time<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("this takes too long")
}

/// Receives the next `count` blocks of a session with their senders, and the other events in between.
pub(super) async fn receive(receiver: &mut SessionReceiver, count: usize) -> (Vec<(Block, PeerId)>, Vec<SessionEvent>) {
    let (mut blocks, mut others) = (Vec::new(), Vec::new());
    in_time(async {
        while blocks.len() < count {
            match receiver.recv().await.expect("the session is open") {
                SessionEvent::Block { block, from } => blocks.push((block, from)),
                other => others.push(other),
            }
        }
    })
    .await;
    (blocks, others)
}

/// Blocks that differ by `seed` and index.
pub(super) fn blocks(seed: u64, count: usize, bytes: usize) -> Vec<Block> {
    let block = |index: usize| {
        let mut data = vec![seed as u8; bytes.max(16)];
        data[..8].copy_from_slice(&seed.to_le_bytes());
        data[8..16].copy_from_slice(&index.to_le_bytes());
        Block::raw(data).unwrap()
    };
    (0..count).map(block).collect()
}

pub(super) fn cids(blocks: &[Block]) -> Vec<Cid> {
    blocks.iter().map(|block| *block.cid()).collect()
}
