//! Secrets in a package: finds those in a stored tree, and builds the failure that lists them.

use std::{collections::BTreeMap, io::Read, path::Path};

use ggen_blockstore::{
    Blockstore, Entry, EntryKind, FileReader, Finding, INSPECTED_BYTES, Inspected, Tree, inspect_parts,
};

use super::named_files::GPACK;
use crate::{
    ErrorKind, Failure, Setting,
    error::hint,
    home::{IS_HOME, IS_HOME_WITHOUT_KEYS, is_home},
    ops::failure,
    package::secret_in,
};

/// Whether a finding is one that no publisher may allow.
pub(super) fn is_never_allowed(finding: &Finding) -> bool {
    [IS_HOME, IS_HOME_WITHOUT_KEYS].contains(&finding.what)
}

/// What a package is published from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Directory,
    Tarball,
    /// A tarball that can be read only once, whose `gpack.toml` allows secrets. That is known only at its end.
    Pipe,
    /// A tree that was published before, or imported.
    Tree,
}

/// The failure of a package that contains secrets. Its causes list the files.
pub(super) fn withheld(path: &Path, findings: &[Finding], source: Source) -> Failure {
    let has_home = findings.iter().any(is_never_allowed);
    let what = match findings.len() {
        _ if has_home => "it holds the home of a node".to_owned(),
        1 => "a file holds a secret".to_owned(),
        count => format!("{count} files hold secrets"),
    };
    let failure = Failure::new(ErrorKind::Verification, format!("cannot publish `{}`: {what}", path.display()));
    let causes = findings.iter().map(|Finding { path, what }| format!("`{path}`: {what}")).collect();
    let hint = match source {
        _ if has_home => hint!["make it again without the home: what is published cannot be taken back"],
        Source::Directory if findings.iter().any(|finding| finding.path == GPACK) => {
            hint!["take the secret out of gpack.toml, which is published whatever .ggenignore says"]
        }
        Source::Directory => {
            hint![
                "name them in .ggenignore to keep them out, or in `allow-secrets` of gpack.toml to publish them; ",
                Setting::AllowSecrets,
                " publishes every secret, and that cannot be taken back"
            ]
        }
        Source::Tarball => {
            hint![
                "make the tarball again without them, or name them in `allow-secrets` of its gpack.toml to publish \
                 them; ",
                Setting::AllowSecrets,
                " publishes every secret, and that cannot be taken back"
            ]
        }
        Source::Pipe => {
            hint![
                "publish the tarball from a file: only then can `allow-secrets` of its gpack.toml be read before the rest"
            ]
        }
        Source::Tree => {
            hint!["make a tree without them, or name them in `allow-secrets` of its gpack.toml to publish them"]
        }
    };
    Failure { causes, ..failure }.hinted(hint)
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
            EntryKind::File { size, .. } => match secret_in(&entry.path, Inspected::Path) {
                None => secret_in_store(store, entry, size)?,
                by_path => by_path,
            },
        };
        findings.extend(what.map(|what| Finding { path: entry.path.clone(), what }));
    }
    Ok(findings)
}

/// Looks for a secret in the content of a file.
fn secret_in_store(store: &dyn Blockstore, entry: &Entry, size: u64) -> Result<Option<&'static str>, Failure> {
    let mut reader = FileReader::open(store, entry.cid).map_err(failure::store)?;
    let found = if size > INSPECTED_BYTES {
        inspect_parts(&secret_in, &entry.path, reader)
    } else {
        let mut content = Vec::new();
        reader.read_to_end(&mut content).map(|_| secret_in(&entry.path, Inspected::Content(&content)))
    };
    found.map_err(|error| failure::failed(error).while_doing(format!("cannot read `{}`", entry.path)))
}

#[cfg(test)]
mod tests {
    use ggen_blockstore::{ImportOptions, MemoryBlockstore, TreeLimits, import_directory, list_tree};

    use super::*;
    use crate::identity::KeyPair;

    #[test]
    fn a_key_in_a_long_file_of_a_stored_tree_is_found() {
        let place = tempfile::tempdir().unwrap();
        let key = KeyPair::from_seed(&[7; 32]).to_pem();
        let filler = vec![b'x'; (1 << 20) - 40];
        std::fs::write(place.path().join("long.log"), [&filler, key.as_bytes(), &filler].concat()).unwrap();
        std::fs::write(place.path().join("plain.log"), [&filler[..], &key.as_bytes()[..60], &filler].concat()).unwrap();
        let store = MemoryBlockstore::new();
        let root = import_directory(&store, place.path(), &ImportOptions::default()).unwrap().root;
        let tree = list_tree(&store, root, &TreeLimits::default()).unwrap();
        let found = find_secrets(&store, &tree).unwrap();
        assert_eq!(found, [Finding { path: "long.log".to_owned(), what: "a private key (PEM)" }]);
    }
}
