//! Checks that a package contains the files that its gpack.toml names (`readme`, `license-file`).

use std::path::Path;

use ggen_blockstore::Listed;

use super::{
    ignore_pattern::pattern_of,
    links::{Kinds, Led, follow, kinds},
};
use crate::{ErrorKind, Failure, Setting, error::hint, package::NamedFile};

/// Name of the manifest file of a package.
pub(super) const GPACK: &str = "gpack.toml";

/// Why a path in gpack.toml does not resolve to a file of the package.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    Missing,
    Directory,
    Outside,
    /// The file is in the directory, but an ignore file excludes it or a parent directory. `pattern` includes it again.
    Ignored {
        pattern: String,
    },
}

/// A file that gpack.toml names and that the package lacks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Absent<'a> {
    file: &'a NamedFile,
    fault: Fault,
}

/// Returns those of `files` that are not files of the package at `package` with these entries.
pub(super) fn absent<'a>(package: &Path, entries: &[Listed], files: &'a [NamedFile]) -> Vec<Absent<'a>> {
    if files.is_empty() {
        return Vec::new();
    }
    let kinds = kinds(entries);
    let faults = files.iter().map(|file| (file, fault(&kinds, &file.path)));
    faults
        .filter_map(|(file, fault)| {
            let fault = match fault? {
                Fault::Missing => ignored(package, &kinds, &file.path).unwrap_or(Fault::Missing),
                fault => fault,
            };
            Some(Absent { file, fault })
        })
        .collect()
}

/// Returns what is wrong with a path; `None` if it resolves to a file.
fn fault(kinds: &Kinds<'_>, path: &str) -> Option<Fault> {
    match follow(kinds, path) {
        Led::File => None,
        Led::Directory => Some(Fault::Directory),
        Led::Nowhere => Some(Fault::Missing),
        Led::Outside => Some(Fault::Outside),
    }
}

/// Returns [`Fault::Ignored`] if a file that the tree lacks is in the imported directory.
fn ignored(package: &Path, kinds: &Kinds<'_>, path: &str) -> Option<Fault> {
    let names: Vec<&str> = path.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
    if names.contains(&"..") || !package.join(path).is_file() {
        return None;
    }
    let out = (1..=names.len()).find(|count| !kinds.contains_key(names[..*count].join("/").as_str()))?;
    let end = if out < names.len() { "/" } else { "" };
    Some(Fault::Ignored { pattern: format!("!/{}{end}", pattern_of(&names[..out].join("/"))) })
}

impl Absent<'_> {
    /// Returns what is wrong, in one line.
    pub(super) fn warning(&self) -> String {
        let NamedFile { key, line, path } = self.file;
        let reason = match &self.fault {
            Fault::Missing => "which is not in the package",
            Fault::Directory => "which is a directory",
            Fault::Outside => "which is outside the package",
            Fault::Ignored { .. } => "which an ignore file keeps out of the package",
        };
        format!("{GPACK}:{line}: `{key}` names `{path}`, {reason}")
    }

    fn remedy(&self) -> String {
        match &self.fault {
            Fault::Missing => format!("add the file or correct `{}`", self.file.key),
            Fault::Directory | Fault::Outside => format!("let `{}` name a file of the package", self.file.key),
            Fault::Ignored { pattern } => format!("add a line `{pattern}` to .ggenignore"),
        }
    }
}

/// The failure of a package that lacks files which its gpack.toml names.
pub(super) fn refuse(package: &Path, absent: &[Absent<'_>]) -> Failure {
    let warnings: Vec<_> = absent.iter().map(Absent::warning).collect();
    let remedies: Vec<_> = absent.iter().map(Absent::remedy).collect();
    let message = format!("cannot publish `{}`: {}", package.display(), warnings.join("; "));
    let hint = hint![remedies.join("; "), "; ", Setting::SkipVerify, " publishes the package as it is"];
    Failure::new(ErrorKind::Verification, message).hinted(hint)
}

#[cfg(test)]
mod tests {
    use ggen_blockstore::EntryKind;

    use super::*;

    fn tree() -> Vec<Listed> {
        let file = || EntryKind::File { size: 1, executable: false };
        let symlink = |target: &str| EntryKind::Symlink { target: target.to_owned() };
        let entries = [
            ("README.md", file()),
            ("a", symlink("b")),
            ("b", symlink("a")),
            ("docs", EntryKind::Directory),
            ("docs/LICENSE", file()),
            ("docs/up", symlink("../README.md")),
            ("lost", symlink("gone")),
            ("manual", symlink("docs")),
        ];
        entries.into_iter().map(|(path, kind)| Listed { path: path.to_owned(), kind }).collect()
    }

    fn fault_of(path: &str) -> Option<Fault> {
        let entries = tree();
        fault(&kinds(&entries), path)
    }

    #[test]
    fn a_path_that_leads_to_a_file_of_the_tree_has_no_fault() {
        for path in ["README.md", "./README.md", "docs//LICENSE", "docs/../README.md", "docs/up", "manual/LICENSE"] {
            assert_eq!(fault_of(path), None, "{path}");
        }
    }

    #[test]
    fn a_path_that_leads_to_none_has_the_fault_it_has() {
        for path in ["readme.md", "docs/README.md", "README.md/x", "README.md/../README.md", "a", "lost"] {
            assert_eq!(fault_of(path), Some(Fault::Missing), "{path}");
        }
        for path in ["docs", "docs/", ".", "manual"] {
            assert_eq!(fault_of(path), Some(Fault::Directory), "{path}");
        }
        for path in ["/README.md", "../README.md", "docs/../../x/README.md", "manual/../.."] {
            assert_eq!(fault_of(path), Some(Fault::Outside), "{path}");
        }
    }

    #[test]
    fn the_pattern_for_an_ignored_file_lets_in_the_uppermost_of_what_is_kept_out() {
        let directory = tempfile::tempdir().unwrap();
        for path in ["notes/deep/README.md", "docs/README.md"] {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        for (path, pattern) in [("notes/deep/README.md", "!/notes/"), ("./docs/README.md", "!/docs/README.md")] {
            let files = [NamedFile { key: "readme", line: 5, path: path.to_owned() }];
            let entries = tree();
            let absent = absent(directory.path(), &entries, &files);
            assert_eq!(absent[0].fault, Fault::Ignored { pattern: pattern.to_owned() });
        }
    }
}
