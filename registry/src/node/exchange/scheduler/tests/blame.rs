//! Which peer is at fault, which is preferred, and which is held back.

use super::*;
use crate::node::exchange::prior::Prior;

/// Has the priors of some peers.
#[derive(Debug, Default)]
struct Known(HashMap<PeerId, Prior>);

impl Priors for Known {
    fn prior(&self, peer: &PeerId) -> Prior {
        self.0.get(peer).copied().unwrap_or_default()
    }
}

const LOW: Prior = Prior { reputation: 0.2, rate: None, latency: None, held_back: true };

/// The offences of a peer that the session reported.
fn offences(sim: &Sim, index: usize) -> Vec<Offence> {
    let of_peer = |event: &SessionEvent| match event {
        SessionEvent::Offended { peer, offence } if *peer == sim.providers[index].id => Some(*offence),
        _ => None,
    };
    sim.news.iter().filter_map(of_peer).collect()
}

fn is_late(sim: &Sim, index: usize) -> bool {
    let peer = sim.providers[index].id;
    let mut late = false;
    for event in &sim.news {
        match event {
            SessionEvent::Late { peer: who } if *who == peer => late = true,
            SessionEvent::Answered { peer: who } if *who == peer => late = false,
            _ => {}
        }
    }
    late
}

/// Five providers of `content`, two of which misbehave: the first with `trick`, the second is dead.
fn five(content: &[Block], trick: Trick) -> Sim {
    let start = Instant::now();
    let mut providers: Vec<_> = (0..5).map(|_| Provider::new(3.75e6, 10, content, start)).collect();
    providers[0].trick = trick;
    providers[1].dead_from = Some(start);
    let mut sim = Sim::new(CREDIT, start, providers);
    sim.add_all();
    sim.want(content, true);
    sim
}

#[test]
fn a_liar_and_a_dead_peer_among_five_are_each_named_for_what_they_did() {
    let content = blocks(192, 64 << 10);
    let mut sim = five(&content, Trick::Lie);
    let took = sim.run(content.len());
    assert!(took < 3.0, "{took} s");
    assert_eq!(offences(&sim, 0), [Offence::WrongBytes]);
    assert!(is_late(&sim, 1) || offences(&sim, 1) == [Offence::Stalled], "{:?}", sim.news);
    for honest in 2..5 {
        assert!(offences(&sim, honest).is_empty() && !is_late(&sim, honest), "{:?}", sim.news);
        assert!(sim.from.contains_key(&sim.providers[honest].id));
    }
}

/// Kubo with a damaged block sent all but that one. Then it was silent, and it was blamed for that.
#[test]
fn a_peer_that_is_silent_after_a_wrong_block_is_blamed_for_the_block() {
    let content = blocks(40, 64 << 10);
    let start = Instant::now();
    let mut provider = Provider::new(12.5e6, 1, &content, start);
    provider.trick = Trick::LieAbout(*content[39].cid());
    let mut sim = Sim::new(CREDIT, start, vec![provider]);
    sim.add_all();
    sim.want(&content, true);
    while sim.now.duration_since(start) < Duration::from_secs(20) {
        sim.step();
    }
    assert_eq!(offences(&sim, 0), [Offence::WrongBytes], "{:?}", sim.news);
}

#[test]
fn few_wrong_blocks_are_enough_to_be_blamed_and_to_be_asked_no_more() {
    let content = blocks(40, 1000);
    let start = Instant::now();
    let mut providers: Vec<_> = (0..2).map(|_| Provider::new(1e5, 10, &content, start)).collect();
    providers[0].trick = Trick::Lie;
    // It gets the first requests.
    let quick = Prior { rate: Some(1e7), ..Prior::default() };
    let known = Known(HashMap::from([(providers[0].id, quick)]));
    let mut sim = Sim::knowing(CREDIT, start, providers, Arc::new(known));
    sim.add_all();
    sim.want(&content[..10], true);
    sim.run(10);
    assert_eq!((offences(&sim, 0), sim.providers[0].wants), (vec![Offence::WrongBytes], 10));
    sim.want(&content[10..], true);
    sim.run(content.len());
    assert_eq!(sim.providers[0].wants, 10);
}

#[test]
fn a_session_asks_nobody_below_the_reputation_that_it_was_opened_with() {
    let content = blocks(20, 1000);
    let start = Instant::now();
    let providers: Vec<_> = (0..2).map(|_| Provider::new(1e6, 10, &content, start)).collect();
    let known = Known(HashMap::from([(providers[0].id, Prior { held_back: false, ..LOW })]));
    let mut sim = Sim::knowing(CREDIT, start, providers, Arc::new(known));
    let (output, receiver) = session_channel(CREDIT);
    sim.client.close(sim.session, start);
    (sim.session, sim.receiver) = (sim.client.open(output, 0.5, start), receiver);
    // Only the peer below the limit is connected: it does not even get a broadcast.
    let other = sim.providers[1].id;
    sim.client.on_disconnected(other, start);
    sim.add_all();
    sim.want(&content, true);
    // Long enough for a broadcast.
    while sim.now.duration_since(start) < Duration::from_secs(3) {
        sim.step();
    }
    assert_eq!((sim.providers[0].wants, sim.from.len()), (0, 0));
    sim.client.on_connected(other, sim.now);
    sim.client.add_peer(sim.session, other, sim.now);
    sim.run(content.len());
    assert_eq!(sim.from.keys().collect::<Vec<_>>(), [&other]);
}

#[test]
fn one_wrong_block_and_no_right_one_is_enough() {
    let content = blocks(1, 1000);
    let start = Instant::now();
    let mut providers: Vec<_> = (0..2).map(|_| Provider::new(1e6, 10, &content, start)).collect();
    providers[0].trick = Trick::Lie;
    let mut sim = Sim::new(CREDIT, start, providers);
    sim.client.add_peer(sim.session, sim.providers[0].id, start);
    sim.want(&content, true);
    sim.step();
    sim.client.add_peer(sim.session, sim.providers[1].id, sim.now);
    sim.run(1);
    assert_eq!(offences(&sim, 0), [Offence::WrongBytes]);
}

#[test]
fn a_peer_that_says_it_has_what_it_has_not_is_blamed_and_the_others_deliver() {
    let content = blocks(40, 4 << 10);
    let start = Instant::now();
    let mut providers: Vec<_> = (0..2).map(|_| Provider::new(1e6, 10, &content, start)).collect();
    providers[0].trick = Trick::FalseHave;
    let mut sim = Sim::new(CREDIT, start, providers);
    // No peer is named as a provider: both get presence queries.
    sim.want(&content, true);
    sim.run(content.len());
    assert_eq!((offences(&sim, 0), offences(&sim, 1)), (vec![Offence::FalseHave], Vec::new()));
}

/// A peer with a pending request that sends nothing by itself. Runs `answer`, and then the session for a minute.
fn after(answer: impl Fn(&mut Desk, PeerId, Cid, Instant)) -> Sim {
    let content = blocks(1, 1000);
    let start = Instant::now();
    let mut providers = vec![Provider::new(1e6, 10, &content, start)];
    providers[0].dead_from = Some(start);
    let mut sim = Sim::new(CREDIT, start, providers);
    sim.add_all();
    sim.want(&content, false);
    while sim.providers[0].wants == 0 {
        sim.step();
    }
    answer(&mut sim.client, sim.providers[0].id, *content[0].cid(), sim.now);
    while sim.now.duration_since(start) < Duration::from_secs(60) {
        sim.step();
    }
    sim
}

#[test]
fn a_peer_that_sends_a_block_that_is_too_large_is_not_blamed_and_the_session_is_told() {
    let too_large = |client: &mut Desk, peer, cid, now| client.on_oversized(peer, vec![(cid, 3 << 20)], now);
    let sim = after(too_large);
    let told = |event: &&SessionEvent| matches!(event, SessionEvent::TooLarge { bytes, .. } if *bytes == 3 << 20);
    assert_eq!(sim.news.iter().filter(told).count(), 1, "{:?}", sim.news);
    assert!(offences(&sim, 0).is_empty() && !is_late(&sim, 0), "{:?}", sim.news);
    // A peer from which it was not requested has no excuse.
    let mut sim = sim;
    let (peer, now) = (sim.providers[0].id, sim.now);
    let unasked = *Block::raw(&b"unasked"[..]).unwrap().cid();
    sim.client.on_oversized(peer, vec![(unasked, 3 << 20)], now);
    assert_eq!(sim.client.unasked(&peer), 1);
}

#[test]
fn a_peer_that_answers_with_a_message_that_is_too_long_is_left_without_blame() {
    let sim = after(|client, peer, _, now| assert!(client.on_too_long(peer, now)));
    let dropped =
        |event: &&SessionEvent| matches!(event, SessionEvent::PeerDropped { reason: DropReason::TooLong, .. });
    assert_eq!(sim.news.iter().filter(dropped).count(), 1, "{:?}", sim.news);
    assert!(offences(&sim, 0).is_empty() && !is_late(&sim, 0), "{:?}", sim.news);
    // A peer without pending requests has no excuse.
    let mut sim = sim;
    let (peer, now) = (sim.providers[0].id, sim.now);
    assert!(!sim.client.on_too_long(peer, now));
}

#[test]
fn a_peer_that_honestly_has_nothing_is_not_blamed() {
    let content = blocks(40, 4 << 10);
    let start = Instant::now();
    let providers = vec![Provider::new(1e6, 10, &[], start), Provider::new(1e6, 10, &content, start)];
    let mut sim = Sim::new(CREDIT, start, providers);
    sim.add_all();
    sim.want(&content, true);
    sim.run(content.len());
    assert!(offences(&sim, 0).is_empty() && !is_late(&sim, 0), "{:?}", sim.news);
}

#[test]
fn a_peer_of_an_old_version_that_says_nothing_is_not_blamed() {
    let content = blocks(4, 1000);
    let start = Instant::now();
    let mut providers: Vec<_> = (0..2).map(|_| Provider::new(1e6, 10, &content, start)).collect();
    providers[0].dead_from = Some(start);
    let mut sim = Sim::new(CREDIT, start, providers);
    sim.client.add_peer(sim.session, sim.providers[0].id, start);
    sim.want(&content, true);
    sim.step();
    sim.client.on_update_sent(sim.providers[0].id, false, sim.now);
    sim.client.add_peer(sim.session, sim.providers[1].id, sim.now);
    sim.run(content.len());
    assert!(offences(&sim, 0).is_empty() && !is_late(&sim, 0), "{:?}", sim.news);
}

#[test]
fn a_slow_peer_whose_blocks_come_too_late_is_not_blamed() {
    let content = blocks(8, 64 << 10);
    let start = Instant::now();
    let providers = vec![Provider::new(1e6, 900, &content, start), Provider::new(20e3, 10, &content, start)];
    let mut sim = Sim::new(CREDIT, start, providers);
    sim.add_all();
    sim.want(&content, true);
    while sim.received() < content.len() || sim.now - sim.start < Duration::from_secs(5) {
        sim.step();
    }
    assert!(!is_late(&sim, 0) && !is_late(&sim, 1), "{:?}", sim.news);
}

#[test]
fn a_peer_held_back_is_not_asked_while_others_deliver() {
    let content = blocks(100, 16 << 10);
    let start = Instant::now();
    let providers: Vec<_> = (0..3).map(|_| Provider::new(1e6, 10, &content, start)).collect();
    let known = Known(HashMap::from([(providers[0].id, LOW)]));
    let mut sim = Sim::knowing(CREDIT, start, providers, Arc::new(known));
    sim.add_all();
    sim.want(&content, true);
    sim.run(content.len());
    assert_eq!(sim.providers[0].wants, 0);
}

#[test]
fn a_stranger_held_back_is_not_even_questioned_while_others_deliver() {
    let content = blocks(20, 1000);
    let start = Instant::now();
    let mut providers: Vec<_> = (0..2).map(|_| Provider::new(1e6, 10, &content, start)).collect();
    // It would be blamed if it got a query.
    providers[0].trick = Trick::FalseHave;
    let known = Known(HashMap::from([(providers[0].id, LOW)]));
    let mut sim = Sim::knowing(CREDIT, start, providers, Arc::new(known));
    sim.want(&content, true);
    sim.run(content.len());
    assert_eq!((sim.providers[0].wants, offences(&sim, 0)), (0, Vec::new()));
}

#[test]
fn a_peer_held_back_delivers_what_nobody_else_can() {
    let content = blocks(60, 4 << 10);
    let start = Instant::now();
    let providers = vec![Provider::new(1e6, 10, &content, start), Provider::new(1e6, 10, &content[..30], start)];
    let known = Known(HashMap::from([(providers[0].id, LOW)]));
    let mut sim = Sim::knowing(CREDIT, start, providers, Arc::new(known));
    sim.add_all();
    sim.want(&content, true);
    let took = sim.run(content.len());
    assert!(took < 3.0, "{took} s");
    assert_eq!(sim.from[&sim.providers[1].id], 30);
    // Without other peers it is waited for once, not for every block.
    let content = blocks(5, 1000);
    let only = Provider::new(1e6, 10, &content, start);
    let known = Known(HashMap::from([(only.id, LOW)]));
    let mut alone = Sim::knowing(CREDIT, start, vec![only], Arc::new(known));
    alone.add_all();
    for (index, block) in content.iter().enumerate() {
        alone.want(std::slice::from_ref(block), false);
        alone.run(index + 1);
    }
    assert!(alone.now - alone.start < Duration::from_secs(2), "{:?}", alone.now - alone.start);
}

#[test]
fn a_peer_known_to_be_fast_is_asked_before_one_known_to_be_slow_or_unreliable() {
    let content = blocks(1, 1000);
    let prior = |reputation, rate| Prior { reputation, rate: Some(rate), ..Prior::default() };
    for (worse, better) in [(prior(1.0, 1e5), prior(1.0, 1e7)), (prior(0.6, 1e6), prior(1.0, 1e6))] {
        for turned in [false, true] {
            let start = Instant::now();
            let providers: Vec<_> = (0..2).map(|_| Provider::new(1e6, 10, &content, start)).collect();
            let (bad, good) = if turned { (0, 1) } else { (1, 0) };
            let known = Known(HashMap::from([(providers[bad].id, worse), (providers[good].id, better)]));
            let mut sim = Sim::knowing(CREDIT, start, providers, Arc::new(known));
            sim.add_all();
            sim.want(&content, true);
            sim.run(1);
            assert_eq!((sim.providers[bad].wants, sim.providers[good].wants), (0, 1));
        }
    }
}
