//! Peers whose keys are not ed25519, as with almost every `Qm...` bootstrap node of the public network: real Kubos,
//! over TLS, Noise and QUIC, with each side dialling.

use std::{fs, sync::Arc};

use cid::multibase::{self, Base};
use ggen_marketplace::{Config, FetchRequest, FetchTo, PeerInfoRequest, PeerRule, PeerRuleRequest};
use libp2p::identity::Keypair;
use tempfile::TempDir;

use crate::support::{
    ONE_KUBO_FETCHES,
    kubo::{Key, Kubo, Options, Security},
    nodes::{Node, PATIENCE},
    trees::{assert_same_contents, varied_package},
};

/// The key in the form of Kubo's configuration.
fn given(key: &Keypair) -> Key {
    let private = multibase::encode(Base::Base64Pad, key.to_protobuf_encoding().unwrap());
    // The first letter identifies the multibase.
    Key::Given { peer_id: key.public().to_peer_id().to_string(), private: private[1..].to_owned() }
}

async fn start(options: Options) -> Arc<Kubo> {
    Arc::new(tokio::task::spawn_blocking(move || Kubo::start(&options)).await.unwrap())
}

/// A ggen node dials the Kubo and fetches from it, and the Kubo dials another ggen node.
async fn meet_both_ways(kubo: &Arc<Kubo>, address: &str, ours: &str) {
    let work = TempDir::new().unwrap();
    let package = work.path().join("package");
    varied_package(&package, "of-another-key", "1.0.0");
    // Kubo cannot serve the empty block.
    fs::write(package.join("empty"), "not").unwrap();
    let (adder, tree) = (Arc::clone(kubo), package.clone());
    let cid = tokio::task::spawn_blocking(move || adder.add_tree(&tree, &[])).await.unwrap();

    let alice = Node::start_on(&[ours], Config::default()).await;
    let request = FetchRequest {
        target: cid,
        to: FetchTo::Path(work.path().join("out")),
        timeout: PATIENCE,
        offline: false,
        providers: vec![address.to_owned()],
        min_reputation: None,
    };
    let fetched = alice.registry.fetch(request, Arc::new(|_| {})).await.unwrap();
    assert_same_contents(&package, &fetched.path);
    assert_eq!(fetched.providers[0].peer_id, kubo.peer_id());

    let bob = Node::start_on(&[ours], Config::default()).await;
    let (dialler, (to, bob_id)) = (Arc::clone(kubo), (bob.addresses()[0].clone(), bob.peer_id()));
    tokio::task::spawn_blocking(move || {
        dialler.swarm_connect(&to);
        assert!(dialler.swarm_peers().contains(&bob_id));
    })
    .await
    .unwrap();
}

/// Such a key must work over TLS and QUIC when dialling and when being dialled.
async fn every_transport_reaches(key: Key) {
    let _one = ONE_KUBO_FETCHES.lock().await;
    let options = |security| Options { key: key.clone(), security, quic: true, ..Options::default() };
    for security in [Security::Tls, Security::Noise] {
        let kubo = start(options(security)).await;
        meet_both_ways(&kubo, kubo.tcp_addr(), "/ip4/127.0.0.1/tcp/0").await;
        if let Security::Tls = security {
            meet_both_ways(&kubo, kubo.quic_addr(), "/ip4/127.0.0.1/udp/0/quic-v1").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubo_with_an_rsa_key_is_reached_over_every_transport_both_ways() {
    every_transport_reaches(Key::Rsa).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubo_with_a_secp256k1_key_is_reached_over_every_transport_both_ways() {
    every_transport_reaches(given(&Keypair::generate_secp256k1())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubo_with_an_ecdsa_key_is_reached_over_every_transport_both_ways() {
    every_transport_reaches(given(&Keypair::generate_ecdsa())).await;
}

/// Ids of such peers begin with `Qm`, and are accepted wherever a peer id is.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_with_an_rsa_key_is_a_bootstrap_node_and_can_be_allowed_denied_and_described() {
    let _one = ONE_KUBO_FETCHES.lock().await;
    let kubo = start(Options { key: Key::Rsa, ..Options::default() }).await;
    assert!(kubo.peer_id().starts_with("Qm"), "{}", kubo.peer_id());
    let alice = Node::start_with(&[kubo.tcp_addr().to_owned()]).await;
    alice.connect(&[kubo.tcp_addr().to_owned()]).await;
    let info = PeerInfoRequest { peer: kubo.peer_id().to_owned(), full: false };
    let report = alice.registry.peer_info(info).await.unwrap();
    assert_eq!((report.peer_id.as_str(), report.connected), (kubo.peer_id(), true));
    for rule in [PeerRule::Allow, PeerRule::Deny] {
        let request = PeerRuleRequest { peer: kubo.peer_id().to_owned(), rule };
        let lists = alice.registry.peer_rule(request).await.unwrap();
        assert!([lists.allowed, lists.denied].concat().contains(&kubo.peer_id().to_owned()));
    }
}
