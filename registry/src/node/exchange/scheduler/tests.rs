//! The scheduler against simulated peers with a rate and a latency, on a simulated clock.

mod actions;
mod blame;
mod bulk_requests;
mod desk;
mod presence;
mod silence;

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use ggen_blockstore::DAG_PB;

use self::desk::Desk;
use crate::node::exchange::{
    bitswap::{Message, WantKind},
    channel::{SessionEvent, SessionReceiver, SessionSender, session_channel},
    prior::NoPriors,
    scheduler::{peers::BLAME_HOLDS, *},
    session::MAX_SESSION_PEERS,
};

const STEP: Duration = Duration::from_millis(5);
const CREDIT: u64 = 64 << 20;

/// A peer that serves at `rate` bytes per second with the latency `delay`, one block after the other.
struct Provider {
    id: PeerId,
    rate: f64,
    delay: Duration,
    has: HashMap<Cid, Bytes>,
    dead_from: Option<Instant>,
    /// It does nothing between these: what it had sent still comes, and what it is sent waits.
    paused: Option<(Instant, Instant)>,
    inbox: VecDeque<(Instant, Message)>,
    queue: VecDeque<Cid>,
    free_at: Instant,
    outbox: VecDeque<(Instant, Reply)>,
    wants: usize,
    cancels: usize,
    most_queued: usize,
    trick: Trick,
}

/// How a provider misbehaves.
#[derive(Clone, Copy, PartialEq)]
enum Trick {
    None,
    /// It sends other bytes than those requested.
    Lie,
    /// The same for this block only.
    LieAbout(Cid),
    /// It sends HAVE for every block, and never a block.
    FalseHave,
}

enum Reply {
    Block(Cid),
    Wrong(Cid),
    Presence(Cid, Presence),
}

impl Provider {
    fn new(rate: f64, delay: u64, blocks: &[Block], now: Instant) -> Self {
        Self {
            id: PeerId::random(),
            rate,
            delay: Duration::from_millis(delay),
            has: blocks.iter().map(|block| block.clone().into_parts()).collect(),
            dead_from: None,
            paused: None,
            inbox: VecDeque::new(),
            queue: VecDeque::new(),
            free_at: now,
            outbox: VecDeque::new(),
            wants: 0,
            cancels: 0,
            most_queued: 0,
            trick: Trick::None,
        }
    }

    fn read(&mut self, message: Message, now: Instant) {
        if message.full {
            self.queue.clear();
        }
        for want in message.wants {
            if want.cancel {
                self.cancels += 1;
                self.queue.retain(|cid| *cid != want.cid);
                continue;
            }
            self.wants += usize::from(want.kind == WantKind::Block);
            let has = match self.trick {
                Trick::FalseHave => want.kind == WantKind::Have,
                Trick::None | Trick::Lie | Trick::LieAbout(_) => self.has.contains_key(&want.cid),
            };
            let presence = match (has, want.kind) {
                (true, WantKind::Block) => {
                    self.queue.push_back(want.cid);
                    continue;
                }
                (true, WantKind::Have) => Presence::Have,
                (false, _) if want.send_dont_have => Presence::DontHave,
                (false, _) => continue,
            };
            self.outbox.push_back((now + self.delay, Reply::Presence(want.cid, presence)));
        }
        self.most_queued = self.most_queued.max(self.queue.len());
    }

    fn is_paused(&self, now: Instant) -> bool {
        self.paused.is_some_and(|(from, until)| from <= now && now < until)
    }

    fn serve(&mut self, now: Instant) {
        if self.is_paused(now) {
            return;
        }
        if self.dead_from.is_some_and(|at| now >= at) {
            self.outbox.clear();
            return;
        }
        while self.free_at <= now
            && let Some(cid) = self.queue.pop_front()
        {
            let took = Duration::from_secs_f64(self.has[&cid].len() as f64 / self.rate);
            self.free_at = self.free_at.max(now - STEP) + took;
            let lies = self.trick == Trick::Lie || self.trick == Trick::LieAbout(cid);
            let reply = if lies { Reply::Wrong(cid) } else { Reply::Block(cid) };
            self.outbox.push_back((self.free_at + self.delay, reply));
        }
    }
}

struct Sim {
    client: Desk,
    start: Instant,
    now: Instant,
    providers: Vec<Provider>,
    receiver: SessionReceiver,
    session: SessionId,
    from: HashMap<PeerId, usize>,
    news: Vec<SessionEvent>,
    duplicates: u64,
    takes: bool,
}

impl Sim {
    fn new(credit: u64, now: Instant, providers: Vec<Provider>) -> Self {
        Self::knowing(credit, now, providers, Arc::new(NoPriors))
    }

    fn knowing(credit: u64, now: Instant, providers: Vec<Provider>, priors: Arc<dyn Priors>) -> Self {
        let mut client = Desk::new(priors);
        let (output, receiver) = session_channel(credit);
        let session = client.open(output, 0.0, now);
        for provider in &providers {
            client.on_connected(provider.id, now);
        }
        Self {
            client,
            start: now,
            now,
            providers,
            receiver,
            session,
            from: HashMap::new(),
            news: Vec::new(),
            duplicates: 0,
            takes: true,
        }
    }

    fn add_all(&mut self) {
        for provider in &self.providers {
            self.client.add_peer(self.session, provider.id, self.now);
        }
    }

    fn want(&mut self, blocks: &[Block], sizes: bool) {
        let wants = blocks.iter().map(|block| (*block.cid(), sizes.then_some(block.data().len() as u64)));
        self.client.want(self.session, wants, self.now);
    }

    fn step(&mut self) {
        self.now += STEP;
        let now = self.now;
        for provider in &mut self.providers {
            if let Some(message) = self.client.next_update(&provider.id) {
                provider.inbox.push_back((now + provider.delay, message));
                self.client.on_update_sent(provider.id, true, now);
            }
        }
        for provider in &mut self.providers {
            while !provider.is_paused(now) && provider.inbox.front().is_some_and(|(at, _)| *at <= now) {
                let (_, message) = provider.inbox.pop_front().unwrap();
                provider.read(message, now);
            }
            provider.serve(now);
            while provider.outbox.front().is_some_and(|(at, _)| *at <= now) {
                match provider.outbox.pop_front().unwrap().1 {
                    Reply::Presence(cid, presence) => self.client.on_presences(provider.id, &[(cid, presence)], now),
                    Reply::Wrong(cid) => {
                        let wrong: Vec<u8> = provider.has[&cid].iter().map(|byte| !byte).collect();
                        let block = Block::raw(wrong).unwrap();
                        let received = self.client.on_blocks(provider.id, vec![block], 0, 1000, now);
                        assert_eq!((received.blocks, received.bytes), (0, 0));
                    }
                    Reply::Block(cid) => {
                        let data = provider.has[&cid].clone();
                        let block = Block::verify(cid, data.clone()).unwrap();
                        let received = self.client.on_blocks(provider.id, vec![block], 0, data.len(), now);
                        self.duplicates += received.unwanted;
                    }
                }
            }
        }
        if self.takes {
            self.take();
        }
        if (now - self.start).as_millis() % TICK_EVERY.as_millis() < STEP.as_millis() {
            self.client.tick(now);
        }
    }

    fn take(&mut self) {
        while let Some(event) = self.receiver.try_recv() {
            match event {
                SessionEvent::Block { from, .. } => *self.from.entry(from).or_default() += 1,
                other => self.news.push(other),
            }
        }
        self.client.poll_consumers(self.now);
    }

    fn received(&self) -> usize {
        self.from.values().sum()
    }

    /// Runs until `blocks` have arrived. Returns the seconds that it took.
    fn run(&mut self, blocks: usize) -> f64 {
        while self.received() < blocks {
            self.step();
            assert!(self.now - self.start < Duration::from_secs(600), "only {} came", self.received());
        }
        (self.now - self.start).as_secs_f64()
    }
}

fn blocks(count: usize, bytes: usize) -> Vec<Block> {
    let block = |index: usize| {
        let mut data = vec![7; bytes.max(8)];
        data[..8].copy_from_slice(&index.to_le_bytes());
        Block::raw(data).unwrap()
    };
    (0..count).map(block).collect()
}

/// Seconds that providers of these rates need together for `content`; the last one dies at `dead_after`.
fn seconds(rates: &[f64], content: &[Block], dead_after: Option<f64>) -> (f64, Sim) {
    let start = Instant::now();
    let mut providers: Vec<_> = rates.iter().map(|rate| Provider::new(*rate, 25, content, start)).collect();
    if let (Some(seconds), Some(last)) = (dead_after, providers.last_mut()) {
        last.dead_from = Some(start + Duration::from_secs_f64(seconds));
    }
    let mut sim = Sim::new(CREDIT, start, providers);
    sim.add_all();
    sim.want(content, true);
    (sim.run(content.len()), sim)
}

const SLOW: f64 = 3.75e6;

#[test]
fn three_providers_are_nearly_three_times_as_fast_as_one() {
    let content = blocks(192, 256 << 10);
    let (one, _) = seconds(&[SLOW], &content, None);
    let (three, sim) = seconds(&[SLOW; 3], &content, None);
    assert!(one / three >= 2.6, "{one} s, {three} s");
    assert!(sim.from.values().all(|blocks| *blocks > 48), "{:?}", sim.from);
}

#[test]
fn one_provider_fills_a_long_link() {
    let content = blocks(192, 256 << 10);
    let bytes = (192 << 18) as f64;
    let (took, _) = seconds(&[12.5e6], &content, None);
    assert!(took < bytes / 12.5e6 + 0.3, "{took} s");
}

#[test]
fn a_provider_that_stalls_costs_little_more_than_its_share() {
    let content = blocks(192, 256 << 10);
    let (two, _) = seconds(&[SLOW; 2], &content, None);
    let (stalled, sim) = seconds(&[SLOW; 3], &content, Some(two / 3.0));
    assert!(stalled <= two * 1.3, "{two} s, {stalled} s");
    let dead = sim.providers[2].id;
    assert!(sim.news.contains(&SessionEvent::PeerDropped { peer: dead, reason: DropReason::Stalled }));
}

#[test]
fn a_slow_provider_does_not_hold_up_the_end() {
    let content = blocks(64, 256 << 10);
    let (fast, _) = seconds(&[12.5e6], &content, None);
    let (both, sim) = seconds(&[12.5e6, 100e3], &content, None);
    assert!(both < fast + 0.5, "{fast} s, {both} s, {:?}", sim.from);
}

#[test]
fn blocks_that_one_provider_lacks_are_asked_of_the_other() {
    let content = blocks(200, 4 << 10);
    let start = Instant::now();
    let odd: Vec<_> = content.iter().skip(1).step_by(2).cloned().collect();
    let even: Vec<_> = content.iter().step_by(2).cloned().collect();
    let providers = vec![Provider::new(1e6, 10, &odd, start), Provider::new(1e6, 10, &even, start)];
    let mut sim = Sim::new(CREDIT, start, providers);
    sim.add_all();
    sim.want(&content, true);
    sim.run(content.len());
    assert!(sim.from.values().all(|blocks| *blocks == 100), "{:?}", sim.from);
    assert_eq!(sim.duplicates, 0);
}

#[test]
fn a_provider_that_has_nothing_is_dropped_and_more_are_called_for() {
    let content = blocks(40, 1000);
    let start = Instant::now();
    let mut sim = Sim::new(CREDIT, start, vec![Provider::new(1e6, 10, &[], start)]);
    sim.add_all();
    sim.want(&content, true);
    while sim.news.len() < 2 {
        sim.step();
    }
    let useless = SessionEvent::PeerDropped { peer: sim.providers[0].id, reason: DropReason::Useless };
    assert_eq!(sim.news[0], useless);
    let cids = content[..8].iter().map(|block| *block.cid()).collect();
    assert_eq!(sim.news[1], SessionEvent::NeedPeers { cids, wanted: 40, peers: 0 });
    // Nothing more arrives for a while: the call for peers is repeated, but not at every tick.
    (0..900).for_each(|_| sim.step());
    assert_eq!(sim.news.len(), 2);
}

#[test]
fn a_connected_stranger_is_asked_whether_it_has_the_root_and_then_for_the_blocks() {
    let content = blocks(30, 2000);
    let start = Instant::now();
    let mut sim = Sim::new(CREDIT, start, vec![Provider::new(1e6, 10, &content, start)]);
    sim.want(&content, false);
    assert!(sim.run(content.len()) < 1.0);
    assert_eq!(sim.providers[0].wants, 30);
}

#[test]
fn a_session_full_of_peers_that_have_nothing_still_takes_the_one_that_has() {
    let content = blocks(3, 1000);
    let start = Instant::now();
    let mut providers: Vec<_> = (0..MAX_SESSION_PEERS).map(|_| Provider::new(1e6, 10, &[], start)).collect();
    providers.push(Provider::new(1e6, 10, &content, start));
    let mut sim = Sim::new(CREDIT, start, providers);
    (0..1000).for_each(|_| sim.client.add_peer(sim.session, PeerId::random(), start));
    sim.add_all();
    assert_eq!(sim.client.members(sim.session), MAX_SESSION_PEERS);
    sim.want(&content, true);
    let took = sim.run(content.len());
    assert!(took < 10.0, "{took} s");
    assert_eq!(sim.from.keys().copied().collect::<Vec<_>>(), [sim.providers[MAX_SESSION_PEERS].id]);
}

#[test]
fn no_peer_is_ever_asked_for_more_than_it_remembers() {
    let content = blocks(3000, 100);
    let (_, sim) = seconds(&[50e6], &content, None);
    assert!(sim.providers[0].most_queued <= 512, "{}", sim.providers[0].most_queued);
}

#[test]
fn a_consumer_that_takes_nothing_bounds_what_is_asked() {
    let content = blocks(256, 64 << 10);
    let start = Instant::now();
    let credit = 4 << 20;
    let mut sim = Sim::new(credit, start, vec![Provider::new(100e6, 1, &content, start)]);
    sim.takes = false;
    sim.add_all();
    sim.want(&content, true);
    (0..1000).for_each(|_| sim.step());
    let asked = sim.providers[0].wants * (64 << 10);
    assert!(asked as u64 <= credit + (64 << 10), "{asked}");
    sim.takes = true;
    sim.run(content.len());
    assert!(sim.news.iter().all(|event| !matches!(event, SessionEvent::NeedPeers { .. })), "{:?}", sim.news);
}

#[test]
fn what_is_cancelled_is_taken_back_from_the_peer() {
    let content = blocks(20, 64 << 10);
    let start = Instant::now();
    let mut sim = Sim::new(CREDIT, start, vec![Provider::new(100e3, 10, &content, start)]);
    sim.add_all();
    sim.want(&content, true);
    (0..10).for_each(|_| sim.step());
    let cids: Vec<_> = content[5..].iter().map(|block| *block.cid()).collect();
    sim.client.cancel(sim.session, cids, sim.now);
    sim.run(5);
    assert_eq!((sim.providers[0].cancels, sim.client.is_busy()), (15, false));
}

#[test]
fn a_closed_session_leaves_nothing_behind() {
    let content = blocks(20, 64 << 10);
    let start = Instant::now();
    let mut sim = Sim::new(CREDIT, start, vec![Provider::new(100e3, 10, &content, start)]);
    sim.add_all();
    sim.want(&content, true);
    (0..10).for_each(|_| sim.step());
    let peer = sim.providers[0].id;
    assert!(sim.client.uses(&peer));
    sim.client.close(sim.session, sim.now);
    assert!(!sim.client.uses(&peer) && content.iter().all(|block| !sim.client.is_wanted(block.cid())));
    (0..10).for_each(|_| sim.step());
    assert_eq!(sim.providers[0].cancels, 20);
}

#[test]
fn data_that_nobody_asked_for_gets_a_peer_banned() {
    let content = blocks(20, 100);
    let start = Instant::now();
    let mut sim = Sim::new(CREDIT, start, vec![Provider::new(1e6, 10, &[], start)]);
    sim.add_all();
    sim.want(&content[..1], true);
    let peer = sim.providers[0].id;
    let junk: Vec<_> = (0..=MAX_UNASKED_BLOCKS as u8).map(|byte| Block::raw(vec![byte; 50]).unwrap()).collect();
    let few = sim.client.on_blocks(peer, junk[1..].to_vec(), 0, 500, start);
    assert!(!few.misbehaved);
    let more = sim.client.on_blocks(peer, junk[..1].to_vec(), 0, 50, start);
    assert!(more.misbehaved && more.blocks == 0);
    sim.take();
    let offended = SessionEvent::Offended { peer, offence: Offence::WrongBytes };
    assert_eq!(sim.news, [offended, SessionEvent::PeerDropped { peer, reason: DropReason::Misbehaved }]);
    sim.client.add_peer(sim.session, peer, start);
    assert_eq!(sim.client.members(sim.session), 0);
}

/// The blocks that a session requested may arrive after its end: that is no second offence.
#[test]
fn one_that_goes_on_where_it_was_cut_off_has_been_told_of() {
    let start = Instant::now();
    let mut sim = Sim::new(CREDIT, start, vec![Provider::new(1e6, 10, &[], start)]);
    sim.add_all();
    sim.want(&blocks(1, 100), true);
    let peer = sim.providers[0].id;
    let junk: Vec<_> = (0..=MAX_UNASKED_BLOCKS as u8).map(|byte| Block::raw(vec![byte; 50]).unwrap()).collect();
    assert!(sim.client.on_blocks(peer, junk.clone(), 0, 500, start).blamed);
    sim.client.close(sim.session, start);
    for (after, expected) in [(Duration::from_secs(1), true), (BLAME_HOLDS, false)] {
        sim.client.on_disconnected(peer, start + after);
        sim.client.on_connected(peer, start + after);
        let again = sim.client.on_blocks(peer, junk.clone(), 0, 500, start + after);
        assert_eq!((again.misbehaved, again.blamed), (true, expected));
    }
}

#[test]
fn a_late_duplicate_is_no_offence() {
    let content = blocks(20, 100);
    let (_, mut sim) = seconds(&[1e6], &content, None);
    let received = sim.client.on_blocks(sim.providers[0].id, content.clone(), 0, 2000, sim.now);
    assert_eq!((received.unwanted, received.misbehaved), (20, false));
}

#[test]
fn a_block_without_prefix_serves_the_cid_it_was_wanted_by() {
    let content = blocks(1, 100);
    let start = Instant::now();
    let mut sim = Sim::new(CREDIT, start, vec![Provider::new(1e6, 10, &[], start)]);
    sim.add_all();
    sim.want(&content, true);
    let bare = Block::from_prefix(0, DAG_PB, 0x12, 32, content[0].data().clone()).unwrap();
    let received = sim.client.on_blocks(sim.providers[0].id, vec![bare], 0, 100, start);
    assert_eq!(received.blocks, 1);
    let event = sim.receiver.try_recv();
    assert!(matches!(event, Some(SessionEvent::Block { block, .. }) if block == content[0]));
}

#[test]
fn two_sessions_share_one_want_and_both_get_the_block() {
    let content = blocks(1, 100);
    let start = Instant::now();
    let mut sim = Sim::new(CREDIT, start, vec![Provider::new(1e6, 10, &content, start)]);
    sim.add_all();
    sim.want(&content, true);
    let (output, mut receiver) = session_channel(CREDIT);
    let other = sim.client.open(output, 0.0, start);
    sim.client.add_peer(other, sim.providers[0].id, start);
    sim.client.want(other, [(*content[0].cid(), None)], start);
    sim.run(1);
    assert!(matches!(receiver.try_recv(), Some(SessionEvent::Block { .. })));
    assert_eq!(sim.providers[0].wants, 1);
}

#[test]
fn a_peer_that_comes_back_is_asked_again() {
    let content = blocks(10, 1000);
    let start = Instant::now();
    let mut sim = Sim::new(CREDIT, start, vec![Provider::new(1e6, 10, &content, start)]);
    sim.add_all();
    sim.want(&content, true);
    let peer = sim.providers[0].id;
    sim.client.on_disconnected(peer, start);
    sim.client.on_connected(peer, start);
    sim.run(content.len());
}

#[test]
fn a_peer_that_speaks_no_bitswap_is_dropped() {
    let content = blocks(1, 100);
    let start = Instant::now();
    let mut sim = Sim::new(CREDIT, start, vec![Provider::new(1e6, 10, &content, start)]);
    sim.add_all();
    sim.want(&content, true);
    let peer = sim.providers[0].id;
    sim.client.on_update_failed(peer, true, start);
    sim.take();
    assert_eq!(sim.news, [SessionEvent::PeerDropped { peer, reason: DropReason::Unsupported }]);
    assert!(sim.client.next_update(&peer).is_none());
}
