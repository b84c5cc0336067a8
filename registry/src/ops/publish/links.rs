//! Follows symlinks within a package.

use std::collections::BTreeMap;

use ggen_blockstore::{EntryKind, Listed};

/// Maximum number of symlinks followed from a name to its file.
pub(super) const MAX_LINKS: usize = 8;
/// Maximum number of symlinks listed individually.
const MAX_NAMED: usize = 10;

/// The entries of a package by their paths.
pub(super) type Kinds<'a> = BTreeMap<&'a str, &'a EntryKind>;

/// What a path resolves to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Led {
    File,
    Directory,
    Nowhere,
    /// Out of the package.
    Outside,
}

/// Returns the entries by their paths.
pub(super) fn kinds(entries: &[Listed]) -> Kinds<'_> {
    entries.iter().map(|entry| (entry.path.as_str(), &entry.kind)).collect()
}

/// Resolves a path in the tree, including symlinks.
pub(super) fn follow(kinds: &Kinds<'_>, path: &str) -> Led {
    if path.starts_with('/') {
        return Led::Outside;
    }
    let mut rest: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
    let mut at: Vec<String> = Vec::new();
    let (mut links, mut is_file) = (0, false);
    while let Some(name) = rest.pop() {
        match name.as_str() {
            "" | "." => continue,
            _ if is_file => return Led::Nowhere,
            ".." if at.pop().is_none() => return Led::Outside,
            ".." => continue,
            _ => at.push(name),
        }
        match kinds.get(at.join("/").as_str()) {
            Some(EntryKind::File { .. }) => is_file = true,
            Some(EntryKind::Directory) => {}
            Some(EntryKind::Symlink { target }) if links < MAX_LINKS => {
                links += 1;
                at.pop();
                rest.extend(target.split('/').rev().map(str::to_owned));
            }
            Some(EntryKind::Symlink { .. }) | None => return Led::Nowhere,
        }
    }
    if is_file { Led::File } else { Led::Directory }
}

/// Returns warnings about symlinks that do not resolve within the package.
pub(super) fn dangling(entries: &[Listed]) -> Vec<String> {
    let links: Vec<_> = entries
        .iter()
        .filter_map(|entry| match &entry.kind {
            EntryKind::Symlink { target } => Some((&entry.path, target)),
            _ => None,
        })
        .collect();
    if links.is_empty() {
        return Vec::new();
    }
    let kinds = kinds(entries);
    let lost = links.into_iter().filter(|(path, _)| matches!(follow(&kinds, path), Led::Nowhere | Led::Outside));
    let mut warnings: Vec<_> = lost
        .map(|(path, target)| format!("`{path}` is a symlink to `{target}`, which leads to nothing in the package"))
        .collect();
    if warnings.len() > MAX_NAMED {
        let more = warnings.len() - MAX_NAMED;
        warnings.truncate(MAX_NAMED);
        warnings.push(format!("{more} more symlinks lead to nothing in the package"));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(path: &str, target: &str) -> Listed {
        Listed { path: path.to_owned(), kind: EntryKind::Symlink { target: target.to_owned() } }
    }

    #[test]
    fn symlinks_that_lead_to_nothing_in_the_package_are_named() {
        let file = EntryKind::File { size: 1, executable: false };
        let mut entries = vec![
            Listed { path: "docs".to_owned(), kind: EntryKind::Directory },
            Listed { path: "docs/file".to_owned(), kind: file },
            link("docs/root", ".."),
            link("docs/up", "../docs/file"),
            link("docs/out", "../build/file"),
            link("git", ".git"),
            link("loop", "loop"),
            link("through", "git/config"),
            link("whole", "docs/root/docs/up"),
        ];
        let of = |path: &str, target: &str| {
            format!("`{path}` is a symlink to `{target}`, which leads to nothing in the package")
        };
        let expected =
            [of("docs/out", "../build/file"), of("git", ".git"), of("loop", "loop"), of("through", "git/config")];
        assert_eq!(dangling(&entries), expected);
        entries.extend((0..MAX_NAMED).map(|number| link(&number.to_string(), "x")));
        let warnings = dangling(&entries);
        assert_eq!(warnings.len(), MAX_NAMED + 1);
        assert_eq!(warnings[MAX_NAMED], "4 more symlinks lead to nothing in the package");
    }
}
