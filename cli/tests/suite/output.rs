//! Destinations of fetched trees and tarballs, and the state of a destination that cannot be written.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt, symlink},
    path::Path,
    process::{Command, Stdio},
};

use crate::support::{Home, finish, gzip, package, tree};

/// Runs a shell script in the home's directory, with the binary available.
fn shell(home: &Home, script: &str) -> Command {
    let ggen = home.command::<&str>(&[]);
    let mut command = Command::new("bash");
    for (name, value) in ggen.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.env("GGEN", ggen.get_program()).current_dir(home.work()).stdin(Stdio::null());
    command.args(["-c", &format!("set -euo pipefail; p2p() {{ \"$GGEN\" marketplace p2p \"$@\"; }}; {script}")]);
    command
}

/// A home that has published a package, without a daemon.
fn publisher() -> Home {
    let home = Home::on_loopback();
    let root = package(&home.work().join("packages/http"), "http", "1.0.0");
    home.publish(&root);
    home
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

#[test]
fn an_empty_directory_is_filled_where_a_shell_stands_in_it_or_a_volume_is_mounted() {
    let home = publisher();
    let source = tree(&home.work().join("packages/http"));
    fs::create_dir(home.work().join("here")).unwrap();
    let before = fs::metadata(home.work().join("here")).unwrap().ino();
    // The shell's working directory stays valid, and contains the new files.
    let script = "cd here && p2p fetch acme/http --offline -o . && test -s src/large && /bin/pwd";
    let output = finish(&mut shell(&home, script));
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(fs::metadata(home.work().join("here")).unwrap().ino(), before);
    assert!(tree(&home.work().join("here")) == source);

    // Without the permission to mount, there is nothing to test.
    let may_mount = Command::new("unshare").args(["-rm", "true"]).status().is_ok_and(|status| status.success());
    if may_mount {
        fs::create_dir(home.work().join("volume")).unwrap();
        let script = "mount -t tmpfs -o size=32m none volume && p2p fetch acme/http --offline -o volume \
                      && mountpoint -q volume && cp -a volume copy";
        let mut inside = Command::new("unshare");
        let outside = shell(&home, script);
        inside.envs(outside.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = finish(inside.current_dir(home.work()).arg("-rm").arg("bash").args(outside.get_args()));
        assert_eq!(output.code, Some(0), "{output:?}");
        assert!(tree(&home.work().join("copy")) == source);
    }
}

#[test]
fn missing_parents_are_made_for_trees_and_tarballs() {
    let home = publisher();
    home.p2p(&["fetch", "acme/http", "--offline", "-o", "a/b/tree"]).expect_code(0);
    home.p2p(&["fetch", "acme/http", "--offline", "--tar", "c/d/x.tar"]).expect_code(0);
    assert!(tree(&home.work().join("a/b/tree")) == tree(&home.work().join("packages/http")));
    assert_eq!(names(&home.work().join("c/d")), ["x.tar"]);
    home.p2p(&["fetch", "acme/none", "--offline", "-o", "e/f"]);
    assert!(!home.work().join("e").exists(), "nothing comes of it");
}

#[test]
fn a_tarball_goes_to_stdout_and_through_pipes_devices_and_links_with_and_without_a_daemon() {
    let home = publisher();
    home.p2p(&["fetch", "acme/http", "--offline", "--tar", "x.tar"]).expect_code(0);
    symlink("real.tar", home.work().join("link.tar")).unwrap();
    symlink("/dev/stdout", home.work().join("out")).unwrap();
    let null = fs::metadata("/dev/null").unwrap();
    for round in ["alone", "served"] {
        let _node = (round == "served").then(|| home.start(&[]));
        let scripts = [
            "p2p fetch acme/http --offline --tar - | cmp - x.tar",
            "p2p fetch acme/http --offline --tar /dev/stdout | cmp - x.tar",
            "p2p fetch acme/http --offline --tar out | cat > y.tar; cmp x.tar y.tar",
            "p2p fetch acme/http --offline --tar - > z.tar && cmp x.tar z.tar",
            "p2p fetch acme/http --offline --tar >(cmp - x.tar && touch same) && while ! test -e same; do :; done; rm same",
            "mkfifo pipe.tar.gz; gzip -dc < pipe.tar.gz | cmp - x.tar & p2p fetch acme/http --offline --tar pipe.tar.gz && wait $!",
            "test -p pipe.tar.gz && rm pipe.tar.gz",
            "p2p fetch acme/http --offline --tar link.tar && test -L link.tar && cmp real.tar x.tar && rm real.tar",
            "p2p fetch acme/http --offline --tar /dev/null",
        ];
        for script in scripts {
            let output = finish(&mut shell(&home, script));
            assert_eq!(output.code, Some(0), "{round}, {script}: {output:?}");
        }
        let now = fs::metadata("/dev/null").unwrap();
        assert!(now.file_type().is_char_device() && now.ino() == null.ino());
        assert!(names(&home.path()).iter().all(|name| !name.starts_with(".tarball-")), "{:?}", names(&home.path()));
    }
    let refused = home.p2p(&["--format", "json", "fetch", "acme/http", "--offline", "--tar", "-"]).expect_code(2);
    assert_eq!(refused.json()["error"]["kind"], "usage");
    let full = finish(&mut shell(&home, "p2p fetch acme/http --offline --tar - > /dev/full"));
    assert!(full.code == Some(1) && full.stderr.contains("cannot write to `-`"), "{full:?}");
    // A reader that closes the pipe early is not an error.
    let closed = finish(&mut shell(&home, "p2p fetch acme/http --offline --tar - | head -c 1 > /dev/null"));
    assert!(closed.stderr.contains("Broken pipe"), "{closed:?}");
}

#[test]
fn the_name_of_a_tarball_says_how_it_is_compressed() {
    let home = publisher();
    for name in ["x.tar", "x.tar.gz", "x.tgz", "x.tar.zst"] {
        home.p2p(&["fetch", "acme/http", "--offline", "--tar", name]).expect_code(0);
    }
    let bytes = |name: &str| fs::read(home.work().join(name)).unwrap();
    assert_eq!(bytes("x.tar.gz"), bytes("x.tgz"));
    assert_eq!(bytes("x.tar.gz")[..2], gzip(b"")[..2]);
    assert_eq!(bytes("x.tar.zst")[..4], [0x28, 0xb5, 0x2f, 0xfd]);
    assert!(bytes("x.tgz").len() < bytes("x.tar").len() / 100);
    // The content is the same, as read by another program.
    let output = finish(&mut shell(&home, "gzip -dc x.tar.gz | cmp - x.tar"));
    assert_eq!(output.code, Some(0), "{output:?}");
    let again = package(&home.work().join("unpacked"), "http", "1.0.0");
    for name in ["x.tar.zst", "x.tgz"] {
        let path = home.work().join(name);
        let listed = home.p2p(&["publish", path.to_str().unwrap(), "--namespace", "acme"]).expect_code(0);
        assert!(listed.stdout.contains("http"), "{listed:?}");
    }
    assert!(tree(&again) == tree(&home.work().join("packages/http")));
    for name in ["x.tar.xz", "x.zip"] {
        let refused = home.p2p(&["fetch", "acme/http", "--offline", "--tar", name]).expect_code(2);
        assert!(refused.stderr.contains(".tar.zst"), "{refused:?}");
        assert!(!home.work().join(name).exists());
    }
}

/// With few descriptors the command works or reports the lack, at whatever point they run out; and no files are left
/// behind.
#[test]
fn running_out_of_descriptors_is_called_so_and_leaves_nothing() {
    let home = publisher();
    let (mut failed, mut done) = (0, 0);
    for limit in 8..64 {
        fs::create_dir(home.work().join("out")).unwrap();
        for to in ["-o fresh", "-o out", "--tar out.tar"] {
            let script = format!("ulimit -n {limit}; exec \"$GGEN\" marketplace p2p fetch acme/http --offline {to}");
            let output = finish(&mut shell(&home, &script));
            match output.code {
                Some(0) => done += 1,
                Some(1) => {
                    failed += 1;
                    assert!(!output.stderr.contains("busy"), "{limit}: {output:?}");
                    assert!(!output.stderr.contains("in use"), "{limit}: {output:?}");
                }
                // A runtime that gets no descriptors at all.
                _ => assert!(output.stderr.contains("open files"), "{limit}, {to}: {output:?}"),
            }
            let hidden: Vec<_> = names(home.work()).into_iter().filter(|name| name.starts_with('.')).collect();
            assert_eq!(hidden, Vec::<String>::new(), "{limit}, {to}: {output:?}");
            let inside: Vec<_> =
                names(&home.work().join("out")).into_iter().filter(|name| name.starts_with('.')).collect();
            assert_eq!(inside, Vec::<String>::new(), "{limit}, {to}: {output:?}");
        }
        fs::remove_dir_all(home.work().join("out")).unwrap();
        drop(fs::remove_dir_all(home.work().join("fresh")));
        drop(fs::remove_file(home.work().join("out.tar")));
        if done > 6 {
            break;
        }
    }
    assert!(failed > 0 && done > 6, "{failed} failed, {done} were done");
}

#[test]
fn a_path_of_4074_bytes_is_fetched_to_a_name_of_255() {
    let home = Home::on_loopback();
    // 15 names of 255 bytes with their slashes, and one of 234.
    let path = format!("{}/{}", vec!["d".repeat(255); 15].join("/"), "f".repeat(234));
    assert_eq!(path.len(), 4074);
    let mut tar = tar::Builder::new(Vec::new());
    let gpack = "[package]\nname = \"deep\"\nversion = \"1.0.0\"\ndescription = \"A test package\"\n";
    for (path, content) in [("gpack.toml", gpack), (&path, "deep")] {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    fs::write(home.work().join("deep.tar"), tar.into_inner().unwrap()).unwrap();
    home.p2p(&["publish", "deep.tar", "--namespace", "acme"]).expect_code(0);
    for length in [240, 255] {
        let name = "o".repeat(length);
        home.p2p(&["fetch", "acme/deep", "--offline", "-o", &name]).expect_code(0);
        home.p2p(&["fetch", "acme/deep", "--offline", "--update", "-o", &name]).expect_code(0);
        let found =
            finish(&mut shell(&home, &format!("cd {name} && find . -type f -name 'f*' -size -5c -printf '%P'")));
        assert_eq!(found.stdout, path);
        home.p2p(&["fetch", "acme/deep", "--offline", "--tar", &"t".repeat(length)]).expect_code(0);
    }
    assert!(names(home.work()).iter().all(|name| !name.starts_with('.')));
}

#[test]
fn an_update_names_local_edits_removes_what_is_gone_and_keeps_what_was_never_of_it() {
    let home = Home::on_loopback();
    let root = package(&home.work().join("packages/http"), "http", "1.0.0");
    fs::write(root.join("gone.txt"), "one").unwrap();
    fs::create_dir(root.join("old")).unwrap();
    fs::write(root.join("old/file"), "one").unwrap();
    fs::write(root.join("same.txt"), "same").unwrap();
    home.publish(&root);
    home.p2p(&["fetch", "acme/http", "--offline", "-o", "copy"]).expect_code(0);
    package(&root, "http", "2.0.0");
    fs::remove_file(root.join("gone.txt")).unwrap();
    fs::remove_dir_all(root.join("old")).unwrap();
    fs::write(root.join("run.sh"), "#!/bin/sh\nexit 2\n").unwrap();
    home.publish(&root);

    let copy = home.work().join("copy");
    fs::write(copy.join("run.sh"), "my work").unwrap();
    fs::write(copy.join("mine"), "mine").unwrap();
    let before = tree(&copy);
    let update = ["--format", "json", "fetch", "acme/http", "--offline", "--update", "-o", "copy"];
    let refused = home.p2p(&update).expect_code(1).json();
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("`run.sh`") && !message.contains("gpack.toml"), "{refused}");
    assert!(refused["error"]["hint"].as_str().unwrap().contains("--force"), "{refused}");
    assert!(tree(&copy) == before, "nothing was begun");

    let updated = home.p2p(&[&update as &[&str], &["--force"]].concat()).expect_code(0).json();
    assert_eq!(updated["overwritten"], serde_json::json!(["run.sh"]));
    assert_eq!((&updated["files_removed"], &updated["untracked"]), (&2.into(), &serde_json::json!(["mine"])));
    assert!(!copy.join("old").exists() && copy.join("mine").exists());
    fs::remove_file(copy.join("mine")).unwrap();
    assert!(tree(&copy) == tree(&root));

    // A daemon knows what the preceding command has written.
    let node = home.start(&[]);
    home.p2p(&["fetch", "acme/http@=1.0.0", "--update", "-o", "copy"]).expect_code(0);
    assert!(copy.join("old/file").exists());
    home.p2p(&["fetch", "acme/http@=2.0.0", "--update", "-o", "copy"]).expect_code(0);
    assert!(tree(&copy) == tree(&root));
    drop(node);

    // Without the record of the former tree nothing is removed, and different files may be the user's work.
    fs::remove_dir_all(home.path().join("fetched")).unwrap();
    let unknown = ["fetch", "acme/http@=1.0.0", "--offline", "--update", "-o", "copy"];
    let refused = home.p2p(&unknown).expect_code(1);
    assert!(refused.stderr.contains("no fetch to") && refused.stderr.contains("`run.sh`"), "{refused:?}");
    home.p2p(&[&unknown as &[&str], &["--force"]].concat()).expect_code(0);
}

#[test]
fn the_last_name_of_a_path_is_the_name_of_what_is_written() {
    let home = publisher();
    let root = home.work().join("plain");
    fs::create_dir_all(root.join("src/deep")).unwrap();
    package(&root, "plain", "1.0.0");
    fs::write(root.join("src/hello.txt"), "hello").unwrap();
    let cid = home.publish(&root)["cid"].as_str().unwrap().to_owned();
    let to = home.work().join("to");
    fs::create_dir(&to).unwrap();
    for (path, name) in [("src/hello.txt", "hello.txt"), ("src/", "src")] {
        let script = format!("cd to && p2p fetch /ipfs/{cid}/{path} --offline");
        let output = finish(&mut shell(&home, &script));
        assert_eq!(output.code, Some(0), "{output:?}");
        assert!(to.join(name).exists(), "{output:?}");
    }
    assert_eq!(names(&to), ["hello.txt", "src"]);
    assert_eq!(fs::read_to_string(to.join("hello.txt")).unwrap(), "hello");
    let again = finish(&mut shell(&home, &format!("cd to && p2p fetch /ipfs/{cid}/src/hello.txt --offline")));
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(again.stderr.contains("exists"), "{again:?}");
}

#[test]
fn sizes_take_units_on_the_command_line_and_in_the_file() {
    let home = Home::on_loopback();
    home.configure("mdns = false\n\n[limits]\nstore_bytes = \"1.5GiB\"\npackage_bytes = \"20MB\"\n");
    let shown = home.p2p(&["--format", "json", "config", "show"]).expect_code(0).json();
    let text = shown.to_string();
    assert!(text.contains("1610612736") && text.contains("20000000") && !text.contains("GiB"), "{text}");
    let rule =
        home.p2p(&["--format", "json", "mirror", "add", "acme/*", "--max-bytes", "512MiB"]).expect_code(0).json();
    assert_eq!(rule["max_bytes"], 512 << 20);
    let refused = home.p2p(&["mirror", "add", "acme/*", "--max-bytes", "12 parsecs"]).expect_code(2);
    assert!(refused.stderr.contains("MiB"), "{refused:?}");
}
