//! Small files of a home with a checksum: a line with the CID of the rest, then dag-cbor.

use std::path::Path;

use ggen_blockstore::{Cid, Multihash, RAW};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};

use crate::home::{HomeError, write_private};

/// Multihash code of sha2-256.
const SHA2_256: u64 = 0x12;

/// The contents of the file at `path`; `None` if it is missing, damaged or larger than `max_bytes`.
pub(crate) fn read<T: DeserializeOwned>(path: &Path, max_bytes: u64) -> Option<T> {
    let len = std::fs::metadata(path).ok()?.len();
    let bytes = if len <= max_bytes { std::fs::read(path).ok()? } else { return None };
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (cid, content) = (str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 1..]);
    if checksum(content) != cid {
        return None;
    }
    serde_ipld_dagcbor::from_slice(content).ok()
}

/// Writes the file atomically.
pub(crate) fn write(path: &Path, content: &impl Serialize) -> Result<(), HomeError> {
    let content = serde_ipld_dagcbor::to_vec(content).expect("it is made of plain values");
    let mut bytes = checksum(&content).into_bytes();
    bytes.push(b'\n');
    bytes.extend(content);
    write_private(path, &bytes)
}

fn checksum(content: &[u8]) -> String {
    let hash = Multihash::wrap(SHA2_256, &Sha256::digest(content)).expect("a digest fits a multihash");
    Cid::new_v1(RAW, hash).to_string()
}
