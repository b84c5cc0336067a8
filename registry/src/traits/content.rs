//! Content ids, as callers write them.

use std::fmt;

use ggen_blockstore::{Cid, DAG_PB, RAW, SHA2_256, parse_cid};

use crate::{ErrorKind, Failure, traits::Result};

/// The hash function of content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HashAlgorithm {
    /// SHA2-256, which all packages use.
    Sha256,
}

impl HashAlgorithm {
    fn code(self) -> u64 {
        match self {
            Self::Sha256 => SHA2_256,
        }
    }
}

/// The root CID of a package's tree. It is parsed when it is used, so that constructing one cannot fail.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContentId {
    text: String,
    algorithm: HashAlgorithm,
}

impl ContentId {
    /// A CID (v0 or v1) as text, and its hash function.
    pub fn new(cid: impl Into<String>, algorithm: HashAlgorithm) -> Self {
        Self { text: cid.into(), algorithm }
    }

    /// The CID, in version 1.
    ///
    /// # Errors
    /// [`Usage`](ErrorKind::Usage) if the text is no CID, has a hash function other than `algorithm`, or is not of a
    /// file or directory.
    pub fn cid(&self) -> Result<Cid> {
        let Self { text, algorithm } = self;
        let refuse = |reason: String| Failure::new(ErrorKind::Usage, format!("`{text}` is no content id: {reason}"));
        let cid = parse_cid(text).map_err(|error| refuse(error.to_string()))?;
        if cid.hash().code() != algorithm.code() {
            return Err(refuse(format!("its hash is not {algorithm}")));
        }
        if ![DAG_PB, RAW].contains(&cid.codec()) {
            return Err(refuse("it is not the root of a file or directory (dag-pb or raw)".to_owned()));
        }
        Ok(Cid::new_v1(cid.codec(), *cid.hash()))
    }

    /// The hash function.
    pub fn algorithm(&self) -> HashAlgorithm {
        self.algorithm
    }
}

impl From<Cid> for ContentId {
    fn from(cid: Cid) -> Self {
        Self::new(cid.to_string(), HashAlgorithm::Sha256)
    }
}

impl fmt::Display for HashAlgorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256 => formatter.write_str("sha2-256"),
        }
    }
}

impl fmt::Display for ContentId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V0: &str = "QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ";

    #[test]
    fn a_cid_of_version_0_is_taken_as_version_1() {
        let id = ContentId::new(V0, HashAlgorithm::Sha256);
        assert_eq!(id.to_string(), V0);
        let cid = id.cid().unwrap();
        assert_eq!((cid.version(), cid.codec()), (cid::Version::V1, DAG_PB));
        assert_eq!(ContentId::from(cid).cid().unwrap(), cid);
    }

    #[test]
    fn what_is_no_content_is_refused_with_the_reason() {
        for (text, reason) in [
            ("QmX7Zd...", "no content id"),
            ("", "no content id"),
            ("bafyreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy", "dag-pb or raw"),
            ("bafkqaaa", "its hash is not sha2-256"),
        ] {
            let failure = ContentId::new(text, HashAlgorithm::Sha256).cid().unwrap_err();
            assert_eq!(failure.kind, ErrorKind::Usage);
            assert!(failure.message.contains(reason), "{text}: {failure}");
        }
    }
}
