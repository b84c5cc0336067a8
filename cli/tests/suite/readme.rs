//! The README's "Sixty seconds" works as written.

use std::{fs, path::Path, process::Command};

use crate::support::{Home, finish, tree};

/// Heading of the block.
const HEADING: &str = "## Sixty seconds";
/// The only command that is not run: the binary that cargo built for the tests replaces the installed one.
const INSTALL: &str = "cargo install --locked --path cli";

/// The script around the block: its homes keep to loopback, and no node outlives it.
const AROUND: &str = r#"
mktemp() { place=$(command mktemp "$@"); echo "$place" >> "$HOMES"; echo mdns = false > "$place/p2p-config.toml"; echo "$place"; }
stop_nodes() { while read -r home; do ggen --home "$home" marketplace p2p stop --quiet; done < "$HOMES"; }
trap 'code=$?; set +e; stop_nodes > /dev/null 2>&1; exit $code' EXIT
set -e
"#;

/// The shell block below the heading.
fn block(readme: &str) -> String {
    let section = readme.split(HEADING).nth(1).expect("the README has the section");
    let block = section.split("```sh\n").nth(1).and_then(|rest| rest.split("\n```").next());
    block.expect("the section has a shell block").to_owned()
}

#[test]
fn sixty_seconds_work_as_written() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace");
    let block = block(&fs::read_to_string(root.join("README.md")).unwrap());
    assert_eq!(block.matches(INSTALL).count(), 1, "{block}");
    let block = block.replace(INSTALL, ":");

    // The block refers to the sample packages from the root of the repository, and writes beside them.
    let home = Home::new();
    let package = home.work().join("examples/packages/greeter");
    copy(&root.join("examples/packages/greeter"), &package);
    let binary = Path::new(env!("CARGO_BIN_EXE_ggen")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let mut script = Command::new("bash");
    script.args(["-c", &format!("{AROUND}{block}")]).current_dir(home.work());
    script
        .env("PATH", path)
        .env("HOME", home.work())
        .env("TMPDIR", home.work())
        .env("HOMES", home.work().join("homes"));
    for name in ["GGEN_P2P_BOOTSTRAP", "GGEN_P2P_LISTEN", "GGEN_P2P_DHT_SERVER", "RUST_LOG", "GGEN_HOME"] {
        script.env_remove(name);
    }
    let output = finish(&mut script);
    let output = output.expect_code(0);
    assert!(output.stdout.contains("published examples/greeter@"), "{output:?}");
    assert!(output.stdout.contains("fetched examples/greeter@"), "{output:?}");
    assert!(output.stdout.lines().any(|line| line == "Bonjour, Ada !"), "{output:?}");
    // Both homes and the fetched files are removed, and the node has stopped; the clone is unchanged.
    assert!(output.stdout.lines().last().unwrap().starts_with("node stopped (pid "), "{output:?}");
    let homes = fs::read_to_string(home.work().join("homes")).unwrap();
    assert_eq!(homes.lines().filter(|home| Path::new(home).exists()).count(), 0, "{homes}");
    assert_eq!(homes.lines().count(), 2, "{homes}");
    assert!(tree(&package) == tree(&root.join("examples/packages/greeter")));
    let mut left: Vec<_> = fs::read_dir(home.work()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort_unstable();
    assert_eq!(left, ["examples", "homes"]);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    let copied = Command::new("cp").arg("-R").args([from, to]).status().unwrap();
    assert!(copied.success());
}
