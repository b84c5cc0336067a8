//! Secrets in a tree that is in the store already, however it came there.

use std::{collections::BTreeMap, io::Read};

use ggen_blockstore::{Blockstore, EntryKind, FileReader, Finding, INSPECTED_BYTES, Tree};

use crate::{
    Failure,
    home::{IS_HOME, is_home},
    ops::failure,
    package::secret_in,
};

/// Whether a finding is one that nobody may allow.
pub(super) fn is_never_allowed(finding: &Finding) -> bool {
    finding.what == IS_HOME
}

/// Finds homes of nodes, and files that hold secrets.
pub(super) fn find_secrets(store: &dyn Blockstore, tree: &Tree) -> Result<Vec<Finding>, Failure> {
    let kinds: BTreeMap<&str, &EntryKind> =
        tree.entries.iter().map(|entry| (entry.path.as_str(), &entry.kind)).collect();
    let home_in = |directory: &str| {
        let look_up = |name: &str| {
            let path = if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") };
            kinds.get(path.as_str()).map(|kind| (*kind).clone())
        };
        is_home(&look_up)
    };
    let mut findings: Vec<_> = home_in("").map(|what| Finding { path: ".".to_owned(), what }).into_iter().collect();
    for entry in &tree.entries {
        let what = match entry.kind {
            EntryKind::Directory => home_in(&entry.path),
            EntryKind::File { size: 0, .. } | EntryKind::Symlink { .. } => None,
            EntryKind::File { size, .. } => match secret_in(&entry.path, None) {
                None if size <= INSPECTED_BYTES => {
                    let mut content = Vec::new();
                    let mut reader = FileReader::open(store, entry.cid).map_err(failure::store)?;
                    let read = reader.read_to_end(&mut content);
                    read.map_err(|error| failure::failed(error).while_doing(format!("cannot read `{}`", entry.path)))?;
                    secret_in(&entry.path, Some(&content))
                }
                by_path => by_path,
            },
        };
        findings.extend(what.map(|what| Finding { path: entry.path.clone(), what }));
    }
    Ok(findings)
}
