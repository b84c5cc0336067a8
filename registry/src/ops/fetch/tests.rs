//! Fetches between registries in memory.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{Arc, Mutex, mpsc},
};

use ggen_blockstore::{
    Block, Blockstore, Cid, DAG_CBOR, DAG_JSON, DAG_PB, MAX_BLOCK_BYTES, MemoryBlockstore, Multihash, PbLink, PbNode,
    RAW, UnixfsData, UnixfsKind, dfs_blocks, forward_blockstore, parse_cid,
};

use crate::{
    ErrorKind, FetchRequest, FetchTo, PeerRule, PeerRuleRequest, Progress, Registry, Reporter,
    ops::{
        loopback::{connect, fetch_request, publish, silent, start},
        testing::on_disk,
    },
    place::Place,
};

/// Files of the package, enough for several bundles.
const FILES: usize = 100;
/// Maximum number of files written at a time.
const BUNDLE: usize = 32;

/// Alice has published a package but lacks its last block; Bob is connected to her.
struct Withheld {
    alice: Registry,
    bob: Registry,
    store: Arc<MemoryBlockstore>,
    last: Block,
    place: tempfile::TempDir,
}

impl Withheld {
    async fn begin() -> Self {
        let store = Arc::new(MemoryBlockstore::new());
        let alice = start(Place::memory().with_store(store.clone()), 0).await;
        let bob = start(Place::memory(), 0).await;
        connect(&bob, &alice).await;
        let content = parse_cid(&publish(&alice, "wide", "1.0.0", FILES, 3000).await.cid).unwrap();
        let last: Cid = dfs_blocks(&*store, content).last().unwrap().unwrap().0;
        let last = Block::verify(last, store.get(&last).unwrap().unwrap()).unwrap();
        store.delete_many(&[*last.cid()]).unwrap();
        Self { alice, bob, store, last, place: tempfile::tempdir().unwrap() }
    }

    fn request(&self, to: &str) -> FetchRequest {
        FetchRequest { to: FetchTo::Path(self.place.path().join(to)), ..fetch_request("tests/wide", false) }
    }

    async fn release_the_last(&self) {
        self.store.put(&self.last).unwrap();
        self.alice.services().node().unwrap().new_blocks(vec![*self.last.cid()]).await.unwrap();
    }
}

/// Counts the files below a directory; 0 if it does not exist.
fn files(directory: &Path) -> usize {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_is_written_while_it_arrives_and_shown_when_it_is_whole() {
    let withheld = Withheld::begin().await;
    let (bob, request) = (withheld.bob.clone(), withheld.request("out"));
    let fetching = tokio::spawn(async move { bob.fetch(request, silent()).await });
    on_disk("the writing", || files(withheld.place.path()) >= FILES - BUNDLE).await;
    assert!(!withheld.place.path().join("out").exists());
    assert!(!fetching.is_finished());
    withheld.release_the_last().await;
    let fetched = fetching.await.unwrap().unwrap();
    assert_eq!(fetched.files, FILES as u64 + 1);
    assert_eq!(files(&withheld.place.path().join("out")), FILES + 1);
    assert_eq!(fs::read_dir(withheld.place.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_stays_of_a_fetch_that_is_given_up() {
    let withheld = Withheld::begin().await;
    let (bob, request) = (withheld.bob.clone(), withheld.request("out"));
    let fetching = tokio::spawn(async move { bob.fetch(request, silent()).await });
    on_disk("the writing", || files(withheld.place.path()) > 0).await;
    fetching.abort();
    on_disk("the clearing up", || fs::read_dir(withheld.place.path()).unwrap().count() == 0).await;
}

/// Regression test: writing continued to its end, so the user's edits were overwritten after the interrupt.
#[tokio::test(flavor = "multi_thread")]
async fn an_update_whose_caller_goes_away_changes_nothing() {
    let (alice, bob) = crate::ops::loopback::pair().await;
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("out");
    let first = publish(&alice, "grows", "1.0.0", 3, 1000).await;
    let request = FetchRequest { to: FetchTo::Update(out.clone()), ..fetch_request(&first.cid, false) };
    bob.fetch(request, silent()).await.unwrap();
    let before = contents(&out);

    let second = publish(&alice, "grows", "2.0.0", 3, 1000).await;
    let (reached, is_reached) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let may_go_on = Mutex::new(may_go_on);
    let reporter: Arc<dyn Reporter> = Arc::new(move |progress: Progress| {
        if matches!(progress, Progress::Writing { .. }) && reached.send(()).is_ok() {
            // The sender is dropped, and nothing is ever sent.
            may_go_on.lock().unwrap().recv().unwrap_err();
        }
    });
    let request = FetchRequest { to: FetchTo::Overwrite(out.clone()), ..fetch_request(&second.cid, false) };
    let fetching = tokio::spawn(async move { bob.fetch(request, reporter).await });
    tokio::task::spawn_blocking(move || is_reached.recv().unwrap()).await.unwrap();
    fetching.abort();
    assert!(fetching.await.unwrap_err().is_cancelled());
    drop(go_on);
    on_disk("the clearing up", || contents(&out).keys().all(|path| !path.contains(".ggen-update"))).await;
    assert_eq!(contents(&out), before);
}

/// The files below a directory, by their paths.
fn contents(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => found.extend(contents(&path)),
            // A file of the staging directory may be gone again.
            false => drop(found.insert(path.display().to_string(), fs::read(&path).unwrap_or_default())),
        }
    }
    found
}

/// Regression test: the error was reported only after all blocks had arrived.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_is_not_waited_for() {
    let withheld = Withheld::begin().await;
    fs::write(withheld.place.path().join("file"), "").unwrap();
    let failure = withheld.bob.fetch(withheld.request("file/place"), silent()).await.unwrap_err();
    assert_eq!(failure.kind, ErrorKind::Failed);
    assert!(failure.to_string().contains("create"), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_keeps_what_matches_and_fetches_what_is_missing() {
    let (alice, bob) = crate::ops::loopback::pair().await;
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("out");
    let fetch = async |target: &str, to: FetchTo| {
        let request = FetchRequest { to, ..fetch_request(target, false) };
        bob.fetch(request, silent()).await
    };
    let first = publish(&alice, "grows", "1.0.0", 5, 1000).await;
    let fetched = fetch(&first.cid, FetchTo::Update(out.clone())).await.unwrap();
    assert_eq!((fetched.files, fetched.files_kept), (6, 0), "where there is nothing, all of it is written");
    fs::write(out.join("mine"), "mine").unwrap();
    let failure = fetch(&first.cid, FetchTo::Path(out.clone())).await.unwrap_err();
    assert!(failure.hint.as_ref().is_some_and(|hint| hint.to_string().contains("`update`")), "{failure:?}");
    let second = publish(&alice, "grows", "2.0.0", 3, 1000).await;
    let fetched = fetch("tests/grows@2", FetchTo::Update(out.clone())).await.unwrap();
    assert_eq!(fetched.cid, second.cid);
    assert_eq!((fetched.files, fetched.files_kept), (4, 0), "every file has its version in it");
    assert_eq!((fetched.files_removed, &fetched.untracked[..]), (2, &["mine".to_owned()][..]));
    let again = fetch("tests/grows@2", FetchTo::Update(out.clone())).await.unwrap();
    assert_eq!((again.files_kept, again.blocks_fetched), (4, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_lead_through_records_as_through_directories() {
    let (alice, bob) = crate::ops::loopback::pair().await;
    let published = publish(&alice, "paths", "1.0.0", 3, 100).await;
    let release = published.release.unwrap();
    let place = tempfile::tempdir().unwrap();
    let fetch = async |path: &str, to: &str| {
        let to = FetchTo::Path(place.path().join(to));
        bob.fetch(FetchRequest { to, ..fetch_request(&format!("/ipfs/{release}/{path}"), false) }, silent()).await
    };
    let tree = fetch("content", "tree").await.unwrap();
    assert_eq!((tree.cid, tree.files), (published.cid, 4));
    fetch("content/file-1", "file").await.unwrap();
    assert_eq!(fs::read(place.path().join("file")).unwrap(), fs::read(place.path().join("tree/file-1")).unwrap());
    let missing = fetch("content/nothing/below", "x").await.unwrap_err();
    assert_eq!(missing.kind, ErrorKind::NotFound, "{missing:?}");
    assert!(missing.in_one_line().contains("content/nothing"), "{missing:?}");
    assert_eq!(fetch("nothing", "x").await.unwrap_err().kind, ErrorKind::NotFound);
    let value = fetch("version", "x").await.unwrap_err();
    assert_eq!(value.kind, ErrorKind::Verification, "{value:?}");
    assert!(value.in_one_line().contains("dag-cbor (`version` is a value in it)"), "{value:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn roots_that_are_no_file_or_directory_are_refused_with_their_codec() {
    let store = Arc::new(MemoryBlockstore::new());
    let alice = start(Place::memory().with_store(store.clone()), 0).await;
    let bob = start(Place::memory(), 0).await;
    connect(&bob, &alice).await;
    let place = tempfile::tempdir().unwrap();
    let cases: [(u64, &[u8], &str); 6] = [
        (DAG_CBOR, &[0xa0], "dag-cbor"),
        (DAG_JSON, b"{}", "dag-json"),
        (DAG_PB, b"", "dag-pb"),
        (0x78, b"blob 1\0x", "git-raw"),
        (0x0200, b"{}", "json"),
        (0x9999, b"", "codec 0x9999"),
    ];
    for (codec, bytes, name) in cases {
        let block = Block::hash(codec, bytes.to_vec()).unwrap();
        store.put(&block).unwrap();
        let to = FetchTo::Path(place.path().join("out"));
        let request = FetchRequest { to, ..fetch_request(&block.cid().to_string(), false) };
        let failure = bob.fetch(request, silent()).await.unwrap_err();
        assert_eq!(failure.kind, ErrorKind::Verification, "{failure:?}");
        let said = failure.in_one_line();
        assert!(said.contains("is not a file or directory") && said.contains(name), "{said}");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "{name}");
    }
}

/// Blocks that no peer can send are not requested, because peers would be recorded as not responding.
#[tokio::test(flavor = "multi_thread")]
async fn links_that_cannot_be_followed_are_named_at_once_and_nobody_is_blamed() {
    let store = Arc::new(MemoryBlockstore::new());
    let alice = start(Place::memory().with_store(store.clone()), 0).await;
    let bob = start(Place::memory(), 0).await;
    connect(&bob, &alice).await;
    let place = tempfile::tempdir().unwrap();
    let mut file = UnixfsData::new(UnixfsKind::File);
    let too_large = MAX_BLOCK_BYTES as u64 + 1;
    (file.file_size, file.block_sizes) = (Some(too_large), vec![too_large]);
    let large = *Block::raw(&b"what is large"[..]).unwrap().cid();
    let md5 = Cid::new_v1(RAW, Multihash::wrap(0xd5, &[1; 16]).unwrap());
    for (leaf, data, said) in [
        (large, file, format!("{large} has {too_large} bytes")),
        (md5, UnixfsData::new(UnixfsKind::Directory), "md5 is not supported".to_owned()),
    ] {
        let node = PbNode { links: vec![PbLink::new(leaf, "x", 0)], data: Some(data.encode().into()) };
        let root = Block::dag_pb(node.encode()).unwrap();
        store.put(&root).unwrap();
        let to = FetchTo::Path(place.path().join("out"));
        let request = FetchRequest { to, ..fetch_request(&root.cid().to_string(), false) };
        let failure = bob.fetch(request, silent()).await.unwrap_err();
        assert_eq!(failure.kind, ErrorKind::Verification, "{failure:?}");
        assert!(failure.in_one_line().contains(&said), "{failure:?}");
    }
    let book = bob.services().peers.clone();
    let peer = alice.services().node().unwrap().peer_id();
    assert!(book.get(&peer).is_none_or(|record| record.failed == 0));
}

/// It was said that no provider can be reached, of what no provider was needed for.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_here_is_written_although_no_provider_that_was_named_can_be_reached() {
    let alice = start(Place::memory(), 0).await;
    let published = publish(&alice, "lamp", "1.0.0", 3, 1000).await;
    let other = start(Place::memory(), 0).await;
    let gone = other.listen().await.unwrap().listen_addresses[0].clone();
    other.shutdown().await.unwrap();
    let place = tempfile::tempdir().unwrap();
    let fetch = async |target: &str| {
        let to = FetchTo::Path(place.path().join(target.replace('/', "-")));
        let request = FetchRequest { to, providers: vec![gone.clone()], ..fetch_request(target, false) };
        alice.fetch(request, silent()).await
    };
    for target in ["tests/lamp", &published.cid] {
        let fetched = fetch(target).await.unwrap();
        assert_eq!((fetched.files, fetched.unreached.len()), (4, 1));
        assert!(fetched.unreached[0].starts_with(&gone), "{:?}", fetched.unreached);
    }
    let absent = Block::raw(&b"not here"[..]).unwrap();
    for target in ["tests/bottle", &absent.cid().to_string()] {
        let failure = fetch(target).await.unwrap_err();
        assert_eq!(
            (failure.kind, failure.message.as_str()),
            (ErrorKind::Failed, "none of the providers can be reached")
        );
        assert!(failure.causes[0].starts_with(&gone), "{:?}", failure.causes);
    }
}

/// A store in memory that returns other bytes for one of its blocks.
#[derive(Debug, Default)]
struct Lying {
    memory: MemoryBlockstore,
    about: Mutex<Option<Cid>>,
}

impl Blockstore for Lying {
    fn get(&self, cid: &Cid) -> ggen_blockstore::Result<Option<bytes::Bytes>> {
        let data = self.memory.get(cid)?;
        let lies = *self.about.lock().unwrap() == Some(*cid);
        Ok(data.map(|data| match lies {
            true => data.iter().map(|byte| byte ^ 1).collect(),
            false => data,
        }))
    }

    forward_blockstore!(self.memory: cids size put_many retain delete_many lease delete_unused last_used reclaim sync
        pin unpin pins pins_of damage mend stats);
}

/// It was a time-out, although the peer was known to have sent wrong bytes.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_of_the_only_provider_are_a_failed_verification_that_names_it() {
    let store = Arc::new(Lying::default());
    let alice = start(Place::memory().with_store(store.clone()), 0).await;
    let bob = start(Place::memory(), 0).await;
    connect(&bob, &alice).await;
    let content = parse_cid(&publish(&alice, "forged", "1.0.0", 3, 3000).await.cid).unwrap();
    let leaf: Cid = dfs_blocks(&*store, content).last().unwrap().unwrap().0;
    *store.about.lock().unwrap() = Some(leaf);
    let peer = alice.services().node().unwrap().peer_id();
    let place = tempfile::tempdir().unwrap();
    for target in ["tests/forged", &content.to_string()] {
        let to = FetchTo::Path(place.path().join("out"));
        let timeout = std::time::Duration::from_secs(3);
        let request = FetchRequest { to, timeout, ..fetch_request(target, false) };
        let failure = bob.fetch(request, silent()).await.unwrap_err();
        assert_eq!(failure.kind, ErrorKind::Verification, "{failure:?}");
        let said = format!("peer {peer} sent bytes that do not match {leaf}");
        assert!(failure.in_one_line().contains(&said), "{failure:?}");
    }
}

/// It was advised to name a peer, and nothing was said of the list that keeps the provider out.
#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_without_its_denied_provider_says_how_to_allow_it_again() {
    let (alice, bob) = crate::ops::loopback::pair().await;
    let published = publish(&alice, "denied", "1.0.0", 1, 100).await;
    let peer = alice.services().node().unwrap().peer_id();
    let rule = PeerRuleRequest { peer: peer.to_string(), rule: PeerRule::Deny };
    bob.peer_rule(rule).await.unwrap();
    let place = tempfile::tempdir().unwrap();
    let address = alice.listen().await.unwrap().listen_addresses[0].clone();
    for providers in [Vec::new(), vec![address]] {
        let to = FetchTo::Path(place.path().join("out"));
        let timeout = std::time::Duration::from_secs(2);
        let request = FetchRequest { to, timeout, providers, ..fetch_request(&published.cid, false) };
        let failure = bob.fetch(request, silent()).await.unwrap_err();
        let hint = failure.hint.clone().unwrap_or_default().to_string();
        assert!(hint.contains(&format!("the operation `peer_reset` on `{peer}`")), "{failure:?}");
    }
}
