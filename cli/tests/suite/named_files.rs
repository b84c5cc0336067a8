//! Files that gpack.toml names: a package that lacks one is refused, unless `--skip-verify` is given.

use std::{fs, os::unix::fs::symlink, path::Path};

use tar::EntryType;

use crate::support::{Home, entry, gzip, package, refused};

/// Creates a package whose gpack.toml contains this line.
fn naming(home: &Home, line: &str) -> String {
    let root = package(&home.work().join("pkg"), "pkg", "1.0.0");
    let gpack = format!(
        "[package]\nname = \"pkg\"\nnamespace = \"acme\"\nversion = \"1.0.0\"\ndescription = \"Names files\"\n{line}\n"
    );
    fs::write(root.join("gpack.toml"), gpack).unwrap();
    "pkg".to_owned()
}

/// The package is refused without the flag; with it the same line is a warning, and the package is published.
#[track_caller]
fn skipped(home: &Home, path: &str, version: &str, parts: &[&str]) {
    let publish = ["publish", path, "--version", version];
    for more in [&[] as &[&str], &["--dry-run"]] {
        refused(home, &[&publish, more].concat(), 3, &[parts, &["--skip-verify"]].concat());
    }
    for more in [&["--skip-verify", "--dry-run"] as &[&str], &["--skip-verify"]] {
        let args = [&["--format", "json"], &publish as &[&str], more].concat();
        let published = home.p2p(&args).expect_code(0);
        let warnings = published.json()["warnings"].to_string();
        assert!(warnings.contains(parts[0]) && published.stderr.contains(parts[0]), "{published:?}");
    }
}

#[test]
fn a_file_that_gpack_names_and_that_is_not_in_the_package_is_refused() {
    let home = Home::on_loopback();
    let path = naming(&home, "readme = \"README.md\"\nlicense-file = \"docs/LICENSE\"");
    let root = home.work().join(&path);
    let missing = ["gpack.toml:6: `readme` names `README.md`, which is not in the package", "`docs/LICENSE`"];
    skipped(&home, &path, "1.0.0", &missing);

    // The file exists, but is ignored.
    fs::write(root.join("README.md"), "Read me.\n").unwrap();
    fs::create_dir(root.join("docs")).unwrap();
    fs::write(root.join("docs/LICENSE"), "Do as you like.\n").unwrap();
    fs::write(root.join(".gitignore"), "*.md\ndocs/\n").unwrap();
    let ignored = ["`README.md`, which an ignore file keeps out", "`!/README.md`", "`docs/LICENSE`", "`!/docs/`"];
    skipped(&home, &path, "1.1.0", &ignored[..1]);
    refused(&home, &["publish", &path, "--version", "1.2.0"], 3, &ignored);
    // The advice of the message works, without a flag and without a warning.
    fs::write(root.join(".ggenignore"), "!/README.md\n!/docs/\n").unwrap();
    let published = home.p2p(&["--format", "json", "publish", &path, "--version", "1.2.0"]).expect_code(0);
    assert_eq!(
        published.json()["warnings"],
        serde_json::json!(["publishing version 1.2.0, but gpack.toml in the package says 1.0.0"])
    );
}

#[test]
fn a_path_that_is_no_file_of_the_package_is_refused() {
    let home = Home::on_loopback();
    fs::write(home.work().join("README.md"), "Read me.\n").unwrap();
    let cases = [
        ("readme = \"src\"", "`src`, which is a directory"),
        ("readme = \"../README.md\"", "`../README.md`, which is outside the package"),
        ("license-file = \"/etc/hosts\"", "`/etc/hosts`, which is outside the package"),
        ("[metadata]\nreadme = \"none\"", "`none`, which is not in the package"),
    ];
    for (number, (line, part)) in cases.into_iter().enumerate() {
        let path = naming(&home, line);
        skipped(&home, &path, &format!("1.{number}.0"), &[part]);
    }
    refused(&home, &["publish", &naming(&home, "readme = true"), "--skip-verify"], 1, &["`readme` is not a string"]);
    // A symlink to a file of the package is accepted.
    let path = naming(&home, "readme = \"README\"");
    symlink("src/large", home.work().join("pkg/README")).unwrap();
    home.p2p(&["publish", &path, "--version", "2.0.0"]).expect_code(0);
}

#[test]
fn a_tarball_and_a_node_check_the_same() {
    let home = Home::on_loopback();
    let path = naming(&home, "readme = \"README.md\"");
    let gpack = fs::read(home.work().join(&path).join("gpack.toml")).unwrap();
    let archive = |entries: &[(&str, &[u8])]| {
        let mut archive: Vec<_> = entries.iter().map(|(path, bytes)| entry(path, EntryType::Regular, bytes)).collect();
        archive.push(vec![0; 1024]);
        fs::write(home.work().join("pkg.tgz"), gzip(&archive.concat())).unwrap();
    };
    let missing = "`readme` names `README.md`, which is not in the package";
    archive(&[("pkg/gpack.toml", &gpack), ("pkg/docs/README.md", b"x")]);
    skipped(&home, "pkg.tgz", "1.0.0", &[missing]);
    archive(&[("pkg/gpack.toml", &gpack), ("pkg/README.md", b"x")]);
    home.p2p(&["publish", "pkg.tgz", "--version", "1.1.0"]).expect_code(0);

    let _node = home.start(&[]);
    skipped(&home, &path, "1.2.0", &[missing]);
    fs::write(Path::new(&home.work().join(&path)).join("README.md"), "x").unwrap();
    home.p2p(&["publish", &path, "--version", "1.3.0"]).expect_code(0);
}
