//! The commands of the guide, in its order, each with what must come of it.

use std::fs;

use serde_json::{Value, json};

use super::{Reader, Step, reader::NOBODY};
use crate::support::{Output, package, tree};

/// Packages that somebody else has published.
const PUBLISHED: [(&str, &str, &str, &[&str]); 5] = [
    ("db-pool", "database connections, pooled", "middleware", &["sql"]),
    ("db-tool", "a database at the command line", "tools", &["sql"]),
    ("auth-oauth", "auth for the web", "security", &["security", "oauth"]),
    ("auth-basic", "auth with passwords", "security", &["security"]),
    ("ciphers", "crypto primitives; answers any query", "security", &["crypto"]),
];
/// Further ones, so that a limit limits.
const WEB_PACKAGES: usize = 11;

pub(super) const STEPS: &[Step] = &[
    // A node
    ("ggen marketplace p2p start", starts),
    ("ggen marketplace p2p start --listen /ip4/0.0.0.0/tcp/4001", starts_listening),
    (
        "ggen marketplace p2p start --bootstrap /ip4/104.131.131.82/tcp/4001/p2p/QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ --bootstrap /dnsaddr/bootstrap.libp2p.io",
        starts_connected,
    ),
    ("ggen marketplace p2p start --daemon", starts_in_the_background),
    ("ggen marketplace p2p start --config ~/.ggen/p2p-config.toml", starts_with_a_file),
    // Publishing
    ("ggen marketplace p2p publish ./my-package", publishes),
    ("ggen marketplace p2p publish ./my-package --version 1.2.3", publishes_as),
    ("ggen marketplace p2p publish ./my-package --skip-verify", publishes_a_lower_version),
    // Searching
    ("ggen marketplace p2p search \"database\"", finds_by_word),
    ("ggen marketplace p2p search \"database\" --category middleware", finds_by_category),
    ("ggen marketplace p2p search \"auth\" --tags security --tags oauth", finds_by_tags),
    ("ggen marketplace p2p search \"web\" --limit 10", finds_ten),
    ("ggen marketplace p2p search \"crypto\" --min-reputation 0.8", finds_well_reputed),
    // Fetching
    ("ggen marketplace p2p fetch examples/web-1@^1", fetches_by_name),
    ("ggen marketplace p2p fetch <cid> --output ./by-cid", fetches_by_cid),
    // Peers
    ("ggen marketplace p2p peer-list", lists_peers),
    ("ggen marketplace p2p peer-list --verbose", lists_peers),
    ("ggen marketplace p2p peer-list --min-reputation 0.7", lists_peers),
    ("ggen marketplace p2p peer-list --format json", lists_peers_as_json),
    ("ggen marketplace p2p peer-info QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ", shows_a_peer),
    ("ggen marketplace p2p peer-info QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ --full", shows_its_history),
    ("ggen marketplace p2p peer allow QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ", allows_a_peer),
    ("ggen marketplace p2p peer deny <peer-id>", denies_a_peer),
    ("ggen marketplace p2p peer reset <peer-id>", resets_a_peer),
    // Entering the network by hand
    (
        "ggen marketplace p2p bootstrap /ip4/104.131.131.82/tcp/4001/p2p/QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ /dnsaddr/bootstrap.libp2p.io",
        bootstraps,
    ),
    ("ggen marketplace p2p bootstrap <nodes...> --timeout 60", bootstraps),
    // How the node is
    ("ggen marketplace p2p status", tells_its_status),
    ("ggen marketplace p2p doctor", is_healthy),
    ("ggen marketplace p2p doctor examples/web-1", is_healthy),
    // Looking closer, and taking back
    ("ggen marketplace p2p info examples/web-1 --versions", tells_of_a_package),
    ("ggen marketplace p2p yank <package>@1.1.0 --reason \"has the wrong files\"", yanks),
    ("ggen marketplace p2p yank <package>@1.1.0 --undo", takes_the_yank_back),
    // Keeping what others have published
    ("ggen marketplace p2p pin add examples/web-2", pins),
    ("ggen marketplace p2p pin ls", lists_the_pin),
    ("ggen marketplace p2p pin rm examples/web-2", unpins),
    ("ggen marketplace p2p mirror add \"examples/*\" --versions 3", mirrors),
    ("ggen marketplace p2p mirror ls", lists_the_mirror),
    ("ggen marketplace p2p mirror rm \"examples/*\"", mirrors_no_more),
    ("ggen marketplace p2p gc --dry-run", tells_what_would_go),
    ("ggen marketplace p2p gc", removes_what_nothing_keeps),
    ("ggen marketplace p2p verify", finds_every_block_sound),
    // Configuration
    (
        "export GGEN_P2P_BOOTSTRAP=\"/ip4/104.131.131.82/tcp/4001/p2p/QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ,/dnsaddr/bootstrap.libp2p.io\"",
        exports,
    ),
    ("export GGEN_P2P_LISTEN=\"/ip4/0.0.0.0/tcp/9000\"", exports),
    ("export GGEN_P2P_DHT_SERVER=true", exports),
    ("ggen marketplace p2p config show", shows_where_values_come_from),
    // When something does not work
    ("lsof -i :4001", runs_if_it_is_there),
    ("ggen marketplace p2p start --listen /ip4/0.0.0.0/tcp/0", starts_listening),
    ("ggen marketplace p2p bootstrap <bootstrap-nodes>", bootstraps),
    ("ggen marketplace p2p peer-list", lists_peers),
    ("ggen marketplace p2p search \"query\" --limit 50", finds_more),
    ("ggen marketplace p2p search \"query\" --min-reputation 0.8", finds_more),
    ("ggen marketplace p2p start --bootstrap <multiple-nodes>", starts_connected),
    ("ping -c 1 104.131.131.82", runs_if_it_is_there),
    ("export GGEN_P2P_BOOTSTRAP=\"/dnsaddr/bootstrap.libp2p.io\"", exports),
    ("ggen marketplace p2p start", starts_connected),
    ("RUST_LOG=ggen_marketplace::backend::p2p=debug ggen marketplace p2p start", logs_what_the_node_does),
    ("RUST_LOG=libp2p=debug ggen marketplace p2p start", logs_what_libp2p_does),
    // Running a bootstrap node
    ("ggen marketplace p2p start --listen /ip4/0.0.0.0/tcp/4001 --dht-server --daemon", starts_a_bootstrap_node),
    ("ggen marketplace p2p status", can_be_entered_by),
];

fn starts(reader: &mut Reader, command: &str) {
    let printed = reader.start(command);
    let peer = reader.ask(&["status"])["peer_id"].as_str().unwrap().to_owned();
    assert!(printed.contains(&peer), "{printed}");
}

fn starts_listening(reader: &mut Reader, command: &str) {
    let printed = reader.start(command);
    let status = reader.ask(&["status"]);
    let addresses = status["listen_addresses"].as_array().unwrap();
    assert_eq!(addresses.len(), 1, "{status}");
    let address = addresses[0].as_str().unwrap();
    assert!(address.starts_with("/ip4/127.0.0.1/tcp/") && printed.contains(address), "{printed}");
}

fn starts_connected(reader: &mut Reader, command: &str) {
    reader.start(command);
    reader.until(&["status"], |status| status["connected_peers"] == 1);
}

fn starts_in_the_background(reader: &mut Reader, command: &str) {
    let printed = reader.works(command);
    let pid = printed.split("process ").nth(1).unwrap().trim().to_owned();
    let status = reader.ask(&["status"]);
    assert!(printed.contains(status["peer_id"].as_str().unwrap()), "{printed}");
    assert!(std::path::Path::new(&reader.work()).join(".ggen/ggen.log").exists());
    assert!(pid.parse::<u32>().is_ok(), "{printed}");
}

fn starts_with_a_file(reader: &mut Reader, command: &str) {
    starts(reader, command);
    // What follows in the guide is asked of a node in the network.
    let hub = reader.hub.address().to_owned();
    reader.ask(&["bootstrap", &hub]);
    let name = "my-package";
    package(&reader.work().join(name), name, "1.0.0");
}

fn published_versions(reader: &Reader) -> Vec<String> {
    let hits = reader.ask(&["search", "my-package", "--local"]);
    hits.as_array().unwrap().iter().map(|hit| hit["version"].as_str().unwrap().to_owned()).collect()
}

fn publishes(reader: &mut Reader, command: &str) {
    let printed = reader.works(command);
    assert!(printed.contains("my-package@1.0.0"), "{printed}");
    assert_eq!(published_versions(reader), ["1.0.0"]);
    let hits = reader.ask(&["search", "my-package", "--local"]);
    reader.package = hits[0]["package"].as_str().unwrap().to_owned();
}

fn publishes_as(reader: &mut Reader, command: &str) {
    reader.works(command);
    assert_eq!(published_versions(reader), ["1.2.3"]);
}

/// The order of versions is one of the checks that `--skip-verify` skips.
fn publishes_a_lower_version(reader: &mut Reader, command: &str) {
    let manifest = reader.work().join("my-package/gpack.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("1.0.0", "1.1.0")).unwrap();
    let refused = reader.type_in(command.trim_end_matches(" --skip-verify")).expect_code(1);
    assert!(refused.stderr.contains("--skip-verify"), "{refused:?}");
    let printed = reader.works(command);
    assert!(printed.contains("my-package@1.1.0"), "{printed}");
    assert_eq!(published_versions(reader), ["1.2.3"], "the newest stays the newest");
    somebody_publishes(reader);
}

/// What there is to be found.
fn somebody_publishes(reader: &mut Reader) {
    let web: Vec<_> = (1..=WEB_PACKAGES).map(|number| format!("web-{number}")).collect();
    let web = web.iter().map(|name| (name.as_str(), "for the web", "web", &["http"] as &[&str]));
    for (name, description, category, tags) in PUBLISHED.into_iter().chain(web) {
        let root = package(&reader.hub_home.work().join(name), name, "1.0.0");
        let tags: String = tags.iter().map(|tag| format!("{tag} = true\n")).collect();
        let gpack = format!(
            "[package]\nname = \"{name}\"\nversion = \"1.0.0\"\ndescription = \"{description}\"\n\n[tags]\n{tags}\n\
             [metadata]\ncategory = \"{category}\"\n"
        );
        fs::write(root.join("gpack.toml"), gpack).unwrap();
        let root = root.to_str().unwrap();
        let args = ["--format", "json", "publish", root, "--namespace", "examples"];
        let published = reader.hub_home.p2p(&args).expect_code(0).json();
        reader.cid = published["cid"].as_str().unwrap().to_owned();
    }
    let known = PUBLISHED.len() + WEB_PACKAGES + 1;
    reader.until(&["status"], |status| status["packages_known"].as_u64() >= Some(known as u64));
}

/// The names of the packages found; the human answer has them, and the JSON is asked beside it.
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

fn finds_by_word(reader: &mut Reader, command: &str) {
    assert_eq!(hits(reader, command), ["examples/db-pool", "examples/db-tool"]);
}

fn finds_by_category(reader: &mut Reader, command: &str) {
    assert_eq!(hits(reader, command), ["examples/db-pool"]);
}

fn finds_by_tags(reader: &mut Reader, command: &str) {
    assert_eq!(hits(reader, command), ["examples/auth-oauth"]);
}

fn finds_ten(reader: &mut Reader, command: &str) {
    assert_eq!(hits(reader, command).len(), 10);
}

fn finds_well_reputed(reader: &mut Reader, command: &str) {
    assert_eq!(hits(reader, command), ["examples/ciphers"]);
}

fn finds_more(reader: &mut Reader, command: &str) {
    assert_eq!(hits(reader, command), ["examples/ciphers"]);
}

fn fetches_by_name(reader: &mut Reader, command: &str) {
    reader.works(command);
    assert!(tree(&reader.work().join("web-1")) == tree(&reader.hub_home.work().join("web-1")));
}

fn fetches_by_cid(reader: &mut Reader, command: &str) {
    reader.works(command);
    let last = PUBLISHED.len() + WEB_PACKAGES;
    let of_hub = reader.hub_home.work().join(format!("web-{WEB_PACKAGES}"));
    assert!(
        last > 0
            && fs::read(reader.work().join("by-cid/gpack.toml")).unwrap()
                == fs::read(of_hub.join("gpack.toml")).unwrap()
    );
}

fn hub_peer(reader: &Reader) -> String {
    reader.hub.listening["peer_id"].as_str().unwrap().to_owned()
}

fn lists_peers(reader: &mut Reader, command: &str) {
    let printed = reader.works(command);
    assert!(printed.contains(&hub_peer(reader)), "{printed}");
}

fn lists_peers_as_json(reader: &mut Reader, command: &str) {
    let listed: Value = serde_json::from_str(&reader.works(command)).unwrap();
    let hub = listed.as_array().unwrap().iter().find(|peer| peer["peer_id"] == hub_peer(reader)).unwrap();
    assert_eq!((&hub["connected"], &hub["reputation"]), (&json!(true), &json!(1.0)), "{hub}");
    assert!(hub["successful_retrievals"].as_u64() >= Some(1), "two packages came from it: {hub}");
}

fn shows_a_peer(reader: &mut Reader, command: &str) {
    let printed = reader.works(command);
    assert!(printed.contains(&hub_peer(reader)), "{printed}");
}

fn shows_its_history(reader: &mut Reader, command: &str) {
    shows_a_peer(reader, command);
    let json: Value = serde_json::from_str(&reader.works(&format!("{command} --format json"))).unwrap();
    assert!(json["history"].as_array().is_some_and(|history| !history.is_empty()), "{json}");
}

fn allows_a_peer(reader: &mut Reader, command: &str) {
    let printed = reader.works(command);
    assert!(printed.contains(&format!("allowed  {}", hub_peer(reader))), "{printed}");
}

fn denies_a_peer(reader: &mut Reader, command: &str) {
    let printed = reader.works(command);
    assert!(printed.contains(&format!("denied   {NOBODY}")), "{printed}");
}

fn resets_a_peer(reader: &mut Reader, command: &str) {
    let printed = reader.works(command);
    assert!(printed.contains("denied   nobody"), "{printed}");
}

fn bootstraps(reader: &mut Reader, command: &str) {
    let printed = reader.works(command);
    assert!(printed.contains("connected to 1 peer"), "{printed}");
    assert_eq!(reader.ask(&["status"])["connected_peers"], 1);
}

fn tells_its_status(reader: &mut Reader, command: &str) {
    let printed = reader.works(command);
    let status = reader.ask(&["status"]);
    assert!(printed.contains(status["peer_id"].as_str().unwrap()), "{printed}");
    assert!(printed.contains("connected peers  1"), "{printed}");
}

fn is_healthy(reader: &mut Reader, command: &str) {
    let printed = reader.works(command);
    assert!(printed.contains("store         ok") && !printed.contains("FAILED"), "{printed}");
    if command.ends_with("web-1") {
        assert!(printed.contains("verify        ok"), "{printed}");
    }
}

fn tells_of_a_package(reader: &mut Reader, command: &str) {
    let printed = reader.works(command);
    assert!(printed.contains("examples/web-1") && printed.contains("1.0.0"), "{printed}");
}

fn is_yanked(reader: &Reader) -> bool {
    let info = reader.ask(&["info", &reader.package, "--versions"]);
    let releases = info["releases"].as_array().unwrap();
    let release = releases.iter().find(|release| release["version"] == "1.1.0").unwrap();
    release["yanked"].as_bool().unwrap()
}

fn yanks(reader: &mut Reader, command: &str) {
    reader.works(command);
    assert!(is_yanked(reader));
}

fn takes_the_yank_back(reader: &mut Reader, command: &str) {
    reader.works(command);
    assert!(!is_yanked(reader));
}

/// Whether a pin of the user holds something.
fn pinned(reader: &Reader) -> bool {
    let pins = reader.ask(&["pin", "ls"]);
    pins.as_array().unwrap().iter().any(|pin| pin["label"].as_str().unwrap().contains("examples/web-2"))
}

fn pins(reader: &mut Reader, command: &str) {
    assert!(!pinned(reader));
    reader.works(command);
    assert!(pinned(reader), "{}", reader.ask(&["pin", "ls"]));
}

fn lists_the_pin(reader: &mut Reader, command: &str) {
    let printed = reader.works(command);
    assert!(printed.contains("examples/web-2"), "{printed}");
}

fn unpins(reader: &mut Reader, command: &str) {
    reader.works(command);
    assert!(!pinned(reader));
}

fn mirrors(reader: &mut Reader, command: &str) {
    reader.works(command);
    let all = (PUBLISHED.len() + WEB_PACKAGES) as u64;
    reader.until(&["mirror", "ls"], |rules| rules[0]["packages_held"].as_u64() == Some(all));
}

fn lists_the_mirror(reader: &mut Reader, command: &str) {
    let printed = reader.works(command);
    assert!(printed.contains("examples/*"), "{printed}");
}

fn mirrors_no_more(reader: &mut Reader, command: &str) {
    reader.works(command);
    assert_eq!(reader.ask(&["mirror", "ls"]), json!([]));
}

fn tells_what_would_go(reader: &mut Reader, command: &str) {
    let blocks = reader.ask(&["status"])["blocks"].clone();
    let printed = reader.works(command);
    assert!(printed.starts_with("would remove ") && !printed.contains(" 0 blocks"), "{printed}");
    assert_eq!(reader.ask(&["status"])["blocks"], blocks);
}

fn removes_what_nothing_keeps(reader: &mut Reader, command: &str) {
    let before = reader.ask(&["status"])["blocks"].as_u64();
    let printed = reader.works(command);
    assert!(printed.starts_with("removed "), "{printed}");
    assert!(reader.ask(&["status"])["blocks"].as_u64() < before);
}

fn finds_every_block_sound(reader: &mut Reader, command: &str) {
    reader.works(command);
    let report: Value = serde_json::from_str(&reader.works(&format!("{command} --format json"))).unwrap();
    assert!(report["checked_blocks"].as_u64() > Some(0) && report["bad"] == json!([]), "{report}");
}

fn exports(reader: &mut Reader, command: &str) {
    reader.export(command);
}

fn shows_where_values_come_from(reader: &mut Reader, command: &str) {
    let shown: Value = serde_json::from_str(&reader.works(&format!("{command} --format json"))).unwrap();
    let origin = |key: &str| (shown[key]["origin"].clone(), shown[key]["source"].clone());
    assert_eq!(origin("bootstrap_nodes"), (json!("environment"), json!("GGEN_P2P_BOOTSTRAP")));
    assert_eq!(shown["bootstrap_nodes"]["value"].as_array().unwrap().len(), 2);
    assert_eq!(origin("listen_addresses"), (json!("environment"), json!("GGEN_P2P_LISTEN")));
    assert_eq!(origin("dht_server_mode"), (json!("environment"), json!("GGEN_P2P_DHT_SERVER")));
    assert_eq!(origin("packages_topic").0, json!("file"));
    assert!(reader.works(command).contains("packages_topic = \"/ggen/packages/v1\""));
}

/// Tools of the system: not every machine has them, nor lets everybody use them.
fn runs_if_it_is_there(reader: &mut Reader, command: &str) {
    let tool = command.split(' ').next().unwrap();
    let Ok(found) = std::process::Command::new("sh").args(["-c", &format!("command -v {tool}")]).output() else {
        return;
    };
    if found.status.success() {
        let Output { code, .. } = reader.type_in(command);
        assert!(matches!(code, Some(0..=2)), "{command}: {code:?}");
    }
}

fn logs_what_the_node_does(reader: &mut Reader, command: &str) {
    reader.start(command);
    let log = reader.log_until("ggen_marketplace::backend::p2p");
    assert!(log.contains("DEBUG") && log.contains("ggen_marketplace::backend::p2p"), "{log}");
}

fn logs_what_libp2p_does(reader: &mut Reader, command: &str) {
    reader.start(command);
    let log = reader.log_until("DEBUG libp2p");
    assert!(log.contains("DEBUG") && log.contains("libp2p_"), "{log}");
}

fn starts_a_bootstrap_node(reader: &mut Reader, command: &str) {
    starts_in_the_background(reader, command);
    assert_eq!(reader.ask(&["status"])["dht_mode"], "server");
}

/// The address that it shows is one that others can enter by.
fn can_be_entered_by(reader: &mut Reader, command: &str) {
    let printed = reader.works(command);
    let line = printed.lines().find(|line| line.starts_with("listening on")).unwrap();
    let address = line.split_whitespace().last().unwrap();
    let joined = reader.hub_home.p2p(&["--format", "json", "bootstrap", address]).expect_code(0).json();
    assert_eq!(joined["connected"][0], reader.ask(&["status"])["peer_id"]);
}
