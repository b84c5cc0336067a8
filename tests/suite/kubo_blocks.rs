//! Blocks that Kubo can create besides those of `ipfs add`: other hash functions, truncated digests, blocks that are
//! too large for Bitswap, paths through dag-cbor and dag-json.

use std::{fs, path::Path, time::Duration};

use ggen_marketplace::{ErrorKind, FetchTo, GcRequest, PeerListRequest, VerifyRequest};
use tempfile::TempDir;

use crate::support::{
    ONE_KUBO_FETCHES,
    kubo::{Kubo, Options},
    nodes::{Node, PATIENCE},
};

/// The hash functions that Kubo 0.42 computes and serves, and the lengths to which digests are truncated.
const FUNCTIONS: [&[&str]; 18] = [
    &["--mhtype=sha1"],
    &["--mhtype=sha2-256", "--mhlen=20"],
    &["--mhtype=sha2-512"],
    &["--mhtype=sha2-512", "--mhlen=32"],
    &["--mhtype=dbl-sha2-256"],
    &["--mhtype=shake-256"],
    &["--mhtype=shake-256", "--mhlen=32"],
    &["--mhtype=sha3-224"],
    &["--mhtype=sha3-384"],
    &["--mhtype=sha3-512"],
    &["--mhtype=keccak-256"],
    &["--mhtype=keccak-512"],
    &["--mhtype=blake3"],
    &["--mhtype=blake3", "--mhlen=64"],
    &["--mhtype=blake2b-160"],
    &["--mhtype=blake2b-384"],
    &["--mhtype=blake2b-512"],
    &["--mhtype=blake2s-256"],
];

fn put(kubo: &Kubo, file: &Path, options: &[&str]) -> String {
    let arguments = [&["block", "put", "--allow-big-block"], options, &[file.to_str().unwrap()]].concat();
    kubo.cmd(&arguments)
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_under_every_hash_function_that_kubo_serves_pass_both_ways() {
    let _one = ONE_KUBO_FETCHES.lock().await;
    let work = TempDir::new().unwrap();
    let (alice, original) = (Node::start().await, work.path().join("file"));
    fs::write(&original, "one block under many names").unwrap();
    let file = original.clone();
    let (kubo, cids) = tokio::task::spawn_blocking(move || {
        let kubo = Kubo::start(&Options::default());
        let put = |options: &&[&str]| put(&kubo, &file, &[&["--cid-codec=raw"], *options].concat());
        let cids: Vec<_> = FUNCTIONS.iter().map(put).collect();
        (kubo, cids)
    })
    .await
    .unwrap();
    alice.connect(&[kubo.tcp_addr().to_owned()]).await;
    for (cid, options) in cids.iter().zip(FUNCTIONS) {
        let fetched = alice.fetch(cid, &work.path().join(cid)).await;
        assert_eq!(fs::read(&fetched.path).unwrap(), fs::read(&original).unwrap(), "{options:?}");
        assert_eq!((fetched.blocks_fetched, fetched.cid.as_str()), (1, cid.as_str()), "{options:?}");
    }
    let addresses = alice.addresses();
    let served = tokio::task::spawn_blocking(move || {
        let other = Kubo::start(&Options::default());
        other.swarm_connect(&addresses[0]);
        cids.iter().map(|cid| other.cmd(&["block", "get", cid])).collect::<Vec<_>>()
    });
    assert!(served.await.unwrap().iter().all(|data| data == "one block under many names"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_is_too_large_is_said_to_be_and_the_peer_is_not_blamed() {
    let _one = ONE_KUBO_FETCHES.lock().await;
    let work = TempDir::new().unwrap();
    let alice = Node::start().await;
    let files = [3 << 20, 5 << 20].map(|bytes: usize| {
        let file = work.path().join(bytes.to_string());
        fs::write(&file, vec![7; bytes]).unwrap();
        file
    });
    let (kubo, cids) = tokio::task::spawn_blocking(move || {
        let kubo = Kubo::start(&Options::default());
        let cids = files.map(|file| put(&kubo, &file, &["--cid-codec=raw"]));
        (kubo, cids)
    })
    .await
    .unwrap();
    alice.connect(&[kubo.tcp_addr().to_owned()]).await;
    let refused = async |cid: &str, patience| {
        let failure = alice.try_fetch(cid, FetchTo::Path(work.path().join("out")), patience).await.unwrap_err();
        assert_eq!(failure.kind, ErrorKind::Verification, "{failure:?}");
        failure.in_one_line()
    };
    // It is received completely, and the error names it at once.
    assert!(refused(&cids[0], PATIENCE).await.contains("has 3145728 bytes"));
    // Even its message is refused. Other providers may be found until the timeout.
    assert!(refused(&cids[1], Duration::from_secs(3)).await.contains("larger than the 2097152 bytes"));
    let peers = alice.registry.peer_list(PeerListRequest { min_reputation: None }).await.unwrap();
    let peer = peers.iter().find(|peer| peer.peer_id == kubo.peer_id()).unwrap();
    assert_eq!(peer.failed_retrievals, 0, "{peer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_lead_through_dag_cbor_and_dag_json_as_at_kubo() {
    let _one = ONE_KUBO_FETCHES.lock().await;
    let work = TempDir::new().unwrap();
    let alice = Node::start().await;
    let tree = work.path().join("tree");
    fs::create_dir_all(tree.join("deep")).unwrap();
    fs::write(tree.join("deep/file"), "reached").unwrap();
    let node = work.path().join("node");
    let (kubo, paths) = tokio::task::spawn_blocking(move || {
        let kubo = Kubo::start(&Options::default());
        let root = kubo.add_tree(&tree, &[]);
        let mut paths = Vec::new();
        for codec in ["dag-cbor", "dag-json"] {
            fs::write(&node, format!("{{\"a\":[{{\"b\":{{\"/\":\"{root}\"}}}}]}}")).unwrap();
            let cid = kubo.cmd(&["dag", "put", "--store-codec", codec, node.to_str().unwrap()]);
            paths.push(format!("/ipfs/{cid}/a/0/b/deep/file"));
            assert_eq!(kubo.cat(paths.last().unwrap()), b"reached");
        }
        (kubo, paths)
    })
    .await
    .unwrap();
    alice.connect(&[kubo.tcp_addr().to_owned()]).await;
    for (index, path) in paths.iter().enumerate() {
        let fetched = alice.fetch(path, &work.path().join(format!("out-{index}"))).await;
        assert_eq!(fs::read(&fetched.path).unwrap(), b"reached", "{path}");
    }
}

/// A DAG that is neither package nor file: of dag-cbor, dag-json, dag-pb and raw blocks.
#[tokio::test(flavor = "multi_thread")]
async fn a_dag_of_kubo_that_is_no_package_is_pinned_whole_verified_and_kept() {
    let _one = ONE_KUBO_FETCHES.lock().await;
    let work = TempDir::new().unwrap();
    let (alice, files) = (Node::start().await, work.path().join("files"));
    fs::create_dir(&files).unwrap();
    fs::write(files.join("large"), vec![7; 3_000_000]).unwrap();
    fs::write(files.join("small"), "small").unwrap();
    let place = work.path().to_owned();
    let (kubo, root, below) = tokio::task::spawn_blocking(move || {
        let kubo = Kubo::start(&Options::default());
        let put = |name: &str, codec: &str, node: String| {
            fs::write(place.join(name), node).unwrap();
            kubo.cmd(&["dag", "put", "--pin=false", "--store-codec", codec, place.join(name).to_str().unwrap()])
        };
        let tree = kubo.add_tree(&place.join("files"), &["--pin=false"]);
        let raw = kubo.cmd(&["block", "put", "--cid-codec=raw", place.join("files/small").to_str().unwrap()]);
        let leaf = put("leaf", "dag-cbor", "{\"number\": 5}".to_owned());
        let node = format!("[{{\"/\": \"{tree}\"}}, {{\"deep\": {{\"/\": \"{leaf}\"}}}}]");
        let middle = put("middle", "dag-json", node);
        let node = format!("{{\"middle\": {{\"/\": \"{middle}\"}}, \"raw\": [{{\"/\": \"{raw}\"}}]}}");
        let root = put("root", "dag-cbor", node);
        let below = kubo.refs_recursive(&root);
        (kubo, root, below)
    })
    .await
    .unwrap();
    assert!(below.len() > 5, "{below:?}");
    alice.connect(&[kubo.tcp_addr().to_owned()]).await;
    alice.pin(&root).await;
    tokio::task::spawn_blocking(move || drop(kubo)).await.unwrap();

    // Only the pin keeps it.
    alice.registry.gc(GcRequest::default()).await.unwrap();
    for target in [Some(root.clone()), None] {
        let request = VerifyRequest { target, repair: false, timeout: PATIENCE };
        let verified = alice.registry.verify(request, std::sync::Arc::new(|_| {})).await.unwrap();
        assert_eq!((verified.bad, verified.checked_blocks), (vec![], below.len() as u64 + 1));
    }
    let fetched = alice.fetch(&format!("/ipfs/{root}/middle/0"), &work.path().join("out")).await;
    assert_eq!(fs::read(fetched.path.join("large")).unwrap(), vec![7; 3_000_000]);
    // It is still not a tree that can be written.
    let refused = alice.try_fetch(&root, FetchTo::Path(work.path().join("none")), PATIENCE).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Verification, "{refused:?}");
}
