//! Encoding of requests and frame headers. The documentation of `bulk` has the tables.

use ggen_blockstore::Cid;
use ggen_blockstore::MAX_CID_BYTES;
use unsigned_varint::encode;

/// Longest request in bytes.
pub(super) const MAX_REQUEST_BYTES: usize = 64 << 10;
/// Longest header of a frame in bytes.
pub(super) const MAX_HEADER_BYTES: usize = 64 << 10;
/// Maximum number of blocks in one request.
pub(super) const MAX_WANTED: u32 = 8192;
/// Maximum number of references in a request.
pub(super) const MAX_REFERENCES: usize = 3;
/// Maximum number of pieces in one dictionary.
pub(super) const MAX_PIECES: usize = 4096;
/// Maximum size of one dictionary in bytes, whatever the request permits.
pub(super) const MAX_DICTIONARY_BYTES: u64 = 16 << 20;
/// Maximum size of the blocks in one frame, in bytes. A single block may exceed it.
pub(super) const MAX_PART_BYTES: usize = 4 << 20;

const FLAG_ZSTD: u8 = 1;
const FLAG_OWN: u8 = 2;
const FLAG_WHOLE: u8 = 4;

/// Why bytes are not a message of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Malformed(pub(super) &'static str);

/// A request, as in the table of `bulk`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) list: Cid,
    pub(super) asked: Asked,
    pub(super) zstd: bool,
    pub(super) dictionary_bytes: u64,
    pub(super) references: Vec<Cid>,
}

/// The requested blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The manifest itself: its own blocks, root first. `whole`: then all its entries, if together they fit into
    /// `max_bytes`.
    Own { max_bytes: u64, whole: bool },
    /// Entries of the manifest.
    Listed(Vec<Run>),
}

/// Consecutive blocks of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: u32,
    pub(super) count: u32,
}

/// Groups ascending indices into runs.
pub(super) fn runs(indices: impl IntoIterator<Item = u32>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for index in indices {
        match runs.last_mut() {
            Some(run) if run.first + run.count == index => run.count += 1,
            _ => runs.push(Run { first: index, count: 1 }),
        }
    }
    runs
}

impl Request {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let asked = match self.asked {
            Asked::Own { whole: true, .. } => FLAG_OWN | FLAG_WHOLE,
            Asked::Own { whole: false, .. } => FLAG_OWN,
            Asked::Listed(_) => 0,
        };
        out.push(if self.zstd { FLAG_ZSTD } else { 0 } | asked);
        put_cid(&mut out, &self.list);
        put(&mut out, self.dictionary_bytes);
        put(&mut out, self.references.len() as u64);
        self.references.iter().for_each(|reference| put_cid(&mut out, reference));
        match &self.asked {
            Asked::Own { max_bytes, .. } => put(&mut out, *max_bytes),
            Asked::Listed(runs) => {
                let mut at = 0;
                for run in runs {
                    put(&mut out, u64::from(run.first - at));
                    put(&mut out, u64::from(run.count));
                    at = run.first + run.count;
                }
            }
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let rest = &mut &*bytes;
        let flags = take_byte(rest)?;
        let (own, whole) = (flags & FLAG_OWN != 0, flags & FLAG_WHOLE != 0);
        if flags & !(FLAG_ZSTD | FLAG_OWN | FLAG_WHOLE) != 0 || (whole && !own) {
            return Err(Malformed("unknown flags"));
        }
        let list = take_cid(rest)?;
        let dictionary_bytes = take(rest)?.min(MAX_DICTIONARY_BYTES);
        let count = take(rest)? as usize;
        if count > MAX_REFERENCES {
            return Err(Malformed("too many references"));
        }
        let references = (0..count).map(|_| take_cid(rest)).collect::<Result<_, _>>()?;
        let asked = match own {
            true => Asked::Own { max_bytes: take(rest)?, whole },
            false => Asked::Listed(take_runs(rest)?),
        };
        if !rest.is_empty() {
            return Err(Malformed("bytes after the end"));
        }
        Ok(Self { list, asked, zstd: flags & FLAG_ZSTD != 0, dictionary_bytes, references })
    }
}

fn take_runs(rest: &mut &[u8]) -> Result<Vec<Run>, Malformed> {
    let (mut runs, mut at, mut total) = (Vec::new(), 0u32, 0u32);
    while !rest.is_empty() {
        let (skipped, count) = (take_u32(rest)?, take_u32(rest)?);
        let first = at.checked_add(skipped).ok_or(Malformed("an index out of range"))?;
        at = first.checked_add(count).ok_or(Malformed("an index out of range"))?;
        total = total.saturating_add(count);
        if count == 0 || total > MAX_WANTED {
            return Err(Malformed("a run of no blocks, or too many blocks"));
        }
        runs.push(Run { first, count });
    }
    if runs.is_empty() { Err(Malformed("nothing is asked for")) } else { Ok(runs) }
}

/// The first byte of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Here,
    /// The manifest is not in the store, or not completely, or it exceeds the byte limit of the request.
    NotHere,
    Busy,
    NotUnderstood,
}

impl Status {
    pub(super) fn to_byte(self) -> u8 {
        match self {
            Self::Here => 0,
            Self::NotHere => 1,
            Self::Busy => 2,
            Self::NotUnderstood => 3,
        }
    }

    pub(super) fn from_byte(byte: u8) -> Result<Self, Malformed> {
        match byte {
            0 => Ok(Self::Here),
            1 => Ok(Self::NotHere),
            2 => Ok(Self::Busy),
            3 => Ok(Self::NotUnderstood),
            _ => Err(Malformed("an unknown status")),
        }
    }
}

/// The header of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// The response is complete.
    End,
    /// This many of the next blocks are absent.
    Absent(u32),
    Blocks(Part),
}

/// Describes the payload of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) blocks: u32,
    pub(super) payload_bytes: u32,
    /// Lengths of the blocks. Empty unless the client cannot know them.
    pub(super) sizes: Vec<u32>,
    pub(super) encoding: Encoding,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Zstd(Vec<Piece>),
}

/// A piece of a dictionary: consecutive blocks of one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) source: Source,
    pub(super) first: u32,
    pub(super) count: u32,
}

/// The source of a piece. Manifest 0 is the requested one, the others are the references.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Own(usize),
    Listed(usize),
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::End => out.push(0),
            Self::Absent(count) => {
                out.push(1);
                put(&mut out, u64::from(*count));
            }
            Self::Blocks(part) => {
                out.push(if part.encoding == Encoding::Identity { 2 } else { 3 });
                put(&mut out, u64::from(part.blocks));
                put(&mut out, u64::from(part.payload_bytes));
                part.sizes.iter().for_each(|size| put(&mut out, u64::from(*size)));
                if let Encoding::Zstd(pieces) = &part.encoding {
                    put(&mut out, pieces.len() as u64);
                    for Piece { source, first, count } in pieces {
                        let source = match source {
                            Source::Own(list) => list * 2,
                            Source::Listed(list) => list * 2 + 1,
                        };
                        put(&mut out, source as u64);
                        put(&mut out, u64::from(*first));
                        put(&mut out, u64::from(*count));
                    }
                }
            }
        }
        out
    }

    /// Decodes a header. `sized`: it contains the lengths of the blocks.
    pub(super) fn decode(bytes: &[u8], sized: bool) -> Result<Self, Malformed> {
        let rest = &mut &*bytes;
        let header = match take_byte(rest)? {
            0 => Self::End,
            1 => Self::Absent(take_u32(rest)?),
            kind @ (2 | 3) => {
                let (blocks, payload_bytes) = (take_u32(rest)?, take_u32(rest)?);
                if blocks == 0 || blocks > MAX_WANTED {
                    return Err(Malformed("a part of no blocks, or of too many"));
                }
                let told = if sized { blocks } else { 0 };
                let sizes = (0..told).map(|_| take_u32(rest)).collect::<Result<_, _>>()?;
                let encoding = if kind == 2 { Encoding::Identity } else { Encoding::Zstd(take_pieces(rest)?) };
                Self::Blocks(Part { blocks, payload_bytes, sizes, encoding })
            }
            _ => return Err(Malformed("an unknown kind of part")),
        };
        if rest.is_empty() { Ok(header) } else { Err(Malformed("bytes after the end")) }
    }
}

fn take_pieces(rest: &mut &[u8]) -> Result<Vec<Piece>, Malformed> {
    let count = take(rest)? as usize;
    if count > MAX_PIECES {
        return Err(Malformed("too many pieces of a dictionary"));
    }
    let piece = |rest: &mut &[u8]| {
        let (source, first, count) = (take(rest)? as usize, take_u32(rest)?, take_u32(rest)?);
        if source / 2 > MAX_REFERENCES || first.checked_add(count).is_none() {
            return Err(Malformed("a piece out of range"));
        }
        let source = if source % 2 == 0 { Source::Own(source / 2) } else { Source::Listed(source / 2) };
        Ok(Piece { source, first, count })
    };
    (0..count).map(|_| piece(rest)).collect()
}

pub(super) fn put(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(encode::u64(value, &mut encode::u64_buffer()));
}

fn put_cid(out: &mut Vec<u8>, cid: &Cid) {
    let bytes = cid.to_bytes();
    put(out, bytes.len() as u64);
    out.extend_from_slice(&bytes);
}

fn take_byte(rest: &mut &[u8]) -> Result<u8, Malformed> {
    let (byte, tail) = rest.split_first().ok_or(Malformed("it is cut short"))?;
    *rest = tail;
    Ok(*byte)
}

fn take(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let (value, tail) = unsigned_varint::decode::u64(rest).map_err(|_| Malformed("a number is not a varint"))?;
    *rest = tail;
    Ok(value)
}

fn take_u32(rest: &mut &[u8]) -> Result<u32, Malformed> {
    u32::try_from(take(rest)?).map_err(|_| Malformed("a number is too large"))
}

fn take_cid(rest: &mut &[u8]) -> Result<Cid, Malformed> {
    let length = take(rest)? as usize;
    if length > MAX_CID_BYTES || length > rest.len() {
        return Err(Malformed("a CID is cut short"));
    }
    let (bytes, tail) = rest.split_at(length);
    *rest = tail;
    Cid::try_from(bytes).map_err(|_| Malformed("a CID does not parse"))
}

#[cfg(test)]
mod tests {
    use ggen_blockstore::Block;
    use proptest::prelude::*;

    use super::*;

    fn cid(name: &str) -> Cid {
        *Block::raw(name.as_bytes().to_vec()).unwrap().cid()
    }

    #[test]
    fn requests_come_back_as_they_went() {
        let own = [false, true].map(|whole| Asked::Own { max_bytes: 77, whole });
        for asked in own.into_iter().chain([Asked::Listed(runs([0, 1, 2, 9, 11, 12]))]) {
            let references = vec![cid("a"), cid("b")];
            let request = Request { list: cid("list"), asked, zstd: true, dictionary_bytes: 1 << 20, references };
            assert_eq!(Request::decode(&request.encode()).unwrap(), request);
        }
        assert_eq!(runs([3, 4, 7]), [Run { first: 3, count: 2 }, Run { first: 7, count: 1 }]);
    }

    #[test]
    fn headers_come_back_as_they_went() {
        let pieces = vec![
            Piece { source: Source::Own(0), first: 0, count: 1 },
            Piece { source: Source::Listed(2), first: 500, count: 3 },
        ];
        for encoding in [Encoding::Identity, Encoding::Zstd(pieces)] {
            for sizes in [vec![], vec![5, 6]] {
                let part = Part { blocks: 2, payload_bytes: 11, sizes: sizes.clone(), encoding: encoding.clone() };
                let header = Header::Blocks(part);
                assert_eq!(Header::decode(&header.encode(), !sizes.is_empty()).unwrap(), header);
            }
        }
        for header in [Header::End, Header::Absent(3)] {
            assert_eq!(Header::decode(&header.encode(), false).unwrap(), header);
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_refused() {
        let all = Asked::Listed(vec![Run { first: 0, count: MAX_WANTED + 1 }]);
        let references = vec![cid("r"); MAX_REFERENCES + 1];
        let ok = Request {
            list: cid("l"),
            asked: Asked::Own { max_bytes: 1, whole: false },
            zstd: false,
            dictionary_bytes: u64::MAX,
            references: vec![],
        };
        assert_eq!(Request::decode(&ok.encode()).unwrap().dictionary_bytes, MAX_DICTIONARY_BYTES);
        assert!(Request::decode(&Request { asked: all, ..ok.clone() }.encode()).is_err());
        assert!(Request::decode(&Request { references, ..ok.clone() }.encode()).is_err());
        assert!(Request::decode(&Request { asked: Asked::Listed(vec![]), ..ok.clone() }.encode()).is_err());
        let mut whole_of_nothing = Request { asked: Asked::Listed(runs([0])), ..ok }.encode();
        whole_of_nothing[0] |= FLAG_WHOLE;
        assert!(Request::decode(&whole_of_nothing).is_err());
    }

    proptest! {
        #[test]
        fn nothing_that_comes_makes_the_decoders_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _nothing = (Request::decode(&bytes), Header::decode(&bytes, true), Header::decode(&bytes, false));
        }
    }
}
