//! The code respects the layers of ARCHITECTURE.md: modules import only along its arrows, and files do not import each
//! other in a cycle.

mod imports;

use std::{collections::BTreeSet, fs, path::Path};

use imports::{Crate, Graph};

const CRATES: [(&str, &str); 3] = [("blockstore", "blockstore/src"), ("registry", "registry/src"), ("cli", "cli/src")];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The arrows between the top modules of a crate, as ARCHITECTURE.md lists them: `a -> b, c` in the block with the info
/// string `layers NAME`.
fn documented(page: &str, name: &str) -> BTreeSet<(String, String)> {
    let start = format!("```layers {name}\n");
    let block = page.split(&start).nth(1).unwrap_or_else(|| panic!("no block `layers {name}` in ARCHITECTURE.md"));
    let lines = block.split("```").next().unwrap_or_default().lines();
    let mut arrows = BTreeSet::new();
    for line in lines {
        let (from, to) = line.split_once(" -> ").unwrap_or_else(|| panic!("no arrow in `{line}`"));
        for to in to.split(", ") {
            arrows.insert((from.trim().to_owned(), to.trim().to_owned()));
        }
    }
    arrows
}

/// The first component below the crate's root; `None` for the root itself.
fn top(module: &str) -> Option<&str> {
    module.split("::").next().filter(|name| !name.is_empty())
}

fn arrows(graph: &Graph) -> BTreeSet<(String, String)> {
    let pairs = graph.iter().flat_map(|(from, to)| to.keys().map(move |to| (from, to)));
    let tops = pairs.filter_map(|(from, to)| Some((top(from)?, top(to)?)));
    tops.filter(|(from, to)| from != to).map(|(from, to)| (from.to_owned(), to.to_owned())).collect()
}

#[test]
fn modules_import_along_the_arrows_of_the_architecture() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for (name, source) in CRATES {
        let found = arrows(&Crate::read(&root().join(source)).graph());
        let documented = documented(&page, name);
        let new: Vec<_> = found.difference(&documented).collect();
        let gone: Vec<_> = documented.difference(&found).collect();
        assert!(new.is_empty(), "{name}: arrows that ARCHITECTURE.md does not have: {new:?}");
        assert!(gone.is_empty(), "{name}: arrows of ARCHITECTURE.md that the code does not have: {gone:?}");
    }
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let mut found = Vec::new();
    for (name, source) in CRATES {
        let graph = Crate::read(&root().join(source)).graph();
        for circle in imports::circles(&graph) {
            for from in &circle {
                for (to, names) in graph[*from].iter().filter(|(to, _)| circle.contains(to.as_str())) {
                    found.push(format!(
                        "{name}: {from} -> {to}: {}",
                        names.iter().cloned().collect::<Vec<_>>().join(", ")
                    ));
                }
            }
        }
    }
    assert!(found.is_empty(), "files that import each other in a circle:\n{}", found.join("\n"));
}

/// A library does not know how a program offers its operations: it names them as `Operation` and `Setting`.
#[test]
fn libraries_name_no_command_line() {
    for (name, source) in &CRATES[..2] {
        let found: Vec<_> = Crate::read(&root().join(source)).command_lines().collect();
        assert!(found.is_empty(), "{name}: command lines in a library:\n{}", found.join("\n"));
    }
}

#[test]
fn an_added_command_line_is_found() {
    for (line, is_found) in [
        (r#"let hint = "see `ggen marketplace p2p doctor`";"#, true),
        (r#"let hint = "see `ggen help gpack`";"#, true),
        (r#"let hint = "run it without `--offline`";"#, true),
        (r#"let hint = "or wait longer with `fetch --timeout SECS`";"#, true),
        (r#"let hint = "compress it with `--long=27` of zstd";"#, false),
        ("/// `verify --repair` has no limit.", false),
    ] {
        let file = Crate::of([("", line)]);
        assert_eq!(file.command_lines().count(), usize::from(is_found), "{line}");
    }
}

/// The tests of imports above detect an arrow and a cycle that are added.
#[test]
fn an_added_import_is_found() {
    let files = |low: &str| {
        Crate::of([
            ("", "pub mod low;\npub mod high;\npub use low::Thing;\n"),
            ("low", low),
            ("low::part", "pub struct Part;\n#[cfg(test)]\nmod tests {\n    use crate::high::use_it;\n}\n"),
            ("high", "use crate::{\n    Thing,\n    low::part::{self, Part},\n};\npub fn use_it() {}\n"),
        ])
        .graph()
    };
    let arrow = |from: &str, to: &str| (from.to_owned(), to.to_owned());

    let good = files("pub mod part;\npub use part::Part;\npub struct Thing;\n");
    assert_eq!(arrows(&good), BTreeSet::from([arrow("high", "low")]));
    assert_eq!(imports::circles(&good), BTreeSet::new());

    for added in ["use crate::high::use_it;", "fn f() { crate::high::use_it() }", "use super::high;"] {
        let bad = files(&format!("pub mod part;\n{added}\npub struct Thing;\n"));
        assert!(arrows(&bad).contains(&arrow("low", "high")), "{added}");
        assert_eq!(imports::circles(&bad), BTreeSet::from([BTreeSet::from(["high", "low"])]), "{added}");
    }
}
