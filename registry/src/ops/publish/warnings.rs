//! Warnings of a publish. They do not stop it.

use std::collections::BTreeMap;

use ggen_blockstore::{EntryKind, Finding, Imported, Listed, PathPatterns};

use super::{ignore_pattern::pattern_of, links};
use crate::{
    Hint, Setting,
    error::hint,
    identity::PublisherId,
    package::{Gpack, UnknownKey},
};

/// Names of directories that tools generate.
const GENERATED: [&str; 18] = [
    ".gradle",
    ".mypy_cache",
    ".next",
    ".nox",
    ".nuxt",
    ".parcel-cache",
    ".pytest_cache",
    ".ruff_cache",
    ".svelte-kit",
    ".terraform",
    ".tox",
    ".turbo",
    ".venv",
    "Pods",
    "__pycache__",
    "__pypackages__",
    "bower_components",
    "node_modules",
];
/// A directory that contains one of these files is generated.
const MARKED: [&str; 2] = ["CACHEDIR.TAG", "pyvenv.cfg"];
/// A directory with one of these names is generated if the file is next to it.
const BESIDE: [(&str, &str); 3] = [("target", "Cargo.toml"), ("target", "pom.xml"), (".build", "Package.swift")];
/// A top-level directory with at least this many files is large.
const LARGE_FILES: u64 = 10_000;
/// A top-level directory with at least this many bytes is large.
const LARGE_BYTES: u64 = 100_000_000;
/// Maximum number of directories listed individually.
const MAX_NAMED: usize = 10;

/// Returns all warnings about an imported package. `version` is the one in the request, if any.
pub(super) fn of(imported: &Imported, gpack: &Gpack, version: Option<&str>) -> Vec<String> {
    let mut warnings = Vec::new();
    let left_out = imported.left_out.iter();
    warnings.extend(left_out.map(|Finding { path, what }| format!("`{path}` is left out: it is {what}")));
    warnings.extend(imported.notes.iter().map(ToString::to_string));
    warnings.extend(imported.found.iter().map(|found| of_secret(found, &gpack.allow_secrets)));
    warnings.extend(imported.linked_ignore_files.iter().map(|path| {
        format!(
            "`{path}` is a symlink, and not read for that: what it names is published, unless another file names it"
        )
    }));
    warnings.extend(imported.ignored_by.iter().map(|kind| {
        format!("a `{kind}` above the package keeps all of it out: those above it are not applied, only its own are")
    }));
    warnings.extend(links::dangling(&imported.entries));
    warnings.extend(gpack.unknown_keys.iter().map(of_key));
    let of_file = gpack.version.to_string();
    if let Some(version) = version.filter(|version| *version != of_file) {
        warnings.push(format!("publishing version {version}, but gpack.toml in the package says {of_file}"));
    }
    warnings.extend(of_directories(&imported.entries));
    warnings
}

/// Returns warnings about the package name. `own` is the publisher, `None` if this publish creates it. `known` are all
/// publishers that this home knows under the name. `chosen` states whether a user or a file chose the namespace.
pub(super) fn of_name(package: &str, own: Option<&PublisherId>, known: &[PublisherId], chosen: bool) -> Vec<Hint> {
    let mut warnings = Vec::new();
    let others: Vec<_> = known.iter().filter(|publisher| Some(*publisher) != own).collect();
    if let Some(other) = others.first() {
        let more = match others.len() {
            1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        let publisher = own.map_or_else(|| "<publisher>".to_owned(), ToString::to_string);
        let claimed =
            format!("`{package}` is also claimed by {other}{more}: users must name yours `{publisher}/{package}`");
        warnings.push(claimed.into());
    }
    let is_first = own.is_none_or(|own| !known.contains(own));
    if !chosen && is_first {
        warnings.push(hint![
            format!(
                "no namespace is set, so the package is named `{package}` for good, after its publisher's id; \
                 `namespace` in gpack.toml or "
            ),
            Setting::Namespace.to("NS"),
            " sets one"
        ]);
    }
    warnings
}

/// Returns the warning about a secret that is published because it is allowed, by gpack.toml or by a flag.
pub(super) fn of_secret(found: &Finding, allowed: &PathPatterns) -> String {
    let by = if allowed.match_file(&found.path) { ", as `allow-secrets` in gpack.toml says" } else { "" };
    format!("`{}` is published for everybody to read{by}: {}", found.path, found.what)
}

fn of_key(unknown: &UnknownKey) -> String {
    let UnknownKey { line, table, key, nearest } = unknown;
    let place = if table.is_empty() { "above the first table".to_owned() } else { format!("in `[{table}]`") };
    let nearest = nearest.map(|known| format!("; did you mean `{known}`?")).unwrap_or_default();
    format!("gpack.toml:{line}: the key `{key}` {place} has no meaning here{nearest}")
}

/// The files below a directory.
#[derive(Clone, Copy, Default)]
struct Load {
    files: u64,
    bytes: u64,
}

impl Load {
    fn is_large(self) -> bool {
        self.files >= LARGE_FILES || self.bytes >= LARGE_BYTES
    }
}

/// Returns warnings about directories that look generated (the topmost only), and about large top-level directories.
fn of_directories(entries: &[Listed]) -> Vec<String> {
    let files: BTreeMap<&str, &EntryKind> = entries.iter().map(|entry| (entry.path.as_str(), &entry.kind)).collect();
    let is_file = |path: String| matches!(files.get(path.as_str()), Some(EntryKind::File { .. }));
    let is_generated = |path: &str| {
        let (prefix, name) = path.rsplit_once('/').map_or((String::new(), path), |(up, name)| (format!("{up}/"), name));
        GENERATED.contains(&name)
            || MARKED.iter().any(|mark| is_file(format!("{path}/{mark}")))
            || BESIDE.iter().any(|(generated, mark)| *generated == name && is_file(format!("{prefix}{mark}")))
    };
    let mut loads: BTreeMap<&str, (Load, bool)> = BTreeMap::new();
    // Directories precede their contents.
    let mut generated: Vec<&str> = Vec::new();
    for entry in entries {
        let path = entry.path.as_str();
        let above =
            generated.last().filter(|above| path.strip_prefix(**above).is_some_and(|rest| rest.starts_with('/')));
        match (above, &entry.kind) {
            (Some(above), EntryKind::File { size, .. }) => add(&mut loads, above, true, *size),
            (None, EntryKind::Directory) if is_generated(path) => generated.push(path),
            (None, EntryKind::File { size, .. }) => {
                if let Some((top, _)) = path.split_once('/') {
                    add(&mut loads, top, false, *size);
                }
            }
            _ => {}
        }
    }
    let mut warnings: Vec<_> = loads
        .into_iter()
        .filter(|(_, (load, is_generated))| *is_generated || load.is_large())
        .map(|(path, (load, is_generated))| {
            let looks = if is_generated { "looks generated" } else { "is large" };
            let Load { files, bytes } = load;
            let files = if files == 1 { "1 file".to_owned() } else { format!("{files} files") };
            let keep_out = format!("a line `/{}/` in .ggenignore keeps it out", pattern_of(path));
            format!("`{path}` {looks} ({files}, {} MB): {keep_out}", bytes.div_ceil(1_000_000))
        })
        .collect();
    if warnings.len() > MAX_NAMED {
        let more = warnings.len() - MAX_NAMED;
        warnings.truncate(MAX_NAMED);
        warnings.push(format!("{more} more directories look generated or are large"));
    }
    warnings
}

fn add<'a>(loads: &mut BTreeMap<&'a str, (Load, bool)>, path: &'a str, is_generated: bool, bytes: u64) {
    let (load, generated) = loads.entry(path).or_default();
    *generated |= is_generated;
    load.files += 1;
    load.bytes += bytes;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(entries: &[(&str, u64)]) -> Vec<Listed> {
        let mut listed: BTreeMap<String, EntryKind> = BTreeMap::new();
        for (path, size) in entries {
            for (slash, _) in path.match_indices('/') {
                listed.insert(path[..slash].replace('/', "\0"), EntryKind::Directory);
            }
            listed.insert(path.replace('/', "\0"), EntryKind::File { size: *size, executable: false });
        }
        listed.into_iter().map(|(path, kind)| Listed { path: path.replace('\0', "/"), kind }).collect()
    }

    #[test]
    fn directories_that_tools_fill_are_named_once_with_what_they_weigh() {
        let warnings = of_directories(&tree(&[
            ("Cargo.toml", 1),
            ("target/debug/x", 3_000_000),
            ("web/node_modules/a/node_modules/b/x", 1),
            ("web/node_modules/a/y", 1),
            ("python/pyvenv.cfg", 1),
            ("python/lib/x", 1),
            ("src/target/x", 1),
            ("src/node_modules.md", 1),
        ]));
        let expected = [
            "`python` looks generated (2 files, 1 MB)",
            "`target` looks generated (1 file, 3 MB)",
            "`web/node_modules` looks generated (2 files, 1 MB)",
        ];
        assert_eq!(warnings.len(), expected.len(), "{warnings:?}");
        for (warning, expected) in warnings.iter().zip(expected) {
            assert!(warning.starts_with(expected), "{warning}");
        }
        assert!(warnings[2].ends_with("a line `/web/node_modules/` in .ggenignore keeps it out"), "{}", warnings[2]);
    }

    #[test]
    fn a_large_directory_is_named() {
        let warnings = of_directories(&tree(&[("data/a", 99_999_999), ("data/b/c", 1), ("src/x", 99_999_999)]));
        assert_eq!(warnings, ["`data` is large (2 files, 100 MB): a line `/data/` in .ggenignore keeps it out"]);
        let many: Vec<String> = (0..LARGE_FILES).map(|number| format!("many/{number}")).collect();
        let many: Vec<_> = many.iter().map(|path| (path.as_str(), 0)).collect();
        assert!(of_directories(&tree(&many))[0].starts_with("`many` is large (10000 files, 0 MB)"));
    }
}
