//! A home that its commands cannot write to.

use std::{
    ffi::OsStr,
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
};

use super::{Home, Output, finish};

/// The user of the tests' commands if the tests run as root, which file modes do not restrict.
const NOBODY: u32 = 65534;

/// Revokes the permission to write to a home, until it is dropped. Commands of root run as another user for that.
pub(crate) struct Frozen<'a> {
    home: &'a Home,
    program: PathBuf,
    is_root: bool,
}

impl<'a> Frozen<'a> {
    pub(crate) fn new(home: &'a Home) -> Self {
        let is_root = rustix::process::geteuid().is_root();
        // The other user may lack access to the directory of the binary.
        let program = home.work().join("ggen");
        let built = env!("CARGO_BIN_EXE_ggen");
        if !program.exists() && fs::hard_link(built, &program).is_err() {
            fs::copy(built, &program).unwrap();
        }
        let frozen = Self { home, program, is_root };
        if is_root {
            fs::set_permissions(home.work(), Permissions::from_mode(0o755)).unwrap();
        }
        frozen.set_modes(&home.path(), 0o555, 0o444);
        frozen
    }

    /// A directory that the commands may write to.
    pub(crate) fn writable(&self, name: &str) -> PathBuf {
        let path = self.home.work().join(name);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
        path
    }

    /// Runs `ggen marketplace p2p <args>`.
    pub(crate) fn p2p(&self, args: &[&str]) -> Output {
        let same = self.home.command::<&OsStr>(&[]);
        let mut command = Command::new(&self.program);
        for (name, value) in same.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.current_dir(self.home.work()).args(["marketplace", "p2p"]).args(args);
        if self.is_root {
            command.uid(NOBODY).gid(NOBODY);
        }
        finish(&mut command)
    }

    fn set_modes(&self, path: &Path, directories: u32, files: u32) {
        let metadata = fs::symlink_metadata(path).unwrap();
        if metadata.is_dir() {
            fs::set_permissions(path, Permissions::from_mode(0o700)).unwrap();
            for entry in fs::read_dir(path).unwrap() {
                self.set_modes(&entry.unwrap().path(), directories, files);
            }
            fs::set_permissions(path, Permissions::from_mode(directories)).unwrap();
        } else if metadata.is_file() {
            fs::set_permissions(path, Permissions::from_mode(files)).unwrap();
        }
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        self.set_modes(&self.home.path(), 0o700, 0o600);
    }
}
