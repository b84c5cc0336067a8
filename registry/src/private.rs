//! Files and directories for their owner alone, whatever the process's umask: a daemon runs with none of its own.

use std::{
    fs::{self, DirBuilder, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use rusqlite::Connection;

/// Mode of a file.
const FILE: u32 = 0o600;
/// Mode of a directory.
const DIRECTORY: u32 = 0o700;
/// The bits of everybody else.
const OTHERS: u32 = 0o077;
/// What SQLite keeps in memory.
pub(crate) const MEMORY: &str = ":memory:";

/// Makes a directory, and its parents, unless it is there.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIRECTORY).create(path)
}

/// Options for a file that others must not read.
pub(crate) fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(FILE);
    options
}

/// Opens a database, which is made if it is not there. SQLite would make it readable for everybody; its journals it makes
/// with the mode of the database.
pub(crate) fn open_database(path: &Path) -> rusqlite::Result<Connection> {
    if path != Path::new(MEMORY)
        && let Err(cause) = make_file(path)
    {
        // What stands in the way of writing it need not stand in the way of reading it; if it does, SQLite says so.
        tracing::debug!(path = %path.display(), %cause, "a database cannot be made private");
    }
    Connection::open(path)
}

/// Makes a file unless it is there, and takes it from others if an earlier version made it readable for them.
fn make_file(path: &Path) -> io::Result<()> {
    let file = options().append(true).create(true).open(path)?;
    match is_open(file.metadata()?.permissions().mode()) {
        false => Ok(()),
        true => file.set_permissions(Permissions::from_mode(FILE)),
    }
}

/// Whether a mode lets others do anything.
pub(crate) fn is_open(mode: u32) -> bool {
    mode & OTHERS != 0
}

/// Takes a file or directory from others.
pub(crate) fn close(path: &Path) -> io::Result<()> {
    let mode = if path.is_dir() { DIRECTORY } else { FILE };
    fs::set_permissions(path, Permissions::from_mode(mode))
}
