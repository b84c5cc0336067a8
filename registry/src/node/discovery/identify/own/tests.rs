use ggen_blockstore::protobuf::{Fields, Value};
use libp2p::identity::PublicKey;
use proptest::prelude::*;

use crate::node::discovery::identify::{
    message::tests::{addresses, framed, info, read_all},
    own::*,
};

fn protocols() -> Vec<StreamProtocol> {
    (0..40).map(|index| StreamProtocol::try_from_owned(format!("/a-protocol-of-ours/{index}.0.0")).unwrap()).collect()
}

/// The fields of a protobuf that are bytes, by number.
fn bytes_fields(message: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let (mut fields, mut found) = (Fields::new(message), Vec::new());
    while let Some((number, value)) = fields.next().transpose().unwrap() {
        if let Value::Bytes(bytes) = value {
            found.push((number, bytes.to_vec()));
        }
    }
    found
}

/// Both sizes are limits of other implementations: Go sends a message of more than 2 KiB in parts, and rust-libp2p
/// refuses a part of more than 4 KiB.
#[test]
fn the_message_is_read_as_it_was_made_and_no_part_is_longer_than_others_take() {
    let key = Keypair::generate_ed25519();
    let (peer, protocols) = (key.public().to_peer_id(), protocols());
    let observed = "/ip4/198.51.100.1/tcp/7".parse().unwrap();
    for (count, parts_expected) in [(1, 1), (60, 2), (100, 2), (2000, 2)] {
        let named = addresses(count);
        let parts = Own::new(&key, "ggen/test", named.clone()).parts(protocols.iter(), &observed);
        assert_eq!(parts.len(), parts_expected, "{count} addresses");
        assert!(parts.iter().all(|part| part.len() <= 4096), "{:?}", parts.iter().map(Vec::len).collect::<Vec<_>>());
        let info = info(read_all(framed(&parts), peer).unwrap());
        assert_eq!(info.addresses.len() == named.len(), count < 2000, "{}", info.addresses.len());
        assert!(info.addresses.iter().all(|address| named.contains(address)));
        assert_eq!((info.agent.as_str(), &info.protocols), ("ggen/test", &protocols));
        assert_eq!(info.observed, Some(observed.clone()));
    }
}

#[test]
fn of_too_many_addresses_those_that_reach_farthest_are_sent() {
    let local = (1..200).map(|port| format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap());
    let public: Multiaddr = "/ip4/192.0.2.1/tcp/1".parse().unwrap();
    let own = Own::new(&Keypair::generate_ed25519(), "ggen/test", local.chain([public.clone()]).collect());
    assert_eq!(own.addresses[0], public);
    assert!(own.addresses.len() < 200);
}

/// RFC 0002 (envelopes) and RFC 0003 (peer records) of libp2p, read without libp2p's code. The default of rust-libp2p,
/// which only rust-libp2p accepts, has another domain and another payload type.
#[test]
fn the_peer_record_is_signed_as_the_specification_says() {
    let key = Keypair::generate_ed25519();
    let own = Own::new(&key, "ggen/test", addresses(3));
    let [(1, public_key), (2, payload_type), (3, payload), (5, signature)] = &bytes_fields(&own.record.unwrap())[..]
    else {
        panic!("an envelope has four fields");
    };
    assert_eq!(payload_type, &[0x03, 0x01]);
    let mut signed = BytesMut::new();
    for content in [b"libp2p-peer-record", &payload_type[..], payload] {
        put_varint(&mut signed, content.len() as u64);
        signed.extend_from_slice(content);
    }
    let public_key = PublicKey::try_decode_protobuf(public_key).unwrap();
    assert!(public_key.verify(&signed, signature));
    assert_eq!(public_key, key.public());

    let record = bytes_fields(payload);
    assert_eq!(record[0], (1, public_key.to_peer_id().to_bytes()));
    let named: Vec<_> = record[1..].iter().map(|(number, address)| (*number, bytes_fields(address))).collect();
    assert_eq!(named, addresses(3).iter().map(|address| (3, vec![(1, address.to_vec())])).collect::<Vec<_>>());
}

proptest! {
    #[test]
    fn any_addresses_and_protocols_of_ours_come_through(
        ports in prop::collection::btree_set(any::<u16>(), 1..60),
        versions in prop::collection::vec(any::<u16>(), 0..40),
    ) {
        let key = Keypair::generate_ed25519();
        let named: Vec<Multiaddr> = ports.iter().map(|port| format!("/ip6/2001:db8::1/tcp/{port}").parse().unwrap()).collect();
        let protocols: Vec<_> =
            versions.iter().map(|v| StreamProtocol::try_from_owned(format!("/x/{v}")).unwrap()).collect();
        let parts = Own::new(&key, "ggen/test", named.clone()).parts(protocols.iter(), &named[0]);
        prop_assert!(parts.iter().all(|part| part.len() <= 4096));
        let mut info = info(read_all(framed(&parts), key.public().to_peer_id()).unwrap());
        info.addresses.sort_unstable();
        let mut expected = named;
        expected.sort_unstable();
        prop_assert_eq!(info.addresses, expected);
        prop_assert_eq!(info.protocols, protocols);
    }
}
