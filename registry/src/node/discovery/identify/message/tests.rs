use bytes::BytesMut;
use futures::io::Cursor;
use ggen_blockstore::protobuf::{put_bytes_field, put_varint};
use libp2p::identity::Keypair;
use proptest::prelude::*;

use crate::node::discovery::identify::message::*;

pub(in crate::node::discovery::identify) fn addresses(count: u16) -> Vec<Multiaddr> {
    (0..count).map(|index| format!("/ip4/192.0.2.{}/tcp/{}", index % 200 + 1, 4000 + index).parse().unwrap()).collect()
}

pub(in crate::node::discovery::identify) fn framed(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut sent = BytesMut::new();
    for part in parts {
        put_varint(&mut sent, part.len() as u64);
        sent.extend_from_slice(part);
    }
    sent.to_vec()
}

pub(in crate::node::discovery::identify) fn read_all(sent: Vec<u8>, peer: PeerId) -> Result<Message, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(read(Cursor::new(sent), peer))
}

pub(in crate::node::discovery::identify) fn info(message: Message) -> Info {
    let mut info = Info::default();
    message.update(&mut info);
    info
}

fn field(number: u64, content: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    put_bytes_field(&mut out, number, content);
    out.to_vec()
}

fn key_field(key: &Keypair) -> Vec<u8> {
    field(1, &key.public().encode_protobuf())
}

fn signed(key: &Keypair, addresses: &[Multiaddr]) -> Vec<u8> {
    let record = PeerRecord::new_interop(key, addresses.to_vec()).unwrap();
    field(8, &record.into_signed_envelope().into_protobuf_encoding())
}

/// Regression test: libp2p refuses a part of more than 4 KiB, so neither protocols nor agent of such a peer were known.
#[test]
fn a_message_of_more_than_4_kib_with_its_record_in_a_second_part_is_read() {
    let key = Keypair::generate_ed25519();
    let (peer, named) = (key.public().to_peer_id(), addresses(420));
    let mut first = key_field(&key);
    named.iter().for_each(|address| first.extend(field(2, address.as_ref())));
    first.extend(field(3, b"/ipfs/kad/1.0.0"));
    first.extend(field(6, b"kubo/0.42.0"));
    assert!(first.len() > 4096, "{}", first.len());

    let alone = info(read_all(framed(std::slice::from_ref(&first)), peer).unwrap());
    assert_eq!(alone.addresses, named);
    let whole = info(read_all(framed(&[first, signed(&key, &named[..3])]), peer).unwrap());
    assert_eq!((whole.agent.as_str(), whole.protocols), ("kubo/0.42.0", vec![StreamProtocol::new("/ipfs/kad/1.0.0")]));
    assert_eq!(whole.addresses, named[..3], "those that are signed count");
}

#[test]
fn a_record_that_another_peer_has_signed_or_that_was_changed_does_not_count() {
    let (key, other) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let (peer, named) = (key.public().to_peer_id(), addresses(1));
    let unsigned = [key_field(&key), field(2, named[0].as_ref())].concat();
    let mut changed = signed(&key, &addresses(2));
    let last = changed.len() - 1;
    changed[last] ^= 1;
    for record in [signed(&other, &addresses(2)), changed, field(8, b"no envelope"), signed(&key, &[])] {
        let message = read_all(framed(&[unsigned.clone(), record]), peer).unwrap();
        assert_eq!(info(message).addresses, named);
    }
    let refused = read_all(framed(&[unsigned]), other.public().to_peer_id());
    assert!(matches!(refused, Err(Error::WrongKey)));
}

#[test]
fn addresses_of_other_peers_and_what_cannot_be_read_are_left_out() {
    let key = Keypair::generate_ed25519();
    let peer = key.public().to_peer_id();
    let own: Multiaddr = format!("/ip4/192.0.2.1/tcp/1/p2p/{peer}").parse().unwrap();
    let foreign: Multiaddr = format!("/ip4/192.0.2.1/tcp/1/p2p/{}", PeerId::random()).parse().unwrap();
    let part = [
        key_field(&key),
        field(2, own.as_ref()),
        field(2, foreign.as_ref()),
        field(2, b""),
        field(2, &[0xff; 8]),
        field(3, b"no slash"),
        field(3, &[b'/', 0xff]),
        field(3, b"/yes"),
        field(4, &[0xff; 8]),
    ];
    let info = info(read_all(framed(&[part.concat()]), peer).unwrap());
    assert_eq!((info.addresses, info.protocols), (vec![own], vec![StreamProtocol::new("/yes")]));
    assert_eq!(info.observed, None);
}

#[test]
fn a_push_replaces_what_it_has_and_leaves_the_rest() {
    let key = Keypair::generate_ed25519();
    let (peer, old, new) = (key.public().to_peer_id(), addresses(1), addresses(2));
    let first = [key_field(&key), field(3, b"/a"), field(6, b"kubo/0.42.0"), signed(&key, &old)].concat();
    let mut known = info(read_all(framed(&[first]), peer).unwrap());
    assert_eq!(known.addresses, old);
    let pushed: Vec<u8> = new.iter().flat_map(|address| field(2, address.as_ref())).collect();
    read_all(framed(&[pushed]), peer).unwrap().update(&mut known);
    assert_eq!((known.addresses, known.agent.as_str(), known.protocols.len()), (new, "kubo/0.42.0", 1));
}

#[test]
fn what_is_cut_short_or_too_long_is_an_error() {
    let peer = PeerId::random();
    let whole = framed(&[field(6, b"kubo")]);
    assert!(read_all(whole.clone(), peer).is_ok());
    for end in 0..whole.len() {
        assert!(matches!(read_all(whole[..end].to_vec(), peer), Err(Error::Io(_))), "cut at {end}");
    }
    let mut long = BytesMut::new();
    put_varint(&mut long, MAX_PART_BYTES as u64 + 1);
    for long in [long.to_vec(), vec![0xff; 20], [&whole[..], &[0xff; 20]].concat()] {
        assert!(matches!(read_all(long, peer), Err(Error::TooLong)));
    }
    let malformed = [&whole[..], &framed(&[vec![0x0b]])].concat();
    assert!(matches!(read_all(malformed, peer), Err(Error::Malformed(_))));
    // The connection may break off after a complete part.
    let message = read_all([&whole[..], &[9, 1, 2]].concat(), peer).unwrap();
    assert_eq!(info(message).agent, "kubo");
}

/// A peer that sends parts for ever, each filled with the shortest possible fields.
#[test]
fn what_is_kept_of_a_message_is_bounded() {
    let shortest_address = field(2, "/ip4/1.1.1.1".parse::<Multiaddr>().unwrap().as_ref());
    let [addresses, protocols] = [shortest_address, field(3, b"/")].map(|field| field.repeat(MAX_PART_BYTES / 8));
    let agent = field(6, &[b'a'; MAX_PART_BYTES - 8]);
    let parts: Vec<_> = [addresses, protocols, agent].into_iter().cycle().take(MAX_PARTS).collect();
    let info = info(read_all(framed(&parts), PeerId::random()).unwrap());
    assert_eq!((info.addresses.len(), info.protocols.len()), (MAX_ADDRESSES, MAX_PROTOCOLS));
    assert_eq!(info.agent.len(), MAX_AGENT_BYTES);
}

/// Some peers never close the stream of their response.
#[tokio::test]
async fn a_stream_that_stays_open_ends_the_message_after_a_while() {
    let sent = framed(&[field(6, b"kubo")]);
    let stream = Cursor::new(sent).chain(Open);
    assert_eq!(info(read(stream, PeerId::random()).await.unwrap()).agent, "kubo");
}

/// A stream on which no data arrives.
struct Open;

impl AsyncRead for Open {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        _: &mut [u8],
    ) -> std::task::Poll<io::Result<usize>> {
        std::task::Poll::Pending
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
        drop(read_all(bytes, PeerId::random()));
    }

    /// Well-formed fields with any content, in parts of any number.
    #[test]
    fn no_fields_make_the_reader_panic_or_keep_more_than_it_may(
        parts in prop::collection::vec(prop::collection::vec((1..10_u64, any::<Vec<u8>>()), 0..40), 0..12),
    ) {
        let write = |part: &Vec<(u64, Vec<u8>)>| part.iter().flat_map(|(number, content)| field(*number, content)).collect();
        let parts: Vec<Vec<u8>> = parts.iter().map(write).collect();
        if let Ok(message) = read_all(framed(&parts), PeerId::random()) {
            let info = info(message);
            prop_assert!(info.addresses.len() <= MAX_ADDRESSES && info.protocols.len() <= MAX_PROTOCOLS);
            prop_assert!(info.agent.chars().count() <= MAX_AGENT_BYTES);
        }
    }
}
