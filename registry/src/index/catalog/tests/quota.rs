use super::*;
use crate::identity::Timestamp;

fn at(seconds: u64) -> Timestamp {
    now().plus(std::time::Duration::from_secs(seconds))
}

#[test]
fn strangers_are_forgotten_when_they_are_too_many_and_others_are_not() {
    let catalog = Catalog::in_memory().unwrap();
    let (mut own, mut followed) = (Actor::new(1), Actor::new(2));
    let publication = own.publish("mine/tool", "1.0.0");
    catalog.record_publication(&own.chain, &publication, at(0)).unwrap();
    followed.publish("friend/tool", "1.0.0");
    catalog.accept_claim(&followed.claim("friend/tool"), "peer", at(0)).unwrap();
    catalog.follow(&followed.chain.publisher(), at(0)).unwrap();
    // Most of the publishers are rows without releases, so that the test need not create a thousand identities.
    let connection = catalog.lock();
    for number in 0..1023_i64 {
        connection
            .execute(
                "INSERT INTO publishers (id, chain, first_seen, seen) VALUES (?1, x'00', 0, ?2)",
                rusqlite::params![number.to_be_bytes(), number],
            )
            .unwrap();
    }
    drop(connection);
    let mut strangers: Vec<Actor> = (3..6).map(Actor::new).collect();
    for (number, stranger) in strangers.iter_mut().enumerate() {
        stranger.publish("acme/http", "1.0.0");
        catalog.accept_claim(&stranger.claim("acme/http"), "peer", at(10 + number as u64)).unwrap();
    }
    let count = |sql: &str| catalog.lock().query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM publishers WHERE standing = 0"), 1024);
    assert_eq!(count("SELECT min(seen) FROM publishers WHERE standing = 0"), 2, "those quiet longest have gone");
    assert_eq!(catalog.counts().unwrap().releases, 5);
    for package in ["mine/tool", "friend/tool"] {
        assert_eq!(found(&catalog, package), [package]);
    }
}

#[test]
fn what_is_kept_of_one_stranger_is_bounded_and_its_latest_stays() {
    let catalog = Catalog::in_memory().unwrap();
    let mut alice = Actor::new(1);
    let mut releases = Vec::new();
    for number in 0..1030_u64 {
        releases.push(Signed::sign(alice.release(&format!("acme/p{number}"), "1.0.0", "x"), &[&alice.key]).unwrap());
    }
    for (number, release) in releases.iter().enumerate() {
        catalog.accept_release(&alice.chain, release, "car", at(number as u64)).unwrap();
    }
    assert_eq!(catalog.counts().unwrap().releases, 1024);
    assert_eq!((found(&catalog, "p0"), found(&catalog, "acme/p1029")), (Vec::new(), vec!["acme/p1029".to_owned()]));
    alice.publish("acme/last", "1.0.0");
    catalog.accept_claim(&alice.claim("acme/last"), "peer", at(2000)).unwrap();
    assert_eq!(found(&catalog, "acme/last"), ["acme/last"]);
    catalog.follow(&alice.chain.publisher(), at(2000)).unwrap();
    catalog.accept_release(&alice.chain, &releases[0], "car", at(2001)).unwrap();
    assert_eq!(catalog.counts().unwrap().releases, 1025, "whom one follows has no quota");
}
