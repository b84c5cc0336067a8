use std::collections::HashSet;

use ggen_blockstore::Block;
use proptest::prelude::*;

use crate::node::exchange::{channel::session_channel, session::*};

const ROOM: u64 = 1 << 40;

fn cid(index: u32) -> Cid {
    *Block::raw(index.to_le_bytes().to_vec()).unwrap().cid()
}

fn session(wants: u32, members: &[PeerId]) -> Session {
    let mut session = Session::new(session_channel(ROOM).0.credit(), 0.0);
    (0..wants).for_each(|index| assert!(session.want((cid(index), Some(100)).into())));
    members.iter().for_each(|peer| assert!(session.add_member(*peer)));
    session
}

fn next(session: &mut Session, peer: PeerId) -> Option<Cid> {
    session.next_for(peer, ROOM, ROOM).map(|(cid, _)| cid)
}

#[test]
fn wants_are_given_out_in_order_each_to_one_peer() {
    let peers = [PeerId::random(), PeerId::random()];
    let mut session = session(4, &peers);
    let given = [0, 1, 0, 1, 0].map(|index: usize| next(&mut session, peers[index]));
    assert_eq!(given, [Some(cid(0)), Some(cid(1)), Some(cid(2)), Some(cid(3)), None]);
    assert_eq!(session.asked_bytes, 400);
}

#[test]
fn a_refused_want_goes_to_the_other_peer_and_is_stuck_when_both_refuse() {
    let peers = [PeerId::random(), PeerId::random()];
    let mut session = session(1, &peers);
    assert_eq!(next(&mut session, peers[0]), Some(cid(0)));
    session.on_refusal(&cid(0), peers[0]);
    assert_eq!(next(&mut session, peers[0]), None);
    assert_eq!(next(&mut session, peers[1]), Some(cid(0)));
    session.on_refusal(&cid(0), peers[1]);
    assert!(session.is_stuck() && !session.has_queued() && session.asked_bytes == 0);
    let third = PeerId::random();
    session.add_member(third);
    assert_eq!(next(&mut session, third), Some(cid(0)));
}

#[test]
fn stuck_wants_can_be_tried_again_with_everybody() {
    let peer = PeerId::random();
    let mut session = session(1, &[peer]);
    next(&mut session, peer);
    session.on_refusal(&cid(0), peer);
    session.retry_stuck();
    assert_eq!(next(&mut session, peer), Some(cid(0)));
}

#[test]
fn a_peer_that_says_it_has_a_block_after_all_is_asked_for_it() {
    let peer = PeerId::random();
    let mut session = session(1, &[peer]);
    next(&mut session, peer);
    session.on_refusal(&cid(0), peer);
    session.on_have(&cid(0), peer);
    assert_eq!(next(&mut session, peer), Some(cid(0)));
}

#[test]
fn sixteen_refusals_in_a_row_and_nothing_else_make_a_peer_useless() {
    let peer = PeerId::random();
    let mut session = session(40, &[peer]);
    assert_eq!(std::iter::from_fn(|| next(&mut session, peer)).take(20).count(), 20);
    (0..16).for_each(|index| assert_eq!(session.on_refusal(&cid(index), peer), Refusal::Noted));
    assert_eq!(next(&mut session, peer), None);
    session.on_block(&cid(16), 100, peer);
    assert_eq!(std::iter::from_fn(|| next(&mut session, peer)).take(13).count(), 13);
    (17..32).for_each(|index| assert_eq!(session.on_refusal(&cid(index), peer), Refusal::Noted));
    assert_eq!(session.on_refusal(&cid(32), peer), Refusal::Useless);
}

#[test]
fn what_a_lost_peer_was_asked_for_is_queued_again_in_order() {
    let peers = [PeerId::random(), PeerId::random()];
    let mut session = session(3, &peers);
    next(&mut session, peers[0]);
    next(&mut session, peers[0]);
    assert_eq!(next(&mut session, peers[1]), Some(cid(2)));
    assert_eq!(session.drop_member(peers[0]), Some(vec![cid(0), cid(1)]));
    assert_eq!(next(&mut session, peers[1]), Some(cid(0)));
    session.on_disconnected(peers[1]);
    assert_eq!((session.asked_bytes, session.needed(8)), (0, vec![cid(0), cid(1), cid(2)]));
}

#[test]
fn the_last_want_of_a_slow_peer_is_stolen_once() {
    let peers = [PeerId::random(), PeerId::random()];
    let mut session = session(3, &peers);
    assert_eq!(std::iter::from_fn(|| next(&mut session, peers[0])).count(), 3);
    let duplicate: Vec<_> =
        std::iter::from_fn(|| session.duplicate_for(peers[1], peers[0])).map(|asking| asking.cid).collect();
    assert_eq!(duplicate, [cid(2), cid(1), cid(0)]);
    let involved = session.on_block(&cid(2), 100, peers[1]).unwrap();
    assert_eq!(involved.len(), 2);
    assert_eq!(session.asked_bytes, 400);
}

#[test]
fn a_peer_that_proved_nothing_is_asked_for_little() {
    let peer = PeerId::random();
    let mut session = session(200, &[peer]);
    assert_eq!(std::iter::from_fn(|| next(&mut session, peer)).count(), MAX_UNPROVEN_WANTS);
    session.on_block(&cid(0), 100, peer);
    assert_eq!(std::iter::from_fn(|| next(&mut session, peer)).count(), 200 - MAX_UNPROVEN_WANTS);
}

#[test]
fn a_window_that_is_full_still_lets_two_blocks_be_under_way() {
    let peer = PeerId::random();
    let mut session = session(5, &[peer]);
    assert_eq!(std::iter::from_fn(|| session.next_for(peer, 0, ROOM)).count(), MIN_ASKED);
}

#[test]
fn nothing_is_asked_beyond_the_consumers_credit() {
    let peer = PeerId::random();
    let mut session = session(5, &[peer]);
    let within = |session: &mut Session| session.next_for(peer, ROOM, 350 - session.asked_bytes);
    assert_eq!(std::iter::from_fn(|| within(&mut session)).count(), 3);
}

#[test]
fn peers_that_are_not_there_take_no_room_from_those_that_are() {
    let mut session = session(1, &[]);
    let absent: Vec<_> = (0..10 * MAX_CANDIDATES).map(|_| PeerId::random()).collect();
    absent.iter().for_each(|peer| session.add_candidate(*peer));
    assert_eq!(session.candidates.len(), MAX_CANDIDATES);
    assert!(session.is_candidate(absent.last().unwrap()) && !session.is_candidate(&absent[0]));
    let peer = PeerId::random();
    assert!(session.add_member(peer));
    assert_eq!(next(&mut session, peer), Some(cid(0)));
}

#[test]
fn a_peer_that_has_something_takes_the_place_of_one_that_proved_nothing() {
    let peers: Vec<_> = (0..MAX_SESSION_PEERS).map(|_| PeerId::random()).collect();
    let mut session = session(2, &peers);
    let comer = PeerId::random();
    assert!(!session.add_member(comer));
    assert_eq!(session.outdone_by(&comer, false), None);
    assert!(session.outdone_by(&comer, true).is_some());
    next(&mut session, peers[3]);
    session.on_refusal(&cid(0), peers[3]);
    assert_eq!(session.outdone_by(&comer, false), Some(peers[3]));
    peers.iter().for_each(|peer| session.on_have(&cid(1), *peer));
    assert_eq!(session.outdone_by(&comer, true), None);
}

proptest! {
    /// Whatever happens, a want is queued or stuck, requested from a peer, or delivered; and the totals are correct.
    #[test]
    fn nothing_is_lost_and_the_books_balance(steps in proptest::collection::vec((0..7u8, 0..3usize, 0..12u32), 0..200)) {
        let peers = [PeerId::random(), PeerId::random(), PeerId::random()];
        let mut session = session(12, &peers[..2]);
        let mut came = HashSet::new();
        for (step, peer, index) in steps {
            let peer = peers[peer];
            match step {
                0 | 1 => assert!(next(&mut session, peer).is_none_or(|cid| !came.contains(&cid))),
                2 => came.extend(session.on_block(&cid(index), 100, peer).map(|_| cid(index))),
                3 => drop(session.on_refusal(&cid(index), peer)),
                4 => session.on_disconnected(peer),
                5 => drop(session.add_member(peer)),
                _ => drop(session.drop_member(peer)),
            }
            let asked: usize = session.wants.values().map(|want| want.asked.len()).sum();
            prop_assert_eq!(session.asked_bytes, 100 * asked as u64);
            prop_assert_eq!(session.members.values().map(|member| member.asked).sum::<usize>(), asked);
            for (sequence, want) in &session.wants {
                let places = [session.queue.contains(sequence), session.stuck.contains(sequence), !want.asked.is_empty()];
                prop_assert_eq!(places.iter().filter(|place| **place).count(), 1, "{:?}", places);
            }
        }
        let finisher = PeerId::random();
        peers.iter().for_each(|peer| drop(session.drop_member(*peer)));
        session.add_member(finisher);
        while let Some(cid) = next(&mut session, finisher) {
            session.on_block(&cid, 100, finisher);
            came.insert(cid);
        }
        prop_assert_eq!((came.len(), session.wanted()), (12, 0));
    }
}

#[test]
fn peers_that_had_something_or_were_named_are_missed_and_others_are_not() {
    let [giver, haver, named, idle, liar] = std::array::from_fn(|_| PeerId::random());
    let mut session = Session::new(session_channel(ROOM).0.credit(), 0.0);
    (0..8).for_each(|index| assert!(session.want((cid(index), Some(100)).into())));
    session.keep_to(named);
    let all = [giver, haver, named, idle, liar];
    all.iter().for_each(|peer| assert!(session.add_member(*peer)));
    next(&mut session, giver);
    session.on_block(&cid(0), 100, giver);
    session.on_have(&cid(1), haver);
    session.on_have(&cid(1), liar);
    session.on_offence(liar, Offence::WrongBytes);
    all.iter().for_each(|peer| session.on_disconnected(*peer));
    assert_eq!(all.map(|peer| session.misses(&peer)), [Some(true), Some(false), Some(false), None, None]);
    session.on_unreachable(giver, "refused");
    session.on_unreachable(idle, "refused");
    assert!(session.add_member(giver));
    assert_eq!(session.misses(&giver), None);
    // It sent nothing over the new connection, and is missed all the same.
    session.on_disconnected(giver);
    assert_eq!(session.misses(&giver), Some(false));
    let told = session.take_events();
    let of_giver = [
        SessionEvent::Lost { peer: giver },
        SessionEvent::Unreachable { peer: giver, reason: "refused".to_owned() },
        SessionEvent::Regained { peer: giver },
        SessionEvent::Lost { peer: giver },
    ];
    let is_of = |event: &&SessionEvent| of_giver.contains(event);
    assert_eq!(told.iter().filter(is_of).cloned().collect::<Vec<_>>(), of_giver);
    assert!(!told.contains(&SessionEvent::Lost { peer: idle }) && !told.contains(&SessionEvent::Lost { peer: liar }));
}
