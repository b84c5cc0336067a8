use super::*;

fn described(description: &str, keywords: &[&str]) -> Metadata {
    Metadata {
        description: description.to_owned(),
        keywords: keywords.iter().map(ToString::to_string).collect(),
        ..Metadata::default()
    }
}

fn publish_all(catalog: &Catalog, actor: &mut Actor, packages: &[(&str, Metadata)]) {
    for (package, metadata) in packages {
        accept(catalog, &publish_described(actor, package, "1.0.0", metadata.clone()));
    }
}

#[test]
fn a_typo_finds_what_was_meant_and_only_where_nothing_else_is_found() {
    let catalog = Catalog::in_memory().unwrap();
    let mut alice = Actor::new(1);
    publish_all(
        &catalog,
        &mut alice,
        &[
            ("acme/serde", described("Serialization", &["framework"])),
            ("acme/tokio-util", described("Helpers", &[])),
            ("acme/tower", described("Services", &["middleware"])),
        ],
    );
    for (query, meant) in [
        ("sedre", "acme/serde"),
        ("srede", "acme/serde"),
        ("tokoi", "acme/tokio-util"),
        ("midleware", "acme/tower"),
        ("framewrok", "acme/serde"),
        ("tokio utli", "acme/tokio-util"),
        ("xyzzy", ""),
    ] {
        let expected: Vec<&str> = if meant.is_empty() { Vec::new() } else { vec![meant] };
        assert_eq!(found(&catalog, query), expected, "{query}");
    }
    let filtered = SearchFilters { category: Some("none".to_owned()), ..SearchFilters::default() };
    assert_eq!(found_with(&catalog, "sedre", &filtered), [""; 0]);
}

#[test]
fn namespaces_and_publishers_are_found_too() {
    let catalog = Catalog::in_memory().unwrap();
    let (mut alice, mut bob) = (Actor::new(1), Actor::new(2));
    publish_all(&catalog, &mut alice, &[("acme/one", described("x", &[])), ("other/two", described("x", &[]))]);
    publish_all(&catalog, &mut bob, &[("zeta/three", described("made by acme", &[]))]);
    assert_eq!(found(&catalog, "acme"), ["acme/one", "zeta/three"], "a namespace weighs more than a mention");
    let publisher = alice.chain.publisher();
    let mut of_alice = found(&catalog, &publisher.short());
    of_alice.sort();
    assert_eq!(of_alice, ["acme/one", "other/two"]);
    assert_eq!(found(&catalog, &publisher.to_string()).len(), 2);
}

#[test]
fn the_words_of_a_name_are_as_good_as_the_name_itself() {
    let catalog = Catalog::in_memory().unwrap();
    let mut alice = Actor::new(1);
    let packages = [
        ("acme/serde-json-extra", described("serde json serde json", &["serde", "json"])),
        ("acme/serde-json", described("plain", &[])),
    ];
    publish_all(&catalog, &mut alice, &packages);
    assert_eq!(found(&catalog, "serde json")[0], "acme/serde-json");
    assert_eq!(found(&catalog, "serde_json")[0], "acme/serde-json");
}

#[test]
fn followed_publishers_stand_before_long_known_ones_and_those_before_others() {
    let catalog = Catalog::in_memory().unwrap();
    let mut actors: Vec<Actor> = (1..=3).map(Actor::new).collect();
    let strong = described("http http http server", &["http", "server"]);
    for (actor, (package, metadata)) in actors.iter_mut().zip([
        ("b/followed", described("speaks http", &[])),
        ("c/known", described("speaks http", &[])),
        ("a/stranger", strong),
    ]) {
        publish_all(&catalog, actor, &[(package, metadata)]);
    }
    assert_eq!(found(&catalog, "http")[0], "a/stranger", "among equals the words decide");
    catalog.follow(&actors[0].chain.publisher(), now()).unwrap();
    let older = now().plus(std::time::Duration::from_secs(1));
    let mut late = Actor::new(9);
    let claim = publish_described(&mut late, "d/late", "1.0.0", described("http", &["http"]));
    catalog.accept_claim(&claim, "peer", older).unwrap();
    let filters = SearchFilters { known_before: Some(older), ..SearchFilters::default() };
    let order = found_with(&catalog, "http", &filters);
    assert_eq!((order[0].as_str(), order[3].as_str()), ("b/followed", "d/late"));
    // An exact name of an unfollowed publisher still precedes all of them.
    publish_all(&catalog, &mut actors[2], &[("a/http", described("x", &[]))]);
    assert_eq!(found_with(&catalog, "http", &filters)[0], "a/http");
}

#[test]
fn one_publisher_cannot_fill_the_page() {
    let catalog = Catalog::in_memory().unwrap();
    let (mut mallory, mut alice) = (Actor::new(1), Actor::new(2));
    for number in 0..40 {
        let package = format!("spam{number}/http");
        publish_all(&catalog, &mut mallory, &[(&package, described("http http http", &["http", "web"]))]);
    }
    publish_all(&catalog, &mut alice, &[("acme/server", described("Serves the web", &[]))]);
    publish_all(&catalog, &mut alice, &[("acme/client", described("Reads the web", &[]))]);
    let page = |limit| {
        let hits = catalog.search("web", &SearchFilters::default(), limit).unwrap();
        hits.iter().map(|hit| hit.entry.release.record().package.namespace().to_owned()).collect::<Vec<_>>()
    };
    let first = page(20);
    assert_eq!(first.iter().filter(|namespace| *namespace == "acme").count(), 2);
    assert!(first[..7].iter().filter(|namespace| namespace.starts_with("spam")).count() == 5, "{first:?}");
    assert_eq!(first.len(), 20, "what is left of the page is not wasted");
    assert_eq!(page(4).iter().filter(|namespace| *namespace == "acme").count(), 1);
    catalog.follow(&mallory.chain.publisher(), now()).unwrap();
    let followed = page(20);
    assert_eq!(followed.iter().filter(|namespace| *namespace == "acme").count(), 0, "whom one follows has no quota");
}

#[test]
fn a_matcher_judges_as_a_search_does() {
    let catalog = Catalog::in_memory().unwrap();
    let mut alice = Actor::new(1);
    let metadata = Metadata {
        tags: vec!["Web".to_owned()],
        category: Some("Network".to_owned()),
        ..described("Caf\u{e9} of requests", &["http"])
    };
    let claim = publish_described(&mut alice, "acme/server", "1.0.0", metadata);
    accept(&catalog, &claim);
    let release = claim.entry().unwrap().release.record();
    let none = SearchFilters::default();
    let web = SearchFilters { tags: vec!["web".to_owned()], ..none.clone() };
    let other = SearchFilters { category: Some("tools".to_owned()), ..none.clone() };
    for (query, filters) in [
        ("server", &none),
        ("serv", &none),
        ("sevrer", &none),
        ("cafe", &none),
        ("requests nothing", &none),
        ("acme", &none),
        ("", &web),
        ("http", &other),
        ("unrelated", &none),
        ("\"*", &none),
        ("htto", &none),
    ] {
        let expected = !catalog.search(query, filters, 5).unwrap().is_empty();
        assert_eq!(Matcher::new(query, filters).unwrap().fits(release).unwrap(), expected, "{query} {filters:?}");
    }
    let words = words_of(release, 6);
    assert_eq!(words[..4], ["server", "web", "http", "network"]);
    assert_eq!((words.len(), words_of(release, 100).contains(&"requests".to_owned())), (6, true));
}
