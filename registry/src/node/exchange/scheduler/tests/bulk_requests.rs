//! Bulk requests: which peer gets which, and how they end.

use super::*;
use crate::node::exchange::{
    bulk::{BulkRequest, BulkRequestId, End, Wanted},
    session::{BlockWant, ListSource, MIN_ASKED, Place},
};

/// A session that wants blocks of a manifest, and peers of which some support bulk requests.
struct Bulk {
    client: Desk,
    id: SessionId,
    events: SessionReceiver,
    now: Instant,
    blocks: Vec<Block>,
    peers: Vec<PeerId>,
}

fn block(index: u32, bytes: usize) -> Block {
    let mut data = vec![0; bytes];
    data[..4].copy_from_slice(&index.to_le_bytes());
    Block::raw(data).unwrap()
}

impl Bulk {
    /// `supports`: for each peer, whether it supports bulk requests. The session wants `count` blocks of this many
    /// bytes.
    fn new(supports: &[bool], count: u32, bytes: usize) -> Self {
        let now = Instant::now();
        let mut client = Desk::new(Arc::new(NoPriors));
        let (output, events) = session_channel(CREDIT);
        let id = client.open(output, 0.0, now);
        let peers: Vec<_> = supports.iter().map(|_| PeerId::random()).collect();
        let blocks: Vec<_> = (0..count).map(|index| block(index, bytes)).collect();
        client.describe(
            id,
            ListSource { list: *block(u32::MAX, 9).cid(), max_bytes: 1000, whole: false, references: Vec::new() },
            now,
        );
        for (peer, supports) in peers.iter().zip(supports) {
            client.on_connected(*peer, now);
            client.on_supports(*peer, *supports, now);
            client.add_peer(id, *peer, now);
        }
        let wants: Vec<_> = (0..).zip(&blocks).map(|(index, block)| want(block, Place::Listed(index))).collect();
        client.want(id, wants, now);
        Self { client, id, events, now, blocks, peers }
    }

    fn actions(&mut self, peer: usize) -> Vec<Action> {
        self.client.take_bulk_actions(&self.peers[peer])
    }

    fn requests(&mut self, peer: usize) -> Vec<BulkRequest> {
        let placed = |action| match action {
            Action::Request(request) => *request,
            other => panic!("{other:?}"),
        };
        self.actions(peer).into_iter().map(placed).collect()
    }

    /// Number of blocks requested from a peer over Bitswap.
    fn wanted(&mut self, peer: usize) -> usize {
        let mut wanted = 0;
        while let Some(update) = self.client.next_update(&self.peers[peer]) {
            wanted += update.wants.iter().filter(|want| want.kind == WantKind::Block && !want.cancel).count();
            self.client.on_update_sent(self.peers[peer], true, self.now);
        }
        wanted
    }

    fn deliver(&mut self, peer: usize, request: &BulkRequest) {
        let blocks = indices(request).iter().map(|index| self.blocks[*index as usize].clone()).collect();
        self.client.on_bulk_requested(self.peers[peer], request.id, blocks, self.now);
    }

    fn end(&mut self, peer: usize, id: BulkRequestId, end: End) {
        self.client.on_bulk_ended(self.peers[peer], id, end, self.now);
    }

    fn wait(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds / 50 {
            self.now += Duration::from_millis(50);
            self.client.tick(self.now);
        }
    }

    fn events(&mut self) -> Vec<SessionEvent> {
        std::iter::from_fn(|| self.events.try_recv()).collect()
    }
}

fn want(block: &Block, place: Place) -> BlockWant {
    BlockWant { cid: *block.cid(), size: Some(block.data().len() as u64), place: Some(place) }
}

fn indices(request: &BulkRequest) -> Vec<u32> {
    let Wanted::Listed(listed) = &request.wanted else { panic!("{request:?}") };
    listed.iter().map(|(index, _)| *index).collect()
}

#[test]
fn one_that_speaks_of_lists_is_given_a_bulk_request_and_another_is_asked_block_by_block() {
    let mut desk = Bulk::new(&[true, false], 200, 10_000);
    let cids = desk.blocks.iter().map(|block| *block.cid()).collect();
    desk.client.cancel(desk.id, cids, desk.now);
    desk.actions(0);
    desk.wanted(1);
    let wants: Vec<_> = (0..).zip(&desk.blocks).map(|(index, block)| want(block, Place::Listed(index))).collect();
    desk.client.want(desk.id, wants, desk.now);
    let requests = desk.requests(0);
    let by_order: usize = requests.iter().map(|request| indices(request).len()).sum();
    let one_by_one = desk.wanted(1);
    assert!(by_order > 0 && one_by_one > 0, "{by_order}, {one_by_one}");
    assert!(by_order + one_by_one <= 200);
}

/// While a large block of a slow peer is arriving, the next one is requested.
#[test]
fn a_slow_peer_never_waits_for_us_between_two_large_blocks() {
    let mut desk = Bulk::new(&[true], 30, 1 << 20);
    let mut pending = std::collections::VecDeque::new();
    for delivered in 0..30 {
        for request in desk.requests(0) {
            let requested = indices(&request);
            let last = requested.len() - 1;
            pending.extend(requested.into_iter().enumerate().map(|(at, index)| (request.id, index, at == last)));
        }
        assert!(pending.len() >= MIN_ASKED.min(30 - delivered), "{} after {delivered}", pending.len());
        let (id, index, is_last) = pending.pop_front().unwrap();
        desk.wait(400);
        let block = desk.blocks[index as usize].clone();
        desk.client.on_bulk_requested(desk.peers[0], id, vec![block], desk.now);
        if is_last {
            desk.end(0, id, End::Done);
        }
    }
}

#[test]
fn what_comes_of_a_bulk_request_reaches_the_session_and_makes_room_for_the_next() {
    let mut desk = Bulk::new(&[true], 1000, 20_000);
    let first = desk.requests(0);
    assert_eq!(first.len(), 2, "two streams have more room on a long way than one");
    let asked: Vec<usize> = first.iter().map(|request| indices(request).len()).collect();
    assert!(asked.iter().all(|asked| (100..500).contains(asked)), "{asked:?}");
    for request in &first {
        desk.now += Duration::from_millis(100);
        desk.deliver(0, request);
        desk.end(0, request.id, End::Done);
    }
    let asked: usize = asked.iter().sum();
    assert_eq!(desk.events().iter().filter(|event| matches!(event, SessionEvent::Block { .. })).count(), asked);
    let next = desk.requests(0);
    assert!(!next.is_empty());
    assert_eq!(indices(&next[0])[0] as usize, asked);
}

#[test]
fn several_share_what_there_is() {
    let mut desk = Bulk::new(&[true, true, true], 0, 4);
    desk.blocks = (0..300).map(|index| block(index, 10_000)).collect();
    let wants: Vec<_> = (0..).zip(&desk.blocks).map(|(index, block)| want(block, Place::Listed(index))).collect();
    desk.client.want(desk.id, wants, desk.now);
    let shares: Vec<usize> =
        (0..3).map(|peer| desk.requests(peer).iter().map(|request| indices(request).len()).sum()).collect();
    assert!(shares.iter().sum::<usize>() > 250, "{shares:?}");
    assert!(shares.iter().all(|share| *share >= 50), "{shares:?}");
}

#[test]
fn one_that_has_no_list_is_asked_over_bitswap() {
    for end in [End::NotHere, End::Busy, End::Unsupported] {
        let mut desk = Bulk::new(&[true], 20, 1000);
        let requests = desk.requests(0);
        assert_eq!(desk.wanted(0), 0);
        desk.end(0, requests[0].id, end);
        assert_eq!((desk.wanted(0), desk.actions(0)), (20, vec![]));
    }
}

/// The peer remembers Bitswap wants, and sends the block when it has it.
#[test]
fn what_is_absent_is_asked_for_over_bitswap_where_it_is_remembered() {
    let mut desk = Bulk::new(&[true], 20, 1000);
    let requests = desk.requests(0);
    let absent = *desk.blocks[3].cid();
    desk.client.on_bulk_absent(desk.peers[0], requests[0].id, &[absent], desk.now);
    assert_eq!((desk.wanted(0), desk.actions(0)), (1, vec![]));
    desk.client.on_presences(desk.peers[0], &[(absent, Presence::DontHave)], desk.now);
    desk.end(0, requests[0].id, End::Done);
    desk.client.on_blocks(desk.peers[0], vec![desk.blocks[3].clone()], 0, 1000, desk.now);
    assert_eq!(desk.events().iter().filter(|event| matches!(event, SessionEvent::Block { .. })).count(), 1);
}

#[test]
fn what_a_bulk_request_did_not_bring_is_asked_for_in_another_way() {
    let mut desk = Bulk::new(&[true], 20, 1000);
    let requests = desk.requests(0);
    let some = desk.blocks[..15].to_vec();
    desk.client.on_bulk_requested(desk.peers[0], requests[0].id, some, desk.now);
    desk.end(0, requests[0].id, End::Done);
    assert_eq!(desk.wanted(0), 5);
    // One broken stream is tolerated.
    let mut desk = Bulk::new(&[true], 20, 1000);
    for _ in 0..2 {
        let requests = desk.requests(0);
        desk.end(0, requests[0].id, End::Broken);
    }
    assert_eq!((desk.wanted(0), desk.actions(0)), (20, vec![]));
}

#[test]
fn wrong_bytes_are_an_offence_and_others_are_asked() {
    for (end, offence) in [(End::WrongBytes, Offence::WrongBytes), (End::Malformed, Offence::Malformed)] {
        let mut desk = Bulk::new(&[true, true], 4, 1000);
        let (first, second) = (desk.requests(0), desk.requests(1));
        let (liar, requests) = if first.is_empty() { (1, second) } else { (0, first) };
        assert!(desk.client.on_bulk_ended(desk.peers[liar], requests[0].id, end, desk.now).blamed);
        let peer = desk.peers[liar];
        assert!(desk.events().contains(&SessionEvent::Offended { peer, offence }));
        assert_eq!(desk.requests(1 - liar).iter().map(|request| indices(request).len()).sum::<usize>(), 4);
        assert_eq!((desk.wanted(liar), desk.actions(liar)), (0, vec![]));
    }
}

#[test]
fn a_silent_peers_bulk_request_is_given_to_another_and_cancelled_when_that_one_delivers() {
    let mut desk = Bulk::new(&[true, true], 40, 10_000);
    let (first, second) = (desk.requests(0), desk.requests(1));
    let (silent, request) = if first.is_empty() { (1, &second[0]) } else { (0, &first[0]) };
    let id = request.id;
    let other = 1 - silent;
    for request in if silent == 0 { second } else { first } {
        desk.deliver(other, &request);
        desk.end(other, request.id, End::Done);
    }
    desk.wait(1000);
    let duplicate = desk.requests(other);
    assert!(!duplicate.is_empty(), "it is late");
    for request in duplicate {
        desk.deliver(other, &request);
        desk.end(other, request.id, End::Done);
    }
    assert_eq!(desk.actions(silent), [Action::CancelRequest(id)]);
    assert_eq!(desk.events().iter().filter(|event| matches!(event, SessionEvent::Block { .. })).count(), 40);
}

/// Regression test: blocks requested from two peers arrived twice, whenever both had a package of a megabyte.
#[test]
fn a_bulk_request_of_a_peer_that_is_not_late_is_not_given_to_another_on_a_guess() {
    let mut desk = Bulk::new(&[true, true], 8, 128 << 10);
    let (first, second) = (desk.requests(0), desk.requests(1));
    let (asked, request) = if first.is_empty() { (1, &second[0]) } else { (0, &first[0]) };
    assert_eq!(indices(request).len(), 8, "it is not worth parting");
    for part in 1..6 {
        desk.wait(50);
        desk.client.on_bulk_progress(desk.peers[asked], request.id, part * 200_000, desk.now);
        assert!(desk.actions(1 - asked).is_empty(), "after {part} parts");
    }
    desk.deliver(asked, request);
    assert_eq!(desk.events().iter().filter(|event| matches!(event, SessionEvent::Block { .. })).count(), 8);
}

#[test]
fn a_bulk_request_that_stands_still_is_cancelled_though_the_peer_does_other_things() {
    let mut desk = Bulk::new(&[true], 20, 1000);
    let requests = desk.requests(0);
    for _ in 0..100 {
        desk.wait(100);
        desk.client.on_progress(desk.peers[0], desk.now);
    }
    assert!(desk.actions(0).contains(&Action::CancelRequest(requests[0].id)));
    assert_eq!(desk.wanted(0), 20);
}

#[test]
fn a_list_brings_more_than_was_wanted_by_name() {
    let mut desk = Bulk::new(&[true], 0, 4);
    let (root, part) = (block(1, 100), block(2, 100));
    desk.client.want(desk.id, [want(&root, Place::Own)], desk.now);
    let requests = desk.requests(0);
    assert_eq!((requests.len(), &requests[0].wanted), (1, &Wanted::Own { max_bytes: 1000, whole: false }));
    let id = requests[0].id;
    desk.client.on_bulk_requested(desk.peers[0], id, vec![part.clone()], desk.now);
    desk.client.on_bulk_requested(desk.peers[0], id, vec![root.clone()], desk.now);
    desk.end(0, id, End::Done);
    let from = desk.peers[0];
    assert_eq!(desk.events(), [part, root].map(|block| SessionEvent::Block { block, from }));
    // Blocks of an unknown request are not delivered.
    let stray = desk.client.on_bulk_requested(from, BulkRequestId(99), vec![block(3, 100)], desk.now);
    assert_eq!((stray.blocks, stray.unwanted, desk.events().len()), (0, 1, 0));
}
