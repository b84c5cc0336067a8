//! Converts errors of the lower layers to a [`Failure`]: kind, message, causes, hint.

mod target;

use std::path::Path;

use ggen_blockstore::{Cid, SegmentBlockstore};

use super::{denial::undeny, download::DownloadError};
use crate::{
    ErrorKind, Failure, Hint, Operation, Setting,
    database::DatabaseError,
    error::hint,
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
pub(crate) fn online_hint() -> Hint {
    hint!["run the same command without ", Setting::Offline]
}

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
        Error::Corrupt { .. } => failure.hinted(hint![
            "with a node that is connected to a peer that has it, ",
            Operation::Verify.with(Setting::Repair),
            " fetches it again"
        ]),
        Error::Exists { .. } => failure.hinted(hint!["name another place with ", Setting::Output.to("PATH")]),
        Error::NotADirectory { .. } => failure.hinted(hint![Setting::Output.to("FILE"), " writes the file itself"]),
        Error::IsSymlink { .. } => {
            failure.hinted("fetch the path that it points to, or the directory that it is in: `/ipfs/<cid>/<path>`")
        }
        Error::Blocked { by, .. } => {
            failure.hinted(format!("move `{}` away, then run the same command again", by.display()))
        }
        Error::Edited { .. } => {
            failure.hinted(hint!["keep copies of those you need, then overwrite them with ", Setting::Force])
        }
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
        TreeError::Store(source) if matches!(**source, ggen_blockstore::Error::Corrupt { .. }) => verification(error)
            .hinted(hint![Operation::Verify.with(Setting::Repair), " makes or fetches again what is damaged"]),
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
        DatabaseError::Newer { .. } => hint!["a newer `ggen` has written it: use that one for this home"],
        DatabaseError::Locked { .. } => hint!["wait until the program that has it open is done, then try again"],
        DatabaseError::Damaged { .. } => {
            hint!["it is made again when it is opened next: ", Operation::Stop, ", then the same command"]
        }
        DatabaseError::NoSpace { path, .. } if has_reserve(path) => {
            hint![
                "free some space on that disk: ",
                Operation::Gc,
                " removes what no pin keeps, and has some space in reserve"
            ]
        }
        DatabaseError::NoSpace { .. } => {
            hint![
                "free some space on that disk by other means, 2 MiB at least: the reserve of the home is used up. \
                 Then ",
                Operation::Gc,
                " removes what no pin keeps"
            ]
        }
        DatabaseError::TooManyFiles { .. } => hint![MORE_FILES],
        _ => hint!["check that the disk has room and that the home can be written to"],
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
        DownloadError::NoPeerConnected { ref subject, denied } => {
            let attempted = subject.as_ref().map_or(attempted, |subject| format!("cannot fetch {}", subject.name));
            let denial = denied.map(|peer| hint!["; ", undeny(&peer)]).unwrap_or_default();
            Failure::new(ErrorKind::TimedOut, format!("{attempted}: {error}")).hinted(hint![
                "connect to a peer with ",
                Operation::Bootstrap.on("ADDRESS"),
                ", or name one that has it with ",
                Operation::Fetch.with(Setting::Provider.to("ADDRESS")).mentioned(),
                denial,
                "; ",
                Operation::Doctor,
                " says why none is connected"
            ])
        }
        DownloadError::Offline { .. } => {
            Failure::from_error(ErrorKind::NotFound, &error).while_doing(attempted).hinted(online_hint())
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
            HomeError::InUse { .. } => Failure { kind: ErrorKind::InUse, ..failure }.hinted(hint![
                "wait until that command has ended; those given to a node (",
                Operation::Start.with(Setting::Daemon).mentioned(),
                ") run side by side"
            ]),
            HomeError::Open { path, .. } => failure.hinted(hint![
                format!("take it from them with `chmod go-w {}`, or choose another home with ", path.display()),
                Setting::Home.to("DIR")
            ]),
            HomeError::ReadOnly { .. } => failure.hinted(hint![
                "allow this user to write to it, or name another home with ",
                Setting::Home.to("DIR"),
                what_reads()
            ]),
            HomeError::Foreign { owner, .. } => failure.hinted(hint![
                "run the command as that user (",
                Setting::User.to(owner.to_string()),
                "), or name a home of root's with ",
                Setting::Home.to("DIR"),
                what_reads()
            ]),
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

/// What works in a home that cannot be written to.
fn what_reads() -> Hint {
    hint![
        "; what only reads works as it is: ",
        Operation::Search.with(Setting::Local).mentioned(),
        ", ",
        Operation::Info.mentioned(),
        ", ",
        Operation::PinLs.mentioned(),
        ", ",
        Operation::Verify.mentioned(),
        ", ",
        Operation::Fetch.with(Setting::Offline).mentioned()
    ]
}

impl From<PeerBookError> for Failure {
    fn from(error: PeerBookError) -> Self {
        match &error {
            PeerBookError::TooManyListed { .. } => {
                usage(&error).hinted(hint!["take one off the list with ", Operation::PeerReset.on("PEER")])
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
                usage(error).hinted(hint![
                    "leave out ",
                    Setting::Key,
                    " to use the key `default`; ",
                    Operation::Keys,
                    " shows the others"
                ])
            }
            KeyStoreError::WithoutIdentity { .. } => failed(&error).hinted(
                hint![
                "put a copy of it back. If a peer knows this publisher, ",
                Operation::Info.on("NS/NAME"),
                " of a package that it has published brings it here, and the next command makes the file again. To begin \
                 as another publisher, move these files to a safe place first"
            ],
            ),
            KeyStoreError::Unknown { name } if name == DEFAULT_KEY => {
                Failure::new(ErrorKind::NotFound, "this home has not published anything yet: it has no key `default`")
                    .hinted(hint![
                        "the first ",
                        Operation::Publish,
                        " makes the key; ",
                        Setting::Home.to("DIR"),
                        " names another home"
                    ])
            }
            KeyStoreError::Unknown { .. } => Failure::from_error(ErrorKind::NotFound, &error)
                .hinted(hint![Operation::Keys, " shows the keys there are"]),
            KeyStoreError::NoRecoveryKey { .. } => Failure::from_error(ErrorKind::NotFound, &error)
                .hinted(hint![
                    "use the copy that you saved: ",
                    Operation::RecoveryKeyConfirm.mentioned(),
                    " deleted the one here, or the publisher was made on another machine"
                ]),
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
            StartError::Listen { reason, .. } if is_foreign(reason) => failure.hinted(hint![
                "this machine has no such address: listen on all of its own with ",
                Setting::Listen.to("/ip4/0.0.0.0/tcp/4001")
            ]),
            StartError::Listen { .. } => {
                failure.hinted(hint!["let the system choose a port: ", Setting::Listen.to("/ip4/0.0.0.0/tcp/0")])
            }
            _ => failure,
        }
    }
}

/// Returns whether listening failed because the address belongs to no interface of this machine.
fn is_foreign(reason: &str) -> bool {
    let system = std::io::Error::from_raw_os_error(rustix::io::Errno::ADDRNOTAVAIL.raw_os_error()).to_string();
    reason.contains(&system) || reason.contains("address not available")
}
