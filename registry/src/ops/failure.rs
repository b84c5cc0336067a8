//! Converts errors of the lower layers to a [`Failure`]: kind, message, causes, hint.

mod target;

use std::path::Path;

use ggen_blockstore::{Cid, SegmentBlockstore};

use super::{denial::undeny, download::DownloadError};
use crate::{
    ErrorKind, Failure,
    database::DatabaseError,
    home::HomeError,
    index::{CatalogError, TreeError},
    keys::{DEFAULT_KEY, KeyStoreError},
    manifest::ManifestError,
    mirror::BookError,
    node::{StartError, Stopped},
    package::{NameError, Target},
    peers::PeerBookError,
};

/// Hint for a failure of an operation that used only the local store.
pub(crate) const ONLINE_HINT: &str = "run the same command without `--offline`";
/// What to do where this process may not open more files.
const MORE_FILES: &str = "allow more open files with `ulimit -n 1024`, then run the same command again";

/// The request is invalid.
pub(crate) fn usage(error: impl std::fmt::Display) -> Failure {
    Failure::new(ErrorKind::Usage, error.to_string())
}

/// Parses a target as typed.
pub(crate) fn target(text: &str) -> Result<Target, Failure> {
    text.parse().map_err(|error: NameError| match target::hint(text, &error) {
        Some(hint) => usage(error).hinted(hint),
        None => usage(error),
    })
}

/// Verification failed: of a record, a manifest or a hash.
pub(crate) fn verification(error: impl std::error::Error) -> Failure {
    Failure::from_error(ErrorKind::Verification, &error)
}

/// The operation failed.
pub(crate) fn failed(error: impl std::error::Error) -> Failure {
    Failure::from_error(ErrorKind::Failed, &error)
}

/// A blockstore error: wrong bytes and unsafe trees are a failed verification.
pub(crate) fn store(error: ggen_blockstore::Error) -> Failure {
    use ggen_blockstore::Error;
    let kind = match &error {
        Error::HashMismatch { .. } | Error::Corrupt { .. } | Error::Refused { .. } => ErrorKind::Verification,
        Error::InvalidCid { .. } | Error::NotADirectory { .. } | Error::IsSymlink { .. } => ErrorKind::Usage,
        Error::InvalidNode { .. }
        | Error::NotUnixfs { .. }
        | Error::UnsupportedCodec { .. }
        | Error::UnsupportedHash { .. }
        | Error::DigestLength { .. }
        | Error::TooLarge { .. }
        | Error::LimitExceeded { .. } => ErrorKind::Verification,
        Error::NoSuchPath { .. } => ErrorKind::NotFound,
        Error::Cancelled => ErrorKind::Interrupted,
        _ => ErrorKind::Failed,
    };
    let failure = Failure::from_error(kind, &error);
    match &error {
        Error::Corrupt { .. } => failure.hinted(
            "with a node that is connected to a peer that has it, `ggen marketplace p2p verify --repair` fetches it again",
        ),
        Error::Exists { .. } => failure.hinted("name another place with `-o PATH`"),
        Error::NotADirectory { .. } => failure.hinted("`-o FILE` writes the file itself"),
        Error::IsSymlink { .. } => {
            failure.hinted("fetch the path that it points to, or the directory that it is in: `/ipfs/<cid>/<path>`")
        }
        Error::Blocked { by, .. } => {
            failure.hinted(format!("move `{}` away, then run the same command again", by.display()))
        }
        Error::Edited { .. } => failure.hinted("keep copies of those you need, then overwrite them with `--force`"),
        Error::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
            failure.hinted("free some space on that disk, then run the same command again: it resumes")
        }
        Error::Io { source, .. } if is_out_of_files(source) => failure.hinted(MORE_FILES),
        _ => failure,
    }
}

/// A catalog tree that cannot be read.
pub(crate) fn tree(error: &TreeError) -> Failure {
    match error {
        TreeError::Store(source) if matches!(**source, ggen_blockstore::Error::Corrupt { .. }) => {
            verification(error).hinted("`ggen marketplace p2p verify --repair` makes or fetches again what is damaged")
        }
        _ => failed(error),
    }
}

/// An error of the catalog.
pub(crate) fn catalog(error: CatalogError) -> Failure {
    match &error {
        CatalogError::QueryTooLong { .. } => usage(&error),
        CatalogError::Database(source) => database(source, failed(&error)),
        _ => failed(&error),
    }
}

/// Adds to a failure what can be done about the error of a database.
fn database(error: &DatabaseError, failure: Failure) -> Failure {
    failure.hinted(match error {
        DatabaseError::Newer { .. } => "a newer `ggen` has written it: use that one for this home",
        DatabaseError::Locked { .. } => "wait until the program that has it open is done, then try again",
        DatabaseError::Damaged { .. } => {
            "it is made again when it is opened next: `ggen marketplace p2p stop`, then the same command"
        }
        DatabaseError::NoSpace { path, .. } if has_reserve(path) => {
            "free some space on that disk: `ggen marketplace p2p gc` removes what no pin keeps, and has some space in reserve"
        }
        DatabaseError::NoSpace { .. } => {
            "free some space on that disk by other means, 2 MiB at least: the reserve of the home is used up. Then `ggen \
             marketplace p2p gc` removes what no pin keeps"
        }
        DatabaseError::TooManyFiles { .. } => MORE_FILES,
        _ => "check that the disk has room and that the home can be written to",
    })
}

/// Whether the system refuses to open a file because too many are open.
fn is_out_of_files(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// Whether the store of the home that a database is of has space in reserve.
fn has_reserve(database: &Path) -> bool {
    database.with_file_name("store").join(SegmentBlockstore::RESERVE).exists()
}

/// The book of the mirror.
pub(crate) fn book(error: BookError) -> Failure {
    match &error {
        BookError::Database(DatabaseError::Damaged { .. }) => {
            failed(&error).hinted("move that file away to go on without the mirror rules in it, then give them again")
        }
        BookError::Database(source) => database(source, failed(&error)),
        _ => failed(&error),
    }
}

/// A download of `target` that did not end well.
pub(crate) fn download(target: &Cid, error: DownloadError) -> Failure {
    let attempted = format!("cannot fetch {target}");
    match error {
        DownloadError::Store(error) => store(error).while_doing(attempted),
        DownloadError::TimedOut(absence) => Failure::new(ErrorKind::TimedOut, absence.to_string())
            .while_doing(absence.headline(target))
            .hinted(absence.hint()),
        DownloadError::NobodyConnected { ref subject, denied } => {
            let attempted = subject.as_ref().map_or(attempted, |subject| format!("cannot fetch {}", subject.name));
            let denial = denied.map(|peer| format!("; {}", undeny(&peer))).unwrap_or_default();
            Failure::new(ErrorKind::TimedOut, format!("{attempted}: {error}")).hinted(format!(
                "connect to a peer with `ggen marketplace p2p bootstrap ADDRESS`, or name one that has it with `fetch --provider \
                 ADDRESS`{denial}; `ggen marketplace p2p doctor` says why none is connected"
            ))
        }
        DownloadError::Offline { .. } => {
            Failure::from_error(ErrorKind::NotFound, &error).while_doing(attempted).hinted(ONLINE_HINT)
        }
        DownloadError::OverLimit { .. }
        | DownloadError::TooLarge
        | DownloadError::TooLong
        | DownloadError::BlockTooLarge { .. }
        | DownloadError::Unverifiable { .. }
        | DownloadError::WrongBytes { .. }
        | DownloadError::Manifest(_) => Failure::from_error(ErrorKind::Verification, &error).while_doing(attempted),
        other => Failure::from_error(ErrorKind::Failed, &other).while_doing(attempted),
    }
}

/// The node stopped during an operation.
pub(crate) fn stopped(error: Stopped) -> Failure {
    failed(error)
}

impl From<ManifestError> for Failure {
    fn from(error: ManifestError) -> Self {
        verification(error)
    }
}

impl From<HomeError> for Failure {
    fn from(error: HomeError) -> Self {
        let failure = failed(&error);
        match &error {
            HomeError::InUse { .. } => Failure { kind: ErrorKind::InUse, ..failure }
                .hinted("wait until that command has ended; those given to a node (`start --daemon`) run side by side"),
            HomeError::Open { path, .. } => failure.hinted(format!(
                "take it from them with `chmod go-w {0}`, or choose another home with `--home DIR`",
                path.display()
            )),
            HomeError::ReadOnly { .. } => failure.hinted(
                "allow this user to write to it, or name another home with `--home DIR`; what only reads works as it is: \
                 `search --local`, `info`, `pin ls`, `verify`, `fetch --offline`",
            ),
            HomeError::Foreign { owner, .. } => failure.hinted(format!(
                "run the command as that user (`sudo -u '#{owner}' -H ggen ...`), or name a home of root's with `--home DIR`; \
                 what only reads works as it is: `search --local`, `info`, `pin ls`, `verify`, `fetch --offline`"
            )),
            HomeError::OpenKeys { path, .. } => {
                let keys = path.ancestors().find(|path| path.is_dir()).unwrap_or(path).display();
                failure.hinted(format!(
                    "if no other user has changed the keys, take them from others with `chmod -R go-w {keys}`; otherwise put \
                     back a copy of them first"
                ))
            }
            HomeError::Link { .. } => failure.hinted("remove it: a file of a home is never a link"),
            HomeError::Io { source, .. } if is_out_of_files(source) => failure.hinted(MORE_FILES),
            HomeError::Io { .. } => failure,
        }
    }
}

impl From<PeerBookError> for Failure {
    fn from(error: PeerBookError) -> Self {
        match &error {
            PeerBookError::TooManyListed { .. } => {
                usage(&error).hinted("take one off the list with `ggen marketplace p2p peer reset PEER`")
            }
            PeerBookError::Database(DatabaseError::Newer { path, .. }) => {
                let hint = format!(
                    "use the newer program, or move `{}` away: reputations and the lists of peers begin anew",
                    path.display()
                );
                failed(&error).hinted(hint)
            }
            PeerBookError::Database(source) => database(source, failed(&error)),
            PeerBookError::Thread(_) => failed(&error),
        }
    }
}

impl From<KeyStoreError> for Failure {
    fn from(error: KeyStoreError) -> Self {
        match &error {
            KeyStoreError::Name { .. } => usage(error),
            KeyStoreError::Reserved => {
                usage(error).hinted("leave out `--key` to use the key `default`; `ggen marketplace p2p key list` shows the others")
            }
            KeyStoreError::WithoutIdentity { .. } => failed(&error).hinted(
                "put a copy of it back. If a peer knows this publisher, `ggen marketplace p2p info NS/NAME` of a package that it has \
                 published brings it here, and the next command makes the file again. To begin as another publisher, move these \
                 files to a safe place first",
            ),
            KeyStoreError::Unknown { name } if name == DEFAULT_KEY => {
                Failure::new(ErrorKind::NotFound, "this home has not published anything yet: it has no key `default`")
                    .hinted("the first `ggen marketplace p2p publish` makes the key; `--home DIR` names another home")
            }
            KeyStoreError::Unknown { .. } => Failure::from_error(ErrorKind::NotFound, &error)
                .hinted("`ggen marketplace p2p key list` shows the keys there are"),
            KeyStoreError::NoRecoveryKey { .. } => Failure::from_error(ErrorKind::NotFound, &error)
                .hinted("use the copy that you saved: `key recovery confirm` deleted the one here, or the publisher was made on another machine"),
            KeyStoreError::Damaged { path, .. } if path.file_name().is_some_and(|name| name == "node.key") => failed(
                &error,
            )
            .hinted(
                "put a copy of that file back, or move it away: the node then makes a new key, and is another peer to \
                     those who know it",
            ),
            KeyStoreError::Damaged { .. }
            | KeyStoreError::DamagedIdentity { .. }
            | KeyStoreError::DamagedHead { .. }
            | KeyStoreError::Missing { .. } => {
                failed(&error).hinted("put a copy of that file back; commands that sign nothing work without it")
            }
            KeyStoreError::OtherKey { .. } | KeyStoreError::OtherHead { .. } => failed(&error).hinted(
                "put back the files of one publisher, all of the same backup; commands that sign nothing work without them",
            ),
            _ => failed(&error),
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let failure = failed(&error);
        match &error {
            StartError::Listen { reason, .. } if reason.contains("no transport") => {
                Failure { kind: ErrorKind::Usage, ..failure }
                    .hinted("name a transport and a port: `/ip4/0.0.0.0/tcp/4001` or `/ip4/0.0.0.0/udp/4001/quic-v1`")
            }
            StartError::Listen { reason, .. } if is_foreign(reason) => failure.hinted(
                "this machine has no such address: listen on all of its own with `--listen /ip4/0.0.0.0/tcp/4001`",
            ),
            StartError::Listen { .. } => failure.hinted("let the system choose a port: `--listen /ip4/0.0.0.0/tcp/0`"),
            _ => failure,
        }
    }
}

/// Returns whether listening failed because the address belongs to no interface of this machine.
fn is_foreign(reason: &str) -> bool {
    let system = std::io::Error::from_raw_os_error(rustix::io::Errno::ADDRNOTAVAIL.raw_os_error()).to_string();
    reason.contains(&system) || reason.contains("address not available")
}
