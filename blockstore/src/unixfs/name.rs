//! Safe names, paths and symlinks, for import and export.

use std::borrow::Cow;

use icu_casemap::CaseMapper;
use icu_normalizer::DecomposingNormalizerBorrowed;

use crate::Refusal;

/// Longest file name, in bytes (the limit of common file systems).
pub const MAX_NAME_BYTES: usize = 255;
/// Longest path in a tree, in bytes.
pub const MAX_PATH_BYTES: usize = 4096;
/// Most directories on one path.
pub const MAX_DEPTH: usize = 128;
/// Most entries in a tree.
pub const MAX_ENTRIES: usize = 1_000_000;
/// Most bytes of all paths of a tree together: bounds the memory of a listing.
pub const MAX_TREE_PATH_BYTES: usize = 128 << 20;
/// Longest symlink target, in bytes.
pub const MAX_LINK_BYTES: usize = 4095;

/// Directories of version control systems, which are not part of a package's content. A file or link of that name
/// (`.git` of a submodule or a work tree) is excluded too.
const VCS_NAMES: [&str; 4] = [".git", ".hg", ".jj", ".svn"];

/// Returns whether an entry is excluded regardless of the ignore files, by its name or by a name that some file system
/// treats as equal. When exported there, it would become the directory of a repository.
pub(crate) fn is_vcs(name: &[u8]) -> bool {
    std::str::from_utf8(name).is_ok_and(|name| VCS_NAMES.contains(&folded(name).as_ref()))
}

/// Checks one name.
pub(crate) fn check_name(name: &[u8]) -> Result<&str, Refusal> {
    let text = std::str::from_utf8(name).map_err(|_| Refusal::NotUtf8)?;
    if text.is_empty() || text == "." || text == ".." || text.contains(['/', '\0']) {
        return Err(Refusal::Name { name: text.escape_default().to_string() });
    }
    if text.len() > MAX_NAME_BYTES {
        return Err(Refusal::TooLong { limit: MAX_NAME_BYTES });
    }
    Ok(text)
}

/// Checks the length and depth of a path made of checked names.
pub(crate) fn check_path(path: &str) -> Result<(), Refusal> {
    if path.len() > MAX_PATH_BYTES {
        return Err(Refusal::TooLong { limit: MAX_PATH_BYTES });
    }
    if depth(path) > MAX_DEPTH {
        return Err(Refusal::TooDeep { limit: MAX_DEPTH });
    }
    Ok(())
}

/// Checks the target of the symlink at `path`: it must be relative, and stay inside the tree even if parent directories
/// are symlinks.
///
/// `..` is allowed only at the front: after a name, which may itself be a symlink, the target of `..` cannot be
/// determined lexically.
pub(crate) fn check_link(path: &str, target: &[u8]) -> Result<(), Refusal> {
    let text = std::str::from_utf8(target).ok().filter(|text| (1..=MAX_LINK_BYTES).contains(&text.len()));
    let text = text.filter(|text| !text.contains('\0')).ok_or(Refusal::LinkTarget { limit: MAX_LINK_BYTES })?;
    let leaves = || Refusal::LinkLeavesTree { target: text.to_owned() };
    if text.starts_with('/') {
        return Err(leaves());
    }
    let mut parents = depth(path);
    let mut named = false;
    for part in text.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            parents = parents.checked_sub(1).filter(|_| !named).ok_or_else(leaves)?;
        } else {
            named = true;
        }
    }
    Ok(())
}

/// Number of directories above the entry.
pub(crate) fn depth(path: &str) -> usize {
    path.bytes().filter(|byte| *byte == b'/').count()
}

/// The path of `name` in the directory `parent`, whose path is empty for the root.
pub(crate) fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") }
}

/// Code points that ext4 with case folding and HFS+ ignore in comparisons: Unicode's Default_Ignorable_Code_Point.
const IGNORED: [(char, char); 17] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{202a}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fff8}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// The form of a name that file systems which ignore case and Unicode form compare: APFS, HFS+, NTFS, ext4 with case
/// folding. Two names with the same folded form are the same file there. This is the canonical caseless match of
/// Unicode (chapter 3.13, D145) with all mappings: a final sigma is a sigma, a sharp s is `ss`.
fn folded(name: &str) -> Cow<'_, str> {
    if name.is_ascii() {
        let has_upper = name.bytes().any(|byte| byte.is_ascii_uppercase());
        return if has_upper { Cow::Owned(name.to_ascii_lowercase()) } else { Cow::Borrowed(name) };
    }
    let is_ignored = |character: &char| IGNORED.iter().any(|(first, last)| (first..=last).contains(&character));
    let decomposed = DecomposingNormalizerBorrowed::new_nfd();
    let heeded: String = name.chars().filter(|character| !is_ignored(character)).collect();
    let lower = CaseMapper::new().fold_string(&decomposed.normalize(&heeded)).into_owned();
    Cow::Owned(decomposed.normalize(&lower).into_owned())
}

/// Finds a name in a directory that some file system treats as equal to another name in it.
pub(crate) fn case_collision<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<(&'a str, Refusal)> {
    let mut folded: Vec<_> = names.into_iter().map(|name| (folded(name), name)).collect();
    folded.sort_unstable();
    let twins = folded.windows(2).find(|pair| pair[0].0 == pair[1].0)?;
    let (other, name) = (twins[0].1, twins[1].1);
    let refusal = if other == name { Refusal::Duplicate } else { Refusal::CaseCollision { other: other.to_owned() } };
    Some((name, refusal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_paths_are_refused() {
        for name in ["", ".", "..", "a/b", "/", "a\0b"] {
            assert!(matches!(check_name(name.as_bytes()), Err(Refusal::Name { .. })), "{name:?}");
        }
        assert_eq!(check_name(b"caf\xe9"), Err(Refusal::NotUtf8));
        assert_eq!(check_name(&[b'x'; 256]), Err(Refusal::TooLong { limit: 255 }));
        for name in ["a", "...", ".hidden", "a b", "caf\u{e9}", "-", "\\"] {
            assert_eq!(check_name(name.as_bytes()), Ok(name));
        }
    }

    #[test]
    fn version_control_is_told_by_every_name_that_some_file_system_takes_for_its_own() {
        for name in [".git", ".GIT", ".Git", ".hG", ".JJ", ".SVN", ".g\u{200c}it", "\u{feff}.git", ".g\u{130}t"] {
            assert_eq!(is_vcs(name.as_bytes()), !name.contains('\u{130}'), "{name:?}");
        }
        for name in ["git", ".gitignore", ".github", ".git.", "x.git", ".svn2"] {
            assert!(!is_vcs(name.as_bytes()), "{name}");
        }
        assert!(!is_vcs(b".git\xff"));
    }

    #[test]
    fn names_that_some_file_system_takes_for_one_are_found() {
        let twins = [
            ("README", "readme"),
            ("\u{c9}cole", "\u{e9}cole"),
            ("caf\u{e9}", "cafe\u{301}"),
            ("CAF\u{c9}", "cafe\u{301}"),
            ("\u{3a3}\u{391}\u{3a3}", "\u{3c3}\u{3b1}\u{3c2}"),
            ("\u{3c3}\u{3b1}\u{3c3}", "\u{3c3}\u{3b1}\u{3c2}"),
            ("stra\u{df}e", "STRASSE"),
            ("stra\u{df}e", "stra\u{1e9e}e"),
            ("\u{212b}", "\u{e5}"),
            ("\u{212a}", "k"),
            ("\u{17f}", "S"),
            ("\u{ac00}", "\u{1100}\u{1161}"),
            ("a\u{323}\u{307}", "a\u{307}\u{323}"),
            ("\u{fb03}", "ffi"),
            ("\u{1f80}", "\u{1f00}\u{3b9}"),
            ("\u{130}", "i\u{307}"),
            ("a\u{200d}b", "ab"),
            ("x\u{feff}", "X"),
        ];
        for (name, other) in twins {
            let found = case_collision([name, "between", other]);
            assert!(matches!(found, Some((_, Refusal::CaseCollision { .. }))), "{name:?} and {other:?}: {found:?}");
        }
        for (name, other) in [
            ("a", "b"),
            ("e", "\u{e9}"),
            ("2", "\u{b2}"),
            ("fi", "fj"),
            ("i", "\u{131}"),
            ("o", "\u{f8}"),
            ("\u{ad}", "\u{ae}"),
        ] {
            assert_eq!(case_collision([name, other]), None, "{name:?} and {other:?}");
        }
        assert_eq!(case_collision(["a", "b", "a"]), Some(("a", Refusal::Duplicate)));
    }

    #[test]
    fn links_may_stay_in_the_tree_and_not_leave_it() {
        for (path, target) in
            [("a", "b"), ("d/a", "../b"), ("d/a", ".."), ("d/e/a", "./../../x/y"), ("a", "."), ("a", "..b")]
        {
            assert_eq!(check_link(path, target.as_bytes()), Ok(()), "{path} -> {target}");
        }
        for (path, target) in
            [("a", ".."), ("a", "/etc/passwd"), ("d/a", "../../x"), ("d/a", "x/../y"), ("a", "d/../../x")]
        {
            let refusal = check_link(path, target.as_bytes());
            assert!(matches!(refusal, Err(Refusal::LinkLeavesTree { .. })), "{path} -> {target}");
        }
        for target in [&b""[..], b"a\0b", b"\xff", &[b'x'; 4096]] {
            assert!(matches!(check_link("a", target), Err(Refusal::LinkTarget { .. })));
        }
    }

    #[test]
    fn paths_are_bounded_in_length_and_depth() {
        assert_eq!(check_path(&"a/".repeat(MAX_DEPTH)), Ok(()));
        assert!(matches!(check_path(&"a/".repeat(MAX_DEPTH + 1)), Err(Refusal::TooDeep { .. })));
        assert!(matches!(check_path(&"a".repeat(MAX_PATH_BYTES + 1)), Err(Refusal::TooLong { .. })));
    }
}
