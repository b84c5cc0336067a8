//! Fetches between registries in memory.

use std::{fs, path::Path, sync::Arc};

use ggen_blockstore::{Block, Blockstore, Cid, MemoryBlockstore, dfs_blocks, parse_cid};

use crate::{
    ErrorKind, FetchRequest, FetchTo, Registry,
    ops::{
        loopback::{connect, fetch_request, publish, silent, start},
        testing::on_disk,
    },
    place::Place,
};

/// Files of the package, enough for several bundles of them.
const FILES: usize = 100;
/// So many of them are written at a time at most.
const BUNDLE: usize = 32;

/// A registry that has published a package, of which it has all but the last block, and one that is connected to it.
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
        self.alice.operations().node().unwrap().new_blocks(vec![*self.last.cid()]).await.unwrap();
    }
}

/// Files below a directory, where there is one.
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

/// It used to be found out when everything had come.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_is_not_waited_for() {
    let withheld = Withheld::begin().await;
    let failure = withheld.bob.fetch(withheld.request("no/such/place"), silent()).await.unwrap_err();
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
    assert!(failure.hint.as_deref().is_some_and(|hint| hint.contains("--update")), "{failure:?}");
    let second = publish(&alice, "grows", "2.0.0", 3, 1000).await;
    let fetched = fetch("tests/grows@2", FetchTo::Update(out.clone())).await.unwrap();
    assert_eq!(fetched.cid, second.cid);
    assert_eq!((fetched.files, fetched.files_kept), (4, 0), "every file has its version in it");
    assert_eq!(fetched.strangers, ["file-3", "file-4", "mine"]);
    let again = fetch("tests/grows@2", FetchTo::Update(out.clone())).await.unwrap();
    assert_eq!((again.files_kept, again.blocks_fetched), (4, 0));
}
