use ggen_blockstore::Blockstore as _;

use super::*;
use crate::{identity::IdentityDocument, index::actor::Actor};

#[test]
fn a_publication_chains_log_head_and_catalog() {
    let mut alice = Actor::new(1);
    let first = alice.publish("acme/http", "1.0.0");
    let second = alice.publish("acme/json", "0.1.0");
    assert_eq!(first.log.record().prev, None);
    assert_eq!(second.log.record().prev.map(|prev| *prev.cid()), Some(*first.log.cid()));
    assert_eq!(second.head.head().record().log.cid(), second.log.cid());
    assert_eq!(alice.found("acme/http").entries.len(), 1);
    assert_eq!(alice.found("acme/json").entries[0].release.cid(), second.release.unwrap().cid());
    for cid in [second.log.cid(), second.head.head().cid(), alice.chain.publisher().cid()] {
        assert!(alice.store.has(cid).unwrap(), "{cid}");
    }
}

#[test]
fn the_same_version_with_the_same_content_is_nothing_to_do() {
    let mut alice = Actor::new(1);
    let published = alice.publish("acme/http", "1.0.0").release.unwrap();
    let mut again = alice.release("acme/http", "1.0.0", "acme/http 1.0.0");
    again.metadata.description = "Another description".to_owned();
    let outcome = alice.try_publish(again).unwrap();
    assert!(matches!(outcome, PublishOutcome::Unchanged { release } if *release == *published.cid()));
    assert_eq!(alice.head().order().log_seq, 1);
}

#[test]
fn the_same_version_with_other_content_is_refused() {
    let mut alice = Actor::new(1);
    alice.publish("acme/http", "1.0.0");
    let other = alice.release("acme/http", "1.0.0", "other content");
    assert!(matches!(alice.try_publish(other), Err(PublicationError::VersionTaken { .. })));
    let mut executable = alice.release("acme/http", "1.0.0", "acme/http 1.0.0");
    executable.executables = vec!["run.sh".to_owned()];
    let refused = alice.try_publish(executable).unwrap_err();
    assert!(
        matches!(&refused, PublicationError::OtherExecutables { path: Some(path), .. } if path == "run.sh"),
        "{refused}"
    );
}

#[test]
fn a_lower_version_is_published_and_follows_the_next_lower() {
    let mut alice = Actor::new(1);
    let first = alice.publish("acme/http", "1.0.0").release.unwrap();
    alice.publish("acme/http", "2.0.0");
    let published = alice.publish("acme/http", "1.0.1").release.unwrap();
    assert_eq!(published.record().predecessor.map(|cid| *cid.cid()), Some(*first.cid()));
    let versions: Vec<_> = alice.found("acme/http").entries.iter().map(|entry| entry.version.to_string()).collect();
    assert_eq!(versions, ["1.0.0", "1.0.1", "2.0.0"]);
}

#[test]
fn a_second_build_of_one_version_is_refused() {
    let mut alice = Actor::new(1);
    for (first, second) in
        [("1.0.0", "1.0.0+a"), ("1.1.0+a", "1.1.0+b"), ("1.2.0+a", "1.2.0"), ("2.0.0-rc.1", "2.0.0-rc.1+a")]
    {
        alice.publish("acme/http", first);
        let other = alice.release("acme/http", second, "other content");
        let refused = alice.try_publish(other);
        assert!(
            matches!(&refused, Err(PublicationError::OtherBuild { existing, .. }) if existing.to_string() == first),
            "{second}: {refused:?}"
        );
        // A version number cannot be reused, whether it is yanked or not.
        alice.yank("acme/http", first, true).unwrap();
        let same_content = alice.release("acme/http", second, &format!("acme/http {first}"));
        assert!(matches!(alice.try_publish(same_content), Err(PublicationError::OtherBuild { .. })));
    }
    alice.publish("acme/http", "2.0.0+a");
}

#[test]
fn yanks_are_logged_and_taken_back() {
    let mut alice = Actor::new(1);
    alice.publish("acme/http", "1.0.0");
    let yank = alice.yank("acme/http", "1.0.0", true).unwrap();
    assert!(matches!(&yank.log.record().action, LogAction::Yank { reason: Some(reason), .. } if reason == "broken"));
    assert!(alice.found("acme/http").entries[0].yanked);
    assert!(alice.yank("acme/http", "1.0.0", true).is_none(), "it is yanked already");
    assert!(alice.yank("acme/http", "1.0.0", false).is_some());
    assert!(!alice.found("acme/http").entries[0].yanked);

    let (store, keys) = (alice.store.clone(), [&alice.key]);
    let state = PublisherState { chain: &alice.chain, keys: &keys, head: alice.head.as_ref() };
    let (package, version) = ("acme/http".parse().unwrap(), "9.9.9".parse().unwrap());
    let refused = set_yanked(state, (&package, &version), Some(None), |cid| store.get(cid), alice.now);
    assert!(matches!(refused, Err(PublicationError::NoSuchVersion { .. })));
}

#[test]
fn keys_below_the_threshold_publish_nothing() {
    let mut alice = Actor::new(1);
    let second = crate::identity::KeyPair::from_seed(&[50; 32]);
    let mut keys = vec![alice.key.public(), second.public()];
    keys.sort_unstable();
    let document = IdentityDocument { keys, threshold: 2, ..alice.chain.current().record().clone() };
    alice.chain = alice.chain.rotate(document, &[&alice.key]).unwrap();
    let release = alice.release("acme/http", "1.0.0", "x");
    assert!(matches!(alice.try_publish(release.clone()), Err(PublicationError::Record(_))));

    let keys = [&alice.key, &second];
    let state = PublisherState { chain: &alice.chain, keys: &keys, head: None };
    let outcome = publish(state, release, |_| Ok(None), alice.now).unwrap();
    let PublishOutcome::Published(publication) = outcome else { panic!("nothing was published before") };
    assert_eq!(publication.release.unwrap().envelope().signatures().len(), 2);
}

#[test]
fn a_release_of_another_publisher_is_not_signed() {
    let (mut alice, bob) = (Actor::new(1), Actor::new(2));
    let release = bob.release("acme/http", "1.0.0", "x");
    assert!(matches!(alice.try_publish(release), Err(PublicationError::OtherPublisher { .. })));
}

#[test]
fn a_clock_set_back_does_not_make_heads_look_older() {
    let mut alice = Actor::new(1);
    alice.publish("acme/http", "1.0.0");
    let issued = alice.head().issued();
    alice.now = Timestamp::from_unix(alice.now.as_unix() - 600);
    assert!(check_clock(alice.head(), alice.now).is_ok());
    alice.publish("acme/http", "1.1.0");
    assert_eq!(alice.head().issued(), issued);
}

#[test]
fn what_follows_a_head_from_the_future_is_of_now_and_still_newer() {
    let mut alice = Actor::new(1);
    let sane = alice.now;
    alice.now = Timestamp::from_unix(sane.as_unix() + 100_000);
    alice.publish("acme/http", "1.0.0");
    let fast = alice.head().clone();
    alice.now = sane;
    let refused = check_clock(&fast, sane).unwrap_err().to_string();
    assert!(refused.contains(&fast.issued().to_string()) && refused.contains(&sane.to_string()), "{refused}");
    alice.publish("acme/http", "1.1.0");
    assert_eq!(alice.head().issued(), sane);
    assert!(check_clock(alice.head(), sane).is_ok());
    assert_eq!(crate::index::judge_head(&fast, alice.head()), crate::index::HeadVerdict::Newer);
    // Peers that refused the former head accept this one, with its claim.
    let claim = alice.claim("acme/http");
    crate::index::Claim::verify(claim.encoded(), sane).unwrap();
}

#[test]
fn a_log_survives_rotation() {
    let mut alice = Actor::new(1);
    alice.publish("acme/http", "1.0.0");
    let signing = alice.identity.signing.clone();
    let rotation = alice.rotate(42, &signing).unwrap();
    assert!(
        matches!(rotation.log.record().action, LogAction::Rotation { identity } if identity == alice.chain.current_reference())
    );
    alice.publish("acme/http", "1.1.0");
    assert_eq!(alice.found("acme/http").entries.len(), 2);
}
