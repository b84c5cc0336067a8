//! DHT keys of claims and of keywords.
//!
//! | key | holds |
//! |---|---|
//! | `/ggen/pkg/<ns>/<name>`, or `/ggen/pkg/#` + sha2-256 of `ns/name` where that passes 80 bytes | claims of all publishers |
//! | `/ggen/pub/` + the publisher's binary CID | one publisher's head |
//! | `/ggen/own/` + sha2-256 of the publisher's binary CID and `ns/name` | one publisher's claim on one package |
//!
//! Nodes that know packages with a keyword provide the multihash of that keyword: sha2-256 of the domain, the network's
//! topic, the keyword and a bucket. Providers of a popular keyword are spread over [`WORD_BUCKETS`] multihashes, so
//! that no small group of DHT servers stores all of them.

use sha2::{Digest as _, Sha256};

use crate::{identity::PublisherId, package::PackageId};

/// Keys of up to this length in bytes stay readable.
const MAX_READABLE_BYTES: usize = 80;

/// The shared key of a package: the claims of all publishers.
pub fn package_key(package: &PackageId) -> Vec<u8> {
    let readable = format!("/ggen/pkg/{package}").into_bytes();
    if readable.len() <= MAX_READABLE_BYTES {
        return readable;
    }
    [&b"/ggen/pkg/#"[..], &Sha256::digest(package.as_str().as_bytes())].concat()
}

/// A publisher's own key: its head. Records of other publishers are invalid under it.
pub fn publisher_key(publisher: &PublisherId) -> Vec<u8> {
    [&b"/ggen/pub/"[..], &publisher.to_bytes()].concat()
}

/// A publisher's own key for one package. The package of a pinned publisher is resolved under this key, so that
/// flooding the shared key cannot hide it.
pub fn qualified_key(publisher: &PublisherId, package: &PackageId) -> Vec<u8> {
    let digest = Sha256::new().chain_update(publisher.to_bytes()).chain_update(package.as_str()).finalize();
    [&b"/ggen/own/"[..], &digest].concat()
}

/// Number of multihashes over which one keyword is spread.
pub const WORD_BUCKETS: u8 = 4;
/// Multihash prefix of sha2-256: its code and its length.
const SHA2_256: [u8; 2] = [0x12, 0x20];
const WORD_DOMAIN: &[u8] = b"ggen:word:v1\0";

/// The multihash of a keyword in the network of `topic`, one of [`WORD_BUCKETS`].
pub fn word_key(topic: &str, word: &str, bucket: u8) -> Vec<u8> {
    let digest = Sha256::new().chain_update(WORD_DOMAIN).chain_update(topic).chain_update([0]);
    let digest = digest.chain_update(word.to_lowercase()).chain_update([0, bucket]).finalize();
    [&SHA2_256[..], &digest].concat()
}

/// The bucket under which a node provides a keyword. It differs between nodes and is constant for each node.
pub fn word_bucket(node: &[u8], word: &str) -> u8 {
    let digest = Sha256::new().chain_update(node).chain_update(word).finalize();
    digest[0] % WORD_BUCKETS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_keys_of_their_network_and_spread_over_buckets() {
        let key = word_key("/ggen/packages/v1", "http", 0);
        assert_eq!((key.len(), &key[..2]), (34, &SHA2_256[..]));
        assert_eq!(key, word_key("/ggen/packages/v1", "HTTP", 0));
        assert_ne!(key, word_key("/other", "http", 0));
        assert_ne!(key, word_key("/ggen/packages/v1", "http", 1));
        let mut used = [false; WORD_BUCKETS as usize];
        for node in 0..64_u8 {
            used[usize::from(word_bucket(&[node], "http"))] = true;
        }
        assert_eq!(used, [true; WORD_BUCKETS as usize]);
    }
}
