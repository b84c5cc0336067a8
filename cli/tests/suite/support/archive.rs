//! Archives that no honest tool writes.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use tar::{EntryType, Header};

/// One entry of a tar archive, with an unchecked header and path.
pub(crate) fn entry(path: &str, kind: EntryType, content: &[u8]) -> Vec<u8> {
    let mut header = Header::new_ustar();
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    header.set_cksum();
    let padding = content.len().next_multiple_of(512) - content.len();
    [header.as_bytes(), content, &vec![0; padding]].concat()
}

/// A tar archive of a package: its `gpack.toml`, then `entries`, then the end.
pub(crate) fn tarball(entries: &[Vec<u8>]) -> Vec<u8> {
    let gpack = b"[package]\nname = \"bad\"\nversion = \"1.0.0\"\ndescription = \"A test package\"\n";
    [&[entry("gpack.toml", EntryType::Regular, gpack)], entries, &[vec![0; 1024]]].concat().concat()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
