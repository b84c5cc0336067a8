mod exchange;
mod quota;
mod ranking;
mod scripts;
mod upgrade;

use ggen_blockstore::Blockstore as _;
use rusqlite::Connection;

use super::*;
use crate::{
    identity::KeyPair,
    index::{Claim, HEAD_LIFETIME, actor::Actor, actor::now, refresh},
    package::Metadata,
};

fn accept(catalog: &Catalog, claim: &Claim) -> ClaimAcceptance {
    catalog.accept_claim(claim, "peer", now()).unwrap()
}

fn accepted() -> ClaimAcceptance {
    ClaimAcceptance { head: Acceptance::Accepted, release: Some(Acceptance::Accepted) }
}

fn versions(catalog: &Catalog, package: &str) -> Vec<(String, bool)> {
    let mut releases = catalog.releases(&package.parse().unwrap()).unwrap();
    releases.sort_by(|a, b| a.release.record().version.cmp(&b.release.record().version));
    releases.iter().map(|entry| (entry.release.record().version.to_string(), entry.yanked)).collect()
}

fn publish_described(actor: &mut Actor, package: &str, version: &str, metadata: Metadata) -> Claim {
    let mut release = actor.release(package, version, package);
    release.metadata = metadata;
    actor.publish_release(release);
    actor.claim(package)
}

fn found(catalog: &Catalog, query: &str) -> Vec<String> {
    found_with(catalog, query, &SearchFilters::default())
}

fn found_with(catalog: &Catalog, query: &str, filters: &SearchFilters) -> Vec<String> {
    let hits = catalog.search(query, filters, 20).unwrap();
    assert!(hits.is_sorted_by(|a, b| a.score >= b.score));
    hits.iter().map(|hit| hit.entry.release.record().package.to_string()).collect()
}

#[test]
fn a_claim_is_kept_once_and_found_by_name_cid_and_content() {
    let catalog = Catalog::in_memory().unwrap();
    let mut alice = Actor::new(1);
    alice.publish("acme/http", "1.0.0");
    let claim = alice.claim("acme/http");
    assert_eq!(accept(&catalog, &claim), accepted());
    let again = accept(&catalog, &claim);
    assert_eq!(again, ClaimAcceptance { head: Acceptance::Known, release: Some(Acceptance::Known) });

    let release = &claim.entry().unwrap().release;
    let entry = catalog.release(release.cid()).unwrap().unwrap();
    assert_eq!((&entry.release, entry.source.as_str(), entry.seen), (release, "peer", now()));
    assert_eq!(catalog.releases_of_content(&release.record().content).unwrap().len(), 1);
    let package = "acme/http".parse().unwrap();
    assert_eq!(catalog.publishers_of(&package).unwrap(), [alice.chain.publisher()]);
    assert_eq!(catalog.publishers_in("acme").unwrap(), [alice.chain.publisher()]);
    assert_eq!((catalog.publishers_in("acm").unwrap(), catalog.publishers_in("acme0").unwrap()), (vec![], vec![]));
    assert_eq!(catalog.own_publishers_of(&package).unwrap(), [], "it was told by a peer");
    assert_eq!(catalog.packages_of(&alice.chain.publisher()).unwrap(), [package]);
    let publisher = catalog.publisher(&alice.chain.publisher()).unwrap().unwrap();
    assert_eq!((&publisher.chain, publisher.head.as_ref()), (&alice.chain, Some(alice.head())));
    let counts = catalog.counts().unwrap();
    assert_eq!(counts, CatalogCounts { packages: 1, releases: 1, publishers: 1, published: 0 });
}

#[test]
fn the_highest_head_survives_a_restart_and_older_ones_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("catalog.db");
    let mut alice = Actor::new(1);
    alice.publish("acme/http", "1.0.0");
    let old = alice.claim("acme/http");
    alice.publish("acme/json", "1.0.0");
    accept(&Catalog::open(&path).unwrap(), &alice.claim("acme/json"));

    let catalog = Catalog::open(&path).unwrap();
    let replayed = catalog.accept_head(old.chain(), old.head(), now()).unwrap();
    assert_eq!(replayed, Acceptance::Refused(Refusal::OlderHead));
    // The head is outdated, because another package was published since; the release remains valid.
    let acceptance = accept(&catalog, &old);
    assert_eq!(acceptance.head, Acceptance::Refused(Refusal::OlderHead));
    assert_eq!(acceptance.release, Some(Acceptance::Accepted));
    let publisher = catalog.publisher(&alice.chain.publisher()).unwrap().unwrap();
    assert_eq!(publisher.head.as_ref(), Some(alice.head()));
}

#[test]
fn refreshes_are_kept_and_do_not_go_back() {
    let catalog = Catalog::in_memory().unwrap();
    let mut alice = Actor::new(1);
    alice.publish("acme/http", "1.0.0");
    let head = alice.head().clone();
    let later = now().plus(HEAD_LIFETIME / 2);
    let refreshed = refresh(&head, &alice.chain, &alice.identity.timestamp, later).unwrap();
    for (head, expected) in [
        (&head, Acceptance::Accepted),
        (&refreshed, Acceptance::Accepted),
        (&head, Acceptance::Known),
        (&refreshed, Acceptance::Known),
    ] {
        assert_eq!(catalog.accept_head(&alice.chain, head, later).unwrap(), expected);
    }
    let kept = catalog.publisher(&alice.chain.publisher()).unwrap().unwrap().head.unwrap();
    assert_eq!(kept.issued(), later);
}

#[test]
fn yanks_follow_the_head_and_not_an_older_one() {
    let catalog = Catalog::in_memory().unwrap();
    let mut alice = Actor::new(1);
    alice.publish("acme/http", "1.0.0");
    accept(&catalog, &alice.claim("acme/http"));
    alice.publish("acme/http", "1.1.0");
    let before = alice.claim("acme/http");
    alice.yank("acme/http", "1.1.0", true);
    accept(&catalog, &before);
    let after = alice.claim("acme/http");
    accept(&catalog, &after);
    let expected = [("1.0.0".to_owned(), false), ("1.1.0".to_owned(), true)];
    assert_eq!(versions(&catalog, "acme/http"), expected);
    let hits = catalog.search("http", &SearchFilters::default(), 5).unwrap();
    assert_eq!(hits[0].entry.release.record().version.to_string(), "1.0.0", "a search shows what is not yanked");
    accept(&catalog, &before);
    assert_eq!(versions(&catalog, "acme/http"), expected);
}

#[test]
fn one_version_is_one_release_forever() {
    let catalog = Catalog::in_memory().unwrap();
    let mut alice = Actor::new(1);
    let held = alice.publish("acme/http", "1.0.0").release.unwrap();
    accept(&catalog, &alice.claim("acme/http"));
    let other = Signed::sign(alice.release("acme/http", "1.0.0", "other"), &[&alice.key]).unwrap();
    let refused = catalog.accept_release(&alice.chain, &other, "car", now()).unwrap();
    assert_eq!(refused, Acceptance::Refused(Refusal::VersionConflict { held: Box::new(*held.cid()) }));
    let known = catalog.accept_release(&alice.chain, &held, "car", now()).unwrap();
    assert_eq!(known, Acceptance::Known);
}

#[test]
fn an_equivocator_is_blocked_until_it_rotates_or_the_user_decides() {
    let catalog = Catalog::in_memory().unwrap();
    let mut alice = Actor::new(1);
    let mut twin = alice.fork();
    alice.publish("acme/http", "1.0.0");
    twin.publish("acme/http", "6.6.6");
    accept(&catalog, &alice.claim("acme/http"));
    let blocked = Acceptance::Refused(Refusal::Equivocation);
    let refused = ClaimAcceptance { head: blocked.clone(), release: Some(blocked.clone()) };
    assert_eq!(accept(&catalog, &twin.claim("acme/http")), refused);
    let publisher = catalog.publisher(&alice.chain.publisher()).unwrap().unwrap();
    publisher.equivocation.expect("the proof is kept").verify(&alice.chain).unwrap();
    alice.publish("acme/http", "1.1.0");
    assert_eq!(accept(&catalog, &alice.claim("acme/http")), refused);

    catalog.clear_equivocation(&alice.chain.publisher()).unwrap();
    assert_eq!(accept(&catalog, &alice.claim("acme/http")), accepted());
    let proof = crate::index::Equivocation::of_heads(alice.head().head(), twin.head().head());
    assert!(catalog.accept_equivocation(&alice.chain, &proof, now()).is_err(), "heads of two lengths prove nothing");
    alice.publish("acme/http", "1.2.0");
    accept(&catalog, &twin.claim("acme/http"));
    let signing = alice.identity.signing.clone();
    alice.rotate(42, &signing);
    assert_eq!(accept(&catalog, &alice.claim("acme/http")), accepted());
}

#[test]
fn a_recovery_throws_out_what_the_thief_signed() {
    let catalog = Catalog::in_memory().unwrap();
    let mut alice = Actor::new(1);
    alice.publish("acme/http", "1.0.0");
    accept(&catalog, &alice.claim("acme/http"));
    let (signing, recovery) = (alice.identity.signing.clone(), alice.identity.recovery.clone());
    let mut thief = alice.fork();
    thief.rotate(80, &signing);
    thief.publish("acme/http", "6.6.6");
    assert_eq!(accept(&catalog, &thief.claim("acme/http")), accepted());
    alice.rotate(90, &recovery);
    alice.publish("acme/http", "1.0.1");
    assert_eq!(accept(&catalog, &alice.claim("acme/http")), accepted());
    assert_eq!(versions(&catalog, "acme/http"), [("1.0.0".to_owned(), false), ("1.0.1".to_owned(), false)]);
    let after = accept(&catalog, &thief.claim("acme/http"));
    assert_eq!(after.head, Acceptance::Refused(Refusal::OlderIdentity));
    assert_eq!(after.release, Some(Acceptance::Refused(Refusal::NotAuthorised)));
}

#[test]
fn a_rotated_away_key_adds_nothing() {
    let catalog = Catalog::in_memory().unwrap();
    let mut alice = Actor::new(1);
    alice.publish("acme/http", "1.0.0");
    let (old_chain, stolen) = (alice.chain.clone(), alice.identity.signing.clone());
    alice.rotate(42, &stolen);
    accept(&catalog, &alice.claim("acme/http"));
    let forged = Signed::sign(alice.release("acme/http", "6.6.6", "evil"), &[&stolen]).unwrap();
    for chain in [&alice.chain, &old_chain] {
        let refused = catalog.accept_release(chain, &forged, "peer", now()).unwrap();
        assert_eq!(refused, Acceptance::Refused(Refusal::NotAuthorised));
    }
    assert_eq!(versions(&catalog, "acme/http"), [("1.0.0".to_owned(), false)]);
}

#[test]
fn identities_with_two_histories_are_refused() {
    let catalog = Catalog::in_memory().unwrap();
    let mut alice = Actor::new(1);
    alice.publish("acme/http", "1.0.0");
    let mut rival = alice.fork();
    let signing = alice.identity.signing.clone();
    alice.rotate(50, &signing);
    rival.rotate(51, &signing);
    accept(&catalog, &alice.claim("acme/http"));
    let refused = accept(&catalog, &rival.claim("acme/http"));
    assert_eq!(refused.head, Acceptance::Refused(Refusal::IdentityConflict));
}

#[test]
fn own_publications_are_kept_with_their_log() {
    let catalog = Catalog::in_memory().unwrap();
    let mut alice = Actor::new(1);
    for version in ["1.0.0", "1.1.0"] {
        let publication = alice.publish("acme/http", version);
        assert_eq!(catalog.record_publication(&alice.chain, &publication, now()).unwrap(), Acceptance::Accepted);
    }
    let yank = alice.yank("acme/http", "1.1.0", true).unwrap();
    catalog.record_publication(&alice.chain, &yank, now()).unwrap();
    assert_eq!(versions(&catalog, "acme/http"), [("1.0.0".to_owned(), false), ("1.1.0".to_owned(), true)]);
    let publisher = alice.chain.publisher();
    let log = catalog.log(&publisher, 2, 10).unwrap();
    assert_eq!(log.iter().map(|entry| entry.record().seq).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(catalog.log(&publisher, 1, 1).unwrap().len(), 1);
    assert_eq!(catalog.counts().unwrap().published, 1);
    // Another machine with the same keys continued from an older head: nothing of it is recorded.
    let mut twin = Actor::new(1);
    let stale = twin.publish("acme/other", "1.0.0");
    let refused = catalog.record_publication(&twin.chain, &stale, now()).unwrap();
    assert_eq!(refused, Acceptance::Refused(Refusal::OlderHead));
    assert!(versions(&catalog, "acme/other").is_empty());
}

#[test]
fn search_puts_the_exact_name_first_and_finds_words_by_their_beginning() {
    let catalog = Catalog::in_memory().unwrap();
    let mut alice = Actor::new(1);
    let described = |description: &str, keywords: &[&str]| Metadata {
        description: description.to_owned(),
        keywords: keywords.iter().map(ToString::to_string).collect(),
        ..Metadata::default()
    };
    for (package, metadata) in [
        ("acme/web", described("Routes requests", &[])),
        ("acme/web-app", described("A web web web web application", &["web"])),
        ("acme/other", described("Something for the web", &["web", "http"])),
        ("acme/serde_json", described("JSON for everyone, caf\u{e9} included", &[])),
    ] {
        accept(&catalog, &publish_described(&mut alice, package, "1.0.0", metadata));
    }
    assert_eq!(found(&catalog, "web"), ["acme/web", "acme/web-app", "acme/other"]);
    assert_eq!(found(&catalog, "acme/web")[0], "acme/web");
    assert_eq!(found(&catalog, "requ"), ["acme/web"]);
    assert_eq!(found(&catalog, "JSON cafe"), ["acme/serde_json"]);
    assert_eq!(found(&catalog, "serde_json"), ["acme/serde_json"]);
    assert_eq!(found(&catalog, "web nonexistent").len(), 3, "if no package has all words, any one will do");
    assert_eq!(found(&catalog, "nonexistent"), [""; 0]);
    assert_eq!(found(&catalog, " ").len(), 4);
    assert_eq!(catalog.search("web", &SearchFilters::default(), 1).unwrap().len(), 1);
}

#[test]
fn filters_leave_out_other_categories_and_tags() {
    let catalog = Catalog::in_memory().unwrap();
    let mut alice = Actor::new(1);
    let tagged = |category: &str, tags: &[&str]| Metadata {
        description: "An auth package".to_owned(),
        category: Some(category.to_owned()),
        tags: tags.iter().map(ToString::to_string).collect(),
        ..Metadata::default()
    };
    for (package, metadata) in [
        ("acme/a", tagged("Middleware", &["Security", "oauth"])),
        ("acme/b", tagged("middleware", &["security"])),
        ("acme/c", tagged("tools", &["oauth"])),
    ] {
        accept(&catalog, &publish_described(&mut alice, package, "1.0.0", metadata));
    }
    let filters = |category: Option<&str>, tags: &[&str]| SearchFilters {
        category: category.map(ToOwned::to_owned),
        tags: tags.iter().map(ToString::to_string).collect(),
        known_before: None,
    };
    let mut middleware = found_with(&catalog, "auth", &filters(Some("middleware"), &[]));
    middleware.sort();
    assert_eq!(middleware, ["acme/a", "acme/b"]);
    assert_eq!(found_with(&catalog, "auth", &filters(None, &["security", "OAuth"])), ["acme/a"]);
    assert_eq!(found_with(&catalog, "", &filters(Some("TOOLS"), &["oauth"])), ["acme/c"]);
    // The tag no longer finds a package whose latest version lacks it.
    accept(&catalog, &publish_described(&mut alice, "acme/c", "2.0.0", tagged("tools", &[])));
    assert_eq!(found_with(&catalog, "auth", &filters(None, &["oauth"])), ["acme/a"]);
}

#[test]
fn a_query_is_words_and_never_syntax() {
    let catalog = Catalog::in_memory().unwrap();
    let mut alice = Actor::new(1);
    alice.publish("acme/near", "1.0.0");
    accept(&catalog, &alice.claim("acme/near"));
    for query in [
        "\"",
        "\"\"\"",
        "near\"",
        "NEAR(near acme)",
        "name:near",
        "near*",
        "^near",
        "near OR",
        "-near",
        "near AND (",
        "{name} : near",
        "'; DROP TABLE words; --near",
        "near\0near",
        "%",
        "near + near",
        "\u{202e}near",
    ] {
        let hits =
            catalog.search(query, &SearchFilters::default(), 5).unwrap_or_else(|error| panic!("{query}: {error}"));
        assert_eq!(hits.len(), usize::from(query.to_lowercase().contains("near")), "{query}");
    }
    let long = "x ".repeat(5 << 10);
    let refused = catalog.search(&long, &SearchFilters::default(), 5);
    assert!(matches!(refused, Err(CatalogError::QueryTooLong { bytes: 10_240, limit: MAX_QUERY_BYTES })));
}

#[test]
fn a_newer_schema_is_said_so_and_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("catalog.db");
    drop(Catalog::open(&path).unwrap());
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(
        Catalog::open(&path),
        Err(CatalogError::Database(DatabaseError::Newer { found: 99, supported: 3, .. }))
    ));
}

#[test]
fn what_is_no_catalog_is_corrupt() {
    let home = tempfile::tempdir().unwrap();
    let text = home.path().join("text.db");
    std::fs::write(&text, "not a database at all, but long enough to look at ".repeat(100)).unwrap();
    assert!(matches!(Catalog::open(&text), Err(CatalogError::Database(DatabaseError::Damaged { .. }))));
    let foreign = home.path().join("foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE songs (title TEXT)").unwrap();
    let error = Catalog::open(&foreign).unwrap_err().to_string();
    assert!(error.contains("another program"), "{error}");
}

#[test]
fn a_locked_catalog_is_said_so() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("catalog.db");
    let catalog = Catalog::open(&path).unwrap();
    catalog.lock().busy_timeout(std::time::Duration::ZERO).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut alice = Actor::new(1);
    alice.publish("acme/http", "1.0.0");
    let refused = catalog.accept_claim(&alice.claim("acme/http"), "peer", now());
    assert!(matches!(refused, Err(CatalogError::Database(DatabaseError::Locked { .. }))));
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(accept(&catalog, &alice.claim("acme/http")), accepted());
}

#[test]
fn a_damaged_catalog_is_rebuilt_from_the_signed_records_and_loses_none() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("catalog.db");
    let catalog = Catalog::open(&path).unwrap();
    let (mut alice, mut bob) = (Actor::new(1), Actor::new(2));
    for version in ["1.0.0", "1.1.0"] {
        let publication = alice.publish("acme/http", version);
        catalog.record_publication(&alice.chain, &publication, now()).unwrap();
    }
    let signing = alice.identity.signing.clone();
    let rotation = alice.rotate(42, &signing).unwrap();
    catalog.record_publication(&alice.chain, &rotation, now()).unwrap();
    let yank = alice.yank("acme/http", "1.0.0", true).unwrap();
    catalog.record_publication(&alice.chain, &yank, now()).unwrap();
    bob.publish("acme/http", "9.0.0");
    accept(&catalog, &bob.claim("acme/http"));
    let records: Vec<StoredRecords> =
        catalog.publishers().unwrap().iter().map(|id| catalog.records_of(id).unwrap().unwrap()).collect();
    let (before, counts) = (versions(&catalog, "acme/http"), catalog.counts().unwrap());
    drop(catalog);
    std::fs::write(&path, vec![0x5a; 8192]).unwrap();
    assert!(matches!(Catalog::open(&path), Err(CatalogError::Database(DatabaseError::Damaged { .. }))));

    let (rebuilt, refused) = Catalog::rebuild(&path, records.clone(), now()).unwrap();
    assert_eq!((refused, versions(&rebuilt, "acme/http"), rebuilt.counts().unwrap()), (0, before, counts));
    let again: Vec<StoredRecords> =
        rebuilt.publishers().unwrap().iter().map(|id| rebuilt.records_of(id).unwrap().unwrap()).collect();
    assert_eq!(again, records);
    rebuilt.check().unwrap();
    assert!(home.path().join("catalog.db.damaged-1").exists());
    assert_eq!(found(&rebuilt, "http").len(), 2);
}

#[test]
fn a_home_rebuilds_its_own_catalog_from_its_blocks_and_its_head() {
    let home = tempfile::tempdir().unwrap();
    let catalog = Catalog::in_memory().unwrap();
    let mut alice = Actor::new(1);
    for number in 0..30 {
        let publication = alice.publish(&format!("acme/package-{number}"), "1.0.0");
        catalog.record_publication(&alice.chain, &publication, now()).unwrap();
    }
    let publication = alice.publish("acme/package-7", "1.1.0");
    catalog.record_publication(&alice.chain, &publication, now()).unwrap();
    let yank = alice.yank("acme/package-7", "1.0.0", true).unwrap();
    catalog.record_publication(&alice.chain, &yank, now()).unwrap();

    let records = StoredRecords::from_blocks(&alice.chain, alice.head(), |cid| alice.store.get(cid)).unwrap();
    let (rebuilt, refused) = Catalog::rebuild(&home.path().join("catalog.db"), [records], now()).unwrap();
    assert_eq!((refused, rebuilt.counts().unwrap()), (0, catalog.counts().unwrap()));
    assert_eq!(versions(&rebuilt, "acme/package-7"), versions(&catalog, "acme/package-7"));
    let log = rebuilt.log(&alice.chain.publisher(), 1, 100).unwrap();
    assert_eq!((log.len(), log[31].cid()), (32, yank.log.cid()));
    let publisher = rebuilt.publisher(&alice.chain.publisher()).unwrap().unwrap();
    assert_eq!(publisher.head.as_ref(), Some(alice.head()));

    let release = *publication.release.unwrap().cid();
    let without = |cid: &Cid| if *cid == release { Ok(None) } else { alice.store.get(cid) };
    let missing = StoredRecords::from_blocks(&alice.chain, alice.head(), without);
    assert!(matches!(missing, Err(crate::index::TreeError::Missing { cid }) if *cid == release));
}

#[test]
fn a_head_seen_before_a_rotation_is_still_known_after_it() {
    let catalog = Catalog::in_memory().unwrap();
    let mut alice = Actor::new(1);
    alice.publish("acme/http", "1.0.0");
    accept(&catalog, &alice.claim("acme/http"));
    let before = alice.head().clone();
    let signing = alice.identity.signing.clone();
    alice.rotate(42, &signing);
    let release = Signed::sign(alice.release("acme/http", "1.1.0", "x"), &[&alice.key]).unwrap();
    assert_eq!(catalog.accept_release(&alice.chain, &release, "car", now()).unwrap(), Acceptance::Accepted);
    let publisher = catalog.publisher(&alice.chain.publisher()).unwrap().unwrap();
    assert_eq!((publisher.chain.seq(), publisher.head), (1, Some(before)));
    assert_eq!(catalog.accept_head(&alice.chain, alice.head(), now()).unwrap(), Acceptance::Accepted);
}

#[test]
fn forged_records_do_not_survive_a_rebuild() {
    let home = tempfile::tempdir().unwrap();
    let mut alice = Actor::new(1);
    let good = alice.publish("acme/http", "1.0.0").release.unwrap();
    let forged = Signed::sign(alice.release("acme/http", "6.6.6", "evil"), &[&KeyPair::from_seed(&[9; 32])]).unwrap();
    let records = StoredRecords {
        chain: alice.chain.encode().unwrap(),
        head: Some(b"nonsense".to_vec()),
        refresh: None,
        releases: vec![(good.encode().unwrap(), false), (forged.encode().unwrap(), false), (Vec::new(), true)],
        log: vec![good.encode().unwrap()],
    };
    let (catalog, refused) = Catalog::rebuild(&home.path().join("catalog.db"), [records], now()).unwrap();
    assert_eq!((refused, versions(&catalog, "acme/http")), (4, vec![("1.0.0".to_owned(), false)]));
}
