//! The commands of the API guide that run tests. They build this program, so they are run without a build, with the
//! same variables, filters and flags.

use std::{
    fs,
    process::{Command, Output},
};

/// The lines of the guide, in sequence, each with the check of its effect.
const COMMANDS: [(&str, fn()); 3] = [
    ("cargo test --features p2p --test backend_p2p", runs_this_program),
    ("cargo test --features p2p test_discover_peers_via_dht", runs_that_test),
    ("RUST_LOG=debug cargo test --features p2p -- --nocapture", shows_the_log),
];
/// For each category in the guide, a test that belongs to it.
const CATEGORIES: [&str; 11] = [
    "network::a_registry_needs_nothing_but_a_configuration_and_listens_when_it_is_told_to",
    "network::test_discover_peers_via_dht",
    "announcements::a_package_is_announced_to_all_who_follow_also_through_others",
    "announcements::a_search_finds_what_others_published_by_words_tags_and_category",
    "content::a_package_is_retrieved_from_the_peer_that_has_it",
    "network::many_peers_find_each_other_and_all_of_their_packages",
    "packages::what_is_published_twice_is_there_once",
    "peers::a_peer_that_serves_well_keeps_its_reputation_and_one_that_lies_loses_it",
    "dht::what_a_publisher_put_into_the_dht_is_got_from_it_after_the_publisher_has_gone",
    "announcements::announcements_reach_those_who_follow_that_topic_and_nobody_else",
    "packages::a_new_version_is_announced_found_and_fetched_and_the_old_ones_stay",
];
const ONE_TEST: &str = "test_discover_peers_via_dht";

#[test]
fn every_command_that_runs_tests_has_its_effect() {
    let guide = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/registry/README.md")).unwrap();
    let lines: Vec<_> = guide.lines().filter(|line| line.contains("cargo test ") && !line.contains('`')).collect();
    assert_eq!(lines, COMMANDS.map(|(command, _)| command));
    COMMANDS.iter().for_each(|(_, effect)| effect());
}

/// This program, as cargo starts it.
fn this_program(args: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut program = Command::new(std::env::current_exe().unwrap());
    program.env_remove("RUST_LOG").args(args).envs(variables.iter().copied()).output().unwrap()
}

fn printed(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

/// `--test` names the target that is this program; `cargo test` in the root of the workspace selects its package.
fn runs_this_program() {
    assert_eq!((env!("CARGO_CRATE_NAME"), env!("CARGO_PKG_NAME")), ("backend_p2p", "ggen-p2p"));
    const { assert!(cfg!(feature = "p2p")) };
    let manifest = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    assert!(manifest.starts_with("[workspace]"), "the package is not that of the top");
    let listed = printed(&this_program(&["--list"], &[]));
    for test in CATEGORIES {
        assert!(listed.lines().any(|line| line == format!("{test}: test")), "there is no test {test}");
    }
}

fn runs_that_test() {
    let output = this_program(&[ONE_TEST], &[]);
    let printed = printed(&output);
    assert!(output.status.success() && printed.contains("1 passed; 0 failed"), "{printed}");
    assert!(printed.contains(&format!("test network::{ONE_TEST} ... ok")), "{printed}");
}

/// Only for one test, because running all of them would include this one.
fn shows_the_log() {
    let shown = printed(&this_program(&[ONE_TEST, "--nocapture"], &[("RUST_LOG", "debug")]));
    let says = |word: &str| shown.lines().any(|line| line.contains("DEBUG") && line.contains(word));
    assert!(says("ggen_marketplace::backend::p2p") && says("libp2p_"), "{shown}");
    let silent = printed(&this_program(&[ONE_TEST, "--nocapture"], &[]));
    assert!(!silent.contains("DEBUG"), "{silent}");
}
