//! The hash functions of multihashes: those of Kubo's allow list (boxo `verifcid`), including truncated digests.
//!
//! | code | function | bytes of a digest |
//! |---|---|---|
//! | 0x00 | identity | 0 to 128: the data itself |
//! | 0x11 | sha1 | 20 |
//! | 0x12, 0x13 | sha2-256, sha2-512 | 20 to 32, 20 to 64 |
//! | 0x14 to 0x17 | sha3-512, -384, -256, -224 | 20 to that |
//! | 0x19 | shake-256 | 20 to 64 |
//! | 0x1a to 0x1d | keccak-224, -256, -384, -512 | 20 to that |
//! | 0x1e | blake3 | 20 to 128 |
//! | 0x56 | dbl-sha2-256 | 20 to 32 |
//! | 0xb214 to 0xb240 | blake2b-160 to blake2b-512 | 20 to that |
//! | 0xb254 to 0xb260 | blake2s-160 to blake2s-256 | 20 to that |
//!
//! Go truncates a digest to the length that its multihash states (`ipfs block put --mhlen 20`); this module does the
//! same.

mod name;

use multihash_codetable::{Code, MultihashDigest};
pub use name::HashName;
use sha2::{Digest, Sha256};
use sha3::digest::{ExtendableOutput, Update, XofReader};

use self::name::{
    BLAKE2B_8, BLAKE2B_160, BLAKE2B_512, BLAKE2S_8, BLAKE2S_160, BLAKE2S_256, BLAKE3, DBL_SHA2_256, SHA1, SHAKE_256,
};
use crate::{Cid, Error, IDENTITY, MAX_IDENTITY_BYTES, Multihash, Result, SHA2_256};

/// Shortest digest accepted, in bytes (boxo `verifcid`).
pub(crate) const MIN_DIGEST_BYTES: usize = 20;

const SHA2_256_BYTES: usize = 32;

/// Checks that blocks of this CID can be verified. A block that cannot be verified need not be requested from peers.
///
/// # Errors
/// [`Error::UnsupportedHash`] for a function that is not accepted; [`Error::DigestLength`] for a digest of a length
/// that the function cannot produce, or that is too short to be safe.
pub fn check_hash(cid: &Cid) -> Result<()> {
    check(cid.hash().code(), usize::from(cid.hash().size()))
}

fn check(code: u64, bytes: usize) -> Result<()> {
    if (code, bytes) == (SHA2_256, SHA2_256_BYTES) {
        return Ok(());
    }
    let most = longest(code).ok_or(Error::UnsupportedHash { code })?;
    let least = if code == IDENTITY { 0 } else { MIN_DIGEST_BYTES };
    if (least..=most).contains(&bytes) { Ok(()) } else { Err(Error::DigestLength { code, bytes, least, most }) }
}

/// Length in bytes of the longest digest of an accepted function.
fn longest(code: u64) -> Option<usize> {
    Some(match code {
        IDENTITY => MAX_IDENTITY_BYTES,
        SHA1 => 20,
        SHA2_256 | DBL_SHA2_256 => SHA2_256_BYTES,
        0x17 | 0x1a => 28,
        0x16 | 0x1b => 32,
        0x15 | 0x1c => 48,
        0x13 | 0x14 | 0x1d | SHAKE_256 => 64,
        BLAKE3 => 128,
        BLAKE2B_160..=BLAKE2B_512 => (code - BLAKE2B_8 + 1) as usize,
        BLAKE2S_160..=BLAKE2S_256 => (code - BLAKE2S_8 + 1) as usize,
        _ => return None,
    })
}

/// Hashes `data` into a multihash of the function `code` with a digest of `bytes` bytes.
///
/// # Errors
/// As [`check_hash`]; [`Error::DigestLength`] also for identity data of another length.
pub(crate) fn digest(code: u64, bytes: usize, data: &[u8]) -> Result<Multihash> {
    if (code, bytes) == (SHA2_256, SHA2_256_BYTES) {
        return Ok(sha2_256(data));
    }
    check(code, bytes)?;
    let mut longest = [0; 128];
    let digest: &[u8] = match code {
        IDENTITY if data.len() != bytes => {
            return Err(Error::DigestLength { code, bytes, least: data.len(), most: data.len() });
        }
        IDENTITY => data,
        SHA1 => fill(&mut longest, &sha1::Sha1::digest(data)),
        DBL_SHA2_256 => fill(&mut longest, &Sha256::digest(Sha256::digest(data))),
        SHAKE_256 => {
            let mut shake = sha3::Shake256::default();
            shake.update(data);
            shake.finalize_xof().read(&mut longest);
            &longest
        }
        BLAKE3 => {
            blake3::Hasher::new().update(data).finalize_xof().fill(&mut longest);
            &longest
        }
        BLAKE2B_160..=BLAKE2B_512 => {
            let hash = blake2b_simd::Params::new().hash_length((code - BLAKE2B_8 + 1) as usize).hash(data);
            fill(&mut longest, hash.as_bytes())
        }
        BLAKE2S_160..=BLAKE2S_256 => {
            let hash = blake2s_simd::Params::new().hash_length((code - BLAKE2S_8 + 1) as usize).hash(data);
            fill(&mut longest, hash.as_bytes())
        }
        _ => {
            let function = Code::try_from(code).map_err(|_| Error::UnsupportedHash { code })?;
            fill(&mut longest, function.digest(data).digest())
        }
    };
    Ok(Multihash::wrap(code, &digest[..bytes]).expect("its length was checked, the capacity is 128"))
}

/// Hashes `data` with the function and the digest length of `hash`. The result equals `hash` if `hash` is the multihash
/// of `data`.
///
/// # Errors
/// As [`check_hash`].
pub(crate) fn digest_like(hash: &Multihash, data: &[u8]) -> Result<Multihash> {
    let bytes = if hash.code() == IDENTITY { data.len() } else { usize::from(hash.size()) };
    digest(hash.code(), bytes, data)
}

fn fill<'a>(buffer: &'a mut [u8; 128], digest: &[u8]) -> &'a [u8] {
    buffer[..digest.len()].copy_from_slice(digest);
    &buffer[..]
}

/// The hash of all blocks that this project creates.
pub(crate) fn sha2_256(data: &[u8]) -> Multihash {
    Multihash::wrap(SHA2_256, &Sha256::digest(data)).expect("a sha2-256 digest has 32 bytes, the capacity is 128")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Block, RAW, parse_cid};

    /// Digests of `data`, computed with Python's hashlib.
    const OF_DATA: [(u64, &str); 12] = [
        (0x11, "a17c9aaa61e80a1bf71d0d850af4e5baa9800bbd"),
        (0x12, "3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7"),
        (
            0x13,
            "77c7ce9a5d86bb386d443bb96390faa120633158699c8844c30b13ab0bf92760b7e4416aea397db91b4ac0e5dd56b8ef7e4b066162ab1fdc088319ce6defc876",
        ),
        (
            0x14,
            "ceca4daf960c2bbfb4a9edaca9b8137a801b65bae377e0f534ef9141c8684c0fedc1768d1afde9766572846c42b935f61177eaf97d355fa8dc2bca3fecfa754d",
        ),
        (0x15, "92e8f413ff748bf40756b0b84543784b9e40611b67d3c6cc4cb685e749b834ec902966eb8043ec222dbdab56688b86c4"),
        (0x17, "4516c726a95c8d5dadcf1d252fac1f2c2e0c435a2cd76db0be854bf7"),
        (
            0x19,
            "c73dbed8527f5ae0568679f30ecc5cb6978b2108e95c860884a65c131f99b9b9c1e04ea37ee54a4c7c95b0fd3ff0b9c36ca3d96c02d278eb57da56766b096d96",
        ),
        (0x56, "464472b56079ded3d359b17935624bdb8487b6a64856090725277ddb5fb5576a"),
        (0xb214, "0db95f3f7e5691731ad8642d33de139ebe26b175"),
        (0xb230, "0b6e09b77f385608fa6e368463a92947fa8103a52cc270d1e3360eba9317a736644851f26a0ba9b18c81b764b1abeaa3"),
        (0xb254, "98353fe545ca530bfaa1d8437579d4e90e471d0c"),
        (0xb260, "fa971c9b225ba22a848a13539365d631b9eaaab047d3433b73df8a2156b12826"),
    ];

    /// CIDs of raw blocks with `data`, from Kubo 0.42: `ipfs block put --cid-codec=raw --mhtype=... --mhlen=...`.
    const OF_KUBO: [&str; 8] = [
        "bafkrmihp3ketvkcqwdaomhztgjlbloozhphwwqwwbwhv2n7ly4qp2tr5v4",
        "bafkrwiepkty4fuhlk5y42w7wpjtit7gw53muitmruopf54zktnfolsqu74",
        "bafkr2qaqmwwo5xwtuxseclrbq7urtp76vx4bl5n5opjx7yanhbh6fh2v6ccgf7nl4eahxgj44w4bdfrq47nzgea5sqs5ny2s4ix74polk24ck",
        "bafkr4ibiuje4fzgtvev4bilo3dy3lt4dziqecxxbfzicwclgesicxpexxu",
        "bafkr4qbiuje4fzgtvev4bilo3dy3lt4dziqecxxbfzicwclgesicxpexxvi6rngqb6sqbccysaptw3hlzt53ulrua2crc2k432kxlbvdlfp5i",
        "bafkr4fbiuje4fzgtvev4bilo3dy3lt4dziqecxq",
        "bafkrefb2n2yhsdzzvsd4stzyk2zn2lc5cehgqei",
        "bafkzjzaccqg3sxz7pzljc4y23bsc2m66copl4jvrou",
    ];

    #[test]
    fn blocks_have_the_names_that_kubo_gives_them() {
        for text in OF_KUBO {
            let cid = parse_cid(text).unwrap();
            Block::verify(cid, &b"data"[..]).unwrap_or_else(|error| panic!("{text}: {error}"));
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn digests_are_those_of_other_programs() {
        for (code, expected) in OF_DATA {
            let length = expected.len() / 2;
            let hash = digest(code, length, b"data").unwrap_or_else(|error| panic!("0x{code:x}: {error}"));
            assert_eq!((hash.code(), hex(hash.digest()).as_str()), (code, expected), "{}", HashName(code));
        }
    }

    /// Kubo's allow list, by function, with the longest digest of each.
    fn allowed() -> impl Iterator<Item = (u64, usize)> {
        let plain = [0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x56];
        let blake = (0xb214..=0xb240).chain(0xb254..=0xb260);
        plain.into_iter().chain(blake).map(|code| (code, longest(code).unwrap()))
    }

    #[test]
    fn every_function_of_the_allow_list_verifies_whole_and_cut_short() {
        for (code, most) in allowed() {
            for length in [MIN_DIGEST_BYTES, most] {
                let cid = Cid::new_v1(RAW, digest(code, length, b"data").unwrap());
                let name = HashName(code);
                assert!(check_hash(&cid).is_ok() && Block::verify(cid, &b"data"[..]).is_ok(), "{name}");
                assert!(matches!(Block::verify(cid, &b"other"[..]), Err(Error::HashMismatch { .. })), "{name}");
                let block = Block::from_prefix(1, RAW, code, length as u64, &b"data"[..]).unwrap();
                assert_eq!(*block.cid(), cid, "{name}");
            }
            for length in [MIN_DIGEST_BYTES - 1, most + 1] {
                let error = check(code, length).unwrap_err();
                assert!(matches!(error, Error::DigestLength { .. }), "{code:x}: {error}");
                assert!(digest(code, length, b"data").is_err());
            }
        }
    }

    #[test]
    fn what_is_not_on_the_allow_list_is_refused_by_its_name() {
        for (code, name) in
            [(0xd5, "md5"), (0x22, "murmur3"), (0xb250, "blake2s-128"), (0x18, "shake-128"), (0x9999, "0x9999")]
        {
            let error = check(code, 32).unwrap_err();
            assert!(matches!(error, Error::UnsupportedHash { .. }) && error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn a_cid_that_cannot_be_verified_is_refused_when_it_is_parsed() {
        let md5 = Cid::new_v1(RAW, Multihash::wrap(0xd5, &[1; 16]).unwrap());
        let error = parse_cid(&md5.to_string()).unwrap_err();
        assert!(error.to_string().contains("md5"), "{error}");
        let short = Cid::new_v1(RAW, Multihash::wrap(SHA2_256, &[1; 10]).unwrap());
        assert!(parse_cid(&short.to_string()).unwrap_err().to_string().contains("20 to 32"));
    }
}
