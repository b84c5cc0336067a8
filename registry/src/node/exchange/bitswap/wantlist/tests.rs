use ggen_blockstore::Block;

use crate::node::exchange::bitswap::wantlist::*;

const ALICE: SessionId = SessionId(1);
const BOB: SessionId = SessionId(2);

fn cid(index: u32) -> Cid {
    *Block::raw(index.to_le_bytes().to_vec()).unwrap().cid()
}

fn update(list: &mut Wantlist) -> Vec<(Cid, WantKind, bool)> {
    list.next_update()
        .map(|message| message.wants)
        .unwrap_or_default()
        .into_iter()
        .map(|want| (want.cid, want.kind, want.cancel))
        .collect()
}

#[test]
fn wants_are_told_once_with_falling_priority() {
    let (mut list, now) = (Wantlist::new(), Instant::now());
    (0..3).for_each(|index| list.ask_block(cid(index), 10, ALICE, now));
    let message = list.next_update().unwrap();
    assert!(!message.full && message.wants.iter().all(|want| want.send_dont_have && !want.cancel));
    assert_eq!(message.wants[0].priority, i32::MAX);
    assert!(message.wants.is_sorted_by(|left, right| left.priority > right.priority));
    assert_eq!((list.live(), list.live_bytes()), (3, 30));
    assert!(list.next_update().is_none());
}

#[test]
fn a_want_is_taken_back_when_its_last_owner_lets_go() {
    let (mut list, now) = (Wantlist::new(), Instant::now());
    list.ask_block(cid(0), 10, ALICE, now);
    list.ask_block(cid(0), 10, BOB, now);
    assert_eq!(update(&mut list).len(), 1);
    list.release(&cid(0), ALICE);
    assert!(list.next_update().is_none());
    list.release(&cid(0), BOB);
    assert_eq!(update(&mut list), [(cid(0), WantKind::Block, true)]);
    assert!(list.is_empty() && list.live_bytes() == 0);
}

#[test]
fn a_want_that_was_never_told_needs_no_cancel() {
    let (mut list, now) = (Wantlist::new(), Instant::now());
    list.ask_block(cid(0), 10, ALICE, now);
    list.release(&cid(0), ALICE);
    assert!(list.next_update().is_none());
}

#[test]
fn a_want_that_comes_back_at_once_is_not_cancelled() {
    let (mut list, now) = (Wantlist::new(), Instant::now());
    list.ask_block(cid(0), 10, ALICE, now);
    update(&mut list);
    list.release(&cid(0), ALICE);
    list.ask_block(cid(0), 10, ALICE, now);
    assert_eq!(update(&mut list), [(cid(0), WantKind::Block, false)]);
}

#[test]
fn a_block_that_came_is_not_cancelled_and_is_remembered() {
    let (mut list, now) = (Wantlist::new(), Instant::now());
    list.ask_block(cid(0), 10, ALICE, now);
    update(&mut list);
    assert_eq!(list.on_block(&cid(0)), Some(Answered { owners: vec![ALICE], asked_at: now }));
    assert_eq!(list.on_block(&cid(0)), None);
    assert!(list.was_asked(&cid(0)) && !list.was_asked(&cid(1)));
    assert!(list.next_update().is_none());
}

#[test]
fn a_refused_want_is_parked_and_taken_back_in_the_end() {
    let (mut list, now) = (Wantlist::new(), Instant::now());
    list.ask_block(cid(0), 10, ALICE, now);
    update(&mut list);
    assert!(list.on_refused(&cid(0)).is_some());
    assert!(list.on_refused(&cid(0)).is_none());
    assert_eq!((list.live(), list.live_bytes(), list.is_empty()), (0, 0, false));
    list.release(&cid(0), ALICE);
    assert_eq!(update(&mut list), [(cid(0), WantKind::Block, true)]);
}

#[test]
fn a_peer_is_not_left_to_remember_more_than_so_many_refused_wants() {
    let (mut list, now) = (Wantlist::new(), Instant::now());
    let count = MAX_PARKED_WANTS as u32 + 10;
    (0..count).for_each(|index| list.ask_block(cid(index), 10, ALICE, now));
    update(&mut list);
    (0..count).for_each(|index| drop(list.on_refused(&cid(index))));
    assert_eq!(list.entries(), MAX_PARKED_WANTS);
    assert_eq!(update(&mut list).iter().filter(|(_, _, cancel)| *cancel).count(), 10);
}

#[test]
fn a_question_becomes_a_want_but_not_the_other_way_round() {
    let (mut list, now) = (Wantlist::new(), Instant::now());
    list.ask_have(cid(0), ALICE, now);
    assert_eq!(update(&mut list), [(cid(0), WantKind::Have, false)]);
    assert_eq!(list.on_have(&cid(0)), [ALICE]);
    list.ask_block(cid(0), 10, ALICE, now);
    assert_eq!(update(&mut list), [(cid(0), WantKind::Block, false)]);
    list.ask_have(cid(0), BOB, now);
    assert!(list.next_update().is_none());
    assert_eq!(list.live(), 1);
}

#[test]
fn after_a_failure_everything_is_told_again_and_replaces_the_rest() {
    let (mut list, now) = (Wantlist::new(), Instant::now());
    (0..4).for_each(|index| list.ask_block(cid(index), 10, ALICE, now));
    update(&mut list);
    list.on_block(&cid(1));
    list.release(&cid(2), ALICE);
    list.on_refused(&cid(3));
    list.resync();
    list.ask_block(cid(9), 10, ALICE, now);
    let message = list.next_update().unwrap();
    assert!(message.full);
    assert_eq!(message.wants.iter().map(|want| want.cid).collect::<Vec<_>>(), [cid(0), cid(9)]);
    assert!(message.wants.is_sorted_by(|left, right| left.priority > right.priority));
}

#[test]
fn a_long_list_goes_in_several_messages() {
    let (mut list, now) = (Wantlist::new(), Instant::now());
    (0..2500).for_each(|index| list.ask_block(cid(index), 10, ALICE, now));
    let lengths: Vec<_> = std::iter::from_fn(|| list.next_update().map(|message| message.wants.len())).collect();
    assert_eq!(lengths, [1024, 1024, 452]);
}

#[test]
fn wants_that_are_too_old_are_overdue_once() {
    let (mut list, now) = (Wantlist::new(), Instant::now());
    let limit = Duration::from_secs(5);
    (0..3).for_each(|index| list.ask_block(cid(index), 10, ALICE, now + Duration::from_secs(index.into())));
    list.on_block(&cid(0));
    let later = now + Duration::from_secs(6) + Duration::from_millis(1);
    assert_eq!(list.overdue(later, limit), [cid(1)]);
    assert!(list.overdue(later, limit).is_empty());
}
