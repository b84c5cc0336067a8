//! DAGs that nobody makes by accident. Each is refused, or costs no more than it holds, and leaves nothing behind.

use std::path::Path;

use bytes::Bytes;

use crate::{
    Block, Blockstore, Cid, Error, ExportOptions, Exported, MAX_DEPTH, MAX_WALK_DEPTH, MemoryBlockstore, PbLink,
    PbNode, Refusal, Result, TreeLimits, UnixfsData, UnixfsKind, export_directory, export_tar, list_tree,
    unixfs::hamt::{self, Bucket, MURMUR3_64},
};

fn put(store: &MemoryBlockstore, links: &[(&[u8], Cid)], data: &UnixfsData) -> Cid {
    let link = |(name, cid): &(&[u8], Cid)| PbLink::new(*cid, Bytes::copy_from_slice(name), 0);
    let node = PbNode { links: links.iter().map(link).collect(), data: Some(data.encode().into()) };
    let block = Block::dag_pb(node.encode()).unwrap();
    store.put(&block).unwrap();
    *block.cid()
}

fn directory(store: &MemoryBlockstore, links: &[(&[u8], Cid)]) -> Cid {
    put(store, links, &UnixfsData::new(UnixfsKind::Directory))
}

fn raw(store: &MemoryBlockstore, content: &str) -> Cid {
    let block = Block::raw(content.as_bytes().to_vec()).unwrap();
    store.put(&block).unwrap();
    *block.cid()
}

fn symlink(store: &MemoryBlockstore, target: &str) -> Cid {
    let mut data = UnixfsData::new(UnixfsKind::Symlink);
    data.data = Some(Bytes::copy_from_slice(target.as_bytes()));
    put(store, &[], &data)
}

fn file(store: &MemoryBlockstore, parts: &[(Cid, u64)]) -> Cid {
    let mut data = UnixfsData::new(UnixfsKind::File);
    data.block_sizes = parts.iter().map(|(_, size)| *size).collect();
    put(store, &parts.iter().map(|(cid, _)| (&b""[..], *cid)).collect::<Vec<_>>(), &data)
}

fn shard(store: &MemoryBlockstore, buckets: &[(usize, &str, Cid)]) -> Cid {
    let mut bits = [0; 32];
    let mut links = Vec::new();
    for (bucket, name, cid) in buckets {
        hamt::set_bit(&mut bits, *bucket);
        links.push((Bucket::prefix(*bucket, 256) + name, *cid));
    }
    let mut data = UnixfsData::new(UnixfsKind::Shard);
    (data.data, data.fanout, data.hash_type) = (Some(bits.to_vec().into()), Some(256), Some(MURMUR3_64));
    put(store, &links.iter().map(|(name, cid)| (name.as_bytes(), *cid)).collect::<Vec<_>>(), &data)
}

fn bucket(name: &str, level: u32) -> usize {
    hamt::bucket(hamt::hash(name.as_bytes()), level, 256).unwrap()
}

/// Exports into an empty directory and checks that a refusal leaves it empty.
fn export(store: &MemoryBlockstore, root: Cid) -> Result<Exported> {
    export_into(tempfile::tempdir().unwrap().path(), store, root)
}

fn export_into(place: &Path, store: &MemoryBlockstore, root: Cid) -> Result<Exported> {
    let result = export_directory(store, root, &place.join("out"), &ExportOptions::default());
    let left = std::fs::read_dir(place).unwrap().count();
    assert_eq!(left, usize::from(result.is_ok()), "something half-made stayed behind");
    result
}

fn refusal(result: Result<Exported>) -> (String, Refusal) {
    match result {
        Err(Error::Refused { entry, refusal }) => (entry, refusal),
        other => panic!("{other:?}"),
    }
}

fn invalid(result: Result<Exported>) -> String {
    match result {
        Err(Error::InvalidNode { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn names_that_lead_out_or_collide_are_refused() {
    let store = MemoryBlockstore::new();
    let leaf = raw(&store, "x");
    let refused = |names: &[&[u8]]| {
        let inner = directory(&store, &names.iter().map(|name| (*name, leaf)).collect::<Vec<_>>());
        let root = directory(&store, &[(b"sub", inner)]);
        assert!(export_tar(&store, root, &mut Vec::new(), &ExportOptions::default()).is_err());
        refusal(export(&store, root))
    };
    for name in [&b".."[..], b".", b"", b"../x", b"/etc/passwd", b"a/b", b"nul\0"] {
        assert!(matches!(refused(&[name]).1, Refusal::Name { .. }), "{name:?}");
    }
    assert_eq!(refused(&[b"caf\xe9"]).1, Refusal::NotUtf8);
    assert_eq!(refused(&[b"a", b"b", b"a"]), ("sub/a".to_owned(), Refusal::Duplicate));
    assert!(matches!(refused(&[b"Cargo.toml", b"cargo.toml"]).1, Refusal::CaseCollision { .. }));
    for (name, twin) in
        [("\u{c9}", "\u{e9}"), ("\u{e9}", "e\u{301}"), ("\u{3a3}", "\u{3c2}"), ("stra\u{df}e", "STRASSE")]
    {
        let found = refused(&[name.as_bytes(), twin.as_bytes()]).1;
        assert!(matches!(found, Refusal::CaseCollision { .. }), "{name} and {twin}: {found}");
    }
    assert!(matches!(refused(&[&[b'x'; 300]]).1, Refusal::TooLong { .. }));
}

#[test]
fn symlinks_that_leave_the_tree_are_refused_and_nothing_is_written_through_others() {
    let store = MemoryBlockstore::new();
    for target in ["/etc", "../..", "a/../../..", ""] {
        let inner = directory(&store, &[(b"link", symlink(&store, target))]);
        let (entry, _) = refusal(export(&store, directory(&store, &[(b"sub", inner)])));
        assert_eq!(entry, "sub/link", "{target}");
    }
    assert!(matches!(export(&store, symlink(&store, "x")), Err(Error::IsSymlink { target, .. }) if target == "x"));
    // A link and a directory of one name: the classic way to write through a link.
    let inner = directory(&store, &[(b"file", raw(&store, "x"))]);
    let root = directory(&store, &[(b"d", symlink(&store, "e")), (b"d", inner)]);
    assert_eq!(refusal(export(&store, root)).1, Refusal::Duplicate);
}

#[test]
fn a_chain_of_directories_deeper_than_the_limit_is_refused() {
    let store = MemoryBlockstore::new();
    let mut root = directory(&store, &[(b"file", raw(&store, "x"))]);
    for _ in 0..MAX_DEPTH {
        root = directory(&store, &[(b"d", root)]);
    }
    export(&store, root).unwrap();
    root = directory(&store, &[(b"d", root)]);
    assert_eq!(refusal(export(&store, root)).1, Refusal::TooDeep { limit: MAX_DEPTH });
}

#[test]
fn few_blocks_that_mean_a_million_entries_are_refused() {
    let store = MemoryBlockstore::new();
    let limits = TreeLimits { max_entries: 10_000, max_bytes: u64::MAX };
    let names: Vec<_> = (0..100).map(|number| format!("n{number}")).collect();
    let mut root = directory(&store, &[]);
    for _ in 0..5 {
        root = directory(&store, &names.iter().map(|name| (name.as_bytes(), root)).collect::<Vec<_>>());
    }
    assert!(matches!(list_tree(&store, root, &limits), Err(Error::LimitExceeded { limit: 10_000, .. })));
    // Shards without a single entry cost their reader just as much.
    let mut root = shard(&store, &[]);
    for _ in 0..7 {
        root = shard(&store, &(0..256).map(|bucket| (bucket, "", root)).collect::<Vec<_>>());
    }
    assert!(matches!(list_tree(&store, root, &limits), Err(Error::LimitExceeded { limit: 10_000, .. })));
}

#[test]
fn one_block_that_means_many_bytes_is_refused_before_anything_is_written() {
    let store = MemoryBlockstore::new();
    let mut cid = raw(&store, &"x".repeat(1000));
    let mut size = 1000;
    for _ in 0..4 {
        cid = file(&store, &vec![(cid, size); 1000]);
        size *= 1000;
    }
    let limits = TreeLimits { max_bytes: 1 << 30, ..TreeLimits::default() };
    let place = tempfile::tempdir().unwrap();
    let options = ExportOptions { limits, ..ExportOptions::default() };
    let error = export_directory(&store, cid, &place.path().join("out"), &options).unwrap_err();
    assert!(matches!(error, Error::LimitExceeded { limit, .. } if limit == 1 << 30));
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
}

#[test]
fn endless_parts_without_content_cost_nothing() {
    let store = MemoryBlockstore::new();
    let mut cid = raw(&store, "");
    for _ in 0..8 {
        cid = file(&store, &vec![(cid, 0); 10_000]);
    }
    let root = directory(&store, &[(b"empty", cid)]);
    assert_eq!(export(&store, root).unwrap(), Exported { files: 1, size_bytes: 0 });
}

#[test]
fn parts_must_be_as_long_as_their_parent_says() {
    let store = MemoryBlockstore::new();
    let five = raw(&store, "12345");
    for (lie, large) in [(4, 0), (6, 0), (4, 8 << 20), (6, 8 << 20)] {
        let mut parts = vec![(five, lie)];
        if large > 0 {
            parts.insert(0, (raw(&store, &"y".repeat(1 << 20)), 1 << 20));
            parts.resize(9, parts[0]);
            parts.push((five, lie));
        }
        let reason = invalid(export(&store, directory(&store, &[(b"file", file(&store, &parts))])));
        assert!(reason.contains("another length"), "{reason}");
    }
    let reason = invalid(export(&store, file(&store, &[(directory(&store, &[]), 5)])));
    assert!(reason.contains("not one itself"), "{reason}");
}

#[test]
fn a_file_of_too_many_levels_is_refused() {
    let store = MemoryBlockstore::new();
    let mut cid = raw(&store, "x");
    for _ in 0..MAX_WALK_DEPTH {
        cid = file(&store, &[(cid, 1)]);
    }
    assert!(matches!(export(&store, cid), Err(Error::LimitExceeded { .. })));
}

#[test]
fn a_shard_that_lies_about_its_names_is_refused() {
    let store = MemoryBlockstore::new();
    let leaf = raw(&store, "x");
    let honest = shard(&store, &[(bucket("name", 0), "name", leaf)]);
    assert!(export(&store, honest).is_ok());
    let misplaced = shard(&store, &[((bucket("name", 0) + 1) % 256, "name", leaf)]);
    assert_eq!(refusal(export(&store, misplaced)), ("name".to_owned(), Refusal::Misplaced));
    let below = shard(&store, &[(bucket("name", 1), "name", leaf)]);
    assert!(export(&store, shard(&store, &[(bucket("name", 0), "", below)])).is_ok());
    let elsewhere = shard(&store, &[((bucket("name", 0) + 1) % 256, "", below)]);
    assert_eq!(refusal(export(&store, elsewhere)).1, Refusal::Misplaced);
    let reason = invalid(export(&store, shard(&store, &[(0, "", directory(&store, &[]))])));
    assert!(reason.contains("something else below"), "{reason}");
    let mut deep = shard(&store, &[]);
    for _ in 0..8 {
        deep = shard(&store, &[(0, "", deep)]);
    }
    assert!(invalid(export(&store, deep)).contains("deeper than its hash"));
}

#[test]
fn a_missing_block_is_named_and_leaves_nothing_behind() {
    let store = MemoryBlockstore::new();
    let missing = *Block::raw(&b"nowhere"[..]).unwrap().cid();
    let with_part = file(&store, &[(raw(&store, "here"), 4), (missing, 7)]);
    let root = directory(&store, &[(b"a", raw(&store, "x")), (b"b", with_part)]);
    assert!(matches!(export(&store, root), Err(Error::NotFound { cid }) if cid == missing));
}

#[test]
fn what_is_there_already_is_not_touched() {
    let store = MemoryBlockstore::new();
    let root = directory(&store, &[(b"file", raw(&store, "x"))]);
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("target");
    let export = |root| export_directory(&store, root, &target, &ExportOptions::default());
    std::fs::create_dir(&target).unwrap();
    export(root).unwrap();
    assert!(matches!(export(root), Err(Error::Exists { .. })));
    assert!(matches!(export(raw(&store, "file")), Err(Error::Exists { .. })));
    std::fs::remove_dir_all(&target).unwrap();
    std::fs::write(&target, "mine").unwrap();
    assert!(matches!(export(root), Err(Error::Exists { .. })));
    assert!(matches!(export(raw(&store, "file")), Err(Error::Exists { .. })));
    assert_eq!(std::fs::read(&target).unwrap(), b"mine");
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
}
