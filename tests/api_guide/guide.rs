//! The API guide and the examples have the same text, except for the edits listed here.

use std::{fs, path::Path};

use ggen_marketplace::prelude::Multiaddr;

/// The reason why an example differs from the block of the guide.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// A `use`, function body or variable that the block uses but does not show: text is added, nothing is changed.
    Missing,
    /// An address to dial or to listen on.
    Address,
    /// The CID that the block leaves out.
    Cid,
}

struct Edit {
    kind: Kind,
    guide: &'static str,
    example: &'static str,
}

const fn edit(kind: Kind, guide: &'static str, example: &'static str) -> Edit {
    Edit { kind, guide, example }
}

/// The examples, in the sequence of the blocks.
const EXAMPLES: [(&str, &[Edit]); 5] = [
    (
        "basic_setup",
        &[
            edit(
                Kind::Address,
                r#""/ip4/104.131.131.82/tcp/4001/p2p/QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ""#,
                "hub::address()",
            ),
            edit(Kind::Address, r#""/ip4/0.0.0.0/tcp/0""#, r#""/ip4/127.0.0.1/tcp/0""#),
        ],
    ),
    (
        "publish_package",
        &[edit(Kind::Cid, r#""QmX7Zd...""#, r#""bafybeieauydle3j6dyhfdram5adnrr2lvbs7jk2lwn7vr6rvkslbcyymba""#)],
    ),
    (
        "programmatic",
        &[
            edit(
                Kind::Address,
                "let config = P2PConfig::default();",
                r#"let config = P2PConfig::default();
                 let config = P2PConfig { listen_addresses: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()], ..config };"#,
            ),
            edit(
                Kind::Missing,
                "use ggen_marketplace::traits::Registry;",
                "use ggen_marketplace::traits::Registry;
                 use ggen_marketplace::prelude::{Package, PackageId, Query, Result, Version};",
            ),
            edit(
                Kind::Missing,
                "P2PRegistry::new(config).await?;",
                r#"P2PRegistry::new(config).await?;
                 let my_package = make_package(&registry).await?;
                 let query = Query::new("greets people");"#,
            ),
        ],
    ),
    (
        "peer_reputation",
        &[edit(
            Kind::Missing,
            "use libp2p::PeerId;",
            "use libp2p::PeerId;
             use ggen_marketplace::{FetchRequest, FetchTo, Progress, prelude::*};",
        )],
    ),
    ("optimized_config", &[]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The fenced blocks of a language.
fn blocks(markdown: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    markdown.split(&fence).skip(1).map(|rest| rest.split("\n```").next().unwrap().to_owned()).collect()
}

/// The text without differences that rustfmt controls: white space, trailing commas.
fn squeezed(text: &str) -> String {
    let mut out: String = text.chars().filter(|character| !character.is_whitespace()).collect();
    for closing in [")", "]", "}"] {
        out = out.replace(&format!(",{closing}"), closing);
    }
    out
}

/// The `use` lines, whose sequence rustfmt controls, and the rest.
fn parted(text: &str) -> (Vec<String>, String) {
    let (uses, rest): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.trim_start().starts_with("use "));
    (uses.into_iter().map(squeezed).collect(), squeezed(&rest.join("\n")))
}

#[test]
fn each_block_of_the_guide_is_an_example() {
    let guide = fs::read_to_string(root().join("registry/README.md")).unwrap();
    let blocks = blocks(&guide, "rust");
    assert_eq!(blocks.len(), EXAMPLES.len());
    for (mut block, (name, edits)) in blocks.into_iter().zip(EXAMPLES) {
        for Edit { guide, example, .. } in edits {
            assert_eq!(block.matches(guide).count(), 1, "{name}: `{guide}`");
            block = block.replace(guide, example);
        }
        let (uses, body) = parted(&block);
        let example = fs::read_to_string(root().join(format!("examples/{name}.rs"))).unwrap();
        let (known_uses, text) = parted(&example);
        for line in uses {
            assert!(known_uses.contains(&line), "{name}: `{line}` is not in the example");
        }
        assert!(text.contains(&body), "{name}: the example does not have\n{body}\nbut\n{text}");
        assert!(example.lines().count() < 80, "{name} is long for an example");
    }
}

#[test]
fn each_edit_is_of_its_kind() {
    for Edit { kind, guide, example } in EXAMPLES.iter().flat_map(|(_, edits)| *edits) {
        match kind {
            Kind::Missing => assert!(example.starts_with(guide) && example.len() > guide.len(), "{example}"),
            // The defaults have an address to listen on.
            Kind::Address if guide.contains("default()") => {
                let added = example.strip_prefix(guide).unwrap().trim();
                assert!(
                    added.starts_with("let config = P2PConfig { listen_addresses: vec![\"/ip4/127.0.0.1/"),
                    "{added}"
                );
                assert!(added.ends_with("..config };"), "{added}");
            }
            Kind::Address => assert!(guide.trim_matches('"').parse::<Multiaddr>().is_ok(), "{guide}"),
            Kind::Cid => assert!(guide.trim_matches('"').ends_with("..."), "{guide}"),
        }
    }
}

#[test]
fn the_configuration_table_is_the_default() {
    let guide = fs::read_to_string(root().join("registry/README.md")).unwrap();
    let config = ggen_marketplace::prelude::P2PConfig::default();
    for (field, default) in [
        ("bootstrap_nodes", format!("{:?}", config.bootstrap_nodes)),
        ("packages_topic", config.packages_topic),
        ("dht_server_mode", config.dht_server_mode.to_string()),
        ("listen_addresses", format!("[{}]", config.listen_addresses[0])),
    ] {
        let row = guide.lines().find(|line| line.starts_with(&format!("| `{field}`"))).unwrap();
        assert!(row.ends_with(&format!("| `{default}` |")), "{row}");
    }
}
