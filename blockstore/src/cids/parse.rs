//! CIDs as text.

use std::str::FromStr;

use super::Cid;
use crate::{Error, Result, check_hash};

/// Parses the text form of a CID in any multibase. Its hash function must be one that this crate can verify.
///
/// # Errors
/// [`Error::InvalidCid`] with the text and the reason; those of [`check_hash`].
pub fn parse_cid(text: &str) -> Result<Cid> {
    let cid = Cid::from_str(text)
        .map_err(|source| Error::InvalidCid { text: text.to_owned(), reason: source.to_string() })?;
    check_hash(&cid)?;
    Ok(cid)
}
