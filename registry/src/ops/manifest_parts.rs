//! The parts of a block manifest in the store: its entries, the wants for them, and the check against the content.

use std::sync::Arc;

use ggen_blockstore::{Blockstore, Cid, dfs_blocks};

use super::{
    download::{DownloadError, Want, Wants},
    failure,
};
use crate::{
    ErrorKind, Failure,
    manifest::{ManifestEntry, ManifestReader},
    node::Place,
};

/// Reads one part of a manifest.
pub(super) fn part(
    store: &dyn Blockstore,
    manifest: &ManifestReader,
    index: usize,
) -> Result<Vec<ManifestEntry>, DownloadError> {
    let cid = manifest.chunks()[index].link;
    let data = store.get(&cid)?.ok_or(ggen_blockstore::Error::NotFound { cid })?;
    Ok(manifest.read_chunk(index, &data)?)
}

/// The wants of all entries of a manifest, read a part at a time.
pub(super) fn wants(store: Arc<dyn Blockstore>, manifest: Arc<ManifestReader>) -> impl Wants {
    let mut before = 0;
    (0..manifest.chunks().len()).map(move |index| {
        let entries = part(&*store, &manifest, index)?;
        let first = before;
        before += entries.len() as u32;
        let want = |(entry, at): (ManifestEntry, u32)| Want {
            cid: entry.cid,
            size: Some(u64::from(entry.size)),
            place: Some(Place::Listed(at)),
        };
        Ok(entries.into_iter().zip(first..).map(want).collect())
    })
}

/// Checks that the manifest is the depth-first walk of the content.
pub(super) fn check_manifest(store: &dyn Blockstore, content: Cid, manifest: &ManifestReader) -> Result<(), Failure> {
    let lie = |reason: String| {
        Failure::new(ErrorKind::Verification, format!("the block manifest does not match the content: {reason}"))
    };
    let mut walk = dfs_blocks(store, content);
    let mut bytes = 0;
    for index in 0..manifest.chunks().len() {
        for entry in part(store, manifest, index).map_err(|error| failure::download(&content, error))? {
            bytes += u64::from(entry.size);
            match walk.next().transpose().map_err(failure::store)? {
                Some((cid, size)) if cid == entry.cid && size == entry.size => {}
                Some((cid, _)) => return Err(lie(format!("it has {}, the content has {cid}", entry.cid))),
                None => return Err(lie(format!("it has {}, where the content has ended", entry.cid))),
            }
        }
    }
    if let Some((cid, _)) = walk.next().transpose().map_err(failure::store)? {
        return Err(lie(format!("the content goes on with {cid}")));
    }
    if bytes != manifest.content_bytes() {
        return Err(lie(format!("its blocks have {bytes} bytes, it says {}", manifest.content_bytes())));
    }
    Ok(())
}
