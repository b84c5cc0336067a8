//! The commands of the guide that run an example. This program contains the example's text as its test `basic_setup`,
//! so it runs itself as a process with the same variables, without a build.

use std::{fs, path::Path, process::Command};

/// The lines of the guide, in sequence, with the variable that each sets and the text that every line of its log
/// contains.
const COMMANDS: [(&str, &str, &str); 2] = [
    (
        "RUST_LOG=ggen_marketplace::backend::p2p=debug cargo run --example basic_setup",
        "ggen_marketplace::backend::p2p=debug",
        "ggen_marketplace::backend::p2p",
    ),
    ("RUST_LOG=libp2p=debug cargo run --example basic_setup", "libp2p=debug", "libp2p_"),
];
const RUNS_THE_EXAMPLE: &str = "basic_setup::finds_what_another_node_has_published";

#[test]
fn every_command_that_runs_an_example_has_its_effect() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let guide = fs::read_to_string(root.join("registry/README.md")).unwrap();
    let lines: Vec<_> = guide.lines().filter(|line| line.contains("cargo run ") && !line.contains('`')).collect();
    assert_eq!(lines, COMMANDS.map(|(command, ..)| command));
    // The package of the root directory has no list of examples, so cargo looks for `--example` there.
    assert!(root.join("examples/basic_setup.rs").is_file());
    for (command, filter, word) in COMMANDS {
        let mut program = Command::new(std::env::current_exe().unwrap());
        let output = program.args([RUNS_THE_EXAMPLE, "--exact"]).env("RUST_LOG", filter).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let log = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<_> = log.lines().filter(|line| line.contains("DEBUG")).collect();
        assert!(!lines.is_empty() && lines.iter().all(|line| line.contains(word)), "`{command}`: {log}");
    }
}
