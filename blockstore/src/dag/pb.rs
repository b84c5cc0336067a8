//! dag-pb nodes, byte for byte as the Go implementations write them.
//!
//! ```text
//! PBNode = ( 12 len PBLink )*  ( 0a len Data )?          links first, although Data has the lower number
//! PBLink = 0a len Hash  ( 12 len Name )?  ( 18 Tsize )?  an absent field is not an empty one
//! ```
//!
//! Decoding is as strict as the specification (`ipld/specs: codecs/dag-pb/spec.md`): no unknown or repeated field, link
//! fields in order, a hash in every link; `Data` may appear before or after the links (IPIP-550), but not between them.
//! Links that Go writes for UnixFS have all three fields, even if the name is empty: see [`PbLink::new`].

use bytes::Bytes;

use crate::Cid;
use crate::protobuf::{Fields, Value, bytes_field_len, put_bytes_field, put_bytes_key, put_varint_field, varint_len};

/// Most links in one node: as many as fit in the largest block with sha2-256 CIDs and some names.
pub const MAX_NODE_LINKS: usize = 1 << 16;

/// A dag-pb node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PbNode {
    /// Its links, in block order.
    pub links: Vec<PbLink>,
    /// Its data: for UnixFS a nested message. A slice of the block.
    pub data: Option<Bytes>,
}

/// A link of a dag-pb node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PbLink {
    /// The CID it points to.
    pub cid: Cid,
    /// Its name, not necessarily text. A slice of the block.
    pub name: Option<Bytes>,
    /// Bytes of all blocks below, counted once per link; a hint by the writer, which is not verified.
    pub tsize: Option<u64>,
}

impl PbNode {
    /// Decodes a block.
    ///
    /// # Errors
    /// The reason, as the end of a sentence that begins with "the block is not a dag-pb node: ".
    pub fn decode(block: &Bytes) -> Result<Self, &'static str> {
        let mut node = Self::default();
        let mut links_ended = false;
        for field in Fields::new(block) {
            match field? {
                (1, Value::Bytes(data)) if node.data.is_none() => {
                    node.data = Some(block.slice_ref(data));
                    links_ended = !node.links.is_empty();
                }
                (2, Value::Bytes(_)) if links_ended => return Err("its data splits its links"),
                (2, Value::Bytes(_)) if node.links.len() >= MAX_NODE_LINKS => {
                    return Err("it has too many links");
                }
                (2, Value::Bytes(link)) => node.links.push(PbLink::decode(block, link)?),
                _ => return Err("it has an unknown or repeated field"),
            }
        }
        Ok(node)
    }

    /// Encodes the node in its canonical form: links sorted by name; links with equal names keep their order.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_len());
        let mut write = |link: &PbLink| {
            put_bytes_key(&mut out, 2, link.message_len());
            link.encode(&mut out);
        };
        if self.links.is_sorted_by_key(PbLink::name) {
            self.links.iter().for_each(&mut write);
        } else {
            let mut sorted: Vec<_> = self.links.iter().collect();
            sorted.sort_by_key(|link| link.name());
            sorted.into_iter().for_each(&mut write);
        }
        if let Some(data) = &self.data {
            put_bytes_field(&mut out, 1, data);
        }
        out
    }

    /// Length of the [encoded](Self::encode) node, in bytes.
    pub fn encoded_len(&self) -> usize {
        let links = self.links.iter().map(PbLink::encoded_len).sum::<usize>();
        links + self.data.as_ref().map_or(0, |data| bytes_field_len(data.len()))
    }
}

impl PbLink {
    /// A link with all its fields, as UnixFS writes it.
    pub fn new(cid: Cid, name: impl Into<Bytes>, tsize: u64) -> Self {
        Self { cid, name: Some(name.into()), tsize: Some(tsize) }
    }

    /// Its name; empty if it has none.
    pub fn name(&self) -> &[u8] {
        self.name.as_deref().unwrap_or_default()
    }

    /// Decodes a link, which is a part of `block`.
    fn decode(block: &Bytes, message: &[u8]) -> Result<Self, &'static str> {
        let mut cid = None;
        let mut name = None;
        let mut tsize = None;
        for field in Fields::new(message) {
            match field? {
                (1, Value::Bytes(hash)) if cid.is_none() && name.is_none() && tsize.is_none() => {
                    cid = Some(read_cid(hash)?);
                }
                (2, Value::Bytes(text)) if name.is_none() && tsize.is_none() => name = Some(block.slice_ref(text)),
                (3, Value::Varint(size)) if tsize.is_none() => tsize = Some(size),
                _ => return Err("a link has an unknown, repeated or misplaced field"),
            }
        }
        let cid = cid.ok_or("a link has no hash")?;
        Ok(Self { cid, name, tsize })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_bytes_key(out, 1, self.cid.encoded_len());
        self.cid.write_bytes(&mut *out).expect("a vector takes any number of bytes");
        if let Some(name) = &self.name {
            put_bytes_field(out, 2, name);
        }
        if let Some(tsize) = self.tsize {
            put_varint_field(out, 3, tsize);
        }
    }

    fn message_len(&self) -> usize {
        let name = self.name.as_ref().map_or(0, |name| bytes_field_len(name.len()));
        let tsize = self.tsize.map_or(0, |tsize| 1 + varint_len(tsize));
        bytes_field_len(self.cid.encoded_len()) + name + tsize
    }

    /// Length of the link in the encoded node, in bytes.
    pub(crate) fn encoded_len(&self) -> usize {
        bytes_field_len(self.message_len())
    }
}

/// Decodes a CID that must span all of `bytes`.
pub(crate) fn read_cid(mut bytes: &[u8]) -> Result<Cid, &'static str> {
    let cid = Cid::read_bytes(&mut bytes).map_err(|_| "a link has an invalid CID")?;
    if bytes.is_empty() { Ok(cid) } else { Err("a link has bytes after its CID") }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*};

    use super::*;
    use crate::Block;

    fn any_node() -> impl Strategy<Value = PbNode> {
        let name = option::of(vec(any::<u8>(), 0..20));
        let link = (vec(any::<u8>(), 0..9), name, option::of(any::<u64>())).prop_map(|(content, name, tsize)| PbLink {
            cid: *Block::raw(content).unwrap().cid(),
            name: name.map(Bytes::from),
            tsize,
        });
        (vec(link, 0..5), option::of(vec(any::<u8>(), 0..40))).prop_map(|(mut links, data)| {
            links.sort_by(|left, right| left.name().cmp(right.name()));
            PbNode { links, data: data.map(Bytes::from) }
        })
    }

    proptest! {
        #[test]
        fn a_node_decodes_to_what_was_encoded(node in any_node()) {
            let bytes = node.encode();
            prop_assert_eq!(bytes.len(), node.encoded_len());
            prop_assert_eq!(PbNode::decode(&bytes.into()), Ok(node));
        }

        #[test]
        fn damaged_nodes_never_panic_and_decode_stably(node in any_node(), at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
            let mut bytes = node.encode();
            if !bytes.is_empty() {
                let position = at.index(bytes.len());
                bytes[position] = byte;
                bytes.truncate(cut.index(bytes.len()) + 1);
            }
            if let Ok(mut decoded) = PbNode::decode(&bytes.into()) {
                let encoded = decoded.encode();
                decoded.links.sort_by(|left, right| left.name().cmp(right.name()));
                prop_assert_eq!(PbNode::decode(&encoded.into()), Ok(decoded));
            }
        }
    }

    #[test]
    fn the_forms_that_the_specification_forbids_are_refused() {
        let refused: [&[u8]; 6] = [
            &[0x0a, 0x00, 0x0a, 0x00],             // Data twice
            &[0x1a, 0x00],                         // unknown field
            &[0x08, 0x01],                         // Data as a varint
            &[0x12, 0x00],                         // a link without hash
            &[0x12, 0x04, 0x12, 0x00, 0x18, 0x00], // a link with name and size only
            &[0x12, 0x05, 0x0a],                   // ends in a field
        ];
        for block in refused {
            assert!(PbNode::decode(&Bytes::copy_from_slice(block)).is_err(), "{block:x?}");
        }
        assert_eq!(PbNode::decode(&Bytes::new()), Ok(PbNode::default()));
    }

    #[test]
    fn data_may_come_first_but_not_between_links() {
        let cid = *Block::raw(&b"x"[..]).unwrap().cid();
        let link = PbLink::new(cid, Bytes::new(), 1);
        let links = PbNode { links: vec![link], data: None }.encode();
        let data = [0x0a, 0x01, 0x61];
        let decode = |parts: &[&[u8]]| PbNode::decode(&parts.concat().into());
        assert_eq!(decode(&[&data, &links]), decode(&[&links, &data]));
        assert!(decode(&[&data, &links, &links]).is_ok());
        assert!(decode(&[&links, &data, &links]).is_err());
    }
}
