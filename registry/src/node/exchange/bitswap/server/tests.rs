use ggen_blockstore::{Block, Blockstore, MemoryBlockstore};

use crate::node::exchange::bitswap::{answer, server::*};

fn block(index: u32, bytes: usize) -> Block {
    let mut data = index.to_le_bytes().to_vec();
    data.resize(bytes.max(4), 1);
    Block::raw(data).unwrap()
}

fn want(block: &Block, priority: i32) -> Want {
    Want { cid: *block.cid(), kind: WantKind::Block, priority, cancel: false, send_dont_have: true }
}

/// Runs all jobs. Returns the messages and their receivers.
fn answer_all(server: &mut Server, store: &MemoryBlockstore) -> Vec<(PeerId, Message)> {
    let mut sent = Vec::new();
    while let Some(Job { peer, ledger, wants }) = server.next_job() {
        let messages = server.on_read(peer, ledger, answer::read(store, wants));
        sent.extend(messages.into_iter().map(|message| (peer, message)));
    }
    sent
}

fn cids(messages: &[(PeerId, Message)]) -> Vec<Cid> {
    messages.iter().flat_map(|(_, message)| message.blocks.iter().map(|(cid, _)| *cid)).collect()
}

#[test]
fn wants_are_answered_in_the_order_of_their_priority() {
    let (mut server, store, peer) = (Server::default(), MemoryBlockstore::new(), PeerId::random());
    let blocks: Vec<_> = (0..5).map(|index| block(index, 10)).collect();
    store.put_many(&blocks).unwrap();
    let wants = blocks.iter().zip([3, 1, 4, 1, 5]).map(|(block, priority)| want(block, priority)).collect();
    server.on_wants(peer, false, wants);
    let expected: Vec<_> = [4, 2, 0, 1, 3].iter().map(|index: &usize| *blocks[*index].cid()).collect();
    assert_eq!(cids(&answer_all(&mut server, &store)), expected);
    assert!(!server.has_wants(&peer));
}

#[test]
fn small_blocks_travel_together_and_no_message_grows_too_long() {
    let (mut server, store, peer) = (Server::default(), MemoryBlockstore::new(), PeerId::random());
    let mut blocks: Vec<_> = (0..100).map(|index| block(index, 10_000)).collect();
    blocks.push(block(200, 2 << 20));
    store.put_many(&blocks).unwrap();
    let priority = |index: usize| i32::MAX - index as i32;
    server.on_wants(
        peer,
        false,
        blocks.iter().enumerate().map(|(index, block)| want(block, priority(index))).collect(),
    );
    let sent = answer_all(&mut server, &store);
    let counts: Vec<_> = sent.iter().map(|(_, message)| message.blocks.len()).collect();
    assert_eq!(counts, [100, 1]);
}

#[test]
fn peers_take_turns() {
    let (mut server, store) = (Server::default(), MemoryBlockstore::new());
    let blocks: Vec<_> = (0..6).map(|index| block(index, 1 << 20)).collect();
    store.put_many(&blocks).unwrap();
    let peers = [PeerId::random(), PeerId::random()];
    for peer in peers {
        server.on_wants(peer, false, blocks.iter().take(3).map(|block| want(block, 1)).collect());
    }
    let turns: Vec<_> = answer_all(&mut server, &store).into_iter().map(|(peer, _)| peer).collect();
    assert_eq!(turns, [peers[0], peers[1], peers[0], peers[1], peers[0], peers[1]]);
}

#[test]
fn a_peer_that_does_not_read_is_not_read_for() {
    let (mut server, store, peer) = (Server::default(), MemoryBlockstore::new(), PeerId::random());
    let blocks: Vec<_> = (0..20).map(|index| block(index, 1 << 20)).collect();
    store.put_many(&blocks).unwrap();
    server.on_wants(peer, false, blocks.iter().map(|block| want(block, 1)).collect());
    assert_eq!(cids(&answer_all(&mut server, &store)).len() as u64, MAX_PEER_OUTSTANDING_BYTES >> 20);
    server.on_sent(peer, 2 << 20);
    assert_eq!(cids(&answer_all(&mut server, &store)).len(), 2);
    server.on_answers_lost(peer);
    assert_eq!(cids(&answer_all(&mut server, &store)).len(), 4);
    server.on_disconnected(peer);
    assert_eq!(server.outstanding, 0);
}

/// Regression test: sixteen peers that wanted 4 MiB each and never read kept all peers from being served.
#[test]
fn peers_that_never_read_do_not_keep_others_from_being_served() {
    let (mut server, store) = (Server::default(), MemoryBlockstore::new());
    let blocks: Vec<_> = (0..6).map(|index| block(index, 1 << 20)).collect();
    store.put_many(&blocks).unwrap();
    let wants = || blocks.iter().map(|block| want(block, 1)).collect::<Vec<_>>();
    (0..40).for_each(|_| server.on_wants(PeerId::random(), false, wants()));
    answer_all(&mut server, &store);
    assert!(server.outstanding >= CROWDED_BYTES && server.outstanding < MAX_OUTSTANDING_BYTES);
    let alice = PeerId::random();
    server.on_wants(alice, false, wants());
    for _ in 0..blocks.len() {
        let sent = answer_all(&mut server, &store);
        assert!(sent.len() == 1 && sent[0].0 == alice, "{sent:?}");
        server.on_sent(alice, sent[0].1.queued_bytes());
    }
    assert!(!server.has_wants(&alice));
    (0..200).for_each(|_| server.on_wants(PeerId::random(), false, wants()));
    answer_all(&mut server, &store);
    assert!(server.outstanding < MAX_OUTSTANDING_BYTES + (2 << 20), "{}", server.outstanding);
}

#[test]
fn a_block_that_comes_later_is_sent_to_those_who_wait() {
    let (mut server, store) = (Server::default(), MemoryBlockstore::new());
    let (alice, bob, block) = (PeerId::random(), PeerId::random(), block(1, 5000));
    server.on_wants(alice, false, vec![want(&block, 1)]);
    server.on_wants(bob, false, vec![Want { kind: WantKind::Have, send_dont_have: false, ..want(&block, 1) }]);
    let sent = answer_all(&mut server, &store);
    assert_eq!(sent.len(), 1);
    assert_eq!((sent[0].0, &sent[0].1.presences[..]), (alice, &[(*block.cid(), Presence::DontHave)][..]));

    store.put(&block).unwrap();
    server.on_new_blocks(&[*block.cid()]);
    let sent: HashMap<_, _> = answer_all(&mut server, &store).into_iter().collect();
    assert_eq!(sent[&alice].blocks.len(), 1);
    assert_eq!(sent[&bob].presences, [(*block.cid(), Presence::Have)]);
    assert!(server.waiting.is_empty());
}

#[test]
fn nobody_is_left_waiting_for_a_block_that_was_sent() {
    let (mut server, store, peer, block) = (Server::default(), MemoryBlockstore::new(), PeerId::random(), block(1, 10));
    server.on_wants(peer, false, vec![want(&block, 1)]);
    answer_all(&mut server, &store);
    assert_eq!(server.waiting.len(), 1);
    store.put(&block).unwrap();
    server.on_wants(peer, false, vec![want(&block, 1)]);
    assert_eq!(cids(&answer_all(&mut server, &store)), [*block.cid()]);
    assert!(server.waiting.is_empty());
}

#[test]
fn a_block_that_comes_while_it_is_looked_for_is_not_missed() {
    let (mut server, store, peer, block) = (Server::default(), MemoryBlockstore::new(), PeerId::random(), block(1, 10));
    server.on_wants(peer, false, vec![want(&block, 1)]);
    let Job { ledger, wants, .. } = server.next_job().unwrap();
    let reading = answer::read(&store, wants);
    store.put(&block).unwrap();
    server.on_new_blocks(&[*block.cid()]);
    assert!(server.on_read(peer, ledger, reading).is_empty());
    assert_eq!(cids(&answer_all(&mut server, &store)), [*block.cid()]);
}

#[test]
fn what_is_cancelled_while_it_is_read_is_not_sent() {
    let (mut server, store, peer) = (Server::default(), MemoryBlockstore::new(), PeerId::random());
    let blocks = [block(1, 10), block(2, 10)];
    store.put_many(&blocks).unwrap();
    server.on_wants(peer, false, blocks.iter().map(|block| want(block, 1)).collect());
    let Job { ledger, wants, .. } = server.next_job().unwrap();
    server.on_wants(peer, false, vec![Want { cancel: true, ..want(&blocks[0], 0) }]);
    let messages = server.on_read(peer, ledger, answer::read(&store, wants));
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].blocks, [blocks[1].clone().into_parts()]);
}

#[test]
fn a_full_wantlist_replaces_the_former_one() {
    let (mut server, store, peer) = (Server::default(), MemoryBlockstore::new(), PeerId::random());
    let blocks = [block(1, 10), block(2, 10)];
    store.put_many(&blocks).unwrap();
    server.on_wants(peer, false, vec![want(&blocks[0], 1)]);
    server.on_wants(peer, true, vec![want(&blocks[1], 1)]);
    assert_eq!(cids(&answer_all(&mut server, &store)), [*blocks[1].cid()]);
}

#[test]
fn a_ledger_is_bounded_and_gives_up_what_we_do_not_have_first() {
    let (mut server, store, peer) = (Server::default(), MemoryBlockstore::new(), PeerId::random());
    let absent: Vec<_> = (0..MAX_LEDGER_WANTS as u32 + 100).map(|index| block(index, 4)).collect();
    server.on_wants(peer, false, absent.iter().map(|block| want(block, 5)).collect());
    answer_all(&mut server, &store);
    assert_eq!(server.waiting.len(), MAX_LEDGER_WANTS);
    let present = block(9999, 10);
    store.put(&present).unwrap();
    server.on_wants(peer, false, vec![want(&present, 1)]);
    assert_eq!(cids(&answer_all(&mut server, &store)), [*present.cid()]);
    assert_eq!(server.waiting.len(), MAX_LEDGER_WANTS - 1);
}

#[test]
fn an_identity_cid_is_ignored() {
    let (mut server, store, peer) = (Server::default(), MemoryBlockstore::new(), PeerId::random());
    let hash = Multihash::wrap(0, b"inline").unwrap();
    let want = Want { cid: Cid::new_v1(0x55, hash), ..want(&block(1, 4), 1) };
    server.on_wants(peer, false, vec![want]);
    assert!(answer_all(&mut server, &store).is_empty());
}

#[test]
fn a_reading_for_a_connection_that_is_gone_is_dropped() {
    let (mut server, store, peer, block) = (Server::default(), MemoryBlockstore::new(), PeerId::random(), block(1, 10));
    store.put(&block).unwrap();
    server.on_wants(peer, false, vec![want(&block, 1)]);
    let Job { ledger, wants, .. } = server.next_job().unwrap();
    server.on_disconnected(peer);
    server.on_wants(peer, false, vec![want(&block, 1)]);
    assert!(server.on_read(peer, ledger, answer::read(&store, wants)).is_empty());
    assert_eq!(cids(&answer_all(&mut server, &store)).len(), 1);
}
