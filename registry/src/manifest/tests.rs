use std::collections::HashMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{
    identity::{PublisherId, Timestamp},
    package::{Metadata, Release},
};

fn cid(codec: u64, number: u64) -> Cid {
    *Block::hash(codec, number.to_be_bytes().to_vec()).unwrap().cid()
}

fn build(entries: impl IntoIterator<Item = (Cid, u32)>) -> (HashMap<Cid, Bytes>, ManifestSummary) {
    let mut builder = ManifestBuilder::new();
    let mut blocks: Vec<Block> =
        entries.into_iter().filter_map(|(cid, size)| builder.push(&cid, size).unwrap()).collect();
    let (last, summary) = builder.finish().unwrap();
    blocks.extend(last);
    (blocks.into_iter().map(Block::into_parts).collect(), summary)
}

fn release_of(content: Cid, summary: &ManifestSummary) -> Release {
    Release {
        package: "acme/http".parse().unwrap(),
        version: "1.0.0".parse().unwrap(),
        content,
        manifest: summary.root,
        manifest_bytes: summary.manifest_bytes,
        blocks: summary.entries,
        size: 0,
        files: 0,
        executables: Vec::new(),
        executables_block: None,
        metadata: Metadata::default(),
        dependencies: Vec::new(),
        publisher: PublisherId::new(cid(DAG_CBOR, 0)).unwrap(),
        predecessor: None,
        created: Timestamp::default(),
    }
}

fn read(blocks: &HashMap<Cid, Bytes>, release: &Release) -> Result<Vec<ManifestEntry>, ManifestError> {
    let reader = release.read_manifest(&blocks[&release.manifest])?;
    reader.read_all(|chunk| Ok(blocks[&chunk.link].clone()))
}

#[test]
fn a_manifest_of_many_chunks_reads_back_and_stays_small() {
    let entries: Vec<(Cid, u32)> =
        (0..20_000).map(|number| (cid(if number % 10 == 0 { DAG_PB } else { RAW }, number), 1 << 20)).collect();
    let (blocks, summary) = build(entries.iter().copied());
    assert_eq!(summary.content_bytes, 20_000 << 20);
    assert!(summary.manifest_bytes <= 40 * 20_000, "{} bytes", summary.manifest_bytes);
    assert!(blocks.len() > 2 && blocks.values().all(|block| block.len() <= MANIFEST_CHUNK_BYTES));
    let read = read(&blocks, &release_of(entries[0].0, &summary)).unwrap();
    assert!(read.iter().map(|entry| (entry.cid, entry.size)).eq(entries));
}

#[test]
fn the_manifest_links_its_chunks_and_not_the_content() {
    let (blocks, summary) = build((0..20_000).map(|number| (cid(RAW, number), 5)));
    let root: ipld_core::ipld::Ipld = serde_ipld_dagcbor::from_slice(&blocks[&summary.root]).unwrap();
    let mut links = Vec::new();
    root.references(&mut links);
    assert_eq!(links.len(), blocks.len() - 1);
    assert!(links.iter().all(|link| link.codec() == RAW));
}

#[test]
fn legacy_and_foreign_cids_are_kept_whole() {
    let hash = *cid(DAG_PB, 1).hash();
    let sha512 = Multihash::wrap(0x13, &[7; 64]).unwrap();
    let entries = [(Cid::new_v0(hash).unwrap(), 3), (Cid::new_v1(RAW, sha512), 0), (cid(DAG_CBOR, 4), 2 << 20)];
    let (blocks, summary) = build(entries);
    let read = read(&blocks, &release_of(entries[0].0, &summary)).unwrap();
    assert!(read.iter().map(|entry| (entry.cid, entry.size)).eq(entries));
}

#[test]
fn a_manifest_that_is_not_the_releases_is_refused() {
    let entries = [(cid(DAG_PB, 1), 10), (cid(RAW, 2), 20)];
    let (blocks, summary) = build(entries);
    let release = release_of(entries[0].0, &summary);
    assert!(read(&blocks, &release).is_ok());
    let changes: [fn(&mut Release); 3] = [
        |release| release.blocks += 1,
        |release| release.manifest_bytes -= 1,
        |release| release.content = cid(DAG_PB, 99),
    ];
    for change in changes {
        let mut other = release.clone();
        change(&mut other);
        assert!(matches!(read(&blocks, &other), Err(ManifestError::Mismatch { .. })));
    }
}

#[test]
fn blocks_that_no_manifest_may_list_are_refused() {
    let mut builder = ManifestBuilder::new();
    let inline = Cid::new_v1(RAW, Multihash::wrap(IDENTITY, b"inline").unwrap());
    assert!(matches!(builder.push(&inline, 6), Err(ManifestError::Entry { .. })));
    assert!(matches!(builder.push(&cid(RAW, 1), (2 << 20) + 1), Err(ManifestError::Entry { .. })));
    assert!(matches!(builder.push(&cid(0x72, 1), 1), Err(ManifestError::Entry { .. })));
    assert!(builder.finish().is_err());
}

#[test]
fn totals_are_checked_against_the_entries() {
    let entries = [(cid(DAG_PB, 1), 10)];
    let (blocks, summary) = build(entries);
    let mut root: Root = serde_ipld_dagcbor::from_slice(&blocks[&summary.root]).unwrap();
    root.bytes += 1;
    let root = serde_ipld_dagcbor::to_vec(&root).unwrap();
    let reader = release_of(entries[0].0, &summary).read_manifest(&root).unwrap();
    let read: Result<_, ManifestError> = reader.read_all(|chunk| Ok(blocks[&chunk.link].clone()));
    assert!(matches!(read, Err(ManifestError::Mismatch { what: "bytes of content", .. })));
}

proptest! {
    #[test]
    fn damaged_chunks_never_panic(at in 0_usize..100, value in any::<u8>(), cut in 0_usize..100) {
        let entries = [(cid(DAG_PB, 1), 10), (cid(RAW, 2), 20), (Cid::new_v0(*cid(DAG_PB, 3).hash()).unwrap(), 7)];
        let (blocks, summary) = build(entries);
        let reader = release_of(entries[0].0, &summary).read_manifest(&blocks[&summary.root]).unwrap();
        let good = blocks[&reader.chunks()[0].link].to_vec();
        let mut bad = good.clone();
        let at = at % bad.len();
        bad[at] = value;
        if let Ok(read) = reader.read_chunk(0, &bad) {
            // Every valid input must encode to the same bytes: a manifest has only one encoding.
            let mut again = Vec::new();
            read.iter().for_each(|entry| write_entry(&mut again, &entry.cid, entry.size));
            prop_assert_eq!(again, bad);
        }
        prop_assert!(reader.read_chunk(0, &good[..cut % good.len()]).is_err());
    }

    #[test]
    fn roots_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let (_, summary) = build([(cid(DAG_PB, 1), 10)]);
        prop_assert!(release_of(cid(DAG_PB, 1), &summary).read_manifest(&bytes).is_err());
    }
}
