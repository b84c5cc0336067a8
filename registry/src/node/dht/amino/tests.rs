use std::time::{Duration, UNIX_EPOCH};

use libp2p::identity::Keypair;

use crate::node::dht::amino::{ipns::tests::Draft, *};

const EARLY: &str = "2030-01-01T00:00:00Z";

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

fn under(namespace: &str, name: &PeerId) -> Vec<u8> {
    [namespace.as_bytes(), &name.to_bytes()].concat()
}

#[test]
fn nothing_but_records_and_keys_is_kept() {
    for key in [&b""[..], b"/", b"/ipns", b"/app/x", b"ipns/", b"/ggen/pkg/a/b"] {
        let refused = admit(key, None, b"value", now());
        assert!(matches!(refused, Err(ValueError::Namespace)), "{refused:?}");
    }
    for key in [
        &b"/ipns/"[..],
        b"/ipns/k51qzi5uqu5dit2ku9mutlfgwyz8u730on38kd10m97m36bjt66my99hb6103f",
        b"/pk/",
        b"/pk/\x12\x20x",
    ] {
        let refused = admit(key, None, b"value", now());
        assert!(matches!(refused, Err(ValueError::Name)), "{refused:?}");
    }
}

#[test]
fn a_public_key_is_kept_under_its_own_hash_alone() {
    let (ours, other) = (Keypair::generate_ecdsa().public(), Keypair::generate_secp256k1().public());
    let key = under("/pk/", &ours.to_peer_id());
    assert_eq!(admit(&key, None, &ours.encode_protobuf(), now()).unwrap(), None, "a key is valid for ever");
    let refused = admit(&key, None, &other.encode_protobuf(), now());
    assert!(matches!(refused, Err(ValueError::OtherKey(_))), "{refused:?}");
    let refused = admit(&key, None, b"no key", now());
    assert!(matches!(refused, Err(ValueError::NotAKey(_))), "{refused:?}");
    let refused = admit(&key, None, &[0; MAX_KEY_BYTES + 1], now());
    assert!(matches!(refused, Err(ValueError::KeyTooLarge(_))), "{refused:?}");
}

#[test]
fn an_older_record_does_not_take_the_place_of_a_newer_one_until_that_has_expired() {
    let key = Keypair::generate_ed25519();
    let routing_key = under("/ipns/", &key.public().to_peer_id());
    let record = |sequence, validity| Draft::new(sequence, validity).signed(&key);
    let (old, new) = (record(1, "2031-01-01T00:00:00Z"), record(2, EARLY));
    let end = UNIX_EPOCH + Duration::from_secs(1_893_456_000);
    assert_eq!(admit(&routing_key, Some(&old), &new, now()).unwrap(), Some(end));
    assert_eq!(admit(&routing_key, Some(&new), &new, now()).unwrap(), Some(end), "it is repeated");
    let refused = admit(&routing_key, Some(&new), &old, now());
    assert!(matches!(refused, Err(ValueError::Older)), "{refused:?}");
    admit(&routing_key, Some(&new), &old, end + Duration::from_secs(1)).unwrap();
    let refused = admit(&routing_key, Some(&new), &new, end + Duration::from_secs(1));
    assert!(matches!(refused, Err(ValueError::Ipns(IpnsError::Expired))), "{refused:?}");
}

#[test]
fn a_record_that_somebody_else_signed_is_not_kept() {
    let (key, other) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let routing_key = under("/ipns/", &key.public().to_peer_id());
    let refused = admit(&routing_key, None, &Draft::new(9, EARLY).signed(&other), now());
    assert!(matches!(refused, Err(ValueError::Ipns(IpnsError::Signature))), "{refused:?}");
}
