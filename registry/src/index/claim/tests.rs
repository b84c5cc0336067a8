use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::{
    identity::KeyPair,
    index::actor::{Actor, now},
};

fn key() -> Vec<u8> {
    package_key(&"acme/http".parse().unwrap())
}

fn set(claims: &[Claim]) -> Vec<u8> {
    let mut set = ClaimSet::new(&key());
    claims.iter().for_each(|claim| set.insert(claim.clone()).unwrap());
    set.encode().unwrap()
}

fn publisher(seed: u8) -> Actor {
    let mut actor = Actor::new(seed);
    actor.publish("acme/http", "1.0.0");
    actor
}

#[test]
fn a_claim_carries_the_release_and_the_proof_that_the_head_stands_for_it() {
    let mut alice = publisher(1);
    for number in 0..40 {
        alice.publish(&format!("acme/other-{number}"), "1.0.0");
    }
    alice.publish("acme/http", "1.1.0");
    alice.yank("acme/http", "1.0.0", true);
    let claim = alice.claim("acme/http");
    assert_eq!(Claim::verify(claim.encoded(), alice.now).unwrap(), claim);
    assert_eq!(claim.entry().unwrap().release.record().version.to_string(), "1.1.0");
    let flags: Vec<bool> = claim.versions().iter().map(|entry| entry.yanked).collect();
    assert_eq!(flags, [true, false]);
    assert!(claim.belongs_under(&key()));
    assert!(claim.belongs_under(&qualified_key(&alice.chain.publisher(), claim.package().unwrap())));
    assert!(!claim.belongs_under(&package_key(&"acme/other".parse().unwrap())));
    assert!(!claim.belongs_under(&publisher_key(&alice.chain.publisher())));
}

#[test]
fn a_publishers_head_stands_under_its_own_key_alone() {
    let alice = publisher(1);
    let claim = Claim::for_publisher(&alice.chain, alice.head(), alice.now).unwrap();
    assert!(claim.belongs_under(&publisher_key(&alice.chain.publisher())));
    assert!(!claim.belongs_under(&publisher_key(&publisher(2).chain.publisher())));
    assert!(matches!(ClaimSet::new(&key()).insert(claim), Err(ClaimError::OtherKey)));
}

#[test]
fn a_release_that_the_catalog_does_not_list_is_refused() {
    let mut alice = publisher(1);
    let found = alice.found("acme/http");
    let unlisted = alice.release("acme/http", "9.0.0", "x");
    let unlisted = Signed::sign(unlisted, &[&alice.key]).unwrap();
    let refused = Claim::for_package(&alice.chain, alice.head(), &unlisted, Some(&found), alice.now);
    assert!(matches!(refused, Err(ClaimError::Mismatch { .. })));
    alice.publish("acme/http", "1.1.0");
    let stale = Claim::for_package(&alice.chain, alice.head(), &unlisted, Some(&found), alice.now);
    assert!(matches!(stale, Err(ClaimError::Proof(_))));
}

#[test]
fn a_stolen_key_that_was_rotated_away_claims_nothing() {
    let mut alice = publisher(1);
    let stolen = alice.identity.signing.clone();
    alice.rotate(42, &stolen);
    let forged = Signed::sign(alice.release("acme/http", "6.6.6", "evil"), &[&stolen]).unwrap();
    let refused = Claim::for_package(&alice.chain, alice.head(), &forged, None, alice.now);
    assert!(matches!(refused, Err(ClaimError::Record(RecordError::NotAuthorised { .. }))));
    // A release signed by the old key stays valid with the catalog's proof.
    assert_eq!(alice.claim("acme/http").versions().len(), 1);
}

#[test]
fn a_release_of_another_publisher_is_refused() {
    let (alice, mallory) = (publisher(1), publisher(2));
    let release = mallory.claim("acme/http").entry().unwrap().release.clone();
    let refused = Claim::for_package(&alice.chain, alice.head(), &release, None, alice.now);
    assert!(matches!(refused, Err(ClaimError::Mismatch { .. })));
}

#[test]
fn a_proof_too_large_is_shortened_to_the_newest_versions() {
    let mut alice = Actor::new(1);
    for number in 0..400 {
        alice.publish("acme/http", &format!("1.{number}.0"));
    }
    let claim = alice.claim("acme/http");
    assert!(claim.encoded().len() <= MAX_CLAIM_BYTES);
    let found = claim.entry().unwrap().found.as_ref().unwrap();
    assert!(!found.complete && found.entries.len() >= 64);
    assert_eq!(found.entries.last().unwrap().version.to_string(), "1.399.0");
}

#[test]
fn a_set_in_another_form_is_refused() {
    let (alice, bob) = (publisher(1), publisher(2));
    let good = set(&[alice.claim("acme/http"), bob.claim("acme/http")]);
    assert_eq!(ClaimSet::verify(&key(), &good, now()).unwrap().claims().len(), 2);
    assert!(matches!(ClaimSet::verify(b"/ggen/pkg/acme/x", &good, now()), Err(ClaimError::OtherKey)));
    let twice = merge_forged(&[&alice, &alice]);
    assert!(matches!(ClaimSet::verify(&key(), &twice, now()), Err(ClaimError::Form { .. })));
    let (one, other) = (merge_forged(&[&alice, &bob]), merge_forged(&[&bob, &alice]));
    let verdicts = [one, other].map(|bytes| ClaimSet::verify(&key(), &bytes, now()).is_ok());
    assert!(verdicts[0] != verdicts[1], "exactly one order is the set's");
    let huge = vec![0; MAX_CLAIM_SET_BYTES + 1];
    assert!(matches!(ClaimSet::verify(&key(), &huge, now()), Err(ClaimError::Record(RecordError::TooLarge { .. }))));
}

/// The encoding of the given claims, without the rules of a set.
fn merge_forged(actors: &[&Actor]) -> Vec<u8> {
    #[derive(Serialize)]
    struct Forged {
        r#type: &'static str,
        claims: Vec<ByteBuf>,
    }
    let claims = actors.iter().map(|actor| ByteBuf::from(actor.claim("acme/http").encoded())).collect();
    serde_ipld_dagcbor::to_vec(&Forged { r#type: "ggen/claims/v1", claims }).unwrap()
}

#[test]
fn nine_publishers_are_one_too_many_whatever_the_order() {
    let claims: Vec<Claim> = (1..=12).map(|seed| publisher(seed).claim("acme/http")).collect();
    let forward = set(&claims);
    let backward = set(&claims.iter().rev().cloned().collect::<Vec<_>>());
    assert_eq!(forward, backward);
    assert_eq!(ClaimSet::verify(&key(), &forward, now()).unwrap().claims().len(), MAX_CLAIMS);
}

#[test]
fn the_newest_claim_of_a_publisher_wins() {
    let mut alice = publisher(1);
    let old = alice.claim("acme/http");
    alice.publish("acme/http", "1.1.0");
    let new = alice.claim("acme/http");
    for claims in [[old.clone(), new.clone()], [new.clone(), old]] {
        let merged = ClaimSet::verify(&key(), &set(&claims), now()).unwrap();
        assert_eq!(merged.of_publisher(&alice.chain.publisher()), Some(&new));
    }
}

static POOL: LazyLock<Vec<Claim>> = LazyLock::new(pool);

/// Claims that exercise every criterion of merging: ages, rotations, recoveries, forks, more publishers than fit.
fn pool() -> Vec<Claim> {
    let mut pool = Vec::new();
    for seed in 1..=10 {
        let mut actor = publisher(seed);
        pool.push(actor.claim("acme/http"));
        let mut twin = actor.fork();
        actor.publish("acme/http", "1.1.0");
        twin.publish("acme/http", "6.6.6");
        pool.extend([actor.claim("acme/http"), twin.claim("acme/http")]);
    }
    let mut alice = publisher(1);
    let mut thief = alice.fork();
    let mut rival = alice.fork();
    let signing = alice.identity.signing.clone();
    let recovery = alice.identity.recovery.clone();
    thief.rotate(80, &signing);
    pool.push(thief.claim("acme/http"));
    let second = KeyPair::from_seed(&[80; 32]);
    let mut below = thief.fork();
    thief.rotate(81, &second);
    below.rotate(82, &recovery);
    rival.rotate(83, &signing);
    alice.rotate(90, &recovery);
    pool.extend([&thief, &below, &rival, &alice].map(|actor| actor.claim("acme/http")));
    pool
}

#[test]
fn a_recovery_wins_over_everything_the_thief_signed() {
    let pool = &*POOL;
    let recovered = pool.last().unwrap();
    let merged = ClaimSet::verify(&key(), &set(pool), now()).unwrap();
    if let Some(claim) = merged.of_publisher(&recovered.publisher()) {
        assert_eq!(claim, recovered);
    }
    let of_alice: Vec<Claim> =
        pool.iter().filter(|claim| claim.publisher() == recovered.publisher()).cloned().collect();
    let merged = ClaimSet::verify(&key(), &set(&of_alice), now()).unwrap();
    assert_eq!(merged.claims().collect::<Vec<_>>(), [recovered]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn merging_is_commutative_associative_and_idempotent(
        picks in proptest::collection::vec(proptest::collection::vec(0_usize..35, 1..14), 3)
    ) {
        let pool = &*POOL;
        let sets: Vec<Vec<u8>> = picks.iter()
            .map(|picks| set(&picks.iter().map(|pick| pool[*pick].clone()).collect::<Vec<_>>()))
            .collect();
        let merge = |a: &[u8], b: &[u8]| merge_claims(&key(), a, b, now()).unwrap();
        let (a, b, c) = (&sets[0], &sets[1], &sets[2]);
        prop_assert_eq!(merge(a, b), merge(b, a));
        prop_assert_eq!(merge(&merge(a, b), c), merge(a, &merge(b, c)));
        prop_assert_eq!(merge(a, a), a.clone());
        prop_assert!(merge(&merge(a, b), c).len() <= MAX_CLAIM_SET_BYTES);
    }

    #[test]
    fn damaged_claims_are_errors(at in 0_usize..3000, flip in 1_u8..=255, cut in 0_usize..3000) {
        let good = publisher(1).claim("acme/http").encoded().to_vec();
        let mut bad = good.clone();
        let at = at % bad.len();
        bad[at] ^= flip;
        prop_assert!(Claim::verify(&bad, now()).is_err());
        prop_assert!(Claim::verify(&good[..cut % good.len()], now()).is_err());
    }

    #[test]
    fn nonsense_is_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Claim::verify(&bytes, now()).is_err());
        prop_assert!(ClaimSet::verify(&key(), &bytes, now()).is_err());
    }
}
