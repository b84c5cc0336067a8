use proptest::prelude::*;

use super::*;
use crate::node::connections::standing::Needed;

const MOST: u32 = 32;

/// A room with a fake clock.
struct Fixture {
    room: Room,
    standing: Standing,
    marks: Marks,
    now: Instant,
    ids: usize,
}

impl Fixture {
    fn new() -> Self {
        let marks = Marks::new(MOST, 2);
        Self { room: Room::new(marks), standing: Standing::new(marks), marks, now: Instant::now(), ids: 0 }
    }

    fn on(&mut self, event: Event) -> Vec<Action> {
        self.room.on(event, &self.standing, self.now)
    }

    fn connection(&mut self, peer: PeerId, source: Option<Source>, is_inbound: bool) -> Connection {
        self.ids += 1;
        Connection { id: ConnectionId::new_unchecked(self.ids), peer, source, is_inbound }
    }

    /// Establishes a connection with a new peer. Returns it and the actions.
    fn meet(&mut self, source: Option<Source>, is_inbound: bool) -> (Connection, Vec<Action>) {
        let connection = self.connection(PeerId::random(), source, is_inbound);
        (connection, self.on(Event::Established(connection)))
    }

    fn fill_inbound(&mut self) -> Vec<Connection> {
        (0..self.marks.inbound).map(|_| self.meet(None, true).0).collect()
    }

    fn has(&self, connection: &Connection) -> bool {
        self.room.open.contains_key(&connection.id)
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }
}

fn source(number: u8) -> Option<Source> {
    Source::of(&format!("/ip4/8.8.8.{number}/tcp/1").parse().unwrap())
}

fn turned_away(connection: &Connection) -> Vec<Action> {
    vec![Action::TurnAway(connection.peer, connection.id)]
}

/// Regression test: 192 connections that did nothing kept every newcomer out.
#[test]
fn a_newcomer_takes_the_place_of_the_connection_that_was_idle_longest() {
    let mut fixture = Fixture::new();
    let held = fixture.fill_inbound();
    fixture.pass(GRACE);
    fixture.standing.used(held[0].peer, fixture.now);
    let (newcomer, actions) = fixture.meet(None, true);
    assert_eq!(actions, turned_away(&held[1]));
    assert!(fixture.has(&newcomer) && fixture.has(&held[0]));
}

#[test]
fn peers_with_cheap_requests_leave_slots_to_newcomers() {
    let mut fixture = Fixture::new();
    let busy = fixture.fill_inbound();
    fixture.pass(GRACE);
    busy.iter().for_each(|connection| fixture.standing.used(connection.peer, fixture.now));
    let newcomers: Vec<_> = (0..fixture.marks.newcomers).map(|_| fixture.meet(None, true).0).collect();
    assert!(newcomers.iter().all(|newcomer| fixture.has(newcomer)), "useful ones make room for a few new ones");
    fixture.pass(Duration::from_secs(1));
    fixture.meet(None, true);
    let (_, actions) = fixture.meet(None, true);
    assert!(!fixture.has(&newcomers[0]), "then newcomers take turns: {actions:?}");
    let stay = busy.iter().filter(|connection| fixture.has(connection)).count();
    assert_eq!(stay, fixture.marks.inbound - fixture.marks.newcomers - 1);
}

#[test]
fn inbound_connections_leave_room_for_own_dials() {
    let mut fixture = Fixture::new();
    fixture.fill_inbound();
    let dials: Vec<_> = (fixture.marks.inbound..fixture.marks.most).map(|_| fixture.meet(None, false)).collect();
    assert!(dials.iter().all(|(_, actions)| actions.is_empty()));
    fixture.pass(GRACE);
    let (dial, actions) = fixture.meet(None, false);
    assert!(fixture.has(&dial) && actions.len() == 1, "a dial beyond them takes the place of another connection");
    assert!(dials.iter().all(|(dial, _)| fixture.has(dial)), "of an inbound one");
}

#[test]
fn one_source_has_a_share_and_displaces_only_itself() {
    let mut fixture = Fixture::new();
    let own: Vec<_> = (0..fixture.marks.per_source).map(|_| fixture.meet(source(1), true).0).collect();
    let (other, _) = fixture.meet(source(2), true);
    fixture.pass(GRACE);
    let (newcomer, actions) = fixture.meet(source(1), true);
    assert_eq!(actions, turned_away(&own[0]));
    assert!(fixture.has(&newcomer) && fixture.has(&other));
}

#[test]
fn of_idle_connections_those_of_the_most_crowded_source_go_first() {
    let mut fixture = Fixture::new();
    let alone = fixture.meet(source(1), true).0;
    let crowd: Vec<_> = (0..4).map(|_| fixture.meet(source(2), true).0).collect();
    while fixture.room.open.len() < fixture.marks.inbound {
        fixture.meet(None, true);
    }
    fixture.pass(GRACE);
    let (_, actions) = fixture.meet(source(3), true);
    assert_eq!(actions, turned_away(&crowd[0]));
    assert!(fixture.has(&alone));
}

#[test]
fn where_all_are_protected_a_newcomer_is_told_that_the_node_is_full() {
    let mut fixture = Fixture::new();
    let held = fixture.fill_inbound();
    let names: Vec<_> = held.iter().map(|connection| connection.peer).collect();
    let mut names = names.chunks(fixture.marks.protected).map(<[_]>::to_vec);
    for peer in names.next().unwrap() {
        assert_eq!(fixture.standing.name(peer), None);
    }
    let (mesh, sessions) = (names.next().unwrap(), names.next().unwrap());
    fixture.standing.need(Needed { mesh, sessions, neighbours: Vec::new() });
    fixture.pass(GRACE);
    let (newcomer, actions) = fixture.meet(None, true);
    assert_eq!(actions, turned_away(&newcomer));
    assert!(held.iter().all(|connection| fixture.has(connection)));
}

#[test]
fn exempt_peers_count_against_no_limit() {
    let mut fixture = Fixture::new();
    let held = fixture.fill_inbound();
    for _ in 0..MOST {
        let peer = PeerId::random();
        fixture.standing.exempt(peer, true);
        let connection = fixture.connection(peer, source(1), true);
        assert_eq!(fixture.on(Event::Established(connection)), []);
    }
    assert!(held.iter().all(|connection| fixture.has(connection)));
}

#[test]
fn one_peer_has_only_so_many_connections() {
    let (mut fixture, peer) = (Fixture::new(), PeerId::random());
    for _ in 0..2 {
        let connection = fixture.connection(peer, None, true);
        assert_eq!(fixture.on(Event::Established(connection)), []);
    }
    let third = fixture.connection(peer, None, true);
    assert_eq!(fixture.on(Event::Established(third)), [Action::Close(peer, third.id)]);
}

#[test]
fn idle_connections_are_trimmed_to_the_low_mark_and_useful_ones_to_the_high_mark() {
    for (are_useful, left) in [(false, MOST * 3 / 4), (true, MOST * 7 / 8)] {
        let mut fixture = Fixture::new();
        fixture.fill_inbound();
        while fixture.room.open.len() < MOST as usize {
            fixture.meet(None, false);
        }
        assert_eq!(fixture.on(Event::Tick), [], "all are new");
        fixture.pass(GRACE);
        if are_useful {
            let peers: Vec<_> = fixture.room.open.values().map(|open| open.connection.peer).collect();
            peers.into_iter().for_each(|peer| fixture.standing.used(peer, fixture.now));
        }
        fixture.on(Event::Tick);
        assert_eq!(fixture.room.open.len(), left as usize);
    }
}

#[test]
fn a_connection_that_does_not_take_the_message_is_closed() {
    let mut fixture = Fixture::new();
    let held = fixture.fill_inbound();
    fixture.meet(None, true);
    assert_eq!(fixture.on(Event::Tick), []);
    fixture.pass(LEAVE_WITHIN);
    assert_eq!(fixture.on(Event::Tick), [Action::Close(held[0].peer, held[0].id)]);
    fixture.pass(LEAVE_WITHIN);
    assert_eq!(fixture.on(Event::Tick), [], "once");
}

/// A step of a random history.
#[derive(Clone, Debug)]
enum Step {
    Connect { peer: usize, source: Option<u8>, is_inbound: bool },
    Close(usize),
    Use(usize),
    Name(usize),
    Exempt(usize, bool),
    Need { mesh: usize, sessions: usize },
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let peer = || 0..120_usize;
    prop_oneof![
        8 => (peer(), prop::option::of(0..4_u8), prop::bool::weighted(0.8))
            .prop_map(|(peer, source, is_inbound)| Step::Connect { peer, source, is_inbound }),
        1 => (0..400_usize).prop_map(Step::Close),
        2 => peer().prop_map(Step::Use),
        1 => peer().prop_map(Step::Name),
        1 => (0..10_usize, any::<bool>()).prop_map(|(peer, does)| Step::Exempt(peer, does)),
        1 => (peer(), peer()).prop_map(|(mesh, sessions)| Step::Need { mesh, sessions }),
        2 => (0..15_u64).prop_map(Step::Pass),
    ]
}

proptest! {
    /// The promises of the connection manager, after every step of any history.
    #[test]
    fn no_limit_is_passed_no_protected_peer_is_trimmed_and_newcomers_get_in(
        steps in prop::collection::vec(step(), 1..400),
    ) {
        let mut fixture = Fixture::new();
        let peers: Vec<PeerId> = (0..120).map(|_| PeerId::random()).collect();
        let some = |first: usize| peers.iter().cycle().skip(first).take(12).copied().collect::<Vec<_>>();
        for step in steps {
            let mut protected: HashSet<PeerId> = HashSet::new();
            protected.extend(peers.iter().filter(|peer| fixture.standing.is_protected(peer)));
            let (mut new, mut actions) = (None, Vec::new());
            let had_room = fixture.room.open.values().any(|open| {
                open.connection.is_inbound && open.connection.source.is_none() && !protected.contains(&open.connection.peer)
            });
            match step {
                Step::Connect { peer, source: from, is_inbound } => {
                    let connection = fixture.connection(peers[peer], from.and_then(source), is_inbound);
                    new = Some(connection);
                    actions = fixture.on(Event::Established(connection));
                }
                Step::Close(id) => actions = fixture.on(Event::Closed(ConnectionId::new_unchecked(id))),
                Step::Use(peer) => fixture.standing.used(peers[peer], fixture.now),
                Step::Name(peer) => {
                    let _former = fixture.standing.name(peers[peer]);
                }
                // While an exempt peer is connected, an end of its exemption may leave a limit passed.
                Step::Exempt(peer, is_exempt) => {
                    if is_exempt || !fixture.room.open.values().any(|open| open.connection.peer == peers[peer]) {
                        fixture.standing.exempt(peers[peer], is_exempt);
                    }
                }
                Step::Need { mesh, sessions } => {
                    let (mesh, sessions) = (some(mesh), some(sessions));
                    fixture.standing.need(Needed { mesh, sessions, neighbours: Vec::new() });
                }
                Step::Pass(seconds) => {
                    fixture.pass(Duration::from_secs(seconds));
                    actions = fixture.on(Event::Tick);
                }
            }
            let Fixture { room, standing, marks, .. } = &fixture;
            for action in &actions {
                let Action::TurnAway(peer, id) = action else { continue };
                prop_assert!(!protected.contains(peer) || new.is_some_and(|new| new.id == *id), "{action:?}");
            }
            if let Some(new) = new.filter(|new| new.source.is_none() || !new.is_inbound) {
                let is_one_too_many = actions == [Action::Close(new.peer, new.id)];
                prop_assert!(room.open.contains_key(&new.id) || is_one_too_many || !had_room, "{new:?} {actions:?}");
            }
            prop_assert!(room.count(standing, |_| true) <= marks.most);
            prop_assert!(room.count(standing, |open| open.connection.is_inbound) <= marks.inbound);
            for number in 0..4 {
                let of_source = |open: &Open| open.connection.is_inbound && open.connection.source == source(number);
                prop_assert!(room.count(standing, of_source) <= marks.per_source);
            }
            prop_assert!(room.leaving.len() <= marks.leaving);
        }
        fixture.pass(GRACE);
        fixture.on(Event::Tick);
        let protected = fixture.room.open.values().filter(|open| fixture.standing.is_protected(&open.connection.peer));
        let least = protected.count();
        let left = fixture.room.count(&fixture.standing, |_| true);
        prop_assert!(left <= fixture.marks.high.max(least), "{left} stay above the high mark");
    }
}
