//! Ignore files: which entries of a tree they exclude. The rules are git's, byte for byte (gitignore(5)): the last
//! matching pattern decides, patterns of a deeper file take precedence over those of a higher one, and nothing below an
//! excluded directory is included again. Tests compare with git itself on generated trees.
//!
//! Two kinds of file are read on every level: `.gitignore`, and `.ggenignore`, whose patterns all take precedence over
//! those of every `.gitignore`. As in git, a file that is a symlink is not read, no pattern is an error, and matching
//! is case-sensitive.
//!
//! In a git work tree the files of the directories above count too, up to its root. Two more files apply to its root,
//! with lower precedence than every `.gitignore`: `info/exclude` of the repository, and below it the user's own file,
//! which the caller names.

mod glob;
mod patterns;
mod work_tree;

use std::{
    borrow::Cow,
    fs::{self, OpenOptions},
    io::{self, Read},
    os::unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::{fs::OFlags, io::Errno};

use self::glob::Glob;
pub use self::patterns::{PathPatterns, PatternError};
use crate::{Error, Result};

/// The ignore files, the kind with higher precedence first.
const FILES: [&str; 2] = [".ggenignore", ".gitignore"];
/// Largest ignore file that is accepted, in bytes.
const MAX_FILE_BYTES: u64 = 16 << 20;
/// The byte order mark, which some editors write before the first line.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The kind of file whose precedence the additional files of git share.
const GITIGNORE: usize = 1;

/// The rules that apply in a directory of a tree: its own, and those of the directories above it.
#[derive(Debug, Default)]
pub(super) struct Ignore {
    /// By kind of file.
    kinds: [Vec<Rules>; FILES.len()],
    /// The path of the tree from the root of its git work tree, with a trailing slash; empty if the tree is the root of
    /// one or in none.
    prefix: Vec<u8>,
    /// The user's own ignore file.
    user_file: Option<PathBuf>,
}

/// Notes about the ignore files above a tree.
#[derive(Debug, Default)]
pub(super) struct Above {
    /// Files that were not read because they are symlinks.
    pub(super) links: Vec<PathBuf>,
    /// Names of the kinds that exclude the whole tree. Files of that kind above the tree are then not applied.
    pub(super) keep_all_out: Vec<&'static str>,
}

/// The patterns of one directory.
#[derive(Debug)]
struct Rules {
    /// Length of the directory's path from the root of all paths, with the trailing slash.
    base: usize,
    rules: Vec<Rule>,
}

impl Ignore {
    /// Reads the ignore files that apply to a directory because of its git work tree. `user_file` is the user's own
    /// ignore file, relative to the root of the work tree.
    ///
    /// # Errors
    /// As [`Self::enter`].
    pub(super) fn above(directory: &Path, user_file: Option<&Path>) -> Result<(Self, Above)> {
        let mut ignore = Self { user_file: user_file.map(Path::to_owned), ..Self::default() };
        let mut above = Above::default();
        let directory = fs::canonicalize(directory).map_err(Error::io("read", directory))?;
        let Some(root) = work_tree::root_around(&directory)? else { return Ok((ignore, above)) };
        let below = directory.strip_prefix(root).unwrap_or(Path::new(""));
        let (mut place, mut path) = (root.to_owned(), Vec::new());
        let mut is_out = [false; FILES.len()];
        for name in below {
            let links = ignore.enter(&place, &path, |_| true)?;
            above.links.extend(links.into_iter().map(|link| place.join(link)));
            place.push(name);
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend(name.as_bytes());
            for (is_out, kind) in is_out.iter_mut().zip(&ignore.kinds) {
                *is_out |= keep_out([kind], &path, true);
            }
        }
        for ((kind, name), _) in ignore.kinds.iter_mut().zip(FILES).zip(is_out).filter(|(_, is_out)| *is_out) {
            kind.clear();
            above.keep_all_out.push(name);
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        ignore.prefix = path;
        Ok((ignore, above))
    }

    /// Reads the ignore files of a directory, whose path from the root of the tree is `path`. Returns the names of
    /// those that were not read because they are symlinks. `may_have` returns whether the directory may have an entry of
    /// a name.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be read, because the files that it excludes could then be published.
    /// [`Error::LimitExceeded`] for a file over 16 MiB.
    pub(super) fn enter(
        &mut self,
        directory: &Path,
        path: &[u8],
        may_have: impl Fn(&str) -> bool,
    ) -> Result<Vec<&'static str>> {
        let base = self.prefix.len() + if path.is_empty() { 0 } else { path.len() + 1 };
        let beside = if may_have(work_tree::GIT) { self.beside_gitignore(directory)? } else { Vec::new() };
        let mut links = Vec::new();
        for (number, name) in FILES.into_iter().enumerate() {
            let mut rules = if number == GITIGNORE { beside.clone() } else { Vec::new() };
            let found = if may_have(name) { read(&directory.join(name), OFlags::NOFOLLOW)? } else { Found::Nothing };
            match found {
                Found::File(text) => rules.extend(parse(&text)),
                Found::Nothing | Found::Directory => {}
                Found::Link => links.push(name),
            }
            self.kinds[number].push(Rules { base, rules });
        }
        Ok(links)
    }

    /// The rules that git reads for the root of a work tree in addition to its `.gitignore`. This includes the root of
    /// a repository nested in another one.
    fn beside_gitignore(&self, directory: &Path) -> Result<Vec<Rule>> {
        let Some(exclude) = work_tree::exclude_file_of(directory)? else { return Ok(Vec::new()) };
        let user_file = self.user_file.iter().map(|file| directory.join(file));
        let mut rules = Vec::new();
        for file in user_file.chain([exclude]) {
            // Unlike those in the tree they may be symlinks, and git refuses a directory.
            match read(&file, OFlags::empty())? {
                Found::File(text) => rules.extend(parse(&text)),
                Found::Directory => return Err(Error::io("read", &file)(io::ErrorKind::IsADirectory.into())),
                Found::Link | Found::Nothing => {}
            }
        }
        Ok(rules)
    }

    /// Drops the rules of the directory that was entered last.
    pub(super) fn leave(&mut self) {
        self.kinds.iter_mut().for_each(|kind| drop(kind.pop()));
    }

    /// Returns whether an entry of the directory that was entered last is excluded; `path` is relative to the root of
    /// the tree.
    pub(super) fn keeps_out(&self, path: &[u8], is_directory: bool) -> bool {
        let path = match self.prefix.is_empty() {
            true => Cow::Borrowed(path),
            false => Cow::Owned([&self.prefix, path].concat()),
        };
        keep_out(&self.kinds, &path, is_directory)
    }
}

/// Returns whether the last matching rule excludes an entry. The kind with the highest precedence is first.
fn keep_out<'a>(kinds: impl IntoIterator<Item = &'a Vec<Rules>>, path: &[u8], is_directory: bool) -> bool {
    let directories = kinds.into_iter().flat_map(|kind| kind.iter().rev());
    let rules =
        directories.flat_map(|directory| directory.rules.iter().rev().map(|rule| (rule, &path[directory.base..])));
    let last = rules.into_iter().find(|(rule, path)| rule.matches(path, is_directory));
    last.is_some_and(|(rule, _)| !rule.keeps)
}

/// A line of an ignore file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    /// Whether it includes what it matches (`!`), instead of excluding it.
    keeps: bool,
    /// Whether it matches only directories (a trailing slash).
    directories: bool,
    /// Whether it is compared with the name on every level, instead of the path (no slash except at its end).
    names: bool,
    glob: Glob,
}

impl Rule {
    /// Parses a line without its line end. `None` for a line that matches nothing.
    fn read(line: &[u8]) -> Option<Self> {
        let (keeps, pattern) = line.strip_prefix(b"!").map_or((false, line), |pattern| (true, pattern));
        let (directories, pattern) = pattern.strip_suffix(b"/").map_or((false, pattern), |pattern| (true, pattern));
        let names = !pattern.contains(&b'/');
        let pattern = pattern.strip_prefix(b"/").unwrap_or(pattern);
        (!pattern.is_empty()).then(|| Self { keeps, directories, names, glob: Glob::new(pattern, !names) })
    }

    fn matches(&self, path: &[u8], is_directory: bool) -> bool {
        if self.directories && !is_directory {
            return false;
        }
        let name = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        self.glob.matches(if self.names { &path[name..] } else { path })
    }
}

fn parse(text: &[u8]) -> Vec<Rule> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    text.split(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"#")).filter_map(read_line).collect()
}

fn read_line(line: &[u8]) -> Option<Rule> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    // Git treats a line as a C string.
    let line = line.split(|byte| *byte == 0).next().unwrap_or(line);
    Rule::read(without_trailing_spaces(line))
}

/// Removes trailing spaces, except an escaped one, and none if the line ends with a backslash that escapes nothing.
fn without_trailing_spaces(line: &[u8]) -> &[u8] {
    let (mut end, mut at) = (0, 0);
    while let Some(&byte) = line.get(at) {
        match byte {
            b' ' => at += 1,
            b'\\' if at + 1 == line.len() => return line,
            b'\\' => {
                at += 2;
                end = at;
            }
            _ => {
                at += 1;
                end = at;
            }
        }
    }
    &line[..end]
}

/// What exists at the path of an ignore file.
enum Found {
    File(Vec<u8>),
    Link,
    Directory,
    /// Nothing, or something that is no file.
    Nothing,
}

fn read(path: &Path, flags: OFlags) -> Result<Found> {
    // Opening a pipe of that name must not block.
    let flags = flags | OFlags::NONBLOCK;
    let file = match OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Found::Nothing);
        }
        Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => return Ok(Found::Link),
        // The error for a socket.
        Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => return Ok(Found::Nothing),
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    let metadata = file.metadata().map_err(Error::io("read", path))?;
    if !metadata.is_file() {
        return Ok(if metadata.is_dir() { Found::Directory } else { Found::Nothing });
    }
    let mut text = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut text).map_err(Error::io("read", path))?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(Error::LimitExceeded { what: "bytes in an ignore file", limit: MAX_FILE_BYTES });
    }
    Ok(Found::File(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &[u8]) -> Vec<Rule> {
        parse(text)
    }

    #[test]
    fn spaces_at_the_end_count_if_they_are_escaped() {
        for (line, expected) in [
            ("a ", "a"),
            ("a\\ ", "a\\ "),
            ("a\\  ", "a\\ "),
            (" a b  ", " a b"),
            ("a \\", "a \\"),
            ("a\t", "a\t"),
            ("   ", ""),
        ] {
            assert_eq!(without_trailing_spaces(line.as_bytes()), expected.as_bytes(), "{line:?}");
        }
    }

    #[test]
    fn a_line_that_is_not_utf8_leaves_the_others_in_force() {
        let read = rules(b"# caf\xe9\n*.env\r\ncaf\xe9\n");
        assert_eq!(read.len(), 2);
        assert!(read[0].matches(b"sub/x.env", false) && read[1].matches(b"caf\xe9", false));
    }

    #[test]
    fn lines_that_match_nothing_are_no_rules() {
        assert_eq!(rules(b"\xef\xbb\xbf# comment\n\n!\n/\n   \n!/\r\n\0*\n\r\n"), []);
    }
}
