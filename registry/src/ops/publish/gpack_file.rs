//! The `gpack.toml` of a package: on disk, and in the store.

use std::{fs::OpenOptions, io::Read, os::unix::fs::OpenOptionsExt, path::Path};

use ggen_blockstore::{Block, Blockstore, Cid, Error, FileReader, Node, resolve};
use rustix::fs::OFlags;

use super::{input::PACKAGE_HINT, links::MAX_LINKS, named_files::GPACK};
use crate::{
    ErrorKind, Failure,
    ops::failure,
    package::{Gpack, MAX_GPACK_BYTES},
};

/// Reads the `gpack.toml` of a directory. Also returns the CID that the file has in an import.
pub(super) fn read_from_disk(directory: &Path) -> Result<(Cid, Gpack), Failure> {
    let file = directory.join(GPACK);
    // Opening a pipe would wait for its writer.
    match OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(&file) {
        Ok(opened) => {
            let metadata = opened.metadata().map_err(Error::io("read", &file)).map_err(failure::store)?;
            if !metadata.is_file() {
                let message = format!("`{}` is not a file", file.display());
                return Err(Failure::new(ErrorKind::Failed, message).hinted(PACKAGE_HINT));
            }
            let bytes = read(&file, opened)?;
            let gpack = parse(&file, &bytes)?;
            Ok((*Block::raw(bytes).map_err(failure::store)?.cid(), gpack))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => match file.read_link() {
            Ok(target) => Err(no_file(&file, &target.to_string_lossy())),
            Err(_) => Err(missing(directory)),
        },
        Err(source) => Err(failure::store(Error::io("open", &file)(source))),
    }
}

/// Reads the `gpack.toml` of an imported package, which is the authoritative one.
pub(super) fn read_from_store(store: &dyn Blockstore, root: Cid, path: &Path) -> Result<Gpack, Failure> {
    let name = path.join(GPACK);
    let Some(file) = find_in_store(store, root, path)? else { return Err(missing(path)) };
    let bytes = read(&name, FileReader::open(store, file).map_err(failure::store)?)?;
    parse(&name, &bytes)
}

/// Finds `gpack.toml` in an imported package, and follows it if it is a symlink.
pub(super) fn find_in_store(store: &dyn Blockstore, root: Cid, path: &Path) -> Result<Option<Cid>, Failure> {
    let mut name = GPACK.to_owned();
    for _ in 0..MAX_LINKS {
        let file = match resolve(store, root, &name) {
            Ok(file) => file,
            Err(Error::NoSuchPath { .. }) if name == GPACK => return Ok(None),
            Err(Error::NoSuchPath { .. }) => break,
            Err(error) => return Err(failure::store(error)),
        };
        let node = store.get(&file).map_err(failure::store)?.map(|block| Node::parse(&file, &block)).transpose();
        let Some(Node::Symlink { target }) = node.map_err(failure::store)? else { return Ok(Some(file)) };
        // A symlink of the tree stays inside the tree: `..` occurs only at its front, and never leaves the root.
        let parent = name.rsplit_once('/').map_or("", |(parent, _)| parent);
        name = beside(parent, &String::from_utf8_lossy(&target));
    }
    Err(no_file(&path.join(GPACK), &name))
}

fn no_file(link: &Path, target: &str) -> Failure {
    let message = format!("`{}` is a symlink to `{target}`, which is no file of the package", link.display());
    Failure::new(ErrorKind::Failed, message).hinted("put the file itself in the root of the package")
}

/// Resolves the target of a symlink in the directory `parent` to a path of the tree.
fn beside(parent: &str, target: &str) -> String {
    let mut names: Vec<&str> = parent.split('/').filter(|name| !name.is_empty()).collect();
    for name in target.split('/').filter(|name| !name.is_empty() && *name != ".") {
        match name {
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    names.join("/")
}

fn read(file: &Path, reader: impl Read) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    // One byte over the limit is enough for the parser to reject the size.
    let limit = MAX_GPACK_BYTES as u64 + 1;
    reader.take(limit).read_to_end(&mut bytes).map_err(|source| failure::store(Error::io("read", file)(source)))?;
    Ok(bytes)
}

pub(super) fn parse(file: &Path, bytes: &[u8]) -> Result<Gpack, Failure> {
    let name = file.display().to_string();
    let text = str::from_utf8(bytes).map_err(|_| Failure::new(ErrorKind::Failed, format!("`{name}` is not UTF-8")))?;
    Gpack::parse(&name, text).map_err(|error| {
        let hint = error.hint();
        failure::failed(error).hinted(hint)
    })
}

fn missing(package: &Path) -> Failure {
    let message = format!("`{}` is not a package: it has no {GPACK}", package.display());
    Failure::new(ErrorKind::Failed, message).hinted(PACKAGE_HINT)
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    #[test]
    fn pipe_in_the_place_of_the_file_is_refused_at_once() {
        let place = tempfile::tempdir().unwrap();
        mkfifoat(CWD, place.path().join(GPACK), Mode::RUSR | Mode::WUSR).unwrap();
        let refused = read_from_disk(place.path()).unwrap_err();
        assert!(refused.message.ends_with("gpack.toml` is not a file"), "{refused:?}");
    }
}
