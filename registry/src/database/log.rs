//! The write-ahead log of a database. A process that dies leaves it, and SQLite takes it in up to the first frame whose
//! checksum is wrong, without a word: that is where a crash of the machine may have torn it. This looks for what comes
//! after, so that damage to the log is said.
//!
//! Format: <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    ops::RangeInclusive,
    path::Path,
};

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
const MAGIC: u32 = 0x377f_0682;
const PAGE_BYTES: RangeInclusive<usize> = 512..=65536;

/// Where the log at `path` is damaged, in bytes from its start, if it is: its header, or a frame of the present generation
/// that does not follow from those before.
pub(super) fn damage(path: &Path) -> io::Result<Option<u64>> {
    let mut log = BufReader::new(File::open(path)?);
    let mut header = [0; HEADER_BYTES];
    if !fill(&mut log, &mut header)? {
        return Ok(None);
    }
    let (magic, page_bytes) = (word(&header, 0), word(&header, 8) as usize);
    let mut sum = Sum { big_endian: magic & 1 == 1, ..Sum::default() };
    sum.add(&header[..24]);
    if magic & !1 != MAGIC || !PAGE_BYTES.contains(&page_bytes) || !sum.is(word(&header, 24), word(&header, 28)) {
        return Ok(Some(0));
    }
    let (salt, mut at, mut first) = (salt(&header, 16), HEADER_BYTES as u64, None);
    let mut frame = vec![0; FRAME_HEADER_BYTES + page_bytes];
    while fill(&mut log, &mut frame)? {
        if first.is_none() {
            sum.add(&frame[..8]);
            sum.add(&frame[FRAME_HEADER_BYTES..]);
            if self::salt(&frame, 8) != salt || !sum.is(word(&frame, 16), word(&frame, 20)) {
                first = Some(at);
            }
        }
        // What a former generation has left has quite another salt, which is random.
        if first.is_some() && (self::salt(&frame, 8) ^ salt).count_ones() <= 1 {
            return Ok(first);
        }
        at += frame.len() as u64;
    }
    Ok(None)
}

/// The checksum of a log: over pairs of words, in the byte order of the machine that has written it.
#[derive(Default)]
struct Sum {
    big_endian: bool,
    first: u32,
    second: u32,
}

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        let word = |bytes: &[u8], at| if self.big_endian { word(bytes, at) } else { word(bytes, at).swap_bytes() };
        for pair in bytes.chunks_exact(8) {
            self.first = self.first.wrapping_add(word(pair, 0)).wrapping_add(self.second);
            self.second = self.second.wrapping_add(word(pair, 4)).wrapping_add(self.first);
        }
    }

    fn is(&self, first: u32, second: u32) -> bool {
        (self.first, self.second) == (first, second)
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |word, byte| word << 8 | u32::from(*byte))
}

fn salt(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) << 32 | u64::from(word(bytes, at + 4))
}

/// False where fewer bytes are left.
fn fill(from: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(bytes) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rusqlite::Connection;

    use super::*;

    /// The log of a database after so many transactions, of two generations.
    fn log_of(directory: &Path) -> Vec<u8> {
        let connection = Connection::open(directory.join("x.db")).unwrap();
        connection.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (a BLOB);").unwrap();
        let insert = || {
            connection.execute("INSERT INTO t VALUES (randomblob(9000))", []).unwrap();
        };
        (0..9).for_each(|_| insert());
        connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).unwrap();
        (0..3).for_each(|_| insert());
        fs::read(directory.join("x.db-wal")).unwrap()
    }

    #[test]
    fn every_flipped_bit_of_what_counts_is_found_and_what_a_former_generation_left_is_no_damage() {
        let dir = tempfile::tempdir().unwrap();
        let (log, path) = (log_of(dir.path()), dir.path().join("log"));
        let looked_at = |log: &[u8]| {
            fs::write(&path, log).unwrap();
            damage(&path).unwrap()
        };
        assert_eq!(looked_at(&log), None);
        let frame = FRAME_HEADER_BYTES + word(&log, 8) as usize;
        let salt_of = |at: usize| salt(&log, HEADER_BYTES + at * frame + 8);
        let frames = (log.len() - HEADER_BYTES) / frame;
        let present = (0..frames).take_while(|at| salt_of(*at) == salt(&log, 16)).count();
        assert!(present > 3 && present < frames, "{present} of {frames}");
        let counts = HEADER_BYTES + present * frame;
        for bit in (0..HEADER_BYTES * 8).chain((HEADER_BYTES * 8..counts * 8).step_by(1009)) {
            let mut flipped = log.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let expected = bit.checked_sub(HEADER_BYTES * 8).map_or(0, |bit| HEADER_BYTES + bit / 8 / frame * frame);
            assert_eq!(looked_at(&flipped), Some(expected as u64), "bit {bit}");
        }
        // Cut off anywhere, as by a crash: what was whole counts.
        for len in [0, 20, HEADER_BYTES, HEADER_BYTES + 30, HEADER_BYTES + frame, HEADER_BYTES + frame * 2 + 99] {
            assert_eq!(looked_at(&log[..len]), None, "{len}");
        }
    }
}
