//! The registry as a library, over real swarms on loopback: one file per group of its guarantees.
//!
//! `tests/mutations` lists the mutations that make each of these tests fail.

#![cfg(test)] // clippy.toml allows `unwrap` in what is marked so, helpers beside the test functions included

mod announcements;
mod content;
mod dht;
mod guide;
mod log;
#[path = "../mutations/list.rs"]
#[allow(dead_code, reason = "what to put in its place is for the program that does it")]
mod mutations;
mod network;
mod packages;
mod peers;
mod support;

/// The list of mutations is up to date: the text to replace exists, and so do the tests it names.
#[test]
fn what_the_mutations_break_is_there() {
    let listed = std::process::Command::new(std::env::current_exe().unwrap()).arg("--list").output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    for mutation in mutations::MUTATIONS {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(mutation.file);
        // In the mutated copy, the original text of the mutation is missing.
        let is_broken = env!("CARGO_MANIFEST_DIR").ends_with("mutations");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(is_broken || text.matches(mutation.find).count() == 1, "`{}` in {}", mutation.find, mutation.file);
        for test in mutation.noticed_by {
            assert!(listed.lines().any(|line| line == format!("{test}: test")), "there is no test {test}");
        }
    }
}
