//! A publisher without peers loses parts of its own records.

use std::{fs, path::Path};

use ggen_blockstore::MemoryBlockstore;
use tempfile::TempDir;

use super::*;
use crate::{
    Config, ErrorKind, GcRequest, InfoRequest, Mode, PackageInfo, Registry, VerifyReport, VerifyRequest, YankRequest,
    ops::loopback::{PATIENCE, publish, silent, try_publish},
    place::Place,
};

/// Keys and catalog in the home, blocks in the store.
async fn open(home: &Path, store: &MemoryBlockstore) -> Registry {
    let place = Place::home(home).with_store(Arc::new(store.clone()));
    Registry::open_in(place, Config::default(), Mode::Offline).await.unwrap()
}

/// A home that has published `tests/one` 1.0.0 and 1.1.0, the former yanked, and `tests/two`.
async fn published() -> (TempDir, MemoryBlockstore) {
    let (home, store) = (TempDir::new().unwrap(), MemoryBlockstore::new());
    let registry = open(home.path(), &store).await;
    for (name, version) in [("one", "1.0.0"), ("one", "1.1.0"), ("two", "1.0.0")] {
        publish(&registry, name, version, 2, 10).await;
    }
    let request = YankRequest {
        package: "tests/one".parse().unwrap(),
        version: "1.0.0".parse().unwrap(),
        undo: false,
        reason: Some("it breaks".to_owned()),
        key: None,
        trust_clock: false,
    };
    registry.yank(request).await.unwrap();
    registry.shutdown().await.unwrap();
    (home, store)
}

async fn info(registry: &Registry, target: &str) -> PackageInfo {
    let target = target.to_owned();
    let request = InfoRequest { target, versions: true, providers: false, timeout: PATIENCE, offline: true };
    registry.info(request, silent()).await.unwrap()
}

async fn repair(registry: &Registry) -> VerifyReport {
    let request = VerifyRequest { target: None, repair: true, timeout: PATIENCE };
    registry.verify(request, silent()).await.unwrap()
}

fn log_seq(registry: &Registry) -> u64 {
    let catalog = &registry.services().storage.catalog;
    let publishers = catalog.own_publishers().unwrap();
    assert_eq!(publishers.len(), 1);
    catalog.publisher(&publishers[0]).unwrap().unwrap().head.unwrap().order().log_seq
}

fn is_tree_node(store: &MemoryBlockstore, cid: &Cid) -> bool {
    let payload = store.get(cid).unwrap().unwrap();
    let is_record = Head::from_payload(&payload).is_ok()
        || LogEntry::from_payload(&payload).is_ok()
        || Release::from_payload(&payload).is_ok()
        || crate::identity::IdentityDocument::from_payload(&payload).is_ok();
    !is_record
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_that_is_lost_is_made_again_when_it_is_needed_and_by_a_repair() {
    let (home, store) = published().await;
    let all = records(&store);
    assert!(all.len() > 10, "{all:?}");
    let registry = open(home.path(), &store).await;
    for cid in &all {
        store.delete_many(&[*cid]).unwrap();
        let found = info(&registry, "tests/one").await;
        assert_eq!(found.version.as_deref(), Some("1.1.0"));
        let yanked = found.releases.iter().find(|release| release.yanked).unwrap();
        assert_eq!(yanked.yank_reason.as_deref(), Some("it breaks"), "{cid}");
        let report = repair(&registry).await;
        assert_eq!(report.bad, [], "{cid}");
        assert!(store.has(cid).unwrap());
    }
    for (number, cid) in all.iter().enumerate() {
        store.delete_many(&[*cid]).unwrap();
        publish(&registry, "two", &format!("1.{}.0", number + 1), 1, 10).await;
    }
    assert_eq!(log_seq(&registry), 4 + all.len() as u64, "one history");
    assert_eq!(repair(&registry).await.bad, []);
    registry.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn all_records_are_made_again_when_a_home_is_opened_without_its_store_and_content_that_is_gone_blocks_nothing() {
    let (home, _) = published().await;
    let store = MemoryBlockstore::new();
    let registry = open(home.path(), &store).await;
    assert_eq!(info(&registry, "tests/one").await.version.as_deref(), Some("1.1.0"));
    let kept = store.pins().into_iter().filter(|pin| pin.label.starts_with("release/")).count();
    assert!(kept >= 3, "the content is kept once it is back");

    let refused = registry.gc(GcRequest::default()).await.unwrap_err();
    assert!(refused.hint.is_some_and(|hint| hint.to_string().contains("`verify` with the setting `repair`")));
    let report = repair(&registry).await;
    let mut labels: Vec<_> = report.incomplete.iter().map(|pin| pin.label.as_str()).collect();
    labels.sort_unstable();
    assert_eq!(labels, ["release/tests/one@1.0.0", "release/tests/one@1.1.0", "release/tests/two@1.0.0"]);
    assert!(!report.bad.is_empty());
    registry.gc(GcRequest::default()).await.unwrap();
    assert_eq!(info(&registry, "tests/one").await.version.as_deref(), Some("1.1.0"));

    // Publishing the same files restores the same content.
    assert!(publish(&registry, "two", "1.0.0", 2, 10).await.unchanged);
    registry.gc(GcRequest::default()).await.unwrap();
    let left: Vec<_> = repair(&registry).await.incomplete.into_iter().map(|pin| pin.label).collect();
    assert!(!left.contains(&"release/tests/two@1.0.0".to_owned()), "{left:?}");
    publish(&registry, "two", "1.1.0", 2, 10).await;
    assert_eq!(log_seq(&registry), 5);
    registry.shutdown().await.unwrap();
}

/// Restores an older copy of the catalog and the head file.
fn put_back(home: &Path, saved: &Path) {
    for file in ["catalog.db", "keys/default.head"] {
        fs::copy(saved.join(file.rsplit('/').next().unwrap()), home.join(file)).unwrap();
    }
    for beside in ["catalog.db-wal", "catalog.db-shm"] {
        drop(fs::remove_file(home.join(beside)));
    }
}

fn save(home: &Path) -> TempDir {
    let saved = TempDir::new().unwrap();
    for file in ["catalog.db", "keys/default.head"] {
        fs::copy(home.join(file), saved.path().join(file.rsplit('/').next().unwrap())).unwrap();
    }
    saved
}

#[tokio::test(flavor = "multi_thread")]
async fn catalog_and_head_of_an_earlier_day_are_brought_up_to_what_the_store_has_or_nothing_is_signed() {
    let (home, store) = published().await;
    let saved = save(home.path());
    let registry = open(home.path(), &store).await;
    for name in ["three", "four"] {
        publish(&registry, name, "1.0.0", 1, 10).await;
    }
    registry.shutdown().await.unwrap();
    put_back(home.path(), saved.path());
    // A node of the tree is lost as well: it is rebuilt from the log and the releases in the store.
    let node = records(&store).into_iter().find(|cid| is_tree_node(&store, cid)).unwrap();
    store.delete_many(&[node]).unwrap();
    let registry = open(home.path(), &store).await;
    assert_eq!(registry.notes(), &[] as &[String]);
    assert_eq!(log_seq(&registry), 6);
    assert_eq!(info(&registry, "tests/three").await.version.as_deref(), Some("1.0.0"));
    publish(&registry, "five", "1.0.0", 1, 10).await;
    assert_eq!(log_seq(&registry), 7);
    registry.shutdown().await.unwrap();

    // Without a log entry, the tree of the last head cannot be rebuilt; without the head itself, its contents are
    // unknown.
    for lost in [true, false] {
        put_back(home.path(), saved.path());
        let record = |is_lost: fn(&[u8]) -> Option<u64>| {
            let found = records(&store).into_iter().filter_map(|cid| Some((is_lost(&store.get(&cid).ok()??)?, cid)));
            found.max_by_key(|(order, _)| *order).unwrap().1
        };
        let entry = record(|payload| Some(LogEntry::from_payload(payload).ok()?.seq).filter(|seq| *seq < 7));
        let head = record(|payload| Some(Head::from_payload(payload).ok()?.log_seq));
        let node = records(&store).into_iter().find(|cid| is_tree_node(&store, cid)).unwrap();
        let gone = if lost { vec![entry, node] } else { vec![head] };
        let saved_blocks: Vec<_> =
            gone.iter().map(|cid| Block::dag_cbor(store.get(cid).unwrap().unwrap()).unwrap()).collect();
        store.delete_many(&gone).unwrap();
        let registry = open(home.path(), &store).await;
        for _ in 0..2 {
            let refused = try_publish(&registry, "six", "1.0.0", 1, 10).await.unwrap_err();
            assert_eq!(refused.kind, ErrorKind::Failed);
            assert!(
                refused.message.contains("entry 7 of its log") && refused.message.contains("second history"),
                "{refused:?}"
            );
            assert!(refused.hint.unwrap().to_string().contains("`verify` with the setting `repair`"));
            // A repair that restores nothing does not change that.
            repair(&registry).await;
        }
        registry.shutdown().await.unwrap();
        store.put_many(&saved_blocks).unwrap();
    }
    let registry = open(home.path(), &store).await;
    publish(&registry, "six", "1.0.0", 1, 10).await;
    assert_eq!(log_seq(&registry), 8);
    registry.shutdown().await.unwrap();
}

/// Returns whether the payload is a record of one kind.
type IsOfKind = fn(&[u8]) -> bool;

#[tokio::test(flavor = "multi_thread")]
async fn key_that_has_signed_begins_no_new_history_when_catalog_and_head_file_are_gone() {
    let kinds: [(IsOfKind, bool); 5] = [
        (|payload| Head::from_payload(payload).is_ok(), true),
        (|payload| Release::from_payload(payload).is_ok(), true),
        (|payload| LogEntry::from_payload(payload).is_ok(), false),
        (|payload| crate::identity::IdentityDocument::from_payload(payload).is_ok(), false),
        (|_| false, false),
    ];
    for (number, (is_wanted, is_refused)) in kinds.into_iter().enumerate() {
        let (home, store) = published().await;
        for file in ["catalog.db", "keys/default.head"] {
            fs::remove_file(home.path().join(file)).unwrap();
        }
        let payload = |cid: &Cid| store.get(cid).unwrap().unwrap();
        let mut all = records(&store).into_iter();
        let lost = all.find(|cid| is_wanted(&payload(cid)) || (number == 4 && is_tree_node(&store, cid))).unwrap();
        store.delete_many(&[lost]).unwrap();
        let registry = open(home.path(), &store).await;
        match try_publish(&registry, "three", "1.0.0", 1, 10).await {
            Ok(_) => {
                assert!(!is_refused, "kind {number}: nothing tells what was last");
                assert_eq!(log_seq(&registry), 5, "kind {number}: it goes on");
            }
            Err(refused) => {
                assert!(is_refused && refused.message.contains("second history"), "kind {number}: {refused:?}");
            }
        }
        registry.shutdown().await.unwrap();
    }
}
