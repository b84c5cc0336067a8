//! Injects faults among real nodes on loopback; each must be found at its own stage.

use std::{path::Path, sync::Arc, time::Duration, time::SystemTime};

use ggen_blockstore::{Cid, MemoryBlockstore};
use libp2p::{Multiaddr, identity::Keypair};
use tempfile::TempDir;

use super::*;
use crate::{
    Config, FetchRequest, FetchTo, Mode, Progress, PublishRequest, Published, Registry,
    index::{Claim, ClaimSet, package_key, qualified_key},
    node::{self, RecordValidator, Refused, Started},
    ops::ClaimValidator,
    package::PackageId,
};

const PATIENCE: Duration = Duration::from_secs(60);
/// How long a stage waits for a response that never arrives.
const IMPATIENCE: Duration = Duration::from_secs(10);
/// The id of a peer that does not run.
const NOBODY: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

/// A registry in a home of its own.
struct Place {
    registry: Registry,
    home: TempDir,
}

fn loopback(bootstrap: &[String]) -> Config {
    Config {
        bootstrap_nodes: bootstrap.iter().map(|address| address.parse().unwrap()).collect(),
        listen_addresses: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
        mdns: false,
        ..Config::default()
    }
}

impl Place {
    async fn start(bootstrap: &[String]) -> Self {
        Self::start_as(loopback(bootstrap), Mode::Daemon).await
    }

    async fn start_as(config: Config, mode: Mode) -> Self {
        let home = tempfile::tempdir().unwrap();
        let registry = Registry::open(home.path(), config, mode).await.unwrap();
        Self { registry, home }
    }

    fn addresses(&self) -> Vec<String> {
        self.registry.listening().listen_addresses
    }

    async fn join(&self, address: &str) {
        let request = BootstrapRequest { nodes: vec![address.to_owned()], timeout: PATIENCE };
        assert_eq!(self.registry.bootstrap(request).await.unwrap().failed, []);
    }

    async fn publish(&self, name: &str) -> Published {
        let root = self.home.path().join("package");
        std::fs::create_dir_all(&root).unwrap();
        let gpack = format!("[package]\nname = \"{name}\"\nversion = \"1.0.0\"\ndescription = \"for a test\"\n");
        std::fs::write(root.join("gpack.toml"), gpack).unwrap();
        std::fs::write(root.join("large"), vec![7; 3 << 20]).unwrap();
        let request = PublishRequest {
            path: root,
            version: None,
            namespace: Some("acme".to_owned()),
            key: None,
            trust_clock: false,
            allow_secrets: false,
            user_ignore_file: None,
            skip_verify: false,
            dry_run: false,
            min_replicas: 0,
            timeout: PATIENCE,
        };
        self.registry.publish(request, quiet()).await.unwrap()
    }

    /// Builds the claim on a package published by this registry.
    fn claim(&self, package: &PackageId) -> Claim {
        let operations = self.registry.services();
        let publisher = operations.storage.catalog.publishers_of(package).unwrap()[0];
        let entry = operations.storage.catalog.publisher(&publisher).unwrap().unwrap();
        crate::ops::announcer::claim(&operations.storage, &entry.chain, &entry.head.unwrap(), package).unwrap().0
    }

    async fn doctor(&self, target: Option<&str>) -> Diagnosis {
        let request = DoctorRequest { target: target.map(str::to_owned), timeout: IMPATIENCE };
        self.registry.doctor(request, quiet()).await.unwrap()
    }
}

fn quiet() -> Arc<dyn Reporter> {
    Arc::new(|_: Progress| {})
}

/// The only stage that failed, which must be `name` and the last one.
#[track_caller]
fn fault<'a>(diagnosis: &'a Diagnosis, name: &str) -> &'a Stage {
    let failed: Vec<_> = diagnosis.stages.iter().filter(|stage| stage.ok == Some(false)).collect();
    assert_eq!(failed.iter().map(|stage| &*stage.name).collect::<Vec<_>>(), [name], "{diagnosis:#?}");
    // Stages after it are unknown.
    let last = diagnosis.stages.iter().rfind(|stage| stage.ok.is_some()).unwrap();
    assert_eq!(last.name, name, "{diagnosis:#?}");
    assert!(last.hint.is_some() && last.kind.is_some(), "{last:?}");
    last
}

#[track_caller]
fn healthy(diagnosis: &Diagnosis, stages: &[&str]) {
    assert_eq!(diagnosis.stages.iter().map(|stage| &*stage.name).collect::<Vec<_>>(), stages, "{diagnosis:#?}");
    assert_eq!(diagnosis.fault(), None, "{diagnosis:#?}");
}

const NODE_STAGES: [&str; 5] = ["store", "listen", "reachability", "bootstrap", "dht"];

/// Starts a bare node without a registry, which serves any records, also invalid ones.
async fn carrier(policy: Arc<dyn RecordValidator>, records: Vec<(Vec<u8>, Vec<u8>)>) -> (Started, String) {
    let setup = node::Setup {
        key: Keypair::generate_ed25519(),
        config: loopback(&[]),
        listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
        follow: true,
        stays: false,
        store: Arc::new(MemoryBlockstore::new()),
        policy,
        priors: Arc::new(node::exchange::NoPriors),
        access_policies: Vec::new(),
    };
    let started = node::start(setup).await.unwrap();
    for (key, value) in records {
        started.handle.publish(key, value).await.unwrap();
    }
    let address = format!("{}/p2p/{}", started.listening[0], started.handle.peer_id());
    (started, address)
}

/// Accepts every record.
#[derive(Debug)]
struct Gullible;

impl RecordValidator for Gullible {
    fn admit(&self, _: &[u8], _: Option<&[u8]>, offered: &[u8], _: SystemTime) -> Result<Vec<u8>, Refused> {
        Ok(offered.to_vec())
    }
}

fn set_of(key: &[u8], claim: &Claim) -> Vec<u8> {
    let mut set = ClaimSet::new(key);
    set.insert(claim.clone()).unwrap();
    set.encode().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_is_well_between_two_nodes() {
    let alice = Place::start(&[]).await;
    let bob = Place::start(&alice.addresses()).await;
    bob.join(&alice.addresses()[0]).await;
    let published = alice.publish("sound").await;
    healthy(&bob.doctor(None).await, &NODE_STAGES);
    let whole = [&NODE_STAGES[..], &["name", "record", "providers", "dial", "blocks", "verify"]].concat();
    for target in ["acme/sound", &published.cid, published.release.as_ref().unwrap()] {
        healthy(&bob.doctor(Some(target)).await, &whole);
    }
    let detail = &bob.doctor(Some("acme/sound")).await.stages[10].detail;
    assert!(detail.contains(&format!("signed by {}", published.publisher.unwrap())), "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_bootstrap() {
    let bob = Place::start_as(loopback(&[]), Mode::Ephemeral).await;
    let diagnosis = bob.doctor(None).await;
    let found = diagnosis.stages.last().unwrap();
    assert_eq!((&*found.name, found.ok), ("bootstrap", Some(false)));
    assert!(found.detail.contains("no bootstrap nodes are configured"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_without_bootstrap_nodes_is_well_and_its_own_package_is_checked() {
    let hub = Place::start(&[]).await;
    hub.publish("sound").await;
    let diagnosis = hub.doctor(Some("acme/sound")).await;
    healthy(&diagnosis, &["store", "listen", "reachability", "bootstrap", "name", "record", "blocks", "verify"]);
    assert_eq!(diagnosis.stages[2].ok, None, "no peer has connected: {diagnosis:#?}");
    assert!(diagnosis.stages[7].detail.contains("signed by"), "{diagnosis:#?}");
    let diagnosis = hub.doctor(Some("acme/other")).await;
    let last = diagnosis.stages.last().unwrap();
    assert_eq!((&*last.name, last.ok, diagnosis.fault()), ("name", None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_the_store_are_those_of_status() {
    let hub = Place::start(&[]).await;
    hub.publish("sound").await;
    let detail = &hub.doctor(None).await.stages[0].detail;
    let status = hub.registry.status().await.unwrap();
    assert!(detail.contains(&format!("{} blocks, {} bytes", status.blocks, status.store_bytes)), "{detail} {status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_peer_id() {
    let alice = Place::start(&[]).await;
    let address = alice.addresses()[0].replace(&alice.registry.listening().peer_id, NOBODY);
    let bob = Place::start(&[address]).await;
    let diagnosis = bob.doctor(None).await;
    let found = fault(&diagnosis, "bootstrap");
    assert!(found.detail.contains(&format!("the peer there is {}", alice.registry.listening().peer_id)), "{found:?}");
    assert!(found.hint.as_ref().unwrap().to_string().contains("/p2p/"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dht_empty() {
    // Alice is connected but serves no DHT.
    let alice = Place::start_as(Config { dht_server_mode: false, ..loopback(&[]) }, Mode::Daemon).await;
    let bob = Place::start(&alice.addresses()).await;
    let diagnosis = bob.doctor(Some("acme/any")).await;
    fault(&diagnosis, "dht");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_nobody_claims() {
    let alice = Place::start(&[]).await;
    let bob = Place::start(&alice.addresses()).await;
    let diagnosis = bob.doctor(Some("acme/none")).await;
    assert_eq!(fault(&diagnosis, "name").kind, Some(ErrorKind::NotFound));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_provider() {
    // A claim is in the DHT, but its content has no provider.
    let alice = Place::start(&[]).await;
    alice.publish("orphan").await;
    let package: PackageId = "acme/orphan".parse().unwrap();
    let key = package_key(&package);
    let value = set_of(&key, &alice.claim(&package));
    let (_carrier, address) = carrier(Arc::new(ClaimValidator::default()), vec![(key, value)]).await;
    alice.registry.shutdown().await.unwrap();
    let bob = Place::start(&[address]).await;
    let diagnosis = bob.doctor(Some("acme/orphan")).await;
    assert_eq!(fault(&diagnosis, "providers").kind, Some(ErrorKind::TimedOut));
}

#[tokio::test(flavor = "multi_thread")]
async fn provider_unreachable() {
    let hub = Place::start(&[]).await;
    let alice = Place::start(&hub.addresses()).await;
    alice.join(&hub.addresses()[0]).await;
    alice.publish("gone").await;
    let content = published_everywhere(&alice, &hub, "acme/gone").await;
    let peer = alice.registry.listening().peer_id;
    alice.registry.shutdown().await.unwrap();
    let bob = Place::start(&hub.addresses()).await;
    let content = content.to_string();
    for target in ["acme/gone", &content] {
        let diagnosis = bob.doctor(Some(target)).await;
        let found = fault(&diagnosis, "dial");
        assert!(found.detail.contains(&peer) && found.detail.contains("refused"), "{found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_blocks() {
    let alice = Place::start(&[]).await;
    let bob = Place::start(&alice.addresses()).await;
    bob.join(&alice.addresses()[0]).await;
    let published = alice.publish("torn").await;
    let content: Cid = published.cid.parse().unwrap();
    let store = &alice.registry.services().storage.store;
    let leaf = store.cids().map(Result::unwrap).find(|cid| store.size(cid).unwrap() == Some(1 << 20)).unwrap();
    assert_ne!(leaf, content);
    store.delete_many(&[leaf]).unwrap();
    for target in ["acme/torn", &published.cid] {
        let diagnosis = bob.doctor(Some(target)).await;
        let found = fault(&diagnosis, "blocks");
        assert!(found.detail.contains("1 block of") && found.kind == Some(ErrorKind::TimedOut), "{found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_signature() {
    let alice = Place::start(&[]).await;
    alice.publish("forged").await;
    let package: PackageId = "acme/forged".parse().unwrap();
    let claim = alice.claim(&package);
    let forged = |key: &[u8]| {
        let mut value = set_of(key, &claim);
        let signature = &claim.entry().unwrap().release.envelope().signatures()[0];
        let bytes = serde_ipld_dagcbor::to_vec(signature).unwrap();
        // The first occurrence is in the catalog proof, whose hash would no longer match; the last is the release's
        // own.
        let at = value.windows(bytes.len()).rposition(|window| window == bytes).unwrap();
        value[at + bytes.len() - 1] ^= 1;
        value
    };
    let publisher = claim.publisher();
    let keys = [package_key(&package), qualified_key(&publisher, &package)];
    let records = keys.iter().map(|key| (key.clone(), forged(key))).collect();
    let (_mallory, address) = carrier(Arc::new(Gullible), records).await;
    let bob = Place::start(&[address]).await;
    for target in ["acme/forged".to_owned(), format!("{publisher}/acme/forged")] {
        let diagnosis = bob.doctor(Some(&target)).await;
        let found = fault(&diagnosis, "verify");
        assert!(found.detail.contains("signature") && found.kind == Some(ErrorKind::Verification), "{found:?}");
    }
    let to = FetchTo::Path(bob.home.path().join("out"));
    let request = FetchRequest {
        target: "acme/forged".to_owned(),
        to,
        timeout: IMPATIENCE,
        offline: false,
        providers: Vec::new(),
        min_reputation: None,
    };
    bob.registry.fetch(request, quiet()).await.unwrap_err();
    assert!(!Path::new(&bob.home.path().join("out")).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_for_one_command_listens_on_nothing() {
    let alice = Place::start(&[]).await;
    let bob = Place::start_as(loopback(&alice.addresses()), Mode::Ephemeral).await;
    let diagnosis = bob.doctor(None).await;
    let found = diagnosis.fault().unwrap();
    assert_eq!((&*found.name, found.kind), ("listen", Some(ErrorKind::NotFound)));
    let names: Vec<_> = diagnosis.stages.iter().map(|stage| &*stage.name).collect();
    assert_eq!(names, ["store", "listen", "bootstrap", "dht"], "reachability cannot be judged");
}

/// Waits until the hub returns a provider for a package's content and record, and returns the content root.
async fn published_everywhere(publisher: &Place, hub: &Place, name: &str) -> Cid {
    let package: PackageId = name.parse().unwrap();
    let release = publisher.claim(&package).entry().unwrap().release.clone();
    publisher.registry.services().node.as_ref().unwrap().settle().await.unwrap();
    let node = hub.registry.services().node.clone().unwrap();
    for cid in [release.record().content, *release.cid()] {
        let started = std::time::Instant::now();
        loop {
            let mut found = node.find_providers(cid.hash().to_bytes()).await.unwrap();
            if found.recv().await.is_some() {
                break;
            }
            assert!(started.elapsed() < PATIENCE, "{cid} is not provided");
        }
    }
    release.record().content
}

fn snapshot() -> Snapshot {
    Snapshot {
        listen_addresses: vec!["/ip4/10.0.0.1/tcp/1".parse().unwrap()],
        external_addresses: Vec::new(),
        connected: Vec::new(),
        followers: 0,
        ggen_routing_peers: 1,
        ipfs_routing_peers: 1,
        lan_routing_peers: 0,
        was_visited: false,
        nat: Nat::Unknown,
        serves_ggen_dht: true,
        bytes_sent: 0,
        bytes_received: 0,
        dht_walks: 0,
    }
}

#[test]
fn a_node_behind_a_nat_is_told_how_to_get_out() {
    let stage = reachability(&Snapshot { nat: Nat::Private, ..snapshot() });
    assert!(stage.ok == Some(true) && stage.hint.is_some(), "{stage:?}");
    assert_eq!(reachability(&Snapshot { nat: Nat::Public, ..snapshot() }).ok, Some(true));
    assert_eq!(reachability(&Snapshot { was_visited: true, ..snapshot() }).ok, Some(true));
    assert_eq!(reachability(&snapshot()).ok, None, "that no peer has connected proves nothing");
}

#[test]
fn a_daemon_that_was_told_to_listen_on_nothing_is_told_apart_from_none() {
    let nowhere = Snapshot { listen_addresses: Vec::new(), ..snapshot() };
    let configured: Multiaddr = "/ip4/0.0.0.0/tcp/0".parse().unwrap();
    assert!(listen(&nowhere, &[configured]).hint.unwrap().to_string().contains("`daemon`"));
    assert!(listen(&nowhere, &[]).hint.unwrap().to_string().contains("`listen`"));
}

#[test]
fn some_nodes_that_answer_are_enough_and_the_others_are_named() {
    let failed = FailedAddress {
        address: "/ip4/10.0.0.1/tcp/1".to_owned(),
        reason: "refused".to_owned(),
        kind: ErrorKind::Failed,
        hint: None,
    };
    let stage = bootstrap(2, &["x".to_owned()], std::slice::from_ref(&failed));
    assert!(stage.ok == Some(true) && stage.detail.contains("1 of 2") && stage.detail.contains("refused"), "{stage:?}");
    assert_eq!(bootstrap(1, &[], &[failed]).ok, Some(false));
}

#[test]
fn node_of_a_copied_home_is_the_cause_that_is_named() {
    let failed = FailedAddress {
        address: "/ip4/10.0.0.1/tcp/1".to_owned(),
        reason: ITSELF.to_owned(),
        kind: ErrorKind::Failed,
        hint: None,
    };
    let hint = bootstrap(1, &[], &[failed]).hint.unwrap().to_string();
    assert!(hint.contains("same key") && hint.contains("keys/node.key"), "{hint}");
}

#[tokio::test(flavor = "multi_thread")]
async fn key_that_is_gone_is_a_fault() {
    let keys =
        |diagnosis: Diagnosis| diagnosis.fault().filter(|stage| stage.name == "keys").cloned().expect("it is found");
    let alice = Place::start(&[]).await;
    alice.publish("x").await;
    std::fs::remove_file(alice.home.path().join("keys/default.key")).unwrap();
    let found = keys(alice.doctor(None).await);
    assert!(found.detail.contains("default.key"), "{found:?}");
    for file in ["default.identity", "default.head"] {
        std::fs::remove_file(alice.home.path().join("keys").join(file)).unwrap();
    }
    for role in ["timestamp", "ipns", "recovery"] {
        std::fs::remove_file(alice.home.path().join(format!("keys/default.{role}.key"))).unwrap();
    }
    let found = keys(alice.doctor(None).await);
    assert!(found.detail.contains("has published as") && found.detail.contains("default.key"), "{found:?}");
}

#[test]
fn many_reasons_are_counted() {
    let reasons = join((0..MAX_REASONS + 3).map(|number| number.to_string()));
    assert_eq!(reasons, "0; 1; 2; 3; 4; and 3 more");
}
