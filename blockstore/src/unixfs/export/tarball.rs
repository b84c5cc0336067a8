//! A tarball as a file: compressed according to its name, and written to its path.
//!
//! If the path does not exist or is a regular file, the tarball is written under a hidden name (see `staging`) and
//! renamed to the target of the path. A device, pipe or socket is written directly, as tar does.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, BufWriter, Seek, Write},
    os::unix::{
        fs::{FileTypeExt, OpenOptionsExt, PermissionsExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};

use flate2::write::GzEncoder;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::{ExportOptions, Exported, place::Place, staging::Target, tar::write_tar};
use crate::{Blockstore, Cid, Error, Result};

/// Bytes written at once.
const BUFFER_BYTES: usize = 1 << 20;
/// Most symlinks followed, as in Linux.
const MAX_LINKS: usize = 40;
/// Level of zstd, its own default.
const ZSTD_LEVEL: i32 = 3;

/// The compression of a tarball. The uncompressed content is the canonical tarball; the compressed bytes may differ
/// between versions of the compressor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// No compression.
    #[default]
    None,
    /// gzip (RFC 1952), without a name or time.
    Gzip,
    /// zstd (RFC 8878), with a checksum.
    Zstd,
}

/// Suffixes in lower case, and their meaning; `None` is a format that cannot be written.
const ENDINGS: [(&str, Option<Compression>); 21] = [
    (".gz", Some(Compression::Gzip)),
    (".tgz", Some(Compression::Gzip)),
    (".taz", Some(Compression::Gzip)),
    (".zst", Some(Compression::Zstd)),
    (".zstd", Some(Compression::Zstd)),
    (".tzst", Some(Compression::Zstd)),
    (".xz", None),
    (".txz", None),
    (".lzma", None),
    (".tlz", None),
    (".bz2", None),
    (".tbz", None),
    (".tbz2", None),
    (".tb2", None),
    (".lz", None),
    (".lzo", None),
    (".lz4", None),
    (".br", None),
    (".z", None),
    (".zip", None),
    (".7z", None),
];

impl Compression {
    /// The compression by suffix, as in `tar --auto-compress`: `.gz` and `.tgz`, `.zst` and `.tzst`; any other name
    /// means no compression. `None` for the suffix of a format that cannot be written.
    pub fn of_name(path: &Path) -> Option<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let ending = ENDINGS.iter().find(|(ending, _)| name.ends_with(ending));
        ending.map_or(Some(Self::None), |(_, compression)| *compression)
    }
}

/// Writes the directory `root` as a tarball to a file, device, pipe or socket. Missing parent directories are created,
/// and an existing regular file keeps its mode.
///
/// # Errors
/// The errors of [`export_tar`](super::export_tar); an I/O error, such as for a directory, or for a pipe that no
/// process reads. A regular file is then unchanged, unless its directory cannot be written to or it is a mount point.
pub fn export_tarball<S: Blockstore + ?Sized>(
    store: &S,
    root: Cid,
    destination: &Path,
    compression: Compression,
    options: &ExportOptions<'_>,
) -> Result<Exported> {
    match Outlet::of(destination)? {
        Outlet::Stream(file) => write(store, root, file, destination, compression, options),
        Outlet::Socket(socket) => write(store, root, socket, destination, compression, options),
        Outlet::File { path, mode } => {
            let mut place = match Place::beside(&path) {
                // The file itself may be writable nevertheless.
                Err(Error::Io { source, .. }) if mode.is_some() && is_denial(&source) => {
                    let file = overwrite(&path).map_err(Error::io("write", destination))?;
                    return write(store, root, file, destination, compression, options);
                }
                place => place?,
            };
            let Target::File(file) = place.target() else { return Err(not_a_file(destination)) };
            if let Some(mode) = mode {
                file.set_permissions(Permissions::from_mode(mode)).map_err(Error::io("write", destination))?;
            }
            let exported = write(store, root, file, destination, compression, options)?;
            match place.replace() {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    copy(place.target(), &path).map_err(Error::io("write", destination))?;
                }
                outcome => outcome.map_err(Error::io("write", destination))?,
            }
            Ok(exported)
        }
    }
}

fn write<S: Blockstore + ?Sized>(
    store: &S,
    root: Cid,
    to: impl Write,
    destination: &Path,
    compression: Compression,
    options: &ExportOptions<'_>,
) -> Result<Exported> {
    let failed = || Error::io("write", destination);
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, to);
    let exported = match compression {
        Compression::None => write_tar(store, root, &mut out, destination, options)?,
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(&mut out, flate2::Compression::default());
            let exported = write_tar(store, root, &mut encoder, destination, options)?;
            encoder.finish().map_err(failed())?;
            exported
        }
        Compression::Zstd => {
            let mut encoder = zstd::Encoder::new(&mut out, ZSTD_LEVEL).map_err(failed())?;
            encoder.include_checksum(true).map_err(failed())?;
            let exported = write_tar(store, root, &mut encoder, destination, options)?;
            encoder.finish().map_err(failed())?;
            exported
        }
    };
    out.flush().map_err(failed())?;
    Ok(exported)
}

/// The kind of output at a path.
enum Outlet {
    /// A device or pipe.
    Stream(File),
    /// A socket that a process listens on.
    Socket(UnixStream),
    /// A regular file, with its mode, or a path that does not exist.
    File { path: PathBuf, mode: Option<u32> },
}

impl Outlet {
    fn of(destination: &Path) -> Result<Self> {
        let metadata = match fs::metadata(destination) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let path = target_of(destination).map_err(Error::io("read", destination))?;
                return Ok(Self::File { path, mode: None });
            }
            Err(error) => return Err(Error::io("read", destination)(error)),
        };
        let kind = metadata.file_type();
        if kind.is_dir() {
            return Err(not_a_file(destination));
        }
        if kind.is_file() {
            let path = fs::canonicalize(destination).map_err(Error::io("read", destination))?;
            return Ok(Self::File { path, mode: Some(metadata.permissions().mode() & 0o7777) });
        }
        if kind.is_socket() {
            let socket = UnixStream::connect(destination).map_err(Error::io("connect to", destination))?;
            return Ok(Self::Socket(socket));
        }
        open_stream(destination, kind.is_fifo()).map(Self::Stream).map_err(Error::io("open", destination))
    }
}

fn not_a_file(destination: &Path) -> Error {
    Error::io("write", destination)(io::ErrorKind::IsADirectory.into())
}

/// Opens a device or pipe. A pipe without a reader is an error, because waiting for one might never end.
fn open_stream(path: &Path, is_pipe: bool) -> io::Result<File> {
    let flags = if is_pipe { OFlags::NONBLOCK } else { OFlags::empty() };
    let file = OpenOptions::new().write(true).custom_flags(flags.bits() as i32).open(path)?;
    if is_pipe {
        fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    }
    Ok(file)
}

/// The target of a path whose last component is missing, or is a symlink to a missing file.
fn target_of(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("")).join(target),
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many symlinks"))
}

fn is_denial(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

fn overwrite(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).truncate(true).open(path)
}

/// Copies the data, because a file that is a mount point cannot be replaced by a rename.
fn copy(from: &Target, to: &Path) -> io::Result<()> {
    let Target::File(file) = from else { return Err(io::ErrorKind::IsADirectory.into()) };
    let mut file: &File = file;
    file.rewind()?;
    io::copy(&mut file, &mut overwrite(to)?).map(drop)
}
