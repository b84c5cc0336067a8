use std::time::Duration;

use super::*;
use crate::{
    identity::RecordError,
    index::{HEAD_LIFETIME, actor::Actor},
};

const TOPIC: &str = "/ggen/packages/v1";

#[test]
fn an_announcement_reads_back_on_its_topic_alone() {
    let mut alice = Actor::new(1);
    alice.publish("acme/http", "1.0.0");
    let claim = alice.claim("acme/http");
    let bytes = Announcement::new(TOPIC, &claim, alice.now).unwrap().encode().unwrap();
    assert_eq!(Announcement::verify(TOPIC, &bytes, alice.now).unwrap().claim(), &claim);
    let other = Announcement::verify("/other", &bytes, alice.now);
    assert!(matches!(other, Err(ClaimError::OtherTopic { actual }) if actual == TOPIC));
}

#[test]
fn an_announcement_that_does_not_fit_leaves_its_proof_out() {
    let mut alice = Actor::new(1);
    for number in 0..300 {
        alice.publish("acme/http", &format!("1.{number}.0"));
    }
    let claim = alice.claim("acme/http");
    assert!(claim.encoded().len() > MAX_ANNOUNCEMENT_BYTES);
    let bytes = Announcement::new(TOPIC, &claim, alice.now).unwrap().encode().unwrap();
    let read = Announcement::verify(TOPIC, &bytes, alice.now).unwrap();
    let entry = read.claim().entry().unwrap();
    assert_eq!((entry.release.record().version.to_string().as_str(), &entry.found), ("1.299.0", &None));
}

#[test]
fn old_news_and_oversized_news_are_refused() {
    let mut alice = Actor::new(1);
    alice.publish("acme/http", "1.0.0");
    let bytes = Announcement::new(TOPIC, &alice.claim("acme/http"), alice.now).unwrap().encode().unwrap();
    let late = alice.now.plus(HEAD_LIFETIME + Duration::from_secs(1));
    assert!(matches!(Announcement::verify(TOPIC, &bytes, late), Err(ClaimError::Expired { .. })));
    let huge = vec![0; MAX_ANNOUNCEMENT_BYTES + 1];
    assert!(matches!(
        Announcement::verify(TOPIC, &huge, alice.now),
        Err(ClaimError::Record(RecordError::TooLarge { limit: MAX_ANNOUNCEMENT_BYTES, .. }))
    ));
    for end in 0..bytes.len() {
        assert!(Announcement::verify(TOPIC, &bytes[..end], alice.now).is_err(), "cut at {end}");
    }
}
