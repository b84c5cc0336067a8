//! The bytes of a tarball: which compression, and how much may come out of it.

use std::{
    fmt,
    io::{self, BufRead, BufReader, Chain, Cursor, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use flate2::bufread::GzDecoder;

use super::ArchiveLimits;
use crate::{Error, Result};

/// Bytes looked at to tell the format.
const MAGIC_BYTES: usize = 6;
/// Largest zstd window accepted, as a power of two: what `zstd` reads without an option.
const MAX_ZSTD_WINDOW_LOG: u32 = 27;
/// What zstd returns for a larger one: `ZSTD_error_frameParameter_windowTooLarge`, which zstd_errors.h keeps as it is, negated.
const WINDOW_TOO_LARGE: usize = 0_usize.wrapping_sub(16);
/// Bytes of the archive read at a time.
const BUFFER_BYTES: usize = 128 << 10;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Other formats, which get an error of their own.
const FOREIGN: [(&[u8], &str); 4] =
    [(b"PK\x03\x04", "zip"), (b"\xfd7zXZ\x00", "xz"), (b"BZh", "bzip2"), (b"7z\xbc\xaf\x27\x1c", "7z")];

/// Unpacked bytes of an archive, counted.
pub(super) struct Input<'a> {
    reader: Box<dyn Read + 'a>,
    /// Bytes of the archive read so far.
    packed: Arc<AtomicU64>,
    /// Bytes that it unpacked to so far, holes of sparse files among them.
    unpacked: u64,
    limits: ArchiveLimits,
}

impl fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input").field("unpacked", &self.unpacked).field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl<'a> Input<'a> {
    /// Looks at the first bytes and sets the decoder up.
    pub(super) fn open(reader: &'a mut dyn Read, limits: ArchiveLimits) -> Result<Self> {
        let mut magic = Vec::with_capacity(MAGIC_BYTES);
        (&mut *reader).take(MAGIC_BYTES as u64).read_to_end(&mut magic).map_err(damaged)?;
        if let Some((_, format)) = FOREIGN.iter().find(|(prefix, _)| magic.starts_with(prefix)) {
            return Err(Error::archive(format!("it is {format}, not tar, tar.gz or tar.zst")));
        }
        let (gzip, zstd) = (magic.starts_with(&GZIP_MAGIC), is_zstd(&magic));
        let packed = Arc::new(AtomicU64::new(0));
        let counted = Counted { reader: Cursor::new(magic).chain(reader), count: Arc::clone(&packed) };
        let buffered = BufReader::with_capacity(BUFFER_BYTES, counted);
        let reader: Box<dyn Read + 'a> = if gzip {
            Box::new(Gzip { member: Some(GzDecoder::new(buffered)) })
        } else if zstd {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(buffered).map_err(damaged)?;
            decoder.window_log_max(MAX_ZSTD_WINDOW_LOG).map_err(damaged)?;
            Box::new(decoder)
        } else {
            Box::new(buffered)
        };
        Ok(Self { reader, packed, unpacked: 0, limits })
    }

    fn check_limits(&self) -> Result<()> {
        if self.unpacked > self.limits.max_bytes {
            return Err(Error::archive(format!("it unpacks to more than {} bytes", self.limits.max_bytes)));
        }
        let packed = self.packed.load(Ordering::Relaxed);
        let allowed = packed.saturating_mul(self.limits.max_ratio).saturating_add(self.limits.ratio_free_bytes);
        if self.unpacked > allowed {
            let ratio = self.limits.max_ratio;
            return Err(Error::archive(format!("it unpacks to more than {ratio} times its size")));
        }
        Ok(())
    }
}

/// Whether this begins a frame of zstd, or one that decoders skip, which pzstd begins with.
fn is_zstd(magic: &[u8]) -> bool {
    magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || matches!(magic, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

/// A gzip file: members one after the other, zeros between and after them (tapes and some writers pad with them, and
/// gzip ignores them).
struct Gzip<R> {
    /// The member being read; none once the file has ended.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(member) = &mut self.member else { return Ok(0) };
            let length = member.read(buffer)?;
            if length > 0 || buffer.is_empty() {
                return Ok(length);
            }
            let Some(member) = self.member.take() else { return Ok(0) };
            let mut rest = member.into_inner();
            if !skip_zeros(&mut rest)? {
                return Ok(0);
            }
            self.member = Some(GzDecoder::new(rest));
        }
    }
}

/// Skips zeros, and says whether something follows them.
fn skip_zeros(reader: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let available = match reader.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if available.is_empty() {
            return Ok(false);
        }
        let zeros = available.iter().take_while(|byte| **byte == 0).count();
        let ends_in_zeros = zeros == available.len();
        reader.consume(zeros);
        if !ends_in_zeros {
            return Ok(true);
        }
    }
}

/// What a tar reader reads from.
pub(super) trait Source {
    /// Reads until the buffer is full or the input ends, and returns how much was read.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize>;

    /// Takes note of bytes that are unpacked without being read: holes of sparse files.
    fn unpacks(&mut self, bytes: u64) -> Result<()>;
}

impl Source for Input<'_> {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.reader.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(length) => {
                    filled += length;
                    self.unpacked += length as u64;
                    self.check_limits()?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(damaged(error)),
            }
        }
        Ok(filled)
    }

    fn unpacks(&mut self, bytes: u64) -> Result<()> {
        self.unpacked = self.unpacked.saturating_add(bytes);
        self.check_limits()
    }
}

fn damaged(source: io::Error) -> Error {
    // zstd gives its errors as text alone.
    if source.to_string() == zstd::zstd_safe::get_error_name(WINDOW_TOO_LARGE) {
        return Error::archive(format!(
            "its zstd window is larger than {} MiB: compress it with `--long={MAX_ZSTD_WINDOW_LOG}` or less",
            (1_u64 << MAX_ZSTD_WINDOW_LOG) >> 20
        ));
    }
    Error::Archive { reason: "it is damaged or ends too early".to_owned(), source: Some(source) }
}

#[derive(Debug)]
struct Counted<R> {
    reader: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<Chain<Cursor<Vec<u8>>, R>> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.reader.read(buffer)?;
        self.count.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}
