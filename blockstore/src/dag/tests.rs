//! The codec fixtures of IPLD: see `fixtures/README.md`.

use std::collections::BTreeMap;

use ipld_core::ipld::Ipld;

use super::*;
use crate::Block;

const VALID: &str = include_str!("fixtures/valid.tsv");
const INVALID: &str = include_str!("fixtures/invalid.tsv");

fn codec(name: &str) -> u64 {
    match name {
        "dag-pb" => DAG_PB,
        "dag-cbor" => DAG_CBOR,
        "dag-json" => DAG_JSON,
        other => panic!("{other}"),
    }
}

fn unhex(text: &str) -> Bytes {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// Name and block of each fixture.
fn valid() -> Vec<(&'static str, Block)> {
    let fixture = |line: &'static str| {
        let [name, codec_name, cid, hex] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let block = Block::hash(codec(codec_name), unhex(hex)).unwrap();
        assert_eq!(block.cid().to_string(), cid, "{name}");
        (name, block)
    };
    VALID.lines().map(fixture).collect()
}

fn of_codec(codec: u64) -> impl Iterator<Item = (&'static str, Block)> {
    valid().into_iter().filter(move |(_, block)| block.cid().codec() == codec)
}

#[test]
fn every_dag_pb_fixture_encodes_to_the_bytes_it_was_read_from() {
    let mut read = 0;
    for (name, block) in of_codec(DAG_PB) {
        let node = PbNode::decode(block.data()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(node.encode(), block.data()[..], "{name}");
        assert_eq!(node.encoded_len(), block.data().len(), "{name}");
        read += 1;
    }
    assert_eq!(read, 17);
}

#[test]
fn data_before_the_links_is_read_as_behind_them() {
    for (name, block) in of_codec(DAG_PB) {
        let node = PbNode::decode(block.data()).unwrap();
        let only = |node: PbNode| node.encode();
        let data = only(PbNode { links: Vec::new(), ..node.clone() });
        let links = only(PbNode { data: None, ..node.clone() });
        assert_eq!(PbNode::decode(&[data, links].concat().into()), Ok(node), "{name}");
    }
}

#[test]
fn links_are_written_in_the_order_of_their_names() {
    let cid = *Block::raw(&b"x"[..]).unwrap().cid();
    let unnamed = PbLink { cid, name: None, tsize: None };
    let named = |name: &'static str| PbLink { name: Some(name.into()), ..unnamed.clone() };
    for names in [["foo", "bar"], ["aa", "a"]] {
        let links = [vec![unnamed.clone()], names.map(named).to_vec()].concat();
        let node = PbNode { links, data: None };
        let encoded = PbNode::decode(&node.encode().into()).unwrap();
        assert!(encoded.links.is_sorted_by_key(PbLink::name) && encoded.links.len() == 3);
    }
}

/// Extracts links with an independent decoder.
fn links_of(value: &Ipld, found: &mut Vec<String>) {
    match value {
        Ipld::Link(cid) => found.push(cid.to_string()),
        Ipld::List(values) => values.iter().for_each(|value| links_of(value, found)),
        Ipld::Map(entries) => entries.values().for_each(|value| links_of(value, found)),
        _ => {}
    }
}

fn sorted(cids: &[Cid]) -> Vec<String> {
    let mut texts: Vec<_> = cids.iter().map(Cid::to_string).collect();
    texts.sort_unstable();
    texts
}

#[test]
fn links_are_found_in_every_fixture_of_dag_cbor_and_dag_json() {
    let mut expected = BTreeMap::new();
    for (name, block) in of_codec(DAG_CBOR) {
        let found = links(block.cid(), block.data()).unwrap_or_else(|error| panic!("{name}: {error}"));
        // The independent reader accepts no digest over 64 bytes and no integer over 64 bits.
        if let Ok(value) = serde_ipld_dagcbor::from_slice::<Ipld>(block.data()) {
            let mut by_another = Vec::new();
            links_of(&value, &mut by_another);
            by_another.sort_unstable();
            assert_eq!(sorted(&found), by_another, "{name}");
        }
        expected.insert(name, sorted(&found));
    }
    assert!(expected.len() > 90 && expected.values().filter(|links| !links.is_empty()).count() > 10);
    let mut read = 0;
    for (name, block) in of_codec(DAG_JSON) {
        let found = links(block.cid(), block.data()).unwrap_or_else(|error| panic!("{name}: {error}"));
        if let Some(expected) = expected.get(name) {
            assert_eq!(sorted(&found), *expected, "{name}");
            read += 1;
        }
    }
    assert!(read > 80, "{read}");
}

#[test]
fn every_negative_fixture_is_refused() {
    for line in INVALID.lines() {
        let [name, codec_name, hex] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let block = Block::hash(codec(codec_name), unhex(hex)).unwrap();
        assert!(matches!(links(block.cid(), block.data()), Err(Error::InvalidNode { .. })), "{codec_name}: {name}");
    }
}

#[test]
fn a_path_is_found_in_either_codec() {
    let cid = *Block::raw(&b"x"[..]).unwrap().cid();
    let json = format!("{{\"a\":[1,{{\"b\":{{\"/\":\"{cid}\"}}}},[]],\"c\":{{\"d\":\"e\"}}}}");
    let mut cbor = vec![0xa2, 0x61, b'a', 0x83, 0x01, 0xa1, 0x61, b'b', 0xd8, 0x2a, 0x58, 37, 0];
    cbor.extend(cid.to_bytes());
    cbor.extend([0x80, 0x61, b'c', 0xa1, 0x61, b'd', 0x61, b'e']);
    for (codec, bytes) in [(DAG_JSON, Bytes::from(json)), (DAG_CBOR, Bytes::from(cbor))] {
        let block = Block::hash(codec, bytes).unwrap();
        assert_eq!(links(block.cid(), block.data()).unwrap(), [cid]);
        let found = |path: &str| {
            let names: Vec<_> = path.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect();
            lookup(block.cid(), block.data(), &names).unwrap().unwrap()
        };
        assert_eq!(found("a/1/b"), Lookup::Link(Box::new(cid), 3));
        assert_eq!(found("a/1/b/below/it"), Lookup::Link(Box::new(cid), 3));
        for (path, there) in
            [("x", 0), ("a/3", 1), ("a/-1", 1), ("a/x", 1), ("a/1/c", 2), ("a/2/0", 2), ("a/0/x", 2), ("c/d/x", 2)]
        {
            assert_eq!(found(path), Lookup::Missing(there), "{path}");
        }
        for path in ["", "a", "a/0", "a/1", "c", "c/d"] {
            assert_eq!(found(path), Lookup::Value, "{path}");
        }
    }
}
