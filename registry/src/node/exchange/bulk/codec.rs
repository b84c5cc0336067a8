//! Compression of one frame's payload. Every payload is an independent zstd frame, so its memory is known in advance.

use zstd::zstd_safe::{CCtx, CParameter, DCtx, ErrorCode, get_error_name};

/// Level for a frame that must be ready soon.
pub(super) const LEVEL: i32 = 3;
/// Level for data that hardly shrinks, to find out whether it does.
pub(super) const TRIAL_LEVEL: i32 = 1;
/// Levels for small frames, and for frames whose content is mostly in the dictionary: bytes matter more than time. Each
/// with the maximum number of bytes, dictionary included, that it is used for: at most 50 ms of one core.
const HIGHER_LEVELS: [(i32, usize); 2] = [(9, 1 << 20), (6, 3 << 20)];
/// From this dictionary size on, in bytes, zstd searches all of it for long matches.
const LONG_DISTANCE_BYTES: usize = 256 << 10;
/// Window of the longest frame with the longest dictionary, as a power of two.
const MAX_WINDOW_LOG: u32 = 25;

/// An error of zstd.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct CodecError(String);

/// Returns the level for this many bytes, dictionary included.
pub(super) fn level(bytes: usize) -> i32 {
    HIGHER_LEVELS.iter().find(|(_, most)| bytes <= *most).map_or(LEVEL, |(level, _)| *level)
}

/// Compresses `raw` with `dictionary` as prefix.
pub(super) fn compress(raw: &[u8], dictionary: &[u8], level: i32) -> Result<Vec<u8>, CodecError> {
    let mut context = CCtx::create();
    let total = raw.len() + dictionary.len();
    let window_log = (total.max(1024).next_power_of_two().trailing_zeros()).clamp(10, MAX_WINDOW_LOG);
    let mut parameters = vec![
        CParameter::CompressionLevel(level),
        CParameter::WindowLog(window_log),
        // The client knows the length and verifies hashes.
        CParameter::ContentSizeFlag(false),
        CParameter::ChecksumFlag(false),
        CParameter::DictIdFlag(false),
    ];
    if dictionary.len() >= LONG_DISTANCE_BYTES {
        parameters.push(CParameter::EnableLongDistanceMatching(true));
    }
    for parameter in parameters {
        context.set_parameter(parameter).map_err(explain)?;
    }
    if !dictionary.is_empty() {
        context.ref_prefix(dictionary).map_err(explain)?;
    }
    let mut out = Vec::with_capacity(zstd::zstd_safe::compress_bound(raw.len()));
    context.compress2(&mut out, raw).map_err(explain)?;
    Ok(out)
}

/// Decompresses exactly `raw_bytes` that were compressed with `dictionary`. Allocates no more memory for them.
pub(super) fn decompress(payload: &[u8], dictionary: &[u8], raw_bytes: usize) -> Result<Vec<u8>, CodecError> {
    let mut context = DCtx::create();
    if !dictionary.is_empty() {
        context.ref_prefix(dictionary).map_err(explain)?;
    }
    let mut out = Vec::with_capacity(raw_bytes);
    let written = context.decompress(&mut out, payload).map_err(explain)?;
    if written != raw_bytes {
        return Err(CodecError(format!("{written} bytes come out, {raw_bytes} are due")));
    }
    Ok(out)
}

fn explain(code: ErrorCode) -> CodecError {
    CodecError(get_error_name(code).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text without long repetitions.
    fn text(lines: usize, salt: u64) -> Vec<u8> {
        let mut state = salt;
        let mut out = Vec::new();
        for line in 0..lines {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            out.extend_from_slice(format!("line {line} of the text has {:x}\n", state >> 16).as_bytes());
        }
        out
    }

    #[test]
    fn a_part_comes_back() {
        let raw = text(5000, 1);
        for level in [LEVEL, level(raw.len())] {
            let packed = compress(&raw, &[], level).unwrap();
            assert!(packed.len() * 2 < raw.len());
            assert_eq!(decompress(&packed, &[], raw.len()).unwrap(), raw);
        }
        assert_eq!(decompress(&compress(&[], &[], LEVEL).unwrap(), &[], 0).unwrap(), b"");
    }

    #[test]
    fn what_stands_in_the_dictionary_costs_next_to_nothing_near_its_beginning_and_end() {
        let dictionary = text(200_000, 2);
        let (begin, end) = (dictionary[..100_000].to_vec(), dictionary[dictionary.len() - 100_000..].to_vec());
        for raw in [begin, end] {
            let packed = compress(&raw, &dictionary, LEVEL).unwrap();
            assert!(packed.len() < 1000, "{} bytes", packed.len());
            assert_eq!(decompress(&packed, &dictionary, raw.len()).unwrap(), raw);
            assert!(
                decompress(&packed, &dictionary[..dictionary.len() - 1], raw.len()).map_or(true, |other| other != raw)
            );
        }
    }

    #[test]
    fn more_or_fewer_bytes_than_are_due_are_an_error() {
        let bomb = compress(&vec![0; 64 << 20], &[], LEVEL).unwrap();
        assert!(bomb.len() < 10_000 && decompress(&bomb, &[], 1000).is_err());
        let short = compress(&[0; 999], &[], LEVEL).unwrap();
        assert!(decompress(&short, &[], 1000).is_err());
        assert!(decompress(&short[..short.len() - 1], &[], 999).is_err());
        assert!(decompress(b"nonsense", &[], 10).is_err());
    }
}
