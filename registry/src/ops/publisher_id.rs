//! Detects a publisher id where the CID of content or of a release is expected.

use ggen_blockstore::Cid;

use super::{failure::usage, storage::Storage};
use crate::{
    Failure,
    identity::{IdentityDocument, PublisherId, Record as _},
};

/// Fails if `cid` is the id of a known publisher, before it is looked up.
pub(super) async fn refuse_publisher(storage: &Storage, cid: &Cid) -> Result<(), Failure> {
    let Some(publisher) = PublisherId::new(*cid) else { return Ok(()) };
    match storage.with_catalog(move |catalog| catalog.publisher(&publisher)).await? {
        Some(_) => Err(is_publisher(cid)),
        None => Ok(()),
    }
}

/// Fails if the block is an identity document.
pub(super) fn refuse_identity(cid: &Cid, payload: &[u8]) -> Result<(), Failure> {
    match IdentityDocument::from_payload(payload) {
        Ok(_) => Err(is_publisher(cid)),
        Err(_) => Ok(()),
    }
}

fn is_publisher(cid: &Cid) -> Failure {
    usage(format!("{cid} is a publisher id, not the CID of a package"))
        .hinted(format!("name a package of that publisher: `{cid}/ns/name`"))
}

#[cfg(test)]
mod tests {
    use ggen_blockstore::Block;

    use super::*;
    use crate::ErrorKind;

    #[test]
    fn only_a_publishers_document_is_refused() {
        let key = |seed: u8| crate::identity::KeyPair::from_seed(&[seed; 32]).public();
        let document = IdentityDocument {
            keys: vec![key(1)],
            threshold: 1,
            recovery: vec![key(2)],
            timestamp: key(3),
            ipns: None,
            seq: 0,
            prev: None,
            created: crate::identity::Timestamp::from_unix(1),
        };
        let block = Block::dag_cbor(document.to_payload().unwrap()).unwrap();
        let failure = refuse_identity(block.cid(), block.data()).unwrap_err();
        assert_eq!(failure.kind, ErrorKind::Usage);
        assert!(failure.hint.unwrap().to_string().contains(&format!("`{}/ns/name`", block.cid())));
        refuse_identity(block.cid(), b"\xa0").unwrap();
    }
}
