mod hostile;
mod net;

use std::{collections::HashMap, sync::Arc};

use futures::StreamExt;
use ggen_blockstore::{Block, Blockstore, MemoryBlockstore};

use self::{
    hostile::{Gate, RawSender, Trick, TrickStore},
    net::{Node, PATIENCE, blocks, cids, in_time, listen, receive, swarm},
};
use crate::node::exchange::*;

const CREDIT: u64 = 32 << 20;

fn assert_same(received: &[(Block, libp2p::PeerId)], expected: &[Block]) {
    let received: HashMap<_, _> = received.iter().map(|(block, _)| block.clone().into_parts()).collect();
    let expected: HashMap<_, _> = expected.iter().map(|block| block.clone().into_parts()).collect();
    assert_eq!(received.len(), expected.len());
    assert!(received == expected);
}

#[tokio::test]
async fn two_thousand_small_blocks_and_some_large_ones_travel() {
    let mut all = blocks(1, 2000, 1000);
    all.extend(blocks(2, 12, 1 << 20));
    all.extend(blocks(3, 1, 2 << 20));
    let mut alice = Node::start(&all).await;
    let mut bob = Node::start(&[]).await;
    bob.dial(&alice.address).await;
    let (_, mut receiver) = bob.open(CREDIT, &[alice.peer], &cids(&all)).await;
    let (received, _) = receive(&mut receiver, all.len()).await;
    assert_same(&received, &all);

    let expected: u64 = all.iter().map(|block| block.data().len() as u64).sum();
    let (mut sent, mut got) = (0, 0);
    while sent < expected {
        if let Event::Served { peer, bytes, .. } = alice.event().await {
            assert_eq!(peer, bob.peer);
            sent += bytes;
        }
    }
    while got < expected {
        if let Event::Received { peer, bytes, unwanted, .. } = bob.event().await {
            assert_eq!((peer, unwanted), (alice.peer, 0));
            got += bytes;
        }
    }
    assert_eq!((sent, got), (expected, expected));
}

fn count_by_peer(received: &[(Block, libp2p::PeerId)]) -> HashMap<libp2p::PeerId, usize> {
    let mut counts = HashMap::new();
    received.iter().for_each(|(_, from)| *counts.entry(*from).or_default() += 1);
    counts
}

#[tokio::test]
async fn a_block_wanted_before_it_is_there_is_sent_when_it_comes_and_keeps_the_connection() {
    let content = blocks(1, 1, 5000);
    let (alice, mut carol, mut bob) =
        (Node::that_hangs_up().await, Node::that_hangs_up().await, Node::that_hangs_up().await);
    bob.dial(&alice.address).await;
    bob.dial(&carol.address).await;
    let (_, mut receiver) = bob.open(CREDIT, &[alice.peer], &cids(&content)).await;
    let need = in_time(receiver.recv()).await;
    assert!(matches!(need, Some(SessionEvent::NeedPeers { wanted: 1, .. })), "{need:?}");
    // Carol got only a presence query: her connection counts as idle, and Alice's does not.
    assert_eq!(in_time(carol.closed.recv()).await, Some(bob.peer));
    assert_eq!(in_time(bob.closed.recv()).await, Some(carol.peer));

    alice.store.put_many(&content).unwrap();
    let new = cids(&content);
    alice.act(move |swarm| swarm.behaviour_mut().notify_new_blocks(&new)).await;
    let (received, _) = receive(&mut receiver, 1).await;
    assert_same(&received, &content);
    drop(receiver);
    assert_eq!(in_time(bob.closed.recv()).await, Some(alice.peer));
}

#[tokio::test]
async fn what_one_peer_lacks_comes_from_another() {
    let content = blocks(1, 300, 3000);
    let (alice, carol, bob) =
        (Node::start(&content[..150]).await, Node::start(&content[150..]).await, Node::start(&[]).await);
    bob.dial(&alice.address).await;
    bob.dial(&carol.address).await;
    let (_, mut receiver) = bob.open(CREDIT, &[alice.peer, carol.peer], &cids(&content)).await;
    let (received, _) = receive(&mut receiver, content.len()).await;
    assert_same(&received, &content);
    assert_eq!(count_by_peer(&received), HashMap::from([(alice.peer, 150), (carol.peer, 150)]));
}

#[tokio::test]
async fn a_liar_is_reported_and_dropped_and_the_fetch_goes_on() {
    let content = blocks(1, 100, 3000);
    let store = MemoryBlockstore::new();
    store.put_many(&content).unwrap();
    let trick = TrickStore { store: store.clone(), trick: Trick::Lie };
    let mallory = Node::with_store(store, Arc::new(trick)).await;
    let alice = Node::start(&content).await;
    let mut bob = Node::start(&[]).await;
    bob.dial(&mallory.address).await;
    let (id, mut receiver) = bob.open(CREDIT, &[mallory.peer], &cids(&content)).await;
    let misbehaved = Event::PeerMisbehaved { peer: mallory.peer, reason: Misbehaviour::UnaskedData, blamed: true };
    while bob.event().await != misbehaved {}
    bob.dial(&alice.address).await;
    let provider = alice.peer;
    bob.act(move |swarm| swarm.behaviour_mut().add_peer(id, provider, false)).await;
    let (received, others) = receive(&mut receiver, content.len()).await;
    assert_same(&received, &content);
    assert!(received.iter().all(|(_, from)| *from == alice.peer));
    assert!(others.contains(&SessionEvent::PeerDropped { peer: mallory.peer, reason: DropReason::Misbehaved }));
}

#[tokio::test]
async fn a_silent_peers_wants_move_to_another() {
    let content = blocks(1, 100, 3000);
    let store = MemoryBlockstore::new();
    store.put_many(&content).unwrap();
    let gate = Gate::default();
    let trick = TrickStore { store: store.clone(), trick: Trick::Hang(gate.clone()) };
    let mallory = Node::with_store(store, Arc::new(trick)).await;
    let (alice, bob) = (Node::start(&content).await, Node::start(&[]).await);
    bob.dial(&mallory.address).await;
    bob.dial(&alice.address).await;
    let (_, mut receiver) = bob.open(CREDIT, &[mallory.peer, alice.peer], &cids(&content)).await;
    let (received, _) = receive(&mut receiver, content.len()).await;
    gate.open();
    assert_same(&received, &content);
    assert_eq!(count_by_peer(&received), HashMap::from([(alice.peer, 100)]));
}

#[tokio::test]
async fn a_peer_that_dies_is_replaced() {
    let content = blocks(1, 64, 256 << 10);
    let (alice, carol, bob) = (Node::start(&content).await, Node::start(&content).await, Node::start(&[]).await);
    bob.dial(&alice.address).await;
    let (id, mut receiver) = bob.open(2 << 20, &[alice.peer], &cids(&content)).await;
    let (mut received, _) = receive(&mut receiver, 8).await;
    alice.kill();
    bob.dial(&carol.address).await;
    let provider = carol.peer;
    bob.act(move |swarm| swarm.behaviour_mut().add_peer(id, provider, false)).await;
    received.extend(receive(&mut receiver, content.len() - 8).await.0);
    assert_same(&received, &content);
    assert!(count_by_peer(&received)[&carol.peer] > 0);
}

#[tokio::test]
async fn three_providers_share_the_work() {
    let content = blocks(1, 192, 256 << 10);
    let providers = [Node::start(&content).await, Node::start(&content).await, Node::start(&content).await];
    let bob = Node::start(&[]).await;
    let (_, mut receiver) = bob.open(CREDIT, &providers.each_ref().map(|node| node.peer), &[]).await;
    for provider in &providers {
        bob.dial(&provider.address).await;
    }
    // The rest is wanted only once all three are connected.
    let id = SessionId(0);
    let wants: Vec<_> = content.iter().map(|block| (*block.cid(), Some(block.data().len() as u64))).collect();
    in_time(async {
        while bob.act(|swarm| swarm.connected_peers().count()).await < 3 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    bob.act(move |swarm| swarm.behaviour_mut().want(id, wants)).await;
    let (received, _) = receive(&mut receiver, content.len()).await;
    assert_same(&received, &content);
    let counts = count_by_peer(&received);
    assert!(counts.len() == 3 && counts.values().all(|count| *count >= 8), "{counts:?}");
}

#[tokio::test]
async fn a_slow_consumer_bounds_what_is_held_for_it() {
    let content = blocks(1, 128, 256 << 10);
    let credit = 4 << 20;
    let (alice, bob) = (Node::start(&content).await, Node::start(&[]).await);
    bob.dial(&alice.address).await;
    let (_, mut receiver) = bob.open(credit, &[alice.peer], &cids(&content)).await;
    let mut received = Vec::new();
    while received.len() < content.len() {
        // Let everything run until it can run no further, then take one block.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        // The sizes are unknown in advance, so the requests may exceed what was counted.
        assert!(receiver.held() <= 2 * credit, "{}", receiver.held());
        received.extend(receive(&mut receiver, 1).await.0);
    }
    assert_same(&received, &content);
}

#[tokio::test]
async fn malformed_messages_are_reported_and_cost_the_connection() {
    let bob = Node::start(&[]).await;
    let sends = vec![vec![2, 0x0a, 5], vec![0xff, 0xff, 0xff, 0xff, 1], vec![4, 0x1a, 2, 0x0a, 0]];
    let mut mallory = swarm(RawSender { sends, queue: Vec::new() }, PATIENCE);
    listen(&mut mallory).await;
    let peer = *mallory.local_peer_id();
    mallory.dial(bob.address.clone()).unwrap();
    let task = tokio::spawn(async move {
        loop {
            mallory.select_next_some().await;
        }
    });
    let mut bob = bob;
    for _ in 0..3 {
        let event = bob.event().await;
        let is_malformed = matches!(
            &event,
            Event::PeerMisbehaved { peer: who, reason: Misbehaviour::Malformed { .. }, blamed: false } if *who == peer
        );
        assert!(is_malformed, "{event:?}");
    }
    assert_eq!(in_time(bob.closed.recv()).await, Some(peer));
    task.abort();
}
