//! Publishing, searching, fetching, and information about packages.

use std::fs;

use serde_json::Value;

use super::super::{Reader, mallory::Mallory};
use crate::support::{package, tree};

/// Packages of another publisher.
pub(super) const PUBLISHED: [(&str, &str, &str, &[&str]); 5] = [
    ("db-pool", "database connections, pooled", "middleware", &["sql"]),
    ("db-tool", "a database at the command line", "tools", &["sql"]),
    ("auth-oauth", "auth for the web", "security", &["security", "oauth"]),
    ("auth-basic", "auth with passwords", "security", &["security"]),
    ("ciphers", "crypto primitives; answers any query", "security", &["crypto"]),
];
/// Further packages, so that a limit takes effect.
pub(super) const WEB_PACKAGES: usize = 11;
/// Further packages for the last searches of the guide, which limit the hits to fifty.
const QUERY_PACKAGES: usize = 52;
/// Hits of a search without a limit.
const DEFAULT_LIMIT: usize = 20;

fn published_versions(reader: &Reader) -> Vec<String> {
    let hits = reader.ask(&["search", "my-package", "--local"]);
    hits.as_array().unwrap().iter().map(|hit| hit["version"].as_str().unwrap().to_owned()).collect()
}

pub(super) fn publishes(reader: &mut Reader, command: &str) {
    let printed = reader.works(command);
    assert!(printed.contains("my-package@1.0.0"), "{printed}");
    assert_eq!(published_versions(reader), ["1.0.0"]);
    let hits = reader.ask(&["search", "my-package", "--local"]);
    reader.package = hits[0]["package"].as_str().unwrap().to_owned();
}

pub(super) fn publishes_as(reader: &mut Reader, command: &str) {
    reader.works(command);
    assert_eq!(published_versions(reader), ["1.2.3"]);
}

/// A version lower than the newest needs no flag; a package without its readme needs this one.
pub(super) fn publishes_without_a_named_file(reader: &mut Reader, command: &str) {
    let manifest = reader.work().join("my-package/gpack.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    let version = "version = \"1.0.0\"";
    assert!(text.contains(version), "{text}");
    fs::write(&manifest, text.replace(version, "version = \"1.1.0\"\nreadme = \"README.md\"")).unwrap();
    reader.type_in(&command.replace(" --skip-verify", "")).expect_code(3);
    let printed = reader.works(command);
    assert!(printed.contains("my-package@1.1.0"), "{printed}");
    // Restored, because later commands publish it without the flag.
    fs::write(&manifest, text.replace("1.0.0", "1.1.0")).unwrap();
    assert_eq!(published_versions(reader), ["1.2.3"], "the newest stays the newest");
    somebody_publishes(reader);
}

pub(super) fn shows_the_recovery_key(reader: &mut Reader, command: &str) {
    assert!(reader.works(command).starts_with("-----BEGIN PRIVATE KEY-----"));
}

pub(super) fn removes_the_recovery_key(reader: &mut Reader, command: &str) {
    reader.works(command);
    reader.type_in("ggen marketplace p2p key recovery show").expect_code(4);
}

/// Publishes the packages to be found.
fn somebody_publishes(reader: &mut Reader) {
    let web: Vec<_> = (1..=WEB_PACKAGES).map(|number| format!("web-{number}")).collect();
    let web = web.iter().map(|name| (name.as_str(), "for the web", "web", &["http"] as &[&str]));
    for (name, description, category, tags) in PUBLISHED.into_iter().chain(web) {
        the_hub_publishes(reader, "examples", name, description, category, tags);
    }
    knows(reader, PUBLISHED.len() + WEB_PACKAGES + 1);
}

fn the_hub_publishes(
    reader: &mut Reader,
    namespace: &str,
    name: &str,
    description: &str,
    category: &str,
    tags: &[&str],
) {
    let root = package(&reader.hub_home.work().join(name), name, "1.0.0");
    let tags: String = tags.iter().map(|tag| format!("{tag} = true\n")).collect();
    let gpack = format!(
        "[package]\nname = \"{name}\"\nversion = \"1.0.0\"\ndescription = \"{description}\"\n\n[tags]\n{tags}\n\
         [metadata]\ncategory = \"{category}\"\n"
    );
    fs::write(root.join("gpack.toml"), gpack).unwrap();
    let root = root.to_str().unwrap();
    let args = ["--format", "json", "publish", root, "--namespace", namespace];
    let published = reader.hub_home.p2p(&args).expect_code(0).json();
    reader.cid = published["cid"].as_str().unwrap().to_owned();
}

/// Waits until the reader's catalog contains this number of packages.
fn knows(reader: &Reader, packages: usize) {
    reader.until(&["status"], |status| status["packages_known"].as_u64() >= Some(packages as u64));
}

/// The names of the packages found; the human answer contains them, and a JSON search is run in addition.
fn hits(reader: &mut Reader, command: &str) -> Vec<String> {
    let printed = reader.works(command);
    let json = reader.works(&format!("{command} --format json"));
    let hits: Value = serde_json::from_str(&json).unwrap();
    let mut names: Vec<_> =
        hits.as_array().unwrap().iter().map(|hit| hit["package"].as_str().unwrap().to_owned()).collect();
    for name in &names {
        assert!(printed.contains(name.as_str()), "{name} is not in {printed}");
    }
    names.sort();
    names
}

pub(super) fn finds_by_word(reader: &mut Reader, command: &str) {
    assert_eq!(hits(reader, command), ["examples/db-pool", "examples/db-tool"]);
}

pub(super) fn finds_by_category(reader: &mut Reader, command: &str) {
    assert_eq!(hits(reader, command), ["examples/db-pool"]);
}

pub(super) fn finds_by_tags(reader: &mut Reader, command: &str) {
    assert_eq!(hits(reader, command), ["examples/auth-oauth"]);
}

pub(super) fn finds_ten(reader: &mut Reader, command: &str) {
    assert_eq!(hits(reader, command).len(), 10);
    assert_eq!(hits(reader, command.trim_end_matches(" --limit 10")).len(), WEB_PACKAGES + 1, "auth-oauth is one too");
}

/// Only packages of the lying provider are left out.
pub(super) fn finds_well_reputed(reader: &mut Reader, command: &str) {
    if reader.liar.is_none() {
        let known = reader.ask(&["status"])["packages_known"].as_u64().unwrap() as usize;
        let addresses = reader.ask(&["status"])["listen_addresses"].clone();
        let mallory = Mallory::enter_by(addresses[0].as_str().unwrap());
        mallory.publish("liars", "query", "crypto that answers any query");
        knows(reader, known + 1);
        let fetch = "ggen marketplace p2p fetch liars/query --output ./lies --timeout 2";
        assert_ne!(reader.type_in(fetch).code, Some(0));
        assert!(!reader.work().join("lies").exists());
        let liar = mallory.leave();
        let info = reader.ask(&["peer-info", &liar]);
        assert!(info["reputation"].as_f64() < Some(0.7), "{info}");
        reader.liar = Some(liar);
        reader.until(&["status"], |status| status["connected_peers"] == 1);
    }
    let (without, _) = command.split_once(" --min-reputation").unwrap();
    let mut all = hits(reader, without);
    assert!(all.contains(&"liars/query".to_owned()), "{all:?}");
    let of_others = hits(reader, command);
    all.retain(|name| name != "liars/query");
    assert!(!of_others.is_empty() && !of_others.contains(&"liars/query".to_owned()), "{of_others:?}");
    // The next hits replace those left out, if there are any.
    assert!(all.iter().all(|name| of_others.contains(name)), "{all:?}, {of_others:?}");
}

pub(super) fn finds_fifty(reader: &mut Reader, command: &str) {
    let known = reader.ask(&["status"])["packages_known"].as_u64().unwrap() as usize;
    for number in 1..=QUERY_PACKAGES {
        the_hub_publishes(reader, "many", &format!("answer-{number}"), "answers a query", "many", &["many"]);
    }
    knows(reader, known + QUERY_PACKAGES);
    assert_eq!(hits(reader, command).len(), 50);
    assert_eq!(hits(reader, command.trim_end_matches(" --limit 50")).len(), DEFAULT_LIMIT);
}

pub(super) fn fetches_by_name(reader: &mut Reader, command: &str) {
    reader.works(command);
    assert!(tree(&reader.work().join("web-1")) == tree(&reader.hub_home.work().join("web-1")));
}

/// The CID is that of the package published last.
pub(super) fn fetches_by_cid(reader: &mut Reader, command: &str) {
    reader.works(command);
    let gpack = fs::read(reader.hub_home.work().join(format!("web-{WEB_PACKAGES}/gpack.toml"))).unwrap();
    assert_eq!(fs::read(reader.work().join("by-cid/gpack.toml")).unwrap(), gpack);
}

pub(super) fn updates_what_was_fetched(reader: &mut Reader, command: &str) {
    fs::remove_file(reader.work().join("web-1/gpack.toml")).unwrap();
    fs::write(reader.work().join("web-1/mine"), "mine").unwrap();
    reader.works(command);
    fs::remove_file(reader.work().join("web-1/mine")).unwrap();
    assert!(tree(&reader.work().join("web-1")) == tree(&reader.hub_home.work().join("web-1")));
}

pub(super) fn fetches_a_tarball(reader: &mut Reader, command: &str) {
    reader.works(command);
    assert_eq!(fs::read(reader.work().join("web-1.tar.gz")).unwrap()[..2], [0x1f, 0x8b]);
}

/// The only peer has a sufficient reputation; tests/backend_p2p covers one that has not.
pub(super) fn fetches_from_well_reputed(reader: &mut Reader, command: &str) {
    reader.works(command);
    assert!(tree(&reader.work().join("web-3")) == tree(&reader.hub_home.work().join("web-3")));
}

pub(super) fn tells_of_a_package(reader: &mut Reader, command: &str) {
    let printed = reader.works(command);
    assert!(printed.contains("examples/web-1") && printed.contains("1.0.0"), "{printed}");
}

fn is_yanked(reader: &Reader) -> bool {
    let info = reader.ask(&["info", &reader.package, "--versions"]);
    let releases = info["releases"].as_array().unwrap();
    let release = releases.iter().find(|release| release["version"] == "1.1.0").unwrap();
    release["yanked"].as_bool().unwrap()
}

pub(super) fn yanks(reader: &mut Reader, command: &str) {
    reader.works(command);
    assert!(is_yanked(reader));
}

pub(super) fn takes_the_yank_back(reader: &mut Reader, command: &str) {
    reader.works(command);
    assert!(!is_yanked(reader));
}
