//! A catalog that is locked, damaged or from a newer version: a clear error, and no release is lost.

use std::{
    fs,
    io::{Seek, SeekFrom, Write},
    path::PathBuf,
};

use rusqlite::Connection;

use crate::support::{Home, check_human, check_json, package};

fn catalog(home: &Home) -> PathBuf {
    home.path().join("catalog.db")
}

/// A home that has published `acme/one` to `acme/three`, with nothing left in the write-ahead log.
fn published() -> Home {
    let home = Home::on_loopback();
    for name in ["one", "two", "three"] {
        home.publish(&package(&home.work().join(name), name, "1.0.0"));
    }
    let connection = Connection::open(catalog(&home)).unwrap();
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    home
}

#[track_caller]
fn finds_all(home: &Home) {
    for name in ["one", "two", "three"] {
        let hits = home.p2p(&["--format", "json", "search", name]).expect_code(0).json();
        assert_eq!(hits[0]["package"], format!("acme/{name}"));
    }
}

#[test]
fn newer_catalog_is_left_alone() {
    let home = published();
    Connection::open(catalog(&home)).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let before = fs::read(catalog(&home)).unwrap();
    for args in [&["search", "one"][..], &["publish", "one", "--namespace", "acme"], &["start"]] {
        let expected = ["has schema 99", "a newer `ggen` has written it"];
        check_human(&home.p2p(args), 1, &expected);
        check_json(&home.p2p(&[&["--format", "json"], args].concat()), 1, &expected);
    }
    assert!(fs::read(catalog(&home)).unwrap() == before, "it was written to");
    Connection::open(catalog(&home)).unwrap().pragma_update(None, "user_version", 2).unwrap();
    finds_all(&home);
}

#[test]
fn damaged_catalog_is_made_again_from_the_records() {
    // The overwritten part: all of it, its first page, or pages from the middle on.
    for (what, from, length) in [("all", 0, u64::MAX), ("head", 0, 4096), ("middle", 4096 * 3, u64::MAX)] {
        let home = published();
        let path = catalog(&home);
        let size = fs::metadata(&path).unwrap().len();
        let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.seek(SeekFrom::Start(from)).unwrap();
        file.write_all(&vec![0x5a; usize::try_from(length.min(size - from)).unwrap()]).unwrap();
        drop(file);
        finds_all(&home);
        assert!(home.path().join("catalog.db.damaged-1").exists(), "{what}: the damaged file is kept aside");
        assert!(!home.path().join("catalog.db.damaged-2").exists(), "{what}: once is enough");
        // The home works as before: the next version follows the last one.
        home.publish(&package(&home.work().join("one"), "one", "1.1.0"));
        let hits = home.p2p(&["--format", "json", "search", "one"]).expect_code(0).json();
        assert_eq!(hits[0]["version"], "1.1.0", "{what}");
    }
}

#[test]
fn lost_catalog_is_made_again_from_the_records() {
    let home = published();
    fs::remove_file(catalog(&home)).unwrap();
    finds_all(&home);
}

#[test]
fn locked_catalog_is_said_so() {
    let home = published();
    let holder = Connection::open(catalog(&home)).unwrap();
    holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let refused = home.p2p(&["--format", "json", "search", "one"]);
    check_json(&refused, 1, &["is locked by another process", "wait until the program"]);
    holder.execute_batch("ROLLBACK").unwrap();
    drop(holder);
    finds_all(&home);
}
