use super::*;
use crate::{
    identity::{KeyPair, NewIdentity},
    index::{actor::Actor, refresh},
};

const HOUR: Duration = Duration::from_secs(3600);

fn reverify(head: &VerifiedHead, chain: &IdentityChain, now: Timestamp) -> Result<VerifiedHead, HeadError> {
    let refresh = head.refresh().map(|refresh| refresh.envelope().clone());
    VerifiedHead::verify(head.head().envelope().clone(), refresh, chain, now)
}

#[test]
fn heads_rise_with_the_log_and_never_fall() {
    let mut alice = Actor::new(1);
    alice.publish("acme/http", "1.0.0");
    let first = alice.head().clone();
    alice.publish("acme/http", "1.1.0");
    let second = alice.head().clone();
    assert_eq!((first.order().log_seq, second.order().log_seq), (1, 2));
    assert_eq!(judge_head(&first, &second), HeadVerdict::Newer);
    assert_eq!(judge_head(&second, &first), HeadVerdict::Stale);
    assert_eq!(judge_head(&second, &second), HeadVerdict::Known);
}

#[test]
fn the_timestamp_key_refreshes_a_head_and_can_do_nothing_else() {
    let mut alice = Actor::new(1);
    alice.publish("acme/http", "1.0.0");
    let head = alice.head().clone();
    let NewIdentity { timestamp, .. } = &alice.identity;
    let later = alice.now.plus(HOUR);
    let refreshed = refresh(&head, &alice.chain, timestamp, later).unwrap();
    assert_eq!(judge_head(&head, &refreshed), HeadVerdict::Refreshed);
    assert_eq!(judge_head(&refreshed, &head), HeadVerdict::Known);
    assert_eq!(refreshed.issued(), later);
    assert!(refreshed.expires() > head.expires());
    assert!(reverify(&refreshed, &alice.chain, later).is_ok());

    let forged = Envelope::sign(head.head().record(), &[timestamp]).unwrap();
    let refused = VerifiedHead::verify(forged, None, &alice.chain, later);
    assert!(matches!(refused, Err(HeadError::Record(RecordError::NotAuthorised { .. }))));
    assert!(refresh(&head, &alice.chain, &KeyPair::from_seed(&[99; 32]), later).is_err());
}

#[test]
fn a_refresh_belongs_to_one_head() {
    let mut alice = Actor::new(1);
    alice.publish("acme/http", "1.0.0");
    let refreshed = refresh(alice.head(), &alice.chain, &alice.identity.timestamp, alice.now.plus(HOUR)).unwrap();
    alice.publish("acme/http", "1.1.0");
    let moved = refreshed.refresh().map(|refresh| refresh.envelope().clone());
    let refused =
        VerifiedHead::verify(alice.head().head().envelope().clone(), moved, &alice.chain, alice.now.plus(HOUR));
    assert!(matches!(refused, Err(HeadError::OtherHead { .. })));
}

#[test]
fn an_expired_head_warns_and_a_future_one_is_refused() {
    let mut alice = Actor::new(1);
    alice.publish("acme/http", "1.0.0");
    let head = alice.head();
    assert!(!head.is_expired(alice.now));
    assert!(head.is_expired(alice.now.plus(HEAD_LIFETIME + HOUR)));
    assert!(reverify(head, &alice.chain, alice.now.plus(HEAD_LIFETIME + HOUR)).is_ok());
    let before = Timestamp::from_unix(alice.now.as_unix() - 2 * CLOCK_TOLERANCE.as_secs());
    assert!(matches!(reverify(head, &alice.chain, before), Err(HeadError::Future { .. })));
}

#[test]
fn a_head_under_a_replaced_identity_is_refused() {
    let mut alice = Actor::new(1);
    alice.publish("acme/http", "1.0.0");
    let (old_head, old_chain) = (alice.head().clone(), alice.chain.clone());
    let signing = alice.identity.signing.clone();
    alice.rotate(42, &signing).unwrap();
    let refused = reverify(&old_head, &alice.chain, alice.now);
    assert!(matches!(refused, Err(HeadError::OtherIdentity { head: 0, chain: 1 })));
    assert!(reverify(alice.head(), &old_chain, alice.now).is_err());
    assert_eq!(judge_head(&old_head, alice.head()), HeadVerdict::Newer);
    assert_eq!(alice.head().order(), HeadOrder { identity_seq: 1, log_seq: 2 });
}

#[test]
fn a_head_of_another_publisher_is_refused() {
    let (mut alice, bob) = (Actor::new(1), Actor::new(2));
    alice.publish("acme/http", "1.0.0");
    assert!(matches!(reverify(alice.head(), &bob.chain, alice.now), Err(HeadError::OtherPublisher { .. })));
}

#[test]
fn two_histories_are_proof_that_anyone_can_check() {
    let mut alice = Actor::new(1);
    let mut twin = alice.fork();
    let ours = alice.publish("acme/http", "1.0.0");
    let theirs = twin.publish("acme/http", "6.6.6");
    let HeadVerdict::Equivocation(proof) = judge_head(alice.head(), twin.head()) else {
        panic!("two heads of one length are an equivocation")
    };
    proof.verify(&alice.chain).unwrap();
    assert_eq!(Equivocation::decode(&proof.encode().unwrap()).unwrap(), *proof);
    assert!(proof.verify(&Actor::new(2).chain).is_err());

    let logs = Equivocation::of_log_entries(&ours.log, &theirs.log).unwrap();
    logs.verify(&alice.chain).unwrap();
    assert_eq!(Equivocation::of_log_entries(&theirs.log, &ours.log).unwrap(), logs);
    assert!(Equivocation::of_log_entries(&ours.log, &ours.log).is_none());
}

#[test]
fn a_refresh_or_a_later_entry_is_no_equivocation() {
    let mut alice = Actor::new(1);
    let first = alice.publish("acme/http", "1.0.0");
    let second = alice.publish("acme/http", "1.1.0");
    assert!(Equivocation::of_log_entries(&first.log, &second.log).is_none());
    let forged = Equivocation::of_heads(first.head.head(), second.head.head());
    assert!(forged.verify(&alice.chain).is_err());
    let same = Equivocation::of_heads(first.head.head(), first.head.head());
    assert!(same.verify(&alice.chain).is_err());
}
