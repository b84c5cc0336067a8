use bytes::BytesMut;
use ggen_blockstore::protobuf::{put_bytes_field, read_varint};
use ggen_blockstore::{Block, DAG_PB, RAW, SHA2_256};
use proptest::prelude::*;

use crate::node::exchange::bitswap::message::*;

fn decode(message: &Message, version: Version) -> Received {
    let frame: Vec<u8> = message.encode(version).concat();
    let (length, body) = read_varint(&frame).unwrap();
    assert_eq!(length, body.len() as u64);
    Received::decode(&Bytes::copy_from_slice(body)).unwrap()
}

fn payload(block: &Block) -> Payload {
    let cid = block.cid();
    Payload {
        version: u64::from(cid.version()),
        codec: cid.codec(),
        hash_code: cid.hash().code(),
        digest_bytes: u64::from(cid.hash().size()),
        data: block.data().clone(),
    }
}

fn want(block: &Block) -> Want {
    Want { cid: *block.cid(), kind: WantKind::Have, priority: i32::MAX, cancel: false, send_dont_have: true }
}

/// The expected bytes are written by hand from the specification's protobuf.
#[test]
fn a_message_has_the_bytes_the_specification_gives_it() {
    let block = Block::raw(&b"hi"[..]).unwrap();
    let message = Message {
        full: true,
        wants: vec![Want { priority: 1, ..want(&block) }],
        blocks: vec![block.clone().into_parts()],
        presences: vec![(*block.cid(), Presence::DontHave)],
    };
    let cid = block.cid().to_bytes();
    let mut expected = vec![104, 0x0a, 48, 0x0a, 44, 0x0a, 36];
    expected.extend_from_slice(&cid);
    expected.extend_from_slice(&[0x10, 1, 0x20, 1, 0x28, 1, 0x10, 1]);
    expected.extend_from_slice(&[0x1a, 10, 0x0a, 4, 0x01, 0x55, 0x12, 0x20, 0x12, 2, b'h', b'i']);
    expected.extend_from_slice(&[0x22, 40, 0x0a, 36]);
    expected.extend_from_slice(&cid);
    expected.extend_from_slice(&[0x10, 1]);
    assert_eq!(message.encode(Version::V1_2).concat(), expected);
}

#[test]
fn an_older_version_says_less() {
    let block = Block::dag_pb(&b"\x0a\x00"[..]).unwrap();
    let message = Message {
        full: false,
        wants: vec![want(&block)],
        blocks: vec![block.clone().into_parts()],
        presences: vec![(*block.cid(), Presence::Have)],
    };
    let version_1 = decode(&message, Version::V1_1);
    assert_eq!(version_1.wants, [Want { kind: WantKind::Block, send_dont_have: false, ..want(&block) }]);
    assert_eq!((version_1.payloads, version_1.presences.len()), (vec![payload(&block)], 0));
    let version_0 = decode(&message, Version::V1_0);
    assert_eq!(version_0.payloads, [Payload { version: 0, ..payload(&block) }]);
}

#[test]
fn a_cid_that_is_too_long_is_ignored_and_a_broken_one_is_an_error() {
    let mut long = vec![1, RAW as u8, 0, 0x80 | 37, 1];
    long.extend_from_slice(&[7; 165]);
    for (cid, expected) in [
        (&long[..], Ok(0)),
        (&[], Err(DecodeError::InvalidCid { message: "Wantlist.Entry" })),
        (&[1, 2, 3], Err(DecodeError::InvalidCid { message: "Wantlist.Entry" })),
    ] {
        let (mut entry, mut wantlist, mut message) = (BytesMut::new(), BytesMut::new(), BytesMut::new());
        put_bytes_field(&mut entry, 1, cid);
        put_bytes_field(&mut wantlist, 1, &entry);
        put_bytes_field(&mut message, 1, &wantlist);
        assert_eq!(Received::decode(&message.freeze()).map(|message| message.wants.len()), expected);
    }
}

#[test]
fn wants_beyond_the_bound_are_ignored_and_blocks_beyond_it_are_an_error() {
    let block = Block::raw(&b""[..]).unwrap();
    let wants = Message { wants: vec![want(&block); MAX_ENTRIES + 5], ..Message::default() };
    assert_eq!(decode(&wants, Version::V1_2).wants.len(), MAX_ENTRIES);
    let blocks = Message { blocks: vec![block.into_parts(); MAX_BLOCKS + 1], ..Message::default() };
    let frame = Bytes::from(blocks.encode(Version::V1_2).concat());
    let (_, body) = read_varint(&frame).unwrap();
    assert_eq!(Received::decode(&frame.slice_ref(body)), Err(DecodeError::TooManyBlocks));
}

fn blocks() -> impl Strategy<Value = Block> {
    (proptest::collection::vec(any::<u8>(), 0..200), 0..3u8, any::<bool>()).prop_map(|(mut data, kind, long)| {
        if long {
            data.resize(40 << 10, 9);
        }
        match kind {
            0 => Block::raw(data).unwrap(),
            1 => Block::dag_cbor(data).unwrap(),
            _ => Block::from_prefix(0, DAG_PB, SHA2_256, 32, data).unwrap(),
        }
    })
}

fn wants() -> impl Strategy<Value = Want> {
    (blocks(), any::<bool>(), any::<i32>(), any::<bool>(), any::<bool>()).prop_map(
        |(block, have, priority, cancel, ask)| {
            let kind = if have { WantKind::Have } else { WantKind::Block };
            Want { cid: *block.cid(), kind, priority, cancel, send_dont_have: ask }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_message_reads_back(
        full: bool,
        wants in proptest::collection::vec(wants(), 0..5),
        blocks in proptest::collection::vec(blocks(), 0..5),
        present in proptest::collection::vec((blocks(), any::<bool>()), 0..5),
    ) {
        let presence = |have| if have { Presence::Have } else { Presence::DontHave };
        let presences: Vec<_> = present.iter().map(|(block, have)| (*block.cid(), presence(*have))).collect();
        let message = Message { full, wants: wants.clone(), blocks: blocks.iter().cloned().map(Block::into_parts).collect(), presences: presences.clone() };
        let payloads = blocks.iter().map(payload).collect();
        prop_assert_eq!(decode(&message, Version::V1_2), Received { full, wants, payloads, presences });
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>) {
        drop(Received::decode(&Bytes::from(bytes)));
    }

    #[test]
    fn a_damaged_message_never_panics(want in wants(), block in blocks(), at: prop::sample::Index, byte: u8) {
        let message = Message { wants: vec![want], blocks: vec![block.into_parts()], ..Message::default() };
        let mut frame = message.encode(Version::V1_2).concat();
        let at = at.index(frame.len());
        frame[at] = byte;
        drop(Received::decode(&Bytes::from(frame)));
    }
}
