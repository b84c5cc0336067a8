use futures::{AsyncReadExt as _, AsyncWriteExt as _, future::join};
use libp2p::tls;
use rustls::pki_types::CertificateDer;
use tokio::io::DuplexStream;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};

use crate::node::transport::tls::*;

fn pipe() -> (Compat<DuplexStream>, Compat<DuplexStream>) {
    let (left, right) = tokio::io::duplex(16 << 10);
    (left.compat(), right.compat())
}

fn certified(certificate: CertificateDer<'static>, key: &rustls::pki_types::PrivateKeyDer<'_>) -> CertifiedKey {
    CertifiedKey::new(vec![certificate], any_ecdsa_type(key).unwrap())
}

#[tokio::test]
async fn two_peers_know_each_other_and_exchange_much() {
    let (alice, bob) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let (left, right) = pipe();
    let dialling = Tls::new(&alice).unwrap().upgrade_outbound(left, PROTOCOL);
    let listening = Tls::new(&bob).unwrap().upgrade_inbound(right, PROTOCOL);
    let (dialled, listened) = join(dialling, listening).await;
    let ((to, mut left), (from, mut right)) = (dialled.unwrap(), listened.unwrap());
    assert_eq!((to, from), (bob.public().to_peer_id(), alice.public().to_peer_id()));

    let much: Vec<u8> = (0..300_000u32).map(|index| (index % 251) as u8).collect();
    let sending = async {
        left.write_all(&much).await.unwrap();
        left.flush().await.unwrap();
        let mut answer = [0; 2];
        left.read_exact(&mut answer).await.unwrap();
        answer
    };
    let receiving = async {
        let mut received = vec![0; much.len()];
        right.read_exact(&mut received).await.unwrap();
        right.write_all(b"ok").await.unwrap();
        right.flush().await.unwrap();
        received
    };
    let (answer, received) = join(sending, receiving).await;
    assert_eq!(&answer, b"ok");
    assert!(received == much);
}

#[tokio::test]
async fn handshake_before_1970_fails_and_panics_on_neither_side() {
    let before = || SystemTime::UNIX_EPOCH - std::time::Duration::from_secs(1);
    let clocks: [Clock; 2] = [SystemTime::now, before];
    for (of_alice, of_bob) in [(0, 1), (1, 0), (1, 1)] {
        let tls = |clock: usize| Tls::with_clock(&Keypair::generate_ed25519(), clocks[clock]).unwrap();
        let (left, right) = pipe();
        let dialling = tls(of_alice).upgrade_outbound(left, PROTOCOL);
        let listening = tls(of_bob).upgrade_inbound(right, PROTOCOL);
        let (dialled, listened) = join(dialling, listening).await;
        assert!(listened.is_err() && (dialled.is_err() || of_alice == 0), "{of_alice} {of_bob}");
    }
}

/// The protocol is compatible with that of libp2p's implementation.
#[tokio::test]
async fn a_peer_with_the_libp2p_upgrade_is_understood_both_ways() {
    let (alice, bob) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let (ids, theirs) = ([&alice, &bob].map(|key| key.public().to_peer_id()), tls::Config::new(&bob).unwrap());
    let (left, right) = pipe();
    let ours = Tls::new(&alice).unwrap();
    let (dialled, listened) =
        join(ours.clone().upgrade_outbound(left, PROTOCOL), theirs.clone().upgrade_inbound(right, PROTOCOL)).await;
    assert_eq!([listened.unwrap().0, dialled.unwrap().0], ids);
    let (left, right) = pipe();
    let (dialled, listened) =
        join(theirs.upgrade_outbound(left, PROTOCOL), ours.upgrade_inbound(right, PROTOCOL)).await;
    assert_eq!([dialled.unwrap().0, listened.unwrap().0], ids);
}

#[tokio::test]
async fn who_shows_a_certificate_without_its_key_is_not_let_in() {
    let (alice, mallory) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    // A certificate of Alice, which is public, with the key of another identity.
    let (certificate, _) = certificate::generate(&alice).unwrap();
    let (_, key) = certificate::generate(&mallory).unwrap();
    let duplicate = Arc::new(SingleCertAndKey::from(certified(certificate, &key)));
    let mut client = (*Tls::new(&mallory).unwrap().client).clone();
    client.client_auth_cert_resolver = Arc::clone(&duplicate) as _;
    let mut server = (*Tls::new(&mallory).unwrap().server).clone();
    server.cert_resolver = duplicate;
    let thief = Tls { server: Arc::new(server), client: Arc::new(client), read_bytes: READ_BYTES };
    let bob = Tls::new(&Keypair::generate_ed25519()).unwrap();

    let (left, right) = pipe();
    let (_, listened) =
        join(thief.clone().upgrade_outbound(left, PROTOCOL), bob.clone().upgrade_inbound(right, PROTOCOL)).await;
    assert!(matches!(listened, Err(Insecure::Handshake(_))));
    let (left, right) = pipe();
    let (dialled, _) = join(bob.upgrade_outbound(left, PROTOCOL), thief.upgrade_inbound(right, PROTOCOL)).await;
    assert!(matches!(dialled, Err(Insecure::Handshake(_))));
}

#[test]
fn the_fastest_cipher_of_this_processor_comes_first() {
    let tls = Tls::new(&Keypair::generate_ed25519()).unwrap();
    let suites = &tls.client.crypto_provider().cipher_suites;
    assert_eq!(suites[0] == TLS13_AES_128_GCM_SHA256, has_aes());
    for has_aes in [true, false] {
        let all = cipher_suites(has_aes);
        assert!(
            [TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256]
                .iter()
                .all(|suite| all.contains(suite))
        );
    }
}
