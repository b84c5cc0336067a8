//! The guides work as written: every command of `cli/README.md` and of `registry/README.md`, in sequence, with its
//! effect.
//!
//! Addresses are replaced by those of nodes on loopback, and placeholders in `<...>` by values. A node in the
//! foreground is ended, as by Ctrl-C, before the next one starts. Two additional keys in the home's configuration file
//! keep it to loopback.

mod api;
mod effects;
mod mallory;
mod reader;

use std::{fs, path::Path};

use reader::{Block, Reader, blocks};

/// A command of the guide, and the check of its effect.
pub(crate) type Step = (&'static str, fn(&mut Reader, &str));

#[test]
fn every_command_of_the_guide_has_its_effect() {
    follow("cli/README.md", effects::STEPS);
}

/// Its `cargo` commands belong to the repository; `tests/backend_p2p` covers them.
#[test]
fn every_command_of_the_guide_of_the_api_has_its_effect() {
    follow("registry/README.md", api::STEPS);
}

/// Runs the commands of a guide from top to bottom.
fn follow(guide: &str, steps: &[Step]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace");
    let text = fs::read_to_string(root.join(guide)).unwrap();
    let mut reader = Reader::new();
    let mut steps = steps.iter();
    for block in blocks(&text) {
        match block {
            Block::Shell(commands) => {
                for command in commands {
                    let Some((expected, effect)) = steps.next() else { panic!("no step for `{command}`") };
                    assert_eq!(command, *expected, "the guide and its test tell the same story in the same order");
                    effect(&mut reader, &command);
                }
                reader.environment.clear();
            }
            Block::Configuration(text) => effects::is_configured(&mut reader, &text),
        }
    }
    assert_eq!(steps.next().map(|(command, _)| command), None, "the guide has lost a command");
}

#[test]
fn everything_typed_in_the_seeds_stands_in_the_guide() {
    let guide = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let flat = guide.replace("\\\n", " ");
    for words in [
        "start --listen",
        "start --bootstrap",
        "start --daemon",
        "start --config ~/.ggen/p2p-config.toml",
        "--dht-server",
        "publish ./my-package --version 1.2.3",
        "publish ./my-package --skip-verify",
        "--category middleware",
        "--tags security --tags oauth",
        "--limit 10",
        "--min-reputation 0.8",
        "peer-list --verbose",
        "peer-list --min-reputation 0.7",
        "peer-list --format json",
        "peer-info",
        "--full",
        "bootstrap",
        "--timeout 60",
        "p2p status",
        "lsof -i :4001",
        "GGEN_P2P_BOOTSTRAP=",
        "GGEN_P2P_LISTEN=",
        "GGEN_P2P_DHT_SERVER=",
        "ping ",
        "RUST_LOG=ggen_marketplace::backend::p2p=debug",
        "RUST_LOG=libp2p=debug",
        "packages_topic = ",
    ] {
        assert!(flat.contains(words), "`{words}` is not in the guide");
    }
}
