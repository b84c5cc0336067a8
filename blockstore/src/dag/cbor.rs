//! dag-cbor as a stream of tokens.
//!
//! Accepts what the specification (`ipld/specs: codecs/dag-cbor/spec.md`) allows decoders to accept: definite lengths,
//! tag 42 only, text keys, one item per block. Key order and shortest lengths are not checked, because the CID verifies
//! the bytes.

use std::borrow::Cow;

use super::{
    pb::read_cid,
    tokens::{Token, Tokens},
};
use crate::Cid;

/// The tag of an IPLD link.
const LINK_TAG: u64 = 42;
/// Major type of text.
const TEXT: u8 = 3;

/// A dag-cbor block being decoded.
#[derive(Debug)]
pub(super) struct Cbor<'a> {
    rest: &'a [u8],
    open: Vec<Open>,
    begun: bool,
}

/// An open list or map.
#[derive(Debug)]
struct Open {
    /// Remaining entries.
    left: u64,
    is_map: bool,
    /// Whether the key of the next entry has been read.
    has_key: bool,
}

impl<'a> Cbor<'a> {
    pub(super) fn new(block: &'a [u8]) -> Self {
        Self { rest: block, open: Vec::new(), begun: false }
    }

    fn value(&mut self) -> Result<Token<'a>, &'static str> {
        let (major, argument) = head(&mut self.rest)?;
        match major {
            0 | 1 => {}
            2 | TEXT => {
                take(&mut self.rest, argument)?;
            }
            4 | 5 => {
                let is_map = major == 5;
                self.open.push(Open { left: argument, is_map, has_key: false });
                return Ok(if is_map { Token::Map } else { Token::List });
            }
            6 => return Ok(Token::Link(Box::new(link(&mut self.rest, argument)?))),
            _ => simple(&mut self.rest, argument)?,
        }
        Ok(Token::Scalar)
    }
}

impl<'a> Tokens<'a> for Cbor<'a> {
    fn next(&mut self) -> Result<Option<Token<'a>>, &'static str> {
        match self.open.last_mut() {
            None if self.begun && self.rest.is_empty() => return Ok(None),
            None if self.begun => return Err("bytes follow its value"),
            None => self.begun = true,
            Some(open) if open.left == 0 => {
                self.open.pop();
                return Ok(Some(Token::End));
            }
            Some(open) if open.is_map && !open.has_key => {
                open.has_key = true;
                let (TEXT, length) = head(&mut self.rest)? else { return Err("a key of a map is not text") };
                return Ok(Some(Token::Key(Cow::Borrowed(take(&mut self.rest, length)?))));
            }
            Some(open) => {
                open.left -= 1;
                open.has_key = false;
            }
        }
        self.value().map(Some)
    }
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
fn simple(rest: &mut &[u8], info: u64) -> Result<(), &'static str> {
    match info {
        20..=22 => Ok(()),
        25..=27 => take(rest, 1 << (info - 24)).map(drop),
        _ => Err("it has a simple value that dag-cbor does not know"),
    }
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
    use crate::{Block, dag::tokens};

    fn links(block: &[u8]) -> Result<Vec<Cid>, &'static str> {
        tokens::links(Cbor::new(block))
    }

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
        let deep = vec![0x81; 300];
        let refused: [&[u8]; 12] = [
            &[],
            &[0x9f, 0xff],             // indefinite array
            &[0xc1, 0x00],             // another tag
            &[0xd8, 0x2a, 0x60],       // a link that is text
            &[0xd8, 0x2a, 0x41, 0x01], // without the zero prefix
            &[0x00, 0x00],             // two items
            &[0xf7],                   // undefined
            &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &deep,
            &[0xa1, 0x01, 0x02],                                           // a key that is a number
            &[0xa2, 0x61, 0x61, 0x00, 0x61, 0x61, 0x01],                   // a key twice
            &[0xa3, 0x61, 0x62, 0x00, 0x61, 0x61, 0x01, 0x61, 0x62, 0x01], // and another between
        ];
        for block in refused {
            assert!(links(block).is_err(), "{block:x?}");
        }
    }

    #[test]
    fn keys_out_of_order_are_read() {
        assert_eq!(links(&[0xa2, 0x61, 0x62, 0x00, 0x61, 0x61, 0x01]), Ok(Vec::new()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            drop(links(&bytes));
        }
    }
}
