//! Search in scripts that put no space between words, and symbols.

use super::*;

fn described(title: &str, description: &str, tags: &[&str]) -> Metadata {
    Metadata {
        title: Some(title.to_owned()),
        description: description.to_owned(),
        tags: tags.iter().map(ToString::to_string).collect(),
        ..Metadata::default()
    }
}

fn packages() -> [(&'static str, Metadata); 4] {
    [
        ("acme/ja", described("東京の機械学習データベース", "高速な全文検索エンジンです", &["機械学習", "猫"])),
        ("acme/zh", described("分布式数据库", "高性能的网络服务器框架", &["数据库"])),
        ("acme/ko", described("데이터베이스관리도구", "빠른 네트워크서버", &["서버"])),
        ("acme/rocket", described("Rocket", "Launches", &["🚀", "👩\u{200d}💻", "❤\u{fe0f}"])),
    ]
}

#[test]
fn words_inside_a_run_and_emoji_are_found() {
    let catalog = Catalog::in_memory().unwrap();
    let mut alice = Actor::new(1);
    for (package, metadata) in packages() {
        accept(&catalog, &publish_described(&mut alice, package, "1.0.0", metadata));
    }
    for (query, package) in [
        ("学習", "acme/ja"),
        ("機械学習", "acme/ja"),
        ("データ", "acme/ja"),
        ("ﾃﾞｰﾀﾍﾞｰｽ", "acme/ja"),
        ("検索エンジン", "acme/ja"),
        ("東京 全文", "acme/ja"),
        ("猫", "acme/ja"),
        ("す", "acme/ja"),
        ("数据", "acme/zh"),
        ("服务器", "acme/zh"),
        ("分布式 框架", "acme/zh"),
        ("관리", "acme/ko"),
        ("베이스관리", "acme/ko"),
        ("서버", "acme/ko"),
        ("\u{1100}\u{116a}\u{11ab}\u{1105}\u{1175}", "acme/ko"),
        ("🚀", "acme/rocket"),
        ("💻", "acme/rocket"),
        ("👩🏽\u{200d}💻", "acme/rocket"),
        ("❤", "acme/rocket"),
        ("rocket🚀", "acme/rocket"),
    ] {
        assert_eq!(found(&catalog, query), [package], "{query}");
    }
    for query in ["学機", "京機", "据数", "베관", "🚁", "emoji", "1f680", "u1f680", "\u{e000}"] {
        assert_eq!(found(&catalog, query), [""; 0], "{query}");
    }
}

#[test]
fn a_matcher_and_the_words_of_the_network_agree_with_a_search() {
    let catalog = Catalog::in_memory().unwrap();
    let mut alice = Actor::new(1);
    let claims = packages()
        .map(|(package, metadata)| publish_described(&mut alice, package, "1.0.0", metadata))
        .map(|claim| (accept(&catalog, &claim), claim).1);
    let none = SearchFilters::default();
    for query in ["学習", "データ", "학습", "数据", "관리", "🚀", "🚁", "学機", "rocket 学"] {
        let hits = found(&catalog, query);
        for claim in &claims {
            let release = claim.entry().unwrap().release.record();
            let fits = Matcher::new(query, &none).unwrap().fits(release).unwrap();
            assert_eq!(fits, hits.contains(&release.package.to_string()), "{query} {}", release.package);
        }
    }
    let words = |number: usize| words_of(claims[number].entry().unwrap().release.record(), 16);
    assert_eq!(words(0).len(), 16, "the bound holds, however long a run is");
    assert_eq!(words(0)[..8], ["ja", "東京", "京の", "の機", "機械", "械学", "学習", "猫"], "tags have room");
    assert!(words(3).contains(&"🚀".to_owned()) && words(3).contains(&"💻".to_owned()), "{:?}", words(3));
    // The keywords that a query looks up include a keyword under which the package is provided.
    for (number, query) in [(0, "学習"), (0, "機械学習"), (1, "数据库"), (2, "서버"), (3, "🚀")] {
        let (looked_up, words) = (crate::index::looked_up(query), words(number));
        assert!(looked_up.iter().take(2).any(|word| words.contains(word)), "{query}: {looked_up:?}, {words:?}");
    }
}

#[test]
fn a_catalog_of_schema_2_finds_them_once_it_is_opened() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("catalog.db");
    let catalog = Catalog::open(&path).unwrap();
    let mut alice = Actor::new(1);
    for (package, metadata) in packages() {
        accept(&catalog, &publish_described(&mut alice, package, "1.0.0", metadata));
    }
    let counts = catalog.counts().unwrap();
    drop(catalog);
    // Schema 2 has the same tables; its full-text tables contained the original text.
    let old = Connection::open(&path).unwrap();
    old.execute_batch(
        "DELETE FROM words; INSERT INTO words (rowid, name, description) SELECT id, name, '高速な全文検索' FROM packages;
         PRAGMA user_version = 2;",
    )
    .unwrap();
    drop(old);
    let upgraded = Catalog::open(&path).unwrap();
    assert_eq!(
        (found(&upgraded, "検索"), found(&upgraded, "🚀")),
        (vec!["acme/ja".to_owned()], vec!["acme/rocket".to_owned()])
    );
    assert_eq!(upgraded.counts().unwrap(), counts);
    upgraded.check().unwrap();
    drop(upgraded);
    let version = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
    let again = Connection::open(&path).unwrap();
    assert_eq!(again.pragma_query_value(None, "user_version", version).unwrap(), schema::SCHEMA.version);
}
