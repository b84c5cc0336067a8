//! Files and directories with access for their owner only, regardless of the process's umask: a daemon adopts the umask
//! of the command that it works for.
//! 0.

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
/// The permission bits of group and other users.
const OTHERS: u32 = 0o077;
/// SQLite's name of a database in memory.
pub(crate) const MEMORY: &str = ":memory:";

/// Creates a directory and its parents, if they do not exist.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIRECTORY).create(path)
}

/// Options for a file that other users must not read.
pub(crate) fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(FILE);
    options
}

/// Opens a database, and creates it if it does not exist. SQLite would create it readable for all users; SQLite creates
/// the journals with the mode of the database.
pub(crate) fn open_database(path: &Path) -> rusqlite::Result<Connection> {
    if path != Path::new(MEMORY)
        && let Err(cause) = make_file(path)
    {
        // A file that cannot be written may still be readable; otherwise SQLite reports the error.
        tracing::debug!(path = %path.display(), %cause, "a database cannot be made private");
    }
    Connection::open(path)
}

/// Creates a file if it does not exist, and revokes the access of other users if an earlier version granted it.
fn make_file(path: &Path) -> io::Result<()> {
    let file = options().append(true).create(true).open(path)?;
    match is_open(file.metadata()?.permissions().mode()) {
        false => Ok(()),
        true => file.set_permissions(Permissions::from_mode(FILE)),
    }
}

/// Returns whether a mode grants any access to other users.
pub(crate) fn is_open(mode: u32) -> bool {
    mode & OTHERS != 0
}

/// Revokes the access of other users to a file or directory.
pub(crate) fn close(path: &Path) -> io::Result<()> {
    let mode = if path.is_dir() { DIRECTORY } else { FILE };
    fs::set_permissions(path, Permissions::from_mode(mode))
}
