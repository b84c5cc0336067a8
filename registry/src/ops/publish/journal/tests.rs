//! A publish is interrupted at each of its changes to the store in turn.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use ggen_blockstore::{Blockstore, Error, Lease, MemoryBlockstore, PutReport, Result, forward_blockstore};

use super::*;
use crate::{
    Config, ErrorKind, GcRequest, InfoRequest, Interrupt, Mode, Registry, VerifyRequest, YankRequest,
    ops::loopback::{PATIENCE, publish, publish_until, silent, try_publish},
    place::Place,
};

/// A store that accepts `left` changes and then fails.
#[derive(Debug)]
struct Mortal {
    memory: MemoryBlockstore,
    left: AtomicU64,
    /// If set, it triggers this interrupt instead of failing.
    interrupt: Option<Interrupt>,
}

impl Mortal {
    fn change(&self) -> Result<()> {
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if let (Err(_), Some(interrupt)) = (left, &self.interrupt) {
            interrupt.trigger();
            return Ok(());
        }
        left.map(drop).map_err(|_| Error::io("write", Path::new("store"))(io::Error::other("it has died")))
    }
}

impl Blockstore for Mortal {
    fn put_many(&self, blocks: &[Block]) -> Result<PutReport> {
        self.change()?;
        self.memory.put_many(blocks)
    }

    fn delete_many(&self, cids: &[Cid]) -> Result<u64> {
        self.change()?;
        self.memory.delete_many(cids)
    }

    fn delete_unused(&self, cids: &[Cid], lease: &Lease) -> Result<u64> {
        self.change()?;
        self.memory.delete_unused(cids, lease)
    }

    fn sync(&self) -> Result<()> {
        self.change()?;
        self.memory.sync()
    }

    fn pin(&self, pin: Pin) -> Result<()> {
        self.change()?;
        self.memory.pin(pin)
    }

    fn unpin(&self, label: &str, cid: &Cid) -> Result<bool> {
        self.change()?;
        self.memory.unpin(label, cid)
    }

    forward_blockstore!(self.memory: get size retain lease last_used reclaim cids pins pins_of damage mend stats);
}

/// Keys and catalog in the home, blocks in the store.
async fn open(home: &Path, store: Arc<dyn Blockstore>) -> Registry {
    let place = Place::home(home).with_store(store);
    Registry::open_in(place, Config::default(), Mode::Offline).await.unwrap()
}

/// Counts the pins under each label.
fn labels(store: &MemoryBlockstore) -> BTreeMap<String, usize> {
    let mut labels = BTreeMap::new();
    store.pins().into_iter().for_each(|pin| *labels.entry(pin.label).or_default() += 1);
    labels
}

/// Checks that everything published can be read after a collection.
async fn check(registry: &Registry, packages: &[&str]) {
    registry.gc(GcRequest::default()).await.unwrap();
    let everything = VerifyRequest { target: None, repair: false, timeout: PATIENCE };
    assert_eq!(registry.verify(everything, silent()).await.unwrap().bad, []);
    for package in packages {
        let request = InfoRequest {
            target: format!("tests/{package}"),
            versions: true,
            providers: false,
            timeout: PATIENCE,
            offline: true,
        };
        registry.info(request, silent()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_that_died_anywhere_leaves_the_pins_of_before_or_of_after() {
    let (home, store) = (tempfile::tempdir().unwrap(), MemoryBlockstore::new());
    let registry = open(home.path(), Arc::new(store.clone())).await;
    publish(&registry, "one", "1.0.0", 1, 10).await;
    let before = labels(&store);
    publish(&registry, "two", "1.0.0", 1, 10).await;
    let after = labels(&store);
    assert!(before != after && after.keys().all(|label| label == RECORD || label.starts_with("release/")));
    registry.shutdown().await.unwrap();

    let (mut undone, mut done) = (0, 0);
    for changes in 0.. {
        let (home, store) = (tempfile::tempdir().unwrap(), MemoryBlockstore::new());
        let registry = open(home.path(), Arc::new(store.clone())).await;
        publish(&registry, "one", "1.0.0", 1, 10).await;
        registry.shutdown().await.unwrap();

        let mortal = Mortal { memory: store.clone(), left: changes.into(), interrupt: None };
        let registry = open(home.path(), Arc::new(mortal)).await;
        let outcome = try_publish(&registry, "two", "1.0.0", 1, 10).await;
        let survived = outcome.as_ref().is_ok_and(|published| published.warnings.is_empty());
        // The sync of a failed store fails.
        drop(registry.shutdown().await);

        let registry = open(home.path(), Arc::new(store.clone())).await;
        let left = labels(&store);
        assert!(left == before || left == after, "after {changes} changes: {left:?}");
        let was_done = left == after;
        assert_eq!(outcome.is_ok(), was_done, "after {changes} changes: {outcome:?}");
        *if was_done { &mut done } else { &mut undone } += 1;
        check(&registry, if was_done { &["one", "two"] } else { &["one"] }).await;
        assert_eq!(publish(&registry, "two", "1.0.0", 1, 10).await.unchanged, was_done);
        assert_eq!(labels(&store), after);
        check(&registry, &["one", "two"]).await;
        registry.shutdown().await.unwrap();
        if survived {
            break;
        }
    }
    assert!(undone > 10 && done > 2, "{undone} deaths before the catalog had it, {done} after");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_publish_left_the_next_puts_in_order_without_a_restart() {
    let (home, store) = (tempfile::tempdir().unwrap(), MemoryBlockstore::new());
    let mortal = Arc::new(Mortal { memory: store.clone(), left: u64::MAX.into(), interrupt: None });
    let registry = open(home.path(), mortal.clone()).await;
    publish(&registry, "one", "1.0.0", 1, 10).await;
    // The disk is full while pins are set, and later has room again.
    for changes in 0.. {
        mortal.left.store(changes, Ordering::Relaxed);
        assert!(try_publish(&registry, "two", "1.0.0", 1, 10).await.is_err(), "no step was left open");
        if labels(&store).keys().any(|label| label.starts_with(REPLACED)) {
            break;
        }
    }
    mortal.left.store(u64::MAX, Ordering::Relaxed);
    let version = "1.0.0".parse().unwrap();
    let package = "tests/one".parse().unwrap();
    registry
        .yank(YankRequest { package, version, undo: false, reason: None, key: None, trust_clock: false })
        .await
        .unwrap();
    let left = labels(&store);
    assert!(left.keys().all(|label| label == RECORD || label == "release/tests/one@1.0.0"), "{left:?}");
    check(&registry, &["one@=1.0.0"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_at_any_change_of_the_store_tells_the_truth() {
    let mut done = Vec::new();
    for changes in 0.. {
        let (home, store) = (tempfile::tempdir().unwrap(), MemoryBlockstore::new());
        let registry = open(home.path(), Arc::new(store.clone())).await;
        publish(&registry, "one", "1.0.0", 1, 10).await;
        registry.shutdown().await.unwrap();
        let before = labels(&store);

        let interrupt = Interrupt::new();
        let mortal = Mortal { memory: store.clone(), left: changes.into(), interrupt: Some(interrupt.clone()) };
        let registry = open(home.path(), Arc::new(mortal)).await;
        let outcome = publish_until(&registry, ("two", "1.0.0"), 1, 10, interrupt).await;
        // The interrupted publish still cleans up: wait for its lock.
        drop(registry.services().publishing.lock().await);
        registry.shutdown().await.unwrap();
        let registry = open(home.path(), Arc::new(store.clone())).await;
        let was_done = labels(&store) != before;
        match &outcome {
            Ok(_) => assert!(was_done),
            Err(failure) => {
                assert_eq!(failure.kind, ErrorKind::Interrupted, "{failure:?}");
                assert_eq!(failure.message.contains("tests/two@1.0.0 is published already"), was_done, "{failure:?}");
            }
        }
        check(&registry, if was_done { &["one", "two"] } else { &["one"] }).await;
        publish(&registry, "two", "1.0.0", 1, 10).await;
        registry.shutdown().await.unwrap();
        done.push(was_done);
        if outcome.is_ok() {
            break;
        }
    }
    assert!(!done[0] && done[done.len() - 1], "{done:?}");
}
