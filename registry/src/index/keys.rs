//! Under which keys claims stand in the DHT.
//!
//! | key | holds |
//! |---|---|
//! | `/ggen/pkg/<ns>/<name>`, or `/ggen/pkg/#` + sha2-256 of `ns/name` where that passes 80 bytes | claims of all publishers |
//! | `/ggen/pub/` + the publisher's binary CID | one publisher's head |
//! | `/ggen/own/` + sha2-256 of the publisher's binary CID and `ns/name` | one publisher's claim on one package |

use sha2::{Digest as _, Sha256};

use crate::{identity::PublisherId, package::PackageId};

/// Keys of up to this many bytes stay readable.
const MAX_READABLE_BYTES: usize = 80;

/// The contested key of a package: every publisher's claims.
pub fn package_key(package: &PackageId) -> Vec<u8> {
    let readable = format!("/ggen/pkg/{package}").into_bytes();
    if readable.len() <= MAX_READABLE_BYTES {
        return readable;
    }
    [&b"/ggen/pkg/#"[..], &Sha256::digest(package.as_str().as_bytes())].concat()
}

/// A publisher's own key: its head. Nobody else's records fit it.
pub fn publisher_key(publisher: &PublisherId) -> Vec<u8> {
    [&b"/ggen/pub/"[..], &publisher.to_bytes()].concat()
}

/// A publisher's own key for one package: what a pinned publisher's package is resolved under, so that flooding the
/// contested key cannot hide it.
pub fn qualified_key(publisher: &PublisherId, package: &PackageId) -> Vec<u8> {
    let digest = Sha256::new().chain_update(publisher.to_bytes()).chain_update(package.as_str()).finalize();
    [&b"/ggen/own/"[..], &digest].concat()
}
