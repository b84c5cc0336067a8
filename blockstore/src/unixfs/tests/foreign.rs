//! DAGs as other tools make them.

use std::io::Read;

use bytes::Bytes;

use super::support::{Item, items, read_items, write_items};
use crate::{
    Block, Blockstore, Cid, DAG_PB, Error, ExportOptions, FileReader, IDENTITY, ImportOptions, MemoryBlockstore,
    Multihash, PbLink, PbNode, Profile, RAW, UnixfsData, UnixfsKind, dfs_blocks, export_directory, import_directory,
    resolve,
};

fn put(store: &MemoryBlockstore, links: &[(&str, Cid)], data: &UnixfsData) -> Cid {
    let link = |(name, cid): &(&str, Cid)| PbLink::new(*cid, Bytes::copy_from_slice(name.as_bytes()), 0);
    let node = PbNode { links: links.iter().map(link).collect(), data: Some(data.encode().into()) };
    let block = Block::dag_pb(node.encode()).unwrap();
    store.put(&block).unwrap();
    *block.cid()
}

fn leaf(store: &MemoryBlockstore, kind: UnixfsKind, content: &str) -> Cid {
    let mut data = UnixfsData::new(kind);
    data.data = Some(Bytes::copy_from_slice(content.as_bytes()));
    data.file_size = Some(content.len() as u64);
    put(store, &[], &data)
}

fn part(store: &MemoryBlockstore, content: &str, parts: &[(Cid, u64)]) -> Cid {
    let mut data = UnixfsData::new(UnixfsKind::File);
    data.data = (!content.is_empty()).then(|| Bytes::copy_from_slice(content.as_bytes()));
    data.block_sizes = parts.iter().map(|(_, size)| *size).collect();
    data.file_size = Some(content.len() as u64 + data.block_sizes.iter().sum::<u64>());
    put(store, &parts.iter().map(|(cid, _)| ("", *cid)).collect::<Vec<_>>(), &data)
}

fn read(store: &MemoryBlockstore, cid: Cid) -> String {
    let mut text = String::new();
    FileReader::open(store, cid).unwrap().read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_file_may_have_any_layout_and_leaves() {
    let store = MemoryBlockstore::new();
    let raw = Block::raw(&b"raw "[..]).unwrap();
    store.put(&raw).unwrap();
    let inlined = Cid::new_v1(RAW, Multihash::wrap(IDENTITY, b"inlined ").unwrap());
    let old = leaf(&store, UnixfsKind::Raw, "old-raw ");
    let plain = leaf(&store, UnixfsKind::File, "dag-pb ");
    let v0 = Cid::new_v0(*plain.hash()).unwrap();
    // Trickle: leaves and subtrees side by side, and content in an inner node.
    let below = part(&store, "inner ", &[(old, 8), (inlined, 8)]);
    let root = part(&store, "", &[(*raw.cid(), 4), (v0, 7), (below, 22), (plain, 7)]);
    assert_eq!(read(&store, root), "raw dag-pb inner old-raw inlined dag-pb ");
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("file");
    export_directory(&store, root, &target, &ExportOptions::default()).unwrap();
    assert_eq!(std::fs::read_to_string(&target).unwrap(), read(&store, root));
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
}

#[test]
fn a_bare_raw_block_is_a_file() {
    let (store, place) = (MemoryBlockstore::new(), tempfile::tempdir().unwrap());
    let block = Block::raw(&b"bare"[..]).unwrap();
    store.put(&block).unwrap();
    export_directory(&store, *block.cid(), &place.path().join("f"), &ExportOptions::default()).unwrap();
    assert_eq!(std::fs::read(place.path().join("f")).unwrap(), b"bare");
}

#[test]
fn mode_is_honoured_and_mtime_read_over() {
    let (store, place) = (MemoryBlockstore::new(), tempfile::tempdir().unwrap());
    let mut data = UnixfsData::new(UnixfsKind::File);
    (data.data, data.mode, data.mtime) = (Some(Bytes::from_static(b"x")), Some(0o100_755), Some((1, Some(5))));
    let script = put(&store, &[], &data);
    data.mode = Some(0o644);
    let text = put(&store, &[], &data);
    let mut directory = UnixfsData::new(UnixfsKind::Directory);
    directory.mode = Some(0o755);
    let root = put(&store, &[("script", script), ("text", text)], &directory);
    export_directory(&store, script, &place.path().join("alone"), &ExportOptions::default()).unwrap();
    let content = b"x".to_vec();
    assert_eq!(read_items(place.path()), items([("alone", Item::Executable(content.clone()))]));
    export_directory(&store, root, &place.path().join("out"), &ExportOptions::default()).unwrap();
    let expected = items([("script", Item::Executable(content.clone())), ("text", Item::File(content))]);
    assert_eq!(read_items(&place.path().join("out")), expected);
}

#[test]
fn an_inlined_directory_is_walked_through() {
    let (store, place) = (MemoryBlockstore::new(), tempfile::tempdir().unwrap());
    let block = Block::raw(&b"content"[..]).unwrap();
    store.put(&block).unwrap();
    let link = PbLink::new(*block.cid(), &b"file"[..], 7);
    let data = UnixfsData::new(UnixfsKind::Directory).encode();
    let node = PbNode { links: vec![link], data: Some(data.into()) }.encode();
    let inlined = Cid::new_v1(DAG_PB, Multihash::wrap(IDENTITY, &node).unwrap());
    let root = put(&store, &[("dir", inlined)], &UnixfsData::new(UnixfsKind::Directory));
    let blocks: Vec<_> = dfs_blocks(&store, root).map(|block| block.unwrap().0).collect();
    assert_eq!(blocks, [root, *block.cid()]);
    export_directory(&store, root, &place.path().join("out"), &ExportOptions::default()).unwrap();
    assert_eq!(std::fs::read(place.path().join("out/dir/file")).unwrap(), b"content");
    assert_eq!(resolve(&store, root, "/dir/file").unwrap(), *block.cid());
}

#[test]
fn directories_of_every_fanout_are_read_and_resolved() {
    let place = tempfile::tempdir().unwrap();
    let names: Vec<_> = (0..400).map(|number| format!("sub/name-{number}")).collect();
    let tree = names.iter().map(|name| (name.clone(), Item::File(name.clone().into_bytes()))).collect();
    write_items(&place.path().join("in"), &tree);
    let mut roots = Vec::new();
    for fanout in [8, 16, 32, 64, 128, 256, 512, 1024] {
        let store = MemoryBlockstore::new();
        let profile = Profile { fanout, shard_threshold: 1000, ..Profile::V1_2025 };
        let options = ImportOptions { profile, ..ImportOptions::default() };
        let imported = import_directory(&store, &place.path().join("in"), &options).unwrap();
        let out = place.path().join(fanout.to_string());
        export_directory(&store, imported.root, &out, &ExportOptions::default()).unwrap();
        assert_eq!(read_items(&out), read_items(&place.path().join("in")), "{fanout}");
        for name in names.iter().step_by(7) {
            let cid = resolve(&store, imported.root, name).unwrap();
            assert_eq!(read(&store, cid), *name);
        }
        for missing in ["sub/name-400", "sub/nothing", "other", "sub/name-1/below"] {
            let error = resolve(&store, imported.root, missing).unwrap_err();
            assert!(matches!(error, Error::NoSuchPath { path, .. } if path == missing), "{missing}");
        }
        roots.push(imported.root);
    }
    roots.sort_unstable();
    roots.dedup();
    assert_eq!(roots.len(), 8);
}
