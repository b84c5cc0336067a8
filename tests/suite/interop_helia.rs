//! ggen nodes and Helia (IPFS in JavaScript), in both directions, over TLS and over Noise.
//!
//! One Helia creates every content, a ggen node fetches it, and another Helia fetches it from that node. The default
//! run has the sizes that have failed before; all sizes run with `GGEN_TEST_HELIA_MIB=1,4,16,64,300`.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::support::{
    helia::{Helia, Profile, Security},
    nodes::{Node, PATIENCE},
    trees::{assert_same_contents, noise},
};

/// Sizes of files in MiB, separated by commas; if set, every security protocol runs with every profile.
const SIZES_VARIABLE: &str = "GGEN_TEST_HELIA_MIB";
/// Size of a file, in MiB, whose transfer uses a frame of 2 MiB.
const LARGE: usize = 16;
/// Files of the large tree: enough that its transfer also uses windows of more than 1 MiB.
const FILES: usize = 3000;
/// Entries of a directory that is a HAMT in both profiles.
const ENTRIES: usize = 2500;

fn sizes() -> Vec<usize> {
    match env::var(SIZES_VARIABLE) {
        Ok(sizes) => sizes.split(',').map(|size| size.trim().parse().unwrap()).collect(),
        Err(_) => vec![LARGE],
    }
}

fn file(path: &Path, mib: usize) {
    fs::write(path, noise(mib << 20, &path.to_string_lossy())).unwrap();
}

/// Many small files in many directories.
fn tree(root: &Path) {
    for index in 0..FILES {
        let directory = root.join(format!("{:02}/{}", index % 60, index % 7));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(index.to_string()), noise(1 + index * 7 % 9000, &index.to_string())).unwrap();
    }
}

/// A directory whose entries take more than 256 KiB.
fn wide_directory(root: &Path) {
    fs::create_dir_all(root).unwrap();
    for index in 0..ENTRIES {
        let name = format!("{index:05}-{}", "a-long-name-".repeat(12));
        fs::write(root.join(name), index.to_string()).unwrap();
    }
}

#[track_caller]
fn assert_same(left: &Path, right: &Path) {
    if left.is_dir() {
        assert_same_contents(left, right);
    } else {
        assert!(fs::read(left).unwrap() == fs::read(right).unwrap(), "{} differs", left.display());
    }
}

/// A ggen node fetches what one Helia has created, and another Helia fetches it from that node.
async fn pass_on(paths: Vec<PathBuf>, security: Security, profile: Profile) {
    let work = TempDir::new().unwrap();
    let added = paths.clone();
    let (maker, cids) = tokio::task::spawn_blocking(move || {
        let mut maker = Helia::start(security);
        let cids: Vec<_> = added.iter().map(|path| maker.add(path, profile)).collect();
        (maker, cids)
    })
    .await
    .unwrap();
    let alice = Node::start().await;
    alice.connect(&[maker.address().to_owned()]).await;
    for (index, (cid, path)) in cids.iter().zip(&paths).enumerate() {
        let to = work.path().join(format!("ours-{index}"));
        let fetched = alice.fetch_within(cid, &to, PATIENCE * 10).await;
        assert_same(path, &fetched.path);
        assert_eq!(fetched.providers[0].peer_id, maker.id());
    }
    drop(maker);
    let address = alice.addresses()[0].clone();
    tokio::task::spawn_blocking(move || {
        let mut taker = Helia::start(security);
        taker.connect(&address);
        for (index, (cid, path)) in cids.iter().zip(&paths).enumerate() {
            let to = work.path().join(format!("theirs-{index}"));
            taker.get(cid, &to);
            assert_same(path, &to);
        }
    })
    .await
    .unwrap();
}

/// js-yamux fills a window with one frame. If the node lets the window grow to 2 MiB, it must accept a frame of that
/// size: refusing it ends the connection, and files of 16 MiB and trees of 3,000 files never arrive.
#[tokio::test(flavor = "multi_thread")]
async fn files_and_trees_pass_between_helia_and_us_over_both_security_protocols() {
    let work = TempDir::new().unwrap();
    let (files, tree_of, wide) = (work.path().join("files"), work.path().join("tree"), work.path().join("wide"));
    fs::create_dir(&files).unwrap();
    tree(&tree_of);
    wide_directory(&wide);
    let mut paths = vec![tree_of, wide];
    for mib in sizes() {
        let path = files.join(mib.to_string());
        file(&path, mib);
        paths.push(path);
    }
    let all = env::var_os(SIZES_VARIABLE).is_some();
    for (security, profile, always) in [
        (Security::Noise, Profile::UnixfsV1, true),
        (Security::Tls, Profile::UnixfsV0, true),
        (Security::Noise, Profile::UnixfsV0, false),
        (Security::Tls, Profile::UnixfsV1, false),
    ] {
        if all || always {
            pass_on(paths.clone(), security, profile).await;
        }
    }
}
