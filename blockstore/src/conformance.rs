//! What every [`Blockstore`] must do, as functions that panic if it does not: for the tests of implementations, here
//! and elsewhere (feature `testing`).

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use crate::{
    Block, Blockstore, Cid, DAG_PB, Error, IDENTITY, MAX_BLOCK_BYTES, MAX_PIN_LABEL_BYTES, Multihash, Pin, PinMode,
    PutReport, RAW,
};

/// Runs every check, each on a store of its own that `make` returns empty.
///
/// # Panics
/// If the store does not keep the contract.
pub fn run_all<S: Blockstore>(make: impl Fn() -> S) {
    empty_store_has_nothing(&make());
    blocks_come_back(&make());
    largest_and_empty_blocks_are_kept(&make());
    cid_versions_and_codecs_are_aliases(&make());
    identity_cids_are_always_there(&make());
    duplicates_are_stored_once(&make());
    deleted_blocks_are_gone(&make());
    leases_protect_what_is_put_and_retained(&make());
    delete_many_does_not_mind_leases(&make());
    pins_are_listed_in_order(&make());
    stats_count_blocks(&make());
    readers_and_writers_run_together(&make());
}

/// A raw block whose bytes follow from `number`, `len` of them.
pub fn sample_block(number: u64, len: usize) -> Block {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bf0_3635;
    let mut data = Vec::with_capacity(len + 8);
    while data.len() < len {
        // xorshift64*: incompressible enough, and the same everywhere.
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        data.extend(state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    data.truncate(len);
    Block::raw(data).expect("sample blocks are small enough")
}

fn listed(store: &impl Blockstore) -> BTreeSet<Multihash> {
    store.cids().map(|cid| *ok(cid).hash()).collect()
}

fn ok<T>(result: crate::Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("the store failed: {error}"))
}

fn assert_there(store: &impl Blockstore, block: &Block) {
    assert_eq!(ok(store.get(block.cid())).as_ref(), Some(block.data()), "{}", block.cid());
    assert!(ok(store.has(block.cid())));
    assert_eq!(ok(store.size(block.cid())), Some(block.data().len() as u32));
}

fn assert_gone(store: &impl Blockstore, cid: &Cid) {
    assert_eq!(ok(store.get(cid)), None, "{cid}");
    assert!(!ok(store.has(cid)));
    assert_eq!(ok(store.size(cid)), None);
}

fn empty_store_has_nothing(store: &impl Blockstore) {
    assert_gone(store, sample_block(1, 10).cid());
    assert_eq!(store.cids().count(), 0);
    assert!(store.pins().is_empty());
    assert_eq!(store.stats().blocks, 0);
    assert_eq!(ok(store.put_many(&[])), PutReport::default());
    assert_eq!(ok(store.retain(&[])), Vec::<bool>::new());
    assert_eq!(ok(store.delete_many(&[*sample_block(1, 10).cid()])), 0);
    ok(store.sync());
}

fn blocks_come_back(store: &impl Blockstore) {
    let blocks: Vec<_> = (0..200).map(|number| sample_block(number, (number as usize * 97) % 20_000 + 1)).collect();
    let report = ok(store.put_many(&blocks[..100]));
    assert_eq!(report.new_blocks, 100);
    assert_eq!(report.new_bytes, blocks[..100].iter().map(|block| block.data().len() as u64).sum::<u64>());
    for block in &blocks[100..] {
        assert_eq!(ok(store.put(block)).new_blocks, 1);
    }
    ok(store.sync());
    blocks.iter().for_each(|block| assert_there(store, block));
    assert_eq!(listed(store), blocks.iter().map(|block| *block.cid().hash()).collect());
    assert_gone(store, sample_block(1000, 10).cid());
}

fn largest_and_empty_blocks_are_kept(store: &impl Blockstore) {
    let blocks = [sample_block(0, 0), sample_block(1, 1), sample_block(2, MAX_BLOCK_BYTES)];
    assert_eq!(ok(store.put_many(&blocks)).new_bytes, MAX_BLOCK_BYTES as u64 + 1);
    blocks.iter().for_each(|block| assert_there(store, block));
}

fn cid_versions_and_codecs_are_aliases(store: &impl Blockstore) {
    let v0 = |block: &Block| Cid::new_v0(*block.cid().hash()).expect("a sha2-256 CID has a version 0");
    let (first, second) = (sample_block(1, 50), sample_block(2, 50));
    let as_v0 = Block::verify(v0(&first), first.data().clone()).expect("the same multihash");
    assert_eq!(ok(store.put(&as_v0)).new_blocks, 1);
    assert_eq!(ok(store.put(&first)).new_blocks, 0);
    assert_there(store, &first);
    assert_there(store, &as_v0);
    ok(store.put(&second));
    let as_dag_pb = Cid::new_v1(DAG_PB, *second.cid().hash());
    assert_eq!(ok(store.get(&as_dag_pb)).as_ref(), Some(second.data()));
    let cids: BTreeSet<_> = store.cids().map(|cid| ok(cid).to_string()).collect();
    assert_eq!(cids, [v0(&first).to_string(), second.cid().to_string()].into(), "as they were first put");
    assert_eq!(ok(store.delete_many(&[v0(&second)])), 1);
    assert_gone(store, second.cid());
}

fn identity_cids_are_always_there(store: &impl Blockstore) {
    let hash = Multihash::wrap(IDENTITY, b"inline").expect("short enough");
    let cid = Cid::new_v1(RAW, hash);
    let block = Block::verify(cid, &b"inline"[..]).expect("the data is the digest");
    assert_there(store, &block);
    assert_eq!(ok(store.put(&block)), PutReport::default());
    assert_eq!(ok(store.retain(&[cid])), [true]);
    assert_eq!(ok(store.delete_many(&[cid])), 0);
    assert_there(store, &block);
    assert_eq!(store.stats().blocks, 0);
    assert_eq!(store.cids().count(), 0);
}

fn duplicates_are_stored_once(store: &impl Blockstore) {
    let (first, second) = (sample_block(1, 100), sample_block(2, 30_000));
    let batch = [first.clone(), second.clone(), first.clone(), second.clone()];
    assert_eq!(ok(store.put_many(&batch)), PutReport { new_blocks: 2, new_bytes: 30_100 });
    assert_eq!(ok(store.put_many(&batch)), PutReport::default());
    assert_eq!(store.stats().blocks, 2);
    assert_eq!(store.cids().count(), 2);
    assert_eq!(ok(store.delete_many(&[*first.cid(), *first.cid()])), 1);
    assert_gone(store, first.cid());
    assert_there(store, &second);
}

fn deleted_blocks_are_gone(store: &impl Blockstore) {
    let blocks: Vec<_> = (0..50).map(|number| sample_block(number, 300)).collect();
    ok(store.put_many(&blocks));
    let cids: Vec<_> = blocks[..30].iter().map(|block| *block.cid()).collect();
    assert_eq!(ok(store.delete_many(&cids)), 30);
    assert_eq!(ok(store.delete_many(&cids)), 0);
    cids.iter().for_each(|cid| assert_gone(store, cid));
    blocks[30..].iter().for_each(|block| assert_there(store, block));
    assert_eq!(listed(store), blocks[30..].iter().map(|block| *block.cid().hash()).collect());
    assert_eq!(ok(store.put_many(&blocks)).new_blocks, 30);
    blocks.iter().for_each(|block| assert_there(store, block));
}

fn leases_protect_what_is_put_and_retained(store: &impl Blockstore) {
    let [old, kept, retained, new] = [1, 2, 3, 4].map(|number| sample_block(number, 100));
    let cids = [&old, &kept, &retained, &new].map(|block| *block.cid());
    ok(store.put_many(&[old.clone(), kept.clone(), retained.clone()]));
    let import = store.lease();
    assert_eq!(ok(store.retain(&[*retained.cid(), *sample_block(5, 10).cid()])), [true, false]);
    assert_eq!(ok(store.put_many(&[kept.clone(), new.clone()])).new_blocks, 1);
    let collector = store.lease();
    assert_eq!(ok(store.delete_unused(&cids, &collector)), 1);
    assert_gone(store, old.cid());
    [&kept, &retained, &new].into_iter().for_each(|block| assert_there(store, block));
    drop(import);
    ok(store.put(&kept));
    let none = "what work had under way when the collector began may have been pinned since";
    assert_eq!(ok(store.delete_unused(&cids, &collector)), 0, "{none}");
    drop(collector);
    let collector = store.lease();
    ok(store.put(&kept));
    assert!(ok(store.last_used(kept.cid())) > ok(store.last_used(new.cid())));
    assert_eq!(ok(store.delete_unused(&cids, &collector)), 2, "only what was put since the collector's lease stays");
    assert_there(store, &kept);
    drop(collector);
    let collector = store.lease();
    assert_eq!(ok(store.delete_unused(&cids, &collector)), 1);
    assert_eq!(store.cids().count(), 0);
}

fn delete_many_does_not_mind_leases(store: &impl Blockstore) {
    let block = sample_block(1, 100);
    let _lease = store.lease();
    ok(store.put(&block));
    ok(store.pin(Pin { label: "user".into(), cid: *block.cid(), mode: PinMode::Direct }));
    assert_eq!(ok(store.delete_many(&[*block.cid()])), 1);
    assert_gone(store, block.cid());
    assert_eq!(store.pins().len(), 1);
}

fn pins_are_listed_in_order(store: &impl Blockstore) {
    let [first, second] = [1, 2].map(|number| *sample_block(number, 100).cid());
    let pin = |label: &str, cid: Cid, mode: PinMode| Pin { label: label.into(), cid, mode };
    let mut expected = vec![
        pin("b", first, PinMode::Recursive),
        pin("a", second, PinMode::Recursive),
        pin("", first, PinMode::Direct),
        pin("a", first, PinMode::Direct),
    ];
    for pin in &expected {
        ok(store.pin(pin.clone()));
        ok(store.pin(pin.clone()));
    }
    expected.sort();
    assert_eq!(store.pins(), expected);
    let of_second: Vec<Pin> = expected.iter().filter(|pin| pin.cid == second).cloned().collect();
    assert_eq!(store.pins_of(&second), of_second);
    assert_eq!(store.pins_of(sample_block(3, 100).cid()), []);
    ok(store.pin(pin("b", first, PinMode::Direct)));
    assert_eq!(store.pins().last(), Some(&pin("b", first, PinMode::Direct)), "replaced");
    assert!(ok(store.unpin("b", &first)));
    assert!(!ok(store.unpin("b", &first)));
    assert!(!ok(store.unpin("other", &second)));
    assert_eq!(store.pins(), expected[..3]);
    ok(store.pin(pin(&"x".repeat(MAX_PIN_LABEL_BYTES), first, PinMode::Direct)));
    let refused = store.pin(pin(&"x".repeat(MAX_PIN_LABEL_BYTES + 1), first, PinMode::Direct));
    assert!(matches!(refused, Err(Error::LabelTooLong { .. })));
    assert_eq!(store.pins().len(), 4);
}

fn stats_count_blocks(store: &impl Blockstore) {
    let blocks: Vec<_> = (0..10).map(|number| sample_block(number, 1000)).collect();
    ok(store.put_many(&blocks));
    let stats = store.stats();
    assert_eq!((stats.blocks, stats.block_bytes), (10, 10_000));
    assert!(stats.stored_bytes >= 10_000);
    ok(store.delete_many(&[*blocks[0].cid()]));
    let stats = store.stats();
    assert_eq!((stats.blocks, stats.block_bytes), (9, 9_000));
}

fn readers_and_writers_run_together(store: &impl Blockstore) {
    const WRITERS: u64 = 3;
    const BLOCKS: u64 = 120;
    let kept: Vec<_> = (0..50).map(|number| sample_block(number, 500)).collect();
    ok(store.put_many(&kept));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    kept.iter().for_each(|block| assert_there(store, block));
                    assert!(store.cids().map(ok).count() >= kept.len());
                }
            });
        }
        let write = |writer: u64| {
            for number in 0..BLOCKS {
                // Every writer's odd blocks are its own, the even ones are everybody's.
                let owner = if number % 2 == 0 { 0 } else { writer };
                let block = sample_block(1_000 + owner * BLOCKS + number, 900);
                ok(store.put(&block));
                if number % 2 == 1 {
                    assert_there(store, &block);
                    if number % 4 == 1 {
                        assert_eq!(ok(store.delete_many(&[*block.cid()])), 1);
                        assert_gone(store, block.cid());
                    }
                }
                if number % 16 == 0 {
                    ok(store.sync());
                }
            }
        };
        let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || write(writer))).collect();
        let results: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        done.store(true, Ordering::Relaxed);
        assert!(results.into_iter().all(|result| result.is_ok()));
    });
    assert_eq!(store.stats().blocks, 50 + BLOCKS / 2 + WRITERS * BLOCKS / 4);
    assert_eq!(listed(store).len() as u64, store.stats().blocks);
}
