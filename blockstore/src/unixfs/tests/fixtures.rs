//! The fixtures of IPIP-499: the same input has the same CID in every implementation.
//!
//! Input is the ChaCha20 keystream under sha2-256 of a seed, as Kubo's tests generate it
//! (`test/cli/testutils/random_deterministic.go`).

use std::num::NonZeroUsize;

use chacha20::{
    ChaCha20,
    cipher::{KeyIvInit, StreamCipher},
};
use sha2::{Digest, Sha256};

use super::support::{Item, NullSink, file, items, write_items};
use crate::{
    Block, ImportOptions, MemoryBlockstore, Profile, import_directory,
    unixfs::{
        directory::DirectoryBuilder,
        file::{FileBuilder, leaf_block},
        pipeline::run_in_order,
    },
};

const MIB: usize = 1 << 20;

fn keystream(seed: &str) -> ChaCha20 {
    ChaCha20::new(&Sha256::digest(seed), &[0; 12].into())
}

/// Streams a file through the builder, without a store, and returns its CID at each of `lengths`, which are multiples of
/// the chunk length.
fn file_cids<const N: usize>(profile: Profile, seed: &str, lengths: [usize; N]) -> [String; N] {
    let mut stream = keystream(seed);
    let chunks = (0..lengths[N - 1] / profile.chunk_bytes).map(|_| {
        let mut bytes = vec![0; profile.chunk_bytes];
        stream.apply_keystream(&mut bytes);
        Ok(bytes)
    });
    let (mut builder, mut sink) = (FileBuilder::new(profile), NullSink);
    let (mut length, mut cids) = (0, Vec::new());
    let hash = |bytes: Vec<u8>| leaf_block(&profile, bytes.into());
    run_in_order(NonZeroUsize::new(2).unwrap(), chunks, hash, |block: Block| {
        builder.push(block, profile.chunk_bytes as u64, &mut sink)?;
        length += profile.chunk_bytes;
        if lengths.contains(&length) {
            cids.push(builder.clone().finish(&mut NullSink)?.cid.to_string());
        }
        Ok(())
    })
    .unwrap();
    cids.try_into().unwrap()
}

/// A directory of files with deterministic names, each with the content `x`.
fn directory_cid(profile: Profile, seed: &str, files: usize, name_length: usize, last_length: usize) -> String {
    const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz01234567890-_";
    let (mut stream, mut sink) = (keystream(seed), NullSink);
    let mut content = FileBuilder::new(profile);
    content.push(leaf_block(&profile, (&b"x"[..]).into()).unwrap(), 1, &mut sink).unwrap();
    let content = content.finish(&mut sink).unwrap();
    let mut directory = DirectoryBuilder::new(profile);
    for file in 1..=files {
        let mut name = vec![0; if file == files { last_length } else { name_length }];
        stream.apply_keystream(&mut name);
        let name: String = name.iter().map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])).collect();
        assert!(directory.add(&name, content));
    }
    directory.finish(&mut sink).unwrap().cid.to_string()
}

fn content_cid(profile: Profile, content: &'static [u8]) -> String {
    let (mut builder, mut sink) = (FileBuilder::new(profile), NullSink);
    if !content.is_empty() {
        builder.push(leaf_block(&profile, content.into()).unwrap(), content.len() as u64, &mut sink).unwrap();
    }
    builder.finish(&mut sink).unwrap().cid.to_string()
}

#[test]
fn small_and_empty_files_have_the_known_cids() {
    let known = [
        (Profile::V1_2025, &b"hello world"[..], "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"),
        (Profile::V0_2015, b"hello world", "Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD"),
        (Profile::V1_2025, b"", "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"),
        (Profile::V0_2015, b"", "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH"),
    ];
    for (profile, content, cid) in known {
        assert_eq!(content_cid(profile, content), cid, "{}", profile.name);
    }
}

#[test]
fn v0_files_of_as_many_chunks_as_a_node_has_links_and_one_more() {
    let cids = file_cids(Profile::V0_2015, "v0-seed", [44_544 << 10, 44_800 << 10]);
    let known = ["QmUbBALi174SnogsUzLpYbD4xPiBSFANF4iztWCsHbMKh2", "QmepeWtdmS1hHXx1oZXsPUv6bMrfRRKfZcoPPU4eEfjnbf"];
    assert_eq!(cids, known);
}

#[test]
fn v1_files_of_as_many_chunks_as_a_node_has_links_and_one_more() {
    let cids = file_cids(Profile::V1_2025, "v1-2025-seed", [1024 * MIB, 1025 * MIB]);
    let known = [
        "bafybeihmf37wcuvtx4hpu7he5zl5qaf2ineo2lqlfrapokkm5zzw7zyhvm",
        "bafybeihmzokxxjqwxjcryerhp5ezpcog2wcawfryb2xm64xiakgm4a5jue",
    ];
    assert_eq!(cids, known);
}

#[test]
fn v0_directories_on_both_sides_of_the_threshold() {
    let cid = |files, length| directory_cid(Profile::V0_2015, "hamt-unixfs-v0-2015", files, length, length);
    assert_eq!(cid(4096, 30), "QmX5GtRk3TSSEHtdrykgqm4eqMEn3n2XhfkFAis5fjyZmN");
    assert_eq!(cid(4033, 31), "QmeMiJzmhpJAUgynAcxTQYek5PPKgdv3qEvFsdV3XpVnvP");
}

#[test]
fn v1_directories_on_both_sides_of_the_threshold() {
    let cid = |last_length| directory_cid(Profile::V1_2025, "hamt-unixfs-v1-2025", 4766, 11, last_length);
    assert_eq!(cid(21), "bafybeic3h7rwruealwxkacabdy45jivq2crwz6bufb5ljwupn36gicplx4");
    assert_eq!(cid(22), "bafybeiegvuterwurhdtkikfhbxcldohmxp566vpjdofhzmnhv6o4freidu");
}

#[test]
fn empty_directories_have_the_known_cids() {
    let cid = |profile| DirectoryBuilder::new(profile).finish(&mut NullSink).unwrap().cid.to_string();
    assert_eq!(cid(Profile::V0_2015), "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn");
    assert_eq!(cid(Profile::V1_2025), "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354");
}

/// Fixture `path_gateway_unixfs/symlink.car` of gateway-conformance, made by `ipfs add` of go-ipfs.
#[test]
fn a_directory_with_a_symlink_has_the_known_cid() {
    let place = tempfile::tempdir().unwrap();
    write_items(place.path(), &items([("foo", file("content\n")), ("bar", Item::Link("foo".to_owned()))]));
    let options = ImportOptions { profile: Profile::V0_2015, ..ImportOptions::default() };
    let imported = import_directory(&MemoryBlockstore::new(), place.path(), &options).unwrap();
    assert_eq!(imported.root.to_string(), "QmWvY6FaqFMS89YAQ9NAPjVP4WZKA1qbHbicc9HeSKQTgt");
}
