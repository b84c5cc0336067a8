mod net;

use std::collections::{HashMap, HashSet};

use ggen_blockstore::{Block, Blockstore};

use self::net::{Node, blocks, cids, receive};
use super::*;

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
