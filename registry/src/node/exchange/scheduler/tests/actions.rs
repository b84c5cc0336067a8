//! Events and times in, actions out.

use super::*;
use crate::node::exchange::session::BlockWant;

#[test]
fn a_want_becomes_a_message_its_block_an_event_and_the_end_of_the_session_frees_the_connection() {
    let (now, peer, id, block) = (Instant::now(), PeerId::random(), SessionId(0), blocks(1, 100).remove(0));
    let mut scheduler = Scheduler::new(Arc::new(NoPriors));
    let credit = session_channel(CREDIT).0.credit();
    assert_eq!(scheduler.on(Event::Open { id, credit, least_reputation: 0.0 }, now), []);
    assert_eq!(scheduler.on(Event::Connected(peer), now), []);
    assert_eq!(scheduler.on(Event::AddPeer { id, peer, named: true }, now), [Action::Use(peer, true)]);
    let want = BlockWant::from((*block.cid(), Some(100)));
    match &scheduler.on(Event::Want(id, vec![want]), now)[..] {
        [Action::SendWants(to, message)] => assert_eq!((*to, message.wants[0].cid), (peer, want.cid)),
        other => panic!("{other:?}"),
    }
    assert_eq!(scheduler.on(Event::Bitswap(peer, bitswap::Event::WantsSent { says_no: true }), now), []);
    let arrived = Arrived { blocks: vec![block.clone()], frame_bytes: 100, ..Arrived::default() };
    let told = SessionEvent::Block { block, from: peer };
    assert_eq!(
        scheduler.on(Event::Bitswap(peer, bitswap::Event::Arrived(arrived)), now),
        [Action::Count { peer, blocks: 1, bytes: 100, unwanted: 0 }, Action::Notify(id, told)]
    );
    assert_eq!(scheduler.on(Event::Close(id), now), [Action::Use(peer, false)]);
}

/// Nothing happens by itself: what a silent peer was asked for is taken back only when the time comes with an event.
#[test]
fn only_the_time_that_an_event_brings_counts() {
    let (start, peer, id) = (Instant::now(), PeerId::random(), SessionId(0));
    let mut scheduler = Scheduler::new(Arc::new(NoPriors));
    let credit = session_channel(CREDIT).0.credit();
    scheduler.on(Event::Open { id, credit, least_reputation: 0.0 }, start);
    scheduler.on(Event::Connected(peer), start);
    scheduler.on(Event::AddPeer { id, peer, named: false }, start);
    scheduler.on(Event::Want(id, blocks(1, 100).iter().map(|block| (*block.cid(), Some(100)).into()).collect()), start);
    scheduler.on(Event::Bitswap(peer, bitswap::Event::WantsSent { says_no: true }), start);
    assert_eq!((0..1000).flat_map(|_| scheduler.on(Event::Tick, start)).count(), 0);
    let stalled = Action::Notify(id, SessionEvent::Offended { peer, offence: Offence::Stalled });
    let dropped = Action::Notify(id, SessionEvent::PeerDropped { peer, reason: DropReason::Stalled });
    let mut told = Vec::new();
    for tick in 1..=120 {
        told.extend(scheduler.on(Event::Tick, start + TICK_EVERY * tick));
    }
    assert!(told.contains(&stalled) && told.contains(&dropped), "{told:?}");
}
