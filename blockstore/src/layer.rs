//! Layers over a store: a type that overrides some methods of [`Blockstore`](crate::Blockstore) and forwards the rest.

/// Implements methods of [`Blockstore`](crate::Blockstore) by calling them on a field, inside an `impl Blockstore for` block.
///
/// All methods but [`has`](crate::Blockstore::has) and [`put`](crate::Blockstore::put) are required, so the compiler names
/// each method that a layer neither writes nor forwards.
///
/// ```
/// use ggen_blockstore::{Block, Blockstore, Bytes, Cid, MemoryBlockstore, Result, forward_blockstore};
///
/// /// A store that logs each read.
/// #[derive(Debug)]
/// struct Logged {
///     store: MemoryBlockstore,
/// }
///
/// impl Blockstore for Logged {
///     fn get(&self, cid: &Cid) -> Result<Option<Bytes>> {
///         eprintln!("get {cid}");
///         self.store.get(cid)
///     }
///
///     forward_blockstore!(self.store: size put_many retain delete_many lease delete_unused last_used reclaim sync cids
///         pin unpin pins pins_of damage mend stats);
/// }
///
/// let logged = Logged { store: MemoryBlockstore::new() };
/// let block = Block::raw("hello").unwrap();
/// logged.put(&block).unwrap();
/// assert!(logged.has(block.cid()).unwrap());
/// ```
#[macro_export]
macro_rules! forward_blockstore {
    (self.$field:tt: $($method:ident)+) => {
        $($crate::forward_blockstore!(@$method $field);)+
    };
    (@get $field:tt) => {
        fn get(&self, cid: &$crate::Cid) -> $crate::Result<Option<$crate::Bytes>> {
            self.$field.get(cid)
        }
    };
    (@size $field:tt) => {
        fn size(&self, cid: &$crate::Cid) -> $crate::Result<Option<u32>> {
            self.$field.size(cid)
        }
    };
    (@put_many $field:tt) => {
        fn put_many(&self, blocks: &[$crate::Block]) -> $crate::Result<$crate::PutReport> {
            self.$field.put_many(blocks)
        }
    };
    (@retain $field:tt) => {
        fn retain(&self, cids: &[$crate::Cid]) -> $crate::Result<Vec<bool>> {
            self.$field.retain(cids)
        }
    };
    (@delete_many $field:tt) => {
        fn delete_many(&self, cids: &[$crate::Cid]) -> $crate::Result<u64> {
            self.$field.delete_many(cids)
        }
    };
    (@lease $field:tt) => {
        fn lease(&self) -> $crate::Lease {
            self.$field.lease()
        }
    };
    (@delete_unused $field:tt) => {
        fn delete_unused(&self, cids: &[$crate::Cid], lease: &$crate::Lease) -> $crate::Result<u64> {
            self.$field.delete_unused(cids, lease)
        }
    };
    (@last_used $field:tt) => {
        fn last_used(&self, cid: &$crate::Cid) -> $crate::Result<u64> {
            self.$field.last_used(cid)
        }
    };
    (@reclaim $field:tt) => {
        fn reclaim(&self, within: u64) -> $crate::Result<u64> {
            self.$field.reclaim(within)
        }
    };
    (@sync $field:tt) => {
        fn sync(&self) -> $crate::Result<()> {
            self.$field.sync()
        }
    };
    (@cids $field:tt) => {
        fn cids(&self) -> Box<dyn Iterator<Item = $crate::Result<$crate::Cid>> + Send + '_> {
            self.$field.cids()
        }
    };
    (@pin $field:tt) => {
        fn pin(&self, pin: $crate::Pin) -> $crate::Result<()> {
            self.$field.pin(pin)
        }
    };
    (@unpin $field:tt) => {
        fn unpin(&self, label: &str, cid: &$crate::Cid) -> $crate::Result<bool> {
            self.$field.unpin(label, cid)
        }
    };
    (@pins $field:tt) => {
        fn pins(&self) -> Vec<$crate::Pin> {
            self.$field.pins()
        }
    };
    (@pins_of $field:tt) => {
        fn pins_of(&self, cid: &$crate::Cid) -> Vec<$crate::Pin> {
            self.$field.pins_of(cid)
        }
    };
    (@damage $field:tt) => {
        fn damage(&self) -> $crate::Result<Vec<$crate::Damage>> {
            self.$field.damage()
        }
    };
    (@mend $field:tt) => {
        fn mend(&self) -> $crate::Result<u64> {
            self.$field.mend()
        }
    };
    (@stats $field:tt) => {
        fn stats(&self) -> $crate::StoreStats {
            self.$field.stats()
        }
    };
}
