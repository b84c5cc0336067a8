//! Which publisher the name of a package means to this home.
//!
//! Every publisher can claim every name, so the claims alone do not say whose a name is. A bare name `ns/name` means, in
//! this order: the publisher that the user trusts for the namespace (`trusted`), the publisher of this home that
//! published the package, the publisher from which this home first fetched a package of the namespace. These three are
//! looked up under their own key, so no other claim changes what is fetched. Only a namespace that this home has not used
//! is decided by its claims, of which there must be exactly one.

mod file;

use serde::{Deserialize, Serialize};

pub(crate) use file::{TrustError, TrustFile};

use crate::identity::{PublisherId, Timestamp};

/// How the publisher of a name is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum KnownBy {
    /// The target names the publisher.
    Target,
    /// The user trusts it for the namespace.
    File,
    /// It is a publisher of this home, which published the package.
    Own,
    /// This home fetched a package of the namespace from it before.
    FirstUse,
    /// It is the only publisher that is known to claim the name.
    Claim,
}

/// The publisher that a namespace means to this home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trusted {
    pub(crate) publisher: PublisherId,
    pub(crate) since: Timestamp,
    pub(crate) known_by: TrustedBy,
}

/// Why a namespace has a publisher in the trust file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TrustedBy {
    /// The user said so.
    User,
    /// It published the first package of the namespace that this home fetched.
    FirstUse,
}

impl From<TrustedBy> for KnownBy {
    fn from(by: TrustedBy) -> Self {
        match by {
            TrustedBy::User => Self::File,
            TrustedBy::FirstUse => Self::FirstUse,
        }
    }
}

/// What this home knows of a name before it asks a peer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    /// The publisher in the target.
    pub(crate) target: Option<PublisherId>,
    /// The entry of the namespace in the trust file.
    pub(crate) trusted: Option<Trusted>,
    /// The publishers of this home that published the package.
    pub(crate) own: Vec<PublisherId>,
}

impl Evidence {
    /// The publisher that the name means, and how it is known; `None` if only the claims can tell.
    pub(crate) fn publisher(&self) -> Option<(PublisherId, KnownBy)> {
        let by = |wanted: TrustedBy| {
            let trusted = self.trusted.as_ref().filter(|trusted| trusted.known_by == wanted)?;
            Some((trusted.publisher, wanted.into()))
        };
        // Two publishers of one home can publish one name with two keys: then neither is meant.
        let own = || if let [own] = self.own.as_slice() { Some((*own, KnownBy::Own)) } else { None };
        let target = self.target.map(|publisher| (publisher, KnownBy::Target));
        target.or_else(|| by(TrustedBy::User)).or_else(own).or_else(|| by(TrustedBy::FirstUse))
    }
}

/// A publisher that claims a name, as far as is known before it is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claimant {
    pub(crate) publisher: PublisherId,
    /// Whether every version of the package that is known of it is yanked.
    pub(crate) is_yanked: bool,
}

/// The claimants among which one must be chosen: those that have a version that is not yanked, or all of them if none has
/// one. A publisher cannot deny a name to others with a claim that it has withdrawn.
pub(crate) fn contenders(claimants: &[Claimant]) -> Vec<PublisherId> {
    let publishers = |yanked_too: bool| {
        let of = claimants.iter().filter(move |claimant| yanked_too || !claimant.is_yanked);
        of.map(|claimant| claimant.publisher).collect::<Vec<_>>()
    };
    let offering = publishers(false);
    if offering.is_empty() { publishers(true) } else { offering }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publisher_id(seed: u8) -> PublisherId {
        PublisherId::new(*ggen_blockstore::Block::dag_cbor(vec![seed]).unwrap().cid()).unwrap()
    }

    fn trusted(publisher: PublisherId, known_by: TrustedBy) -> Option<Trusted> {
        Some(Trusted { publisher, since: Timestamp::from_unix(1), known_by })
    }

    #[test]
    fn the_target_comes_before_the_user_s_word_before_own_packages_before_the_first_use() {
        let [a, b, c] = [1, 2, 3].map(publisher_id);
        let evidence = |target, trusted, own: &[PublisherId]| Evidence { target, trusted, own: own.to_vec() };
        let of = |evidence: Evidence| evidence.publisher();
        assert_eq!(of(Evidence::default()), None);
        assert_eq!(of(evidence(None, trusted(a, TrustedBy::FirstUse), &[])), Some((a, KnownBy::FirstUse)));
        assert_eq!(of(evidence(None, trusted(a, TrustedBy::FirstUse), &[b])), Some((b, KnownBy::Own)));
        assert_eq!(of(evidence(None, trusted(a, TrustedBy::User), &[b])), Some((a, KnownBy::File)));
        assert_eq!(of(evidence(Some(c), trusted(a, TrustedBy::User), &[b])), Some((c, KnownBy::Target)));
        assert_eq!(of(evidence(None, None, &[a, b])), None, "two keys of this home published the name");
        assert_eq!(of(evidence(None, trusted(c, TrustedBy::FirstUse), &[a, b])), Some((c, KnownBy::FirstUse)));
    }

    #[test]
    fn a_claimant_that_yanked_everything_does_not_contend_with_one_that_did_not() {
        let [a, b, c] = [1, 2, 3].map(publisher_id);
        let claimants = |yanked: [bool; 3]| {
            let of = [a, b, c].into_iter().zip(yanked);
            of.map(|(publisher, is_yanked)| Claimant { publisher, is_yanked }).collect::<Vec<_>>()
        };
        assert_eq!(contenders(&claimants([false, true, true])), [a]);
        assert_eq!(contenders(&claimants([true, false, false])), [b, c]);
        assert_eq!(contenders(&claimants([true; 3])), [a, b, c]);
        assert_eq!(contenders(&[]), []);
    }
}
