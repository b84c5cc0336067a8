//! Peers that send wrong bytes and peers that stall: packages arrive nevertheless, and the failures are recorded for
//! each peer.

use std::{
    collections::HashSet,
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use ggen_blockstore::{Block, Blockstore, Cid};
use ggen_marketplace::{
    BootstrapRequest, Config, ErrorKind, Failure, FetchRequest, FetchTo, Fetched, Mode, PeerInfoRequest,
    PeerListRequest, PeerReport, PeerRule, PeerRuleRequest, Place, Progress, PublishRequest, Registry, SearchRequest,
};
use tempfile::TempDir;

use crate::support::{nodes::Node, trees::assert_same, tricks::TrickStore};

/// Far longer than any operation here takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Fetches after which both cheating peers must have been detected.
const MAX_FETCHES: usize = 6;

fn config() -> Config {
    let listen_addresses = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
    Config { listen_addresses, mdns: false, ..Config::default() }
}

/// A complete node with a store that can cheat.
struct Trickster {
    registry: Registry,
    store: Arc<TrickStore>,
}

impl Trickster {
    async fn start() -> Self {
        let store = Arc::new(TrickStore::default());
        let place = Place::memory().with_store(store.clone());
        Self { registry: Registry::open_in(place, config(), Mode::Daemon).await.unwrap(), store }
    }

    fn peer_id(&self) -> String {
        self.registry.listening().peer_id
    }

    fn address(&self) -> String {
        self.registry.listening().listen_addresses[0].clone()
    }

    async fn publish(&self, package: &Path) {
        publish(&self.registry, package).await;
    }

    /// Copies all its blocks to another peer.
    fn share(&self, other: &Self) {
        let read = |cid: Cid| Block::verify(cid, self.store.get(&cid).unwrap().unwrap()).unwrap();
        let blocks: Vec<Block> = self.store.cids().map(|cid| read(cid.unwrap())).collect();
        other.store.put_many(&blocks).unwrap();
    }
}

async fn publish(registry: &Registry, package: &Path) {
    let request = PublishRequest {
        path: package.to_owned(),
        version: None,
        namespace: Some("tests".to_owned()),
        key: None,
        trust_clock: false,
        allow_secrets: false,
        user_ignore_file: None,
        skip_verify: false,
        dry_run: false,
        min_replicas: 0,
        timeout: PATIENCE,
    };
    registry.publish(request, Arc::new(|_: Progress| {})).await.unwrap();
}

/// A package of many blocks that no other package has, and of more than five block requests (at least 1 MiB each).
fn package(root: &Path, name: &str) {
    fs::create_dir_all(root).unwrap();
    let manifest = format!("[package]\nname = \"{name}\"\nversion = \"1.0.0\"\ndescription = \"many files\"\n");
    fs::write(root.join("gpack.toml"), manifest).unwrap();
    for index in 0..200 {
        fs::write(root.join(format!("{index}.txt")), format!("{name} {index} ").repeat(2600)).unwrap();
    }
}

async fn fetch(
    registry: &Registry,
    target: &str,
    to: &Path,
    providers: &[String],
    timeout: Duration,
) -> Result<Fetched, Failure> {
    let (target, to) = (target.to_owned(), FetchTo::Path(to.to_owned()));
    let request =
        FetchRequest { target, to, timeout, offline: false, providers: providers.to_vec(), min_reputation: None };
    registry.fetch(request, Arc::new(|_: Progress| {})).await
}

async fn peer_list(registry: &Registry, min_reputation: Option<f64>) -> Vec<PeerReport> {
    registry.peer_list(PeerListRequest { min_reputation }).await.unwrap()
}

async fn rule(registry: &Registry, peer: &str, rule: PeerRule) {
    registry.peer_rule(PeerRuleRequest { peer: peer.to_owned(), rule }).await.unwrap();
}

fn of<'a>(list: &'a [PeerReport], peer: &Trickster) -> &'a PeerReport {
    let id = peer.peer_id();
    list.iter().find(|report| report.peer_id == id).unwrap_or_else(|| panic!("{id} is not in {list:#?}"))
}

/// Releases the threads that block in its store, so that a failing test ends.
impl Drop for Trickster {
    fn drop(&mut self) {
        self.store.release();
    }
}

/// The time of the first request for a block of a package to any of these peers.
fn first_asked<'a>(peers: impl IntoIterator<Item = &'a Trickster>, package: &HashSet<Cid>) -> Option<Instant> {
    let of_package = |(at, cid): (Instant, Cid)| package.contains(&cid).then_some(at);
    peers.into_iter().flat_map(|peer| peer.store.reads()).filter_map(of_package).min()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_liar_and_a_staller_among_five_providers_lose_their_standing_and_are_not_asked_first_again() {
    let work = TempDir::new().unwrap();
    let alice = Trickster::start().await;
    let mut contents = Vec::new();
    let mut known: HashSet<Cid> = HashSet::new();
    let names: Vec<String> = (0..MAX_FETCHES + 2).map(|number| format!("number-{number}")).collect();
    for name in &names {
        package(&work.path().join(name), name);
        alice.publish(&work.path().join(name)).await;
        let all: HashSet<Cid> = alice.store.cids().map(Result::unwrap).collect();
        contents.push(&all - &known);
        known = all;
    }
    let peers =
        [alice, Trickster::start().await, Trickster::start().await, Trickster::start().await, Trickster::start().await];
    peers[1..].iter().for_each(|peer| peers[0].share(peer));
    let [alice, bob, carol, liar, staller] = &peers;
    // The package is large and the honest peers are slow enough that every peer receives requests.
    [alice, bob, carol].iter().for_each(|honest| honest.store.slow_down(Duration::from_millis(10)));
    liar.store.lie();
    staller.store.hang();
    let providers: Vec<String> = peers.iter().map(Trickster::address).collect();

    let home = TempDir::new().unwrap();
    let dave = Registry::open(home.path(), config(), Mode::Daemon).await.unwrap();
    // All peers are connected before the fetch starts, so that the last one receives requests too.
    let request = BootstrapRequest { nodes: providers.clone(), timeout: PATIENCE };
    assert_eq!(dave.bootstrap(request).await.unwrap().connected.len(), providers.len());
    let out = |name: &str| work.path().join(format!("out-{name}"));
    // The shares of the peers in the first fetch are random.
    let mut fetched = 0;
    let low = async |peer: &Trickster| of(&peer_list(&dave, None).await, peer).reputation < 0.5;
    while fetched == 0 || !(low(liar).await && low(staller).await) {
        assert!(fetched < MAX_FETCHES, "{:#?}", peer_list(&dave, None).await);
        let name = &names[fetched];
        fetch(&dave, &format!("tests/{name}"), &out(name), &providers, PATIENCE).await.unwrap();
        assert_same(&work.path().join(name), &out(name));
        fetched += 1;
    }
    let list = peer_list(&dave, None).await;
    for (cheat, event) in [(liar, "wrong_bytes"), (staller, "stalled")] {
        let report = of(&list, cheat);
        assert!(report.reputation < 0.5 && report.failed_retrievals > 0, "{report:#?}");
        let request = PeerInfoRequest { peer: cheat.peer_id(), full: true };
        let history = dave.peer_info(request).await.unwrap().history.unwrap();
        assert!(history.iter().any(|entry| entry.event == event), "{history:?}");
        assert!(history.iter().all(|entry| entry.package.as_deref().is_some_and(|name| name.starts_with("tests/"))));
    }
    assert!([alice, bob, carol].iter().any(|peer| of(&list, peer).successful_retrievals > 0), "{list:#?}");
    let good = peer_list(&dave, Some(0.5)).await;
    assert!(good.iter().all(|report| report.peer_id != liar.peer_id() && report.peer_id != staller.peer_id()));

    // From now on its store accepts requests and never returns.
    staller.store.release();
    staller.store.hang();
    let honest = [alice, bob, carol];
    let asked_first = |package: &HashSet<Cid>| {
        let (honest, cheats) = (first_asked(honest, package), first_asked([liar, staller], package));
        assert!(honest.is_some(), "somebody was asked");
        cheats.is_some_and(|cheats| Some(cheats) < honest)
    };
    let next = &names[fetched];
    peers.iter().for_each(|peer| drop(peer.store.reads()));
    fetch(&dave, &format!("tests/{next}"), &out(next), &providers, PATIENCE).await.unwrap();
    assert_same(&work.path().join(next), &out(next));
    assert!(!asked_first(&contents[fetched]));

    let before = peer_list(&dave, None).await;
    dave.shutdown().await.unwrap();
    let dave = Registry::open(home.path(), config(), Mode::Daemon).await.unwrap();
    let after = peer_list(&dave, None).await;
    for peer in &peers {
        let (before, after) = (of(&before, peer), of(&after, peer));
        assert!(!after.connected);
        assert_eq!(before.reputation, after.reputation);
        assert_eq!(before.successful_retrievals, after.successful_retrievals);
        assert_eq!(before.failed_retrievals, after.failed_retrievals);
        assert_eq!(before.packages_provided, after.packages_provided);
    }
    // The cheating peers are connected before all others.
    let mut cheats_first = providers.clone();
    cheats_first.rotate_left(3);
    let next = &names[fetched + 1];
    peers.iter().for_each(|peer| drop(peer.store.reads()));
    fetch(&dave, &format!("tests/{next}"), &out(next), &cheats_first, PATIENCE).await.unwrap();
    assert_same(&work.path().join(next), &out(next));
    assert!(!asked_first(&contents[fetched + 1]));

    staller.store.release();
    dave.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_leaves_out_what_only_peers_of_low_reputation_provide() {
    let work = TempDir::new().unwrap();
    let (alice, mallory) = (Trickster::start().await, Trickster::start().await);
    let bob = Node::start().await;
    bob.connect(&[alice.address()]).await;
    bob.connect(&[mallory.address()]).await;
    for (peer, name) in [(&alice, "honest"), (&mallory, "bait")] {
        package(&work.path().join(name), name);
        peer.publish(&work.path().join(name)).await;
        bob.wait_until_known(&format!("tests/{name}")).await;
    }
    mallory.store.lie();
    let out = work.path().join("out");
    let failure = fetch(&bob.registry, "tests/bait", &out, &[], Duration::from_secs(2)).await.unwrap_err();
    assert_eq!(failure.kind, ErrorKind::Verification, "{failure:?}");
    let search = async |min_reputation| {
        let request = SearchRequest {
            query: "many files".to_owned(),
            category: None,
            tags: Vec::new(),
            limit: 20,
            min_reputation,
            local: true,
        };
        let hits = bob.registry.search(request).await.unwrap();
        hits.into_iter().map(|hit| (hit.package, hit.providers, hit.reputation)).collect::<Vec<_>>()
    };
    let (honest, bait) = (("tests/honest".to_owned(), 1, 1.0), ("tests/bait".to_owned(), 1, 0.0));
    let all = search(None).await;
    assert!(all.len() == 2 && all.contains(&honest) && all.contains(&bait), "{all:?}");
    assert_eq!(search(Some(0.8)).await, [honest]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_peer_is_disconnected_and_neither_dialled_nor_let_in_until_that_is_taken_back() {
    let (alice, bob) = (Node::start().await, Node::start().await);
    bob.connect(&alice.addresses()).await;
    let request = |node: &Node| BootstrapRequest { nodes: node.addresses()[..1].to_vec(), timeout: PATIENCE };
    rule(&bob.registry, &alice.peer_id(), PeerRule::Deny).await;
    let report = bob.registry.bootstrap(request(&alice)).await.unwrap();
    assert_eq!((report.connected.len(), report.failed.len()), (0, 1), "{report:?}");
    assert!(report.failed[0].reason.contains("denied"), "{report:?}");
    while peer_list(&alice.registry, None).await[0].connected {
        tokio::task::yield_now().await;
    }
    let report = alice.registry.bootstrap(request(&bob)).await.unwrap();
    assert_eq!((report.connected.len(), report.failed.len()), (0, 1), "{report:?}");
    let list = peer_list(&bob.registry, None).await;
    assert!(!list[0].connected && list[0].listed.as_deref() == Some("denied"), "{list:#?}");

    rule(&bob.registry, &alice.peer_id(), PeerRule::Reset).await;
    let report = bob.registry.bootstrap(request(&alice)).await.unwrap();
    assert_eq!(report.connected, [alice.peer_id()]);
}
