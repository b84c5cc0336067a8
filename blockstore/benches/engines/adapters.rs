//! The engines behind one interface.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};
use ggen_blockstore::{Block, Blockstore, Cid, SegmentBlockstore, SegmentOptions};
use redb::{ReadableDatabase, TableDefinition};

use crate::Outcome;

/// Names of the engines, in the order of the table.
pub(crate) const NAMES: [&str; 3] = ["segments", "fjall", "redb"];

const TABLE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("blocks");
/// A cache as large as fits the memory budget of the daemon.
const CACHE_BYTES: u64 = 64 << 20;

/// What is measured of an engine. Batches survive the death of the process.
pub(crate) trait Engine {
    fn put(&self, blocks: &[Block]) -> Outcome<()>;
    fn sync(&self) -> Outcome<()>;
    fn get(&self, cid: &Cid) -> Outcome<Option<usize>>;
    fn has(&self, cid: &Cid) -> Outcome<bool>;
    fn delete(&self, cids: &[Cid]) -> Outcome<()>;
    /// Gives the space of what was deleted back, as far as the engine can do so while it is in use.
    fn compact(&self) -> Outcome<()>;
}

/// Opens the engine called `name` in `dir`.
pub(crate) fn open(name: &str, dir: &Path) -> Outcome<Box<dyn Engine>> {
    Ok(match name {
        "segments" => Box::new(SegmentBlockstore::open(dir, SegmentOptions::default())?),
        "fjall" => Box::new(Fjall::open(dir)?),
        "redb" => {
            Box::new(Redb(redb::Builder::new().set_cache_size(CACHE_BYTES as usize).create(dir.join("blocks.redb"))?))
        }
        other => return Err(format!("there is no engine `{other}`").into()),
    })
}

impl Engine for SegmentBlockstore {
    fn put(&self, blocks: &[Block]) -> Outcome<()> {
        self.put_many(blocks)?;
        Ok(())
    }

    fn sync(&self) -> Outcome<()> {
        Ok(Blockstore::sync(self)?)
    }

    fn get(&self, cid: &Cid) -> Outcome<Option<usize>> {
        Ok(Blockstore::get(self, cid)?.map(|data| data.len()))
    }

    fn has(&self, cid: &Cid) -> Outcome<bool> {
        Ok(Blockstore::has(self, cid)?)
    }

    fn delete(&self, cids: &[Cid]) -> Outcome<()> {
        self.delete_many(cids)?;
        Ok(())
    }

    fn compact(&self) -> Outcome<()> {
        SegmentBlockstore::compact(self)?;
        Ok(())
    }
}

struct Fjall {
    database: Database,
    blocks: Keyspace,
}

impl Fjall {
    fn open(dir: &Path) -> Outcome<Self> {
        let database = Database::builder(dir).cache_size(CACHE_BYTES).open()?;
        let options = || KeyspaceCreateOptions::default().with_kv_separation(Some(KvSeparationOptions::default()));
        let blocks = database.keyspace("blocks", options)?;
        Ok(Self { database, blocks })
    }
}

impl Engine for Fjall {
    fn put(&self, blocks: &[Block]) -> Outcome<()> {
        let mut batch = self.database.batch();
        for block in blocks {
            batch.insert(&self.blocks, block.cid().hash().to_bytes(), block.data().as_ref());
        }
        Ok(batch.commit()?)
    }

    fn sync(&self) -> Outcome<()> {
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }

    fn get(&self, cid: &Cid) -> Outcome<Option<usize>> {
        Ok(self.blocks.get(cid.hash().to_bytes())?.map(|data| data.len()))
    }

    fn has(&self, cid: &Cid) -> Outcome<bool> {
        Ok(self.blocks.contains_key(cid.hash().to_bytes())?)
    }

    fn delete(&self, cids: &[Cid]) -> Outcome<()> {
        let mut batch = self.database.batch();
        cids.iter().for_each(|cid| batch.remove(&self.blocks, cid.hash().to_bytes()));
        Ok(batch.commit()?)
    }

    fn compact(&self) -> Outcome<()> {
        Ok(self.blocks.major_compact()?)
    }
}

/// Commits are synced: redb loses an unsynced one when the process dies.
struct Redb(redb::Database);

impl Engine for Redb {
    fn put(&self, blocks: &[Block]) -> Outcome<()> {
        let transaction = self.0.begin_write()?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for block in blocks {
                table.insert(block.cid().hash().to_bytes().as_slice(), block.data().as_ref())?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn sync(&self) -> Outcome<()> {
        Ok(())
    }

    fn get(&self, cid: &Cid) -> Outcome<Option<usize>> {
        let table = self.0.begin_read()?.open_table(TABLE)?;
        // The others return owned bytes.
        Ok(table.get(cid.hash().to_bytes().as_slice())?.map(|data| data.value().to_vec().len()))
    }

    fn has(&self, cid: &Cid) -> Outcome<bool> {
        let table = self.0.begin_read()?.open_table(TABLE)?;
        Ok(table.get(cid.hash().to_bytes().as_slice())?.is_some())
    }

    fn delete(&self, cids: &[Cid]) -> Outcome<()> {
        let transaction = self.0.begin_write()?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for cid in cids {
                table.remove(cid.hash().to_bytes().as_slice())?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn compact(&self) -> Outcome<()> {
        // Needs the database for itself; freed pages are used again by later writes.
        Ok(())
    }
}
