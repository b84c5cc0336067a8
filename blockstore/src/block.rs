//! A block: bytes together with the CID they hash to.

use bytes::Bytes;

use crate::{
    Cid, DAG_CBOR, DAG_PB, Error, MAX_BLOCK_BYTES, RAW, Result,
    hash::{digest, digest_like, sha2_256},
};

/// Bytes and the CID they hash to. Every constructor hashes or verifies the bytes, so the two always match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    cid: Cid,
    data: Bytes,
}

impl Block {
    /// Hashes `data` with sha2-256 into a CIDv1 of `codec`.
    ///
    /// # Errors
    /// [`Error::TooLarge`] over [`MAX_BLOCK_BYTES`].
    pub fn hash(codec: u64, data: impl Into<Bytes>) -> Result<Self> {
        let data = data.into();
        check_size(&data)?;
        Ok(Self { cid: Cid::new_v1(codec, sha2_256(&data)), data })
    }

    /// A raw leaf.
    ///
    /// # Errors
    /// As [`Block::hash`].
    pub fn raw(data: impl Into<Bytes>) -> Result<Self> {
        Self::hash(RAW, data)
    }

    /// A dag-pb node, already encoded.
    ///
    /// # Errors
    /// As [`Block::hash`].
    pub fn dag_pb(data: impl Into<Bytes>) -> Result<Self> {
        Self::hash(DAG_PB, data)
    }

    /// A dag-cbor node, already encoded.
    ///
    /// # Errors
    /// As [`Block::hash`].
    pub fn dag_cbor(data: impl Into<Bytes>) -> Result<Self> {
        Self::hash(DAG_CBOR, data)
    }

    /// Checks that `data` hashes to `cid`.
    ///
    /// # Errors
    /// [`Error::HashMismatch`], [`Error::TooLarge`], or those of [`check_hash`](crate::check_hash).
    pub fn verify(cid: Cid, data: impl Into<Bytes>) -> Result<Self> {
        let data = data.into();
        check_size(&data)?;
        let actual = digest_like(cid.hash(), &data)?;
        if actual == *cid.hash() {
            return Ok(Self { cid, data });
        }
        let actual = Cid::new(cid.version(), cid.codec(), actual).unwrap_or_else(|_| Cid::new_v1(cid.codec(), actual));
        Err(Error::HashMismatch { expected: Box::new(cid), actual: Box::new(actual) })
    }

    /// Changes the CID to CIDv0, if that is possible: dag-pb with sha2-256.
    pub(crate) fn with_cid_v0(self) -> Self {
        match Cid::new_v0(*self.cid.hash()) {
            Ok(cid) if self.cid.codec() == DAG_PB => Self { cid, data: self.data },
            _ => self,
        }
    }

    /// Hashes `data` into the CID that a Bitswap prefix describes (CID version, codec, hash function and digest
    /// length). Bitswap transmits a block with its prefix instead of its CID.
    ///
    /// # Errors
    /// [`Error::TooLarge`], those of [`check_hash`](crate::check_hash), or [`Error::InvalidCid`] for an unknown
    /// version, or for a version 0 that is not dag-pb with sha2-256.
    pub fn from_prefix(
        version: u64,
        codec: u64,
        hash_code: u64,
        digest_bytes: u64,
        data: impl Into<Bytes>,
    ) -> Result<Self> {
        let data = data.into();
        check_size(&data)?;
        Ok(Self { cid: cid_from_prefix(version, codec, hash_code, digest_bytes, &data)?, data })
    }
    /// The block's CID.
    pub fn cid(&self) -> &Cid {
        &self.cid
    }

    /// The block's bytes.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// A block with a buffer of its own, if its bytes are part of a larger buffer that they would keep alive.
    #[must_use]
    pub fn into_owned(self) -> Self {
        Self { cid: self.cid, data: Bytes::copy_from_slice(&self.data) }
    }

    /// The same bytes under another CID with the same multihash; `None` if `cid` has a different multihash.
    pub fn renamed(&self, cid: Cid) -> Option<Self> {
        (cid.hash() == self.cid.hash()).then(|| Self { cid, data: self.data.clone() })
    }

    /// Splits the block into its CID and its bytes.
    pub fn into_parts(self) -> (Cid, Bytes) {
        (self.cid, self.data)
    }
}

/// The CID of `data` for a Bitswap prefix, regardless of the size of `data`.
///
/// # Errors
/// As [`Block::from_prefix`], except [`Error::TooLarge`].
pub fn cid_from_prefix(version: u64, codec: u64, hash_code: u64, digest_bytes: u64, data: &[u8]) -> Result<Cid> {
    let invalid = |reason: String| Error::InvalidCid {
        text: format!("prefix {version}/0x{codec:x}/0x{hash_code:x}/{digest_bytes}"),
        reason,
    };
    let hash = digest(hash_code, usize::try_from(digest_bytes).unwrap_or(usize::MAX), data)?;
    let version = cid::Version::try_from(version).map_err(|error| invalid(error.to_string()))?;
    Cid::new(version, codec, hash).map_err(|error| invalid(error.to_string()))
}

fn check_size(data: &Bytes) -> Result<()> {
    if data.len() > MAX_BLOCK_BYTES {
        return Err(Error::TooLarge { bytes: data.len(), limit: MAX_BLOCK_BYTES });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SHA2_256;

    #[test]
    fn a_raw_block_has_the_cid_that_ipfs_gives_it() {
        let block = Block::raw(&b"hello world"[..]).unwrap();
        assert_eq!(block.cid().to_string(), "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e");
    }

    #[test]
    fn wrong_bytes_are_refused_and_both_cids_named() {
        let cid = *Block::raw(&b"right"[..]).unwrap().cid();
        let error = Block::verify(cid, &b"wrong"[..]).unwrap_err();
        assert!(matches!(error, Error::HashMismatch { expected, actual } if *expected == cid && *actual != cid));
    }

    #[test]
    fn an_oversized_block_is_refused() {
        let error = Block::raw(vec![0; MAX_BLOCK_BYTES + 1]).unwrap_err();
        assert!(matches!(error, Error::TooLarge { limit: MAX_BLOCK_BYTES, .. }));
    }

    #[test]
    fn a_prefix_and_bytes_make_the_block_they_were_cut_from() {
        let block = Block::dag_pb(&b"\x0a\x00"[..]).unwrap();
        let again = Block::from_prefix(1, DAG_PB, SHA2_256, 32, block.data().clone()).unwrap();
        assert_eq!(again, block);
        let version_0 = Block::from_prefix(0, DAG_PB, SHA2_256, 32, block.data().clone()).unwrap();
        assert_eq!((version_0.cid().version(), version_0.cid().hash()), (cid::Version::V0, block.cid().hash()));
    }

    #[test]
    fn an_impossible_prefix_is_refused() {
        for (version, codec, hash_code, length) in
            [(2, RAW, SHA2_256, 32), (0, RAW, SHA2_256, 32), (0, DAG_PB, SHA2_256, 20), (0, DAG_PB, 0x13, 64)]
        {
            let error = Block::from_prefix(version, codec, hash_code, length, &b"data"[..]).unwrap_err();
            assert!(matches!(error, Error::InvalidCid { .. }), "{error}");
        }
        for length in [0, 19, 33, u64::MAX] {
            let error = Block::from_prefix(1, RAW, SHA2_256, length, &b"data"[..]).unwrap_err();
            assert!(matches!(error, Error::DigestLength { .. }), "{length}: {error}");
        }
        let error = Block::from_prefix(1, RAW, 0xd5, 16, &b"data"[..]).unwrap_err();
        assert!(matches!(error, Error::UnsupportedHash { code: 0xd5 }));
    }
}
