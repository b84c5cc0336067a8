//! The links of a dag-cbor block, found without building the value.
//!
//! Accepts what the specification (`ipld/specs: codecs/dag-cbor/spec.md`) lets decoders accept: definite lengths, tag 42
//! alone, one item per block. Key order and shortest lengths are not checked: the CID is, and links are all we want.

use super::pb::{MAX_NODE_LINKS, read_cid};
use crate::Cid;

/// Deepest nesting accepted.
const MAX_NESTING: usize = 256;
/// The tag of an IPLD link.
const LINK_TAG: u64 = 42;

/// Lists the links of a dag-cbor block, in the order of its bytes.
///
/// # Errors
/// What is wrong with it, as the end of a sentence that begins with "the block is not dag-cbor: ".
pub(crate) fn links(block: &[u8]) -> Result<Vec<Cid>, &'static str> {
    let mut links = Vec::new();
    let mut rest = block;
    // Items still to come, per open array or map.
    let mut open = vec![1_u64];
    while let Some(left) = open.last_mut() {
        if *left == 0 {
            open.pop();
            continue;
        }
        *left -= 1;
        let (major, argument) = head(&mut rest)?;
        let inner = match major {
            0 | 1 => 0,
            2 | 3 => {
                take(&mut rest, argument)?;
                0
            }
            4 => argument,
            5 => argument.checked_mul(2).ok_or("a map is too long")?,
            6 => {
                links.push(link(&mut rest, argument)?);
                0
            }
            _ => simple(&mut rest, argument)?,
        };
        if links.len() > MAX_NODE_LINKS {
            return Err("it has too many links");
        }
        if inner > 0 {
            if open.len() >= MAX_NESTING {
                return Err("it is nested too deeply");
            }
            open.push(inner);
        }
    }
    if rest.is_empty() { Ok(links) } else { Err("bytes follow its value") }
}

/// Reads an item's major type and argument. For major type 7 the argument is the additional information.
fn head(rest: &mut &[u8]) -> Result<(u8, u64), &'static str> {
    let (first, tail) = rest.split_first().ok_or("it ends too early")?;
    *rest = tail;
    let (major, info) = (first >> 5, first & 0x1f);
    if major == 7 {
        return Ok((major, u64::from(info)));
    }
    let argument = match info {
        0..=23 => u64::from(info),
        24..=27 => take(rest, 1 << (info - 24))?.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)),
        _ => return Err("it has an indefinite or reserved length"),
    };
    Ok((major, argument))
}

/// Skips a float or a simple value; `info` is what [`head`] returned.
fn simple(rest: &mut &[u8], info: u64) -> Result<u64, &'static str> {
    match info {
        20..=22 => {}
        25..=27 => {
            take(rest, 1 << (info - 24))?;
        }
        _ => return Err("it has a simple value that dag-cbor does not know"),
    }
    Ok(0)
}

fn link(rest: &mut &[u8], tag: u64) -> Result<Cid, &'static str> {
    if tag != LINK_TAG {
        return Err("it has a tag that is not a link");
    }
    let (2, length) = head(rest)? else { return Err("a link is not a byte string") };
    match take(rest, length)? {
        [0, cid @ ..] => read_cid(cid),
        _ => Err("a link lacks its prefix of zero"),
    }
}

fn take<'a>(rest: &mut &'a [u8], length: u64) -> Result<&'a [u8], &'static str> {
    let length = usize::try_from(length).map_err(|_| "it ends too early")?;
    let (taken, tail) = rest.split_at_checked(length).ok_or("it ends too early")?;
    *rest = tail;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ipld_core::ipld::Ipld;
    use proptest::prelude::*;

    use super::*;
    use crate::Block;

    fn narrow(cid: &Cid) -> ipld_core::cid::Cid {
        ipld_core::cid::Cid::try_from(cid.to_bytes()).unwrap()
    }

    #[test]
    fn links_are_found_wherever_they_stand() {
        let cids = [b"a", b"b", b"c"].map(|content| *Block::raw(&content[..]).unwrap().cid());
        let list = Ipld::List(vec![Ipld::Integer(-5), Ipld::Link(narrow(&cids[1])), Ipld::Float(1.5), Ipld::Null]);
        let map = BTreeMap::from([
            ("a".to_owned(), Ipld::Link(narrow(&cids[0]))),
            ("b".to_owned(), list),
            ("c".to_owned(), Ipld::Bytes(vec![0xd8, 0x2a])),
            ("d".to_owned(), Ipld::Map(BTreeMap::from([("x".to_owned(), Ipld::Link(narrow(&cids[2])))]))),
        ]);
        let block = serde_ipld_dagcbor::to_vec(&Ipld::Map(map)).unwrap();
        assert_eq!(links(&block).unwrap(), cids);
    }

    #[test]
    fn what_dag_cbor_forbids_is_refused() {
        let deep = vec![0x81; MAX_NESTING + 1];
        let refused: [&[u8]; 9] = [
            &[],
            &[0x9f, 0xff],             // indefinite array
            &[0xc1, 0x00],             // another tag
            &[0xd8, 0x2a, 0x60],       // a link that is text
            &[0xd8, 0x2a, 0x41, 0x01], // without the zero prefix
            &[0x00, 0x00],             // two items
            &[0xf7],                   // undefined
            &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &deep,
        ];
        for block in refused {
            assert!(links(block).is_err(), "{block:x?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            drop(links(&bytes));
        }
    }
}
