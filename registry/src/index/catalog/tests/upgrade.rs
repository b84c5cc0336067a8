use super::*;

/// The tables of schema 1, as the first version of this program made them.
const SCHEMA_1: &str = "
    CREATE TABLE publishers (id BLOB PRIMARY KEY, chain BLOB NOT NULL, head BLOB, refresh BLOB, equivocation BLOB,
        first_seen INTEGER NOT NULL) STRICT;
    CREATE TABLE releases (cid BLOB PRIMARY KEY, publisher BLOB NOT NULL REFERENCES publishers, package TEXT NOT NULL,
        version TEXT NOT NULL, content BLOB NOT NULL, envelope BLOB NOT NULL, yanked INTEGER NOT NULL,
        seen INTEGER NOT NULL, source TEXT NOT NULL, UNIQUE (publisher, package, version)) STRICT;
    CREATE INDEX releases_by_package ON releases (package);
    CREATE INDEX releases_by_content ON releases (content);
    CREATE TABLE packages (id INTEGER PRIMARY KEY, publisher BLOB NOT NULL, package TEXT NOT NULL, name TEXT NOT NULL,
        category TEXT NOT NULL, latest BLOB NOT NULL, UNIQUE (publisher, package)) STRICT;
    CREATE INDEX packages_by_name ON packages (name);
    CREATE TABLE tags (package INTEGER NOT NULL, tag TEXT NOT NULL, PRIMARY KEY (package, tag)) STRICT, WITHOUT ROWID;
    CREATE VIRTUAL TABLE words USING fts5 (name, description, tags, keywords, category, content = '',
        contentless_delete = 1, prefix = '2 3', tokenize = 'unicode61 remove_diacritics 2');
    CREATE TABLE log (publisher BLOB NOT NULL, seq INTEGER NOT NULL, cid BLOB NOT NULL, envelope BLOB NOT NULL,
        PRIMARY KEY (publisher, seq)) STRICT;
    PRAGMA application_id = 0x6767656e;
    PRAGMA user_version = 1;
";

#[test]
fn a_catalog_of_schema_1_is_brought_up_to_date_and_loses_nothing() {
    let home = tempfile::tempdir().unwrap();
    let (now_path, old_path) = (home.path().join("now.db"), home.path().join("old.db"));
    let catalog = Catalog::open(&now_path).unwrap();
    let (mut alice, mut bob) = (Actor::new(1), Actor::new(2));
    for version in ["1.0.0", "1.1.0"] {
        let publication = alice.publish("acme/http", version);
        catalog.record_publication(&alice.chain, &publication, now()).unwrap();
    }
    let yank = alice.yank("acme/http", "1.1.0", true).unwrap();
    catalog.record_publication(&alice.chain, &yank, now()).unwrap();
    bob.publish("other/tool", "1.0.0");
    accept(&catalog, &bob.claim("other/tool"));
    let ids = [alice.chain.publisher(), bob.chain.publisher()];
    let summaries = |catalog: &Catalog| ids.map(|id| catalog.summary(&id).unwrap().unwrap());
    let records = |catalog: &Catalog| ids.map(|id| catalog.records_of(&id).unwrap().unwrap());
    let (expected, kept, counts) = (summaries(&catalog), records(&catalog), catalog.counts().unwrap());
    drop(catalog);

    let old = Connection::open(&old_path).unwrap();
    old.execute_batch(SCHEMA_1).unwrap();
    old.execute_batch(&format!(
        "ATTACH '{}' AS new;
         INSERT INTO publishers SELECT id, chain, head, refresh, equivocation, first_seen FROM new.publishers;
         INSERT INTO releases SELECT cid, publisher, package, version, content, envelope, yanked, seen, source
             FROM new.releases;
         INSERT INTO packages SELECT * FROM new.packages;
         INSERT INTO tags SELECT * FROM new.tags;
         INSERT INTO log SELECT * FROM new.log;
         DETACH new;",
        now_path.display()
    ))
    .unwrap();
    drop(old);

    let upgraded = Catalog::open(&old_path).unwrap();
    assert_eq!((summaries(&upgraded), records(&upgraded), upgraded.counts().unwrap()), (expected, kept, counts));
    assert_eq!(found(&upgraded, "http"), ["acme/http"]);
    assert_eq!(found(&upgraded, "tolo"), ["other/tool"], "typos are tolerated from now on");
    assert!(upgraded.is_followed(&ids[0]).unwrap() && !upgraded.is_followed(&ids[1]).unwrap());
    upgraded.check().unwrap();
    // Records accepted after the upgrade are counted as usual.
    bob.publish("other/next", "1.0.0");
    accept(&upgraded, &bob.claim("other/next"));
    drop(upgraded);
    let again = Catalog::open(&old_path).unwrap();
    assert_eq!(again.counts().unwrap().releases, counts.releases + 1);
}
