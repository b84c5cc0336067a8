//! The file VERSION: the format of a store, and the seed of its record checks.
//!
//! With a wrong seed every record looks damaged, and opening would cut off the log. The seed is therefore compared with
//! the records first. A damaged file is written again if the seed can be recovered: in a checkpoint, or by flipping one
//! bit.

use crate::{DAMAGE, Error, Result};

use super::{
    checkpoint,
    disk::Disk,
    log::segment_id,
    record::{HEADER_BYTES, Location, MAX_STORED_CID_BYTES, decode_mended, flip},
    scan::{Found, Scanner},
};

const NAME: &str = "VERSION";
pub(super) const TEMPORARY_NAME: &str = "VERSION.tmp";
const PREFIX: &str = "ggen-blockstore 1\nseed ";
/// Longest file read, in bytes.
const MAX_BYTES: usize = 256;
/// Segments whose first record is compared with a seed.
const MAX_COMPARED: usize = 64;
/// Bytes of a segment that are searched for a record if its first one does not decide.
const SEARCHED_BYTES: u64 = 8 << 20;

/// The start of a segment, as far as needed to check a seed.
struct Start {
    segment: u32,
    len: u64,
    bytes: Vec<u8>,
}

impl Start {
    /// It holds nothing that was ever written: where a system crashes, zeros may stand instead.
    fn is_blank(&self) -> bool {
        self.bytes.iter().all(|byte| *byte == 0)
    }

    fn fits(&self, seed: u64) -> bool {
        decode_mended(&self.bytes, seed, Location { segment: self.segment, offset: 0 }).is_some()
    }
}

/// The seed of the store on `disk`, which contains files of these names. If there is no store yet, one is created with
/// the seed `fresh`.
pub(super) fn read_or_write(disk: &dyn Disk, names: &[String], fresh: u64) -> Result<u64> {
    let is_there = names.iter().any(|name| name == NAME);
    let text = if is_there { read(disk)? } else { String::new() };
    let (said, starts) = (parse(&text), starts(disk, names)?);
    let fits = |seed: u64| starts.iter().any(|start| start.fits(seed));
    if let Some(seed) = said.filter(|seed| starts.is_empty() || fits(*seed)) {
        return Ok(seed);
    }
    if starts.is_empty() {
        let begun = names.iter().any(|name| segment_id(name).is_some());
        if (!is_there && begun) || is_another_format(&text) {
            return Err(refused(disk, names, is_there, &text));
        }
        if is_there {
            tracing::warn!(target: DAMAGE, path = %disk.path().join(NAME).display(), "damaged; the store is empty and is begun anew");
        }
        write(disk, fresh)?;
        return Ok(fresh);
    }
    let candidates = seeds_of_checkpoints(disk, names).into_iter().chain(one_bit_away(&text));
    if let Some(seed) = candidates.into_iter().find(|seed| fits(*seed)) {
        tracing::warn!(target: DAMAGE, path = %disk.path().join(NAME).display(), "damaged or lost; it is written again with the seed that the records have");
        write(disk, seed)?;
        return Ok(seed);
    }
    match said {
        Some(seed) if is_new(names) || holds_a_record(disk, &starts, seed)? => Ok(seed),
        Some(_) if starts.iter().all(Start::is_blank) => Err(blank(disk, &starts)),
        _ => Err(refused(disk, names, is_there, &text)),
    }
}

/// Returns whether the store has a single segment and no checkpoint. Before the first checkpoint nothing is durable,
/// and a crash may have left no whole record.
fn is_new(names: &[String]) -> bool {
    let segments = names.iter().filter(|name| segment_id(name).is_some()).count();
    segments == 1 && !names.iter().any(|name| checkpoint::checkpoint_sequence(name).is_some())
}

/// Returns whether the text is that of a store of a later version of this program.
fn is_another_format(text: &str) -> bool {
    let format = text.strip_prefix("ggen-blockstore ").and_then(|rest| rest.split('\n').next());
    format.is_some_and(|format| format != "1" && format.bytes().all(|byte| byte.is_ascii_digit()))
}

fn refused(disk: &dyn Disk, names: &[String], is_there: bool, text: &str) -> Error {
    let segment = names.iter().find(|name| segment_id(name).is_some()).map_or("", String::as_str);
    let wrong = match (is_there, parse(text)) {
        (false, _) => format!("there is `{segment}`, but no `VERSION`"),
        (true, Some(_)) => "`VERSION` belongs to another store: no record was written with its seed".to_owned(),
        (true, None) => format!("`VERSION` is not one of a store of this version: {text:?}"),
    };
    let path = disk.path().to_owned();
    let reason = format!(
        "{wrong}; restore `{}` from a backup, or move the directory away: what was published from it is then missing here, \
         and everything else can be fetched again",
        path.join(NAME).display()
    );
    Error::Open { path, reason }
}

/// The segments are damaged, not the file that is compared with them.
fn blank(disk: &dyn Disk, starts: &[Start]) -> Error {
    let segments: Vec<_> =
        starts.iter().map(|start| format!("`{}`", super::log::segment_name(start.segment))).collect();
    let path = disk.path().to_owned();
    let reason = format!(
        "damaged: {} begins with zeros, and holds no record; restore it from a backup, or move `{}` away: what was published \
         from it is then missing here, and everything else can be fetched again",
        segments.join(", "),
        path.display()
    );
    Error::Open { path, reason }
}

fn read(disk: &dyn Disk) -> Result<String> {
    let path = disk.path().join(NAME);
    let file = disk.open(NAME).map_err(Error::io("open", &path))?;
    let text = file.read_at(0, MAX_BYTES).map_err(Error::io("read", &path))?;
    // Byte by byte, so that one wrong bit affects one character, even if the byte is not ASCII.
    Ok(text.into_iter().map(char::from).collect())
}

fn parse(text: &str) -> Option<u64> {
    let digits = text.strip_prefix(PREFIX)?.trim_end();
    u64::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))
}

fn write(disk: &dyn Disk, seed: u64) -> Result<()> {
    let error = |source| Error::io("write", disk.path().join(NAME))(source);
    let file = disk.create(TEMPORARY_NAME).map_err(error)?;
    file.write_at(0, &[format!("{PREFIX}{seed:016x}\n").as_bytes()]).map_err(error)?;
    file.sync().map_err(error)?;
    disk.rename(TEMPORARY_NAME, NAME).map_err(error)?;
    disk.sync_dir().map_err(error)
}

fn starts(disk: &dyn Disk, names: &[String]) -> Result<Vec<Start>> {
    let mut starts = Vec::new();
    let mut segments: Vec<_> = names.iter().filter_map(|name| Some((segment_id(name)?, name))).collect();
    segments.sort_unstable();
    for (segment, name) in segments {
        let error = |source| Error::io("read", disk.path().join(name))(source);
        let file = disk.open(name).map_err(error)?;
        let (len, bytes) =
            (file.len().map_err(error)?, file.read_at(0, HEADER_BYTES + MAX_STORED_CID_BYTES).map_err(error)?);
        if len > 0 {
            starts.push(Start { segment, len, bytes });
        }
        if starts.len() >= MAX_COMPARED {
            break;
        }
    }
    Ok(starts)
}

/// The seeds in checkpoints. They are not verified; a seed counts only if records match it.
fn seeds_of_checkpoints(disk: &dyn Disk, names: &[String]) -> Vec<u64> {
    let checkpoints = names.iter().filter(|name| checkpoint::checkpoint_sequence(name).is_some());
    checkpoints.filter_map(|name| checkpoint::seed(disk.open(name).ok()?.as_ref())).collect()
}

/// Seeds of the texts that differ from this one in one bit.
fn one_bit_away(text: &str) -> Vec<u64> {
    let Ok(mut bytes) = text.chars().map(u8::try_from).collect::<Result<Vec<u8>, _>>() else { return Vec::new() };
    let seeds = (0..bytes.len() * 8).filter_map(|bit| {
        flip(&mut bytes, bit);
        let seed = str::from_utf8(&bytes).ok().and_then(parse);
        flip(&mut bytes, bit);
        seed
    });
    seeds.collect()
}

fn holds_a_record(disk: &dyn Disk, starts: &[Start], seed: u64) -> Result<bool> {
    for start in starts {
        let name = super::log::segment_name(start.segment);
        let error = |source| Error::io("read", disk.path().join(&name))(source);
        let file = disk.open(&name).map_err(error)?;
        let mut scanner = Scanner::new(file, start.segment, seed, 0..start.len.min(SEARCHED_BYTES));
        while let Some(found) = scanner.advance().map_err(error)? {
            if matches!(found, Found::Record(_)) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
