use std::fs;

use super::*;

fn now() -> Timestamp {
    Timestamp::from_unix(1_700_000_000)
}

fn retrieved(bytes: u64) -> Outcome<'static> {
    Outcome::Retrieved { package: Some("acme/http"), bytes }
}

fn failed(fault: Fault) -> Outcome<'static> {
    Outcome::Failed { fault, package: None, bytes: 0 }
}

#[test]
fn everything_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("peers.db");
    let (alice, mallory) = (PeerId::random(), PeerId::random());
    let before = {
        let book = PeerBook::open(&path).unwrap();
        book.seen(&alice, &["/ip4/127.0.0.1/tcp/1".parse().unwrap()], now());
        book.introduced(&alice, "ggen/0.1.0", now());
        book.latency(&alice, Duration::from_micros(1234), now());
        book.traffic(&alice, 10, 20, Some(1e6), now());
        book.record(&alice, retrieved(20), now());
        book.provides(&alice, "p/acme/http", now());
        book.provides(&alice, "p/acme/http", now());
        book.provides(&alice, "p/acme/json", now());
        book.record(&mallory, failed(Fault::WrongBytes), now());
        book.record(&mallory, failed(Fault::Stalled), now());
        book.put_on(&mallory, Listing::Denied, now()).unwrap();
        book.flush().unwrap();
        [book.get(&alice).unwrap(), book.get(&mallory).unwrap()]
    };
    assert_eq!((before[0].packages, before[0].bytes_received, before[1].listing), (2, 20, Some(Listing::Denied)));
    let book = PeerBook::open(&path).unwrap();
    assert_eq!([book.get(&alice).unwrap(), book.get(&mallory).unwrap()], before);
    assert_eq!(
        (book.reputation(&alice), book.reputation(&mallory), book.reputation(&PeerId::random())),
        (1.0, 0.0, 1.0)
    );
    let events: Vec<_> = book.history(&mallory).unwrap().into_iter().map(|entry| entry.event).collect();
    assert_eq!(events, ["denied", "stalled", "wrong_bytes"]);
    let expected = PeerHistory { time: now(), event: "retrieved".into(), package: Some("acme/http".into()), bytes: 20 };
    assert_eq!(book.history(&alice).unwrap(), [expected]);
    let asked = ["p/acme/http".to_owned(), "p/acme/unknown".to_owned()];
    assert_eq!(book.providers_of(&asked).unwrap(), HashMap::from([(asked[0].clone(), vec![alice])]));
}

#[test]
fn what_is_told_is_written_when_the_book_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("peers.db");
    let bob = PeerId::random();
    PeerBook::open(&path).unwrap().record(&bob, failed(Fault::FalseHave), now());
    assert_eq!(PeerBook::open(&path).unwrap().reputation(&bob), 0.0);
}

#[test]
fn a_peer_that_was_reset_is_as_new_after_a_restart_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("peers.db");
    let bob = PeerId::random();
    {
        let book = PeerBook::open(&path).unwrap();
        book.record(&bob, failed(Fault::Malformed), now());
        book.provides(&bob, "p/acme/http", now());
        book.flush().unwrap();
        assert!(book.reset(&bob) && !book.reset(&bob));
        assert_eq!(book.reputation(&bob), 1.0);
    }
    let book = PeerBook::open(&path).unwrap();
    assert_eq!((book.get(&bob), book.history(&bob).unwrap()), (None, Vec::new()));
    assert!(book.providers_of(&["p/acme/http".to_owned()]).unwrap().is_empty());
}

#[test]
fn a_damaged_book_and_a_foreign_one_are_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("peers.db");
    fs::write(&path, b"this is no database, but long enough to be looked at as one").unwrap();
    let bob = PeerId::random();
    PeerBook::open(&path).unwrap().record(&bob, retrieved(1), now());
    assert_eq!(PeerBook::open(&path).unwrap().list().len(), 1);
    assert!(dir.path().join("peers.db.damaged-1").exists());

    let connection = rusqlite::Connection::open(dir.path().join("foreign.db")).unwrap();
    connection.execute_batch("CREATE TABLE other (x)").unwrap();
    drop(connection);
    assert!(PeerBook::open(&dir.path().join("foreign.db")).unwrap().list().is_empty());
    assert!(dir.path().join("foreign.db.damaged-1").exists());
}

#[test]
fn decisions_outlive_the_book_and_what_it_says_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("peers.db");
    let [mallory, alice, bob] = [PeerId::random(), PeerId::random(), PeerId::random()];
    let lists = |book: &PeerBook| (book.listed(Listing::Denied), book.listed(Listing::Allowed));
    {
        let book = PeerBook::open(&path).unwrap();
        book.put_on(&mallory, Listing::Denied, now()).unwrap();
        book.put_on(&alice, Listing::Allowed, now()).unwrap();
        book.put_on(&bob, Listing::Allowed, now()).unwrap();
        book.reset(&bob);
        book.record(&mallory, failed(Fault::Malformed), now());
    }
    let decided = (vec![mallory], vec![alice]);
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection
        .execute("UPDATE peers SET listing = CASE listing WHEN 'denied' THEN NULL ELSE 'denied' END", [])
        .unwrap();
    drop(connection);
    assert_eq!(lists(&PeerBook::open_with(&path, Access::Copy).unwrap()), decided);
    assert_eq!(lists(&PeerBook::open(&path).unwrap()), decided);
    // If the copy is damaged, the book takes precedence, and the copy is written again.
    let copy = dir.path().join("peers.lists");
    fs::write(&copy, "nonsense").unwrap();
    let book = PeerBook::open(&path).unwrap();
    assert_eq!((lists(&book), book.reputation(&mallory)), (decided.clone(), 0.0));
    drop(book);
    fs::remove_file(&path).unwrap();
    let book = PeerBook::open(&path).unwrap();
    assert_eq!((lists(&book), book.reputation(&mallory)), (decided, 1.0));
}

#[test]
fn a_book_of_a_newer_program_is_an_error_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("peers.db");
    drop(PeerBook::open(&path).unwrap());
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 9).unwrap();
    drop(connection);
    let error = PeerBook::open(&path).unwrap_err();
    assert!(matches!(error, PeerBookError::Database(DatabaseError::Newer { found: 9, supported: 1, .. })), "{error}");
    assert!(path.exists() && !dir.path().join("peers.db.damaged-1").exists());
}

#[test]
fn a_peer_seen_by_a_fast_clock_is_seen_anew_once_the_clock_is_set() {
    let (book, bob) = (PeerBook::in_memory().unwrap(), PeerId::random());
    book.seen(&bob, &[], Timestamp::from_unix(now().as_unix() * 2));
    book.seen(&bob, &[], now());
    assert_eq!(book.get(&bob).unwrap().last_seen, now());
}

#[test]
fn a_full_book_forgets_whom_it_misses_least() {
    let book = PeerBook::in_memory().unwrap();
    let [mallory, bob, alice] = [PeerId::random(), PeerId::random(), PeerId::random()];
    book.record(&mallory, failed(Fault::WrongBytes), now());
    book.put_on(&bob, Listing::Allowed, now()).unwrap();
    book.seen(&alice, &[], now());
    for second in 1..2 * MAX_PEERS as u64 {
        book.seen(&PeerId::random(), &[], Timestamp::from_unix(now().as_unix() + second));
    }
    assert_eq!(book.list().len(), MAX_PEERS);
    assert!(book.get(&mallory).is_some() && book.get(&bob).is_some() && book.get(&alice).is_none());
}

#[test]
fn events_and_packages_of_one_peer_are_bounded() {
    let book = PeerBook::in_memory().unwrap();
    let bob = PeerId::random();
    for index in 0..MAX_HISTORY as u64 + 10 {
        book.record(&bob, retrieved(index), now());
    }
    let history = book.history(&bob).unwrap();
    assert_eq!((history.len(), history[0].bytes), (MAX_HISTORY, MAX_HISTORY as u64 + 9));
    for index in 0..MAX_PACKAGES as u64 + 10 {
        book.provides(&bob, &format!("p/acme/{index}"), Timestamp::from_unix(now().as_unix() + index));
    }
    book.flush().unwrap();
    assert_eq!(book.get(&bob).unwrap().packages, MAX_PACKAGES as u64);
    let oldest = ["p/acme/0".to_owned(), "p/acme/10".to_owned()];
    assert_eq!(book.providers_of(&oldest).unwrap().into_keys().collect::<Vec<_>>(), oldest[1..]);
    for port in 0..100 {
        book.seen(&bob, &[format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()], now());
    }
    let addresses = book.get(&bob).unwrap().addresses;
    assert!(addresses.len() <= 8 && addresses.ends_with(&["/ip4/127.0.0.1/tcp/99".parse().unwrap()]));
    // Of addresses recorded together, the first ones are the nearest.
    let named: Vec<_> = (200..300).map(|port| format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()).collect();
    book.seen(&bob, &named, now());
    assert_eq!(book.get(&bob).unwrap().addresses, named[..8]);
}

#[test]
fn a_list_has_a_limit() {
    let book = PeerBook::in_memory().unwrap();
    for _ in 0..MAX_LISTED {
        book.put_on(&PeerId::random(), Listing::Denied, now()).unwrap();
    }
    let refused = book.put_on(&PeerId::random(), Listing::Denied, now());
    assert!(matches!(refused, Err(PeerBookError::TooManyListed { listing: Listing::Denied })));
    assert_eq!(book.listed(Listing::Denied).len(), MAX_LISTED);
}
