use super::*;

const PUBLISHER: &str = "bafyreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";

fn parse(text: &str) -> Gpack {
    Gpack::parse("gpack.toml", text).unwrap_or_else(|error| panic!("{error}"))
}

fn refusal(text: &str) -> String {
    Gpack::parse("pkg/gpack.toml", text).unwrap_err().to_string()
}

#[test]
fn the_package_form_reads_whole() {
    let gpack = parse(&format!(
        r#"
        [package]
        name = "web-app"
        namespace = "acme"
        version = "1.2.3-rc.1"
        description = "A web app"
        authors = ["Ann <ann@example.org>", "Bob"]
        license = "MIT OR Apache-2.0"
        repository = "https://example.org/repo"
        homepage = "https://example.org"
        license-file = "LICENSE"
        allow-secrets = ["tests/key.pem", "/fixtures/"]
        readme = "docs/README.md"
        keywords = ["web", "app"]
        edition = "2021"

        [dependencies]
        "acme/http" = "^1.2"
        "acme/json" = {{ version = "1", publisher = "{PUBLISHER}" }}
        zod = "3.22"
        serde = {{ version = "1", features = ["derive"] }}
        "@scope/thing" = "2"

        [tags]
        rust = true
        java = false
        frameworks = ["axum"]

        [metadata]
        category = "templates"
        stars = 5

        [unknown.table]
        key = [1, {{ two = 3 }}]
        "#
    ));
    assert_eq!((gpack.name.as_str(), gpack.namespace.as_deref()), ("web-app", Some("acme")));
    assert_eq!(gpack.version.to_string(), "1.2.3-rc.1");
    let metadata = &gpack.metadata;
    assert_eq!(metadata.description, "A web app");
    assert_eq!(metadata.authors, ["Ann <ann@example.org>", "Bob"]);
    assert_eq!(metadata.license.as_deref(), Some("MIT OR Apache-2.0"));
    assert_eq!(metadata.keywords, ["web", "app"]);
    assert_eq!(metadata.category.as_deref(), Some("templates"));
    assert_eq!(metadata.tags, ["axum", "rust"]);
    let files: Vec<_> = gpack.files.iter().map(|file| (file.key, file.line, file.path.as_str())).collect();
    assert_eq!(files, [("readme", 13, "docs/README.md"), ("license-file", 11, "LICENSE")]);
    for (path, is_allowed) in [("tests/key.pem", true), ("fixtures/a/b", true), ("key.pem", false), (".env", false)] {
        assert_eq!(gpack.allow_secrets.match_file(path), is_allowed, "{path}");
    }
    let names: Vec<&str> = gpack.dependencies.iter().map(|dependency| dependency.package.as_str()).collect();
    assert_eq!(names, ["acme/http", "acme/json"]);
    assert_eq!(gpack.dependencies[1].publisher.unwrap().to_string(), PUBLISHER);
    let foreign: Vec<_> =
        gpack.foreign_dependencies.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(foreign, [("@scope/thing", "2"), ("serde", "1"), ("zod", "3.22")]);
}

#[test]
fn the_gpack_form_reads_too() {
    let gpack = parse(
        "[gpack]\nid = \"io.ggen.cli\"\nname = \"CLI Templates\"\nversion = \"0.1.0\"\ndescription = \"Templates\"\n\
         license = \"MIT\"\nggen_compat = \">=0.2\"\ntags = [\"cli\"]\n",
    );
    assert_eq!((gpack.name.as_str(), gpack.metadata.title.as_deref()), ("io.ggen.cli", Some("CLI Templates")));
    assert_eq!(gpack.ggen_compat.as_deref(), Some(">=0.2"));
    assert_eq!(gpack.metadata.tags, ["cli"]);

    let plain = parse("[gpack]\nid = \"other\"\nname = \"cli\"\nversion = \"0.1.0\"\ndescription = \"x\"\n");
    assert_eq!((plain.name.as_str(), plain.metadata.title), ("cli", None));
}

#[test]
fn unknown_keys_are_listed_with_the_nearest_and_tables_are_not() {
    let gpack = parse(
        "title = \"x\"\ntags = [\"a\"]\n\n[package]\nname = \"a\"\nversion = \"1.0.0\"\ndescription = \"d\"\nlicence = \"MIT\"\n\
         keyword = [\"x\"]\nxyz = 1\nbin = [{ name = \"a\" }]\n\n[package.badges]\na = 1\n\n[package.metadata]\nany = 1\n\n\
         [dependencies]\nzod = { any = \"1\" }\n\"a/b\" = { version = \"1\", publishers = \"x\" }\n\n[metadata]\nstars = 5\n\n[other]\nb = 2\n",
    );
    let unknown: Vec<_> = gpack
        .unknown_keys
        .iter()
        .map(|unknown| (unknown.line, unknown.table.as_str(), unknown.key.as_str(), unknown.nearest))
        .collect();
    let expected = [
        (1, "", "title", None),
        (8, "package", "licence", Some("license")),
        (9, "package", "keyword", Some("keywords")),
        (10, "package", "xyz", None),
        (21, "dependencies.\"a/b\"", "publishers", Some("publisher")),
    ];
    assert_eq!(unknown, expected);
}

#[test]
fn all_missing_fields_are_named_at_once_with_the_line() {
    assert_eq!(
        refusal("# head\n\n[package]\nlicense = \"MIT\"\n"),
        "pkg/gpack.toml:3: table `[package]` lacks `name`, `version`, `description`"
    );
    assert_eq!(
        refusal("[gpack]\nname = \"a\"\nversion = \"1.0.0\"\n"),
        "pkg/gpack.toml:1: table `[gpack]` lacks `description`"
    );
    assert!(refusal("[other]\nname = \"a\"\n").contains("neither a `[package]` nor a `[gpack]` table"));
}

#[test]
fn wrong_values_are_named_with_file_line_and_field() {
    let with =
        |line: &str| refusal(&format!("[package]\nname = \"a\"\nversion = \"1.0.0\"\ndescription = \"d\"\n{line}\n"));
    for (line, expected) in [
        ("license = 5", "pkg/gpack.toml:5: `license` is not a string"),
        ("readme = true", "pkg/gpack.toml:5: `readme` is not a string"),
        ("license-file = \"\"", "pkg/gpack.toml:5: `license-file` is empty"),
        ("allow-secrets = true", "pkg/gpack.toml:5: `allow-secrets` is not a list"),
        ("allow-secrets = [\"a\", \"!b\"]", "pkg/gpack.toml:5: `allow-secrets` has `!b`, which begins with `!`"),
        ("allow-secrets = [\"\"]", "pkg/gpack.toml:5: `allow-secrets` has ``, which matches nothing"),
        ("allow-secrets = [\"**/*\"]", "pkg/gpack.toml:5: `allow-secrets` has `**/*`, which names no file"),
        ("authors = [\"a\", 5]", "pkg/gpack.toml:5: `authors` holds something"),
        ("keywords = { a = 1 }", "pkg/gpack.toml:5: `keywords` is not a list"),
        ("namespace = \"Acme\"", "pkg/gpack.toml:5: `namespace` is not usable"),
        ("[dependencies]\n\"acme/x\" = 5", "pkg/gpack.toml:6: `dependencies.\"acme/x\"` is neither"),
        ("[dependencies]\n\"acme/x\" = \"one\"", "pkg/gpack.toml:6: `dependencies.\"acme/x\"` is not usable"),
        ("[dependencies]\n\"a/b/c\" = \"1\"", "is not usable"),
        ("[dependencies]\n\"a/b\" = { path = \".\" }", "has no `version`"),
        ("version = \"2.0.0\"", "pkg/gpack.toml:5: not valid TOML"),
        ("oops", "pkg/gpack.toml:5: not valid TOML"),
    ] {
        let error = with(line);
        assert!(error.starts_with(expected) || (!expected.starts_with("pkg") && error.contains(expected)), "{error}");
    }
    let version = refusal("[package]\nname = \"a\"\nversion = \"1.0\"\ndescription = \"d\"\n");
    assert!(version.starts_with("pkg/gpack.toml:3: `version` is not a semver version"), "{version}");
    let name = refusal("[package]\nname = \"../a\"\nversion = \"1.0.0\"\ndescription = \"d\"\n");
    assert!(name.starts_with("pkg/gpack.toml:2: `name` is not usable"), "{name}");
    let empty = refusal("[package]\nname = \"a\"\nversion = \"1.0.0\"\ndescription = \" \"\n");
    assert!(empty.starts_with("pkg/gpack.toml:4: `description` is empty"), "{empty}");
    let long =
        refusal(&format!("[package]\nname = \"a\"\nversion = \"1.0.0\"\ndescription = \"{}\"\n", "d".repeat(5000)));
    assert!(long.contains("`description` has 5000 bytes, the limit is 4096"), "{long}");
}

#[test]
fn a_refusal_says_what_to_write_instead() {
    let hint = |text: &str| Gpack::parse("gpack.toml", text).unwrap_err().hint().to_string();
    let head =
        |name: &str, version: &str| format!("[package]\nname = {name}\nversion = {version}\ndescription = \"x\"\n");
    for (text, part) in [
        (head("\"acme/http\"", "\"1.0.0\""), "write `namespace = \"acme\"` and `name = \"http\"`"),
        (head("\"My Tool\"", "\"1.0.0\""), "`name = \"my-tool\"`"),
        (head("\"http\"", "\"1.0\""), "write `version = \"1.0.0\"`"),
        (head("\"http\"", "\"v1\""), "write `version = \"1.0.0\"`"),
        (head("\"http\"", "1.5"), "write `version = \"1.5.0\"`"),
        (head("7", "\"1.0.0\""), "write `name = \"7\"`"),
        (head("\"http\"", "\"one\""), "description of gpack.toml"),
        ("[pakage]\nname = \"x\"\n".to_owned(), "did you mean `[package]` instead of `[pakage]`?"),
        ("[package]\n".to_owned(), "it begins like this"),
        ("[other]\n".to_owned(), "it begins like this"),
        ("[package\n".to_owned(), "description of gpack.toml"),
    ] {
        assert!(hint(&text).contains(part), "{text}: {}", hint(&text));
    }
}

#[test]
fn a_huge_file_is_refused_unread() {
    assert!(refusal(&"#".repeat(MAX_GPACK_BYTES + 1)).contains("larger than the limit"));
}

#[test]
fn every_key_stands_in_the_reference_and_its_examples_read_without_a_warning() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/gpack.md")).unwrap();
    for key in KEYS {
        assert!(page.contains(&format!("\n* `{key}`: ")), "the reference lacks `{key}`");
    }
    // The page is shown in terminals.
    let wide: Vec<_> = page.lines().filter(|line| line.chars().count() > 130).collect();
    assert_eq!(wide, [""; 0]);
    let examples: Vec<_> = page.split("```toml\n").skip(1).map(|part| part.split("```").next().unwrap()).collect();
    assert_eq!(examples.len(), 4);
    for example in examples {
        assert_eq!(parse(example).unknown_keys, [], "{example}");
    }
}
