//! Mistakes of users, disks and peers: one clear error, the right exit code, nothing partially written, the store
//! intact, and the next valid command works. Corrupt lines of the configuration are in `config.rs`, full disks in
//! `full_disk.rs`.

use std::{
    fs,
    net::TcpListener,
    os::unix::{fs::PermissionsExt, fs::symlink, net::UnixListener},
    path::Path,
    process::Command,
};

use tar::EntryType;

use crate::support::{
    Home, check_human, check_json, entry, finish, gzip, is_untouched, package, refused, tarball, tree, works,
};

/// A CID that no node has.
const ABSENT: &str = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy";
/// Bytes of the bomb: more than are accepted at any compression ratio.
const BOMB_BYTES: usize = 80 << 20;

/// Publishes `input` of the work directory without a node and with one, which must be refused both times.
#[track_caller]
fn publish_is_refused(home: &Home, input: &str, more: &[&str], code: i32, parts: &[&str]) {
    let args = [&["publish", input, "--namespace", "acme"], more].concat();
    refused(home, &args, code, parts);
    let _node = home.start(&[]);
    refused(home, &args, code, parts);
}

#[test]
fn directory_that_is_no_package() {
    let home = Home::on_loopback();
    fs::create_dir(home.work().join("x")).unwrap();
    publish_is_refused(&home, "x", &[], 1, &["it has no gpack.toml", "a package is"]);
    publish_is_refused(&home, "none", &[], 1, &["none"]);
    for (gpack, part) in [
        ("version = \"1.0.0\"\ndescription = \"d\"", "lacks `name`"),
        ("name = \"x\"\ndescription = \"d\"", "lacks `version`"),
        ("name = \"x\"\nversion = \"1.0.0\"", "lacks `description`"),
        ("name = \"x\"\nversion = \"1.0\"\ndescription = \"d\"", "gpack.toml:3: `version` is not a semver version"),
        ("name = \"x\"\nversion = 1\ndescription = \"d\"", "gpack.toml:3: `version`"),
        ("name = \"a b\"\nversion = \"1.0.0\"\ndescription = \"d\"", "`a b`"),
        ("name = \"x\"\nversion = ", "gpack.toml:3"),
    ] {
        fs::write(home.work().join("x/gpack.toml"), format!("[package]\n{gpack}\n")).unwrap();
        publish_is_refused(&home, "x", &[], 1, &[part]);
    }
    package(&home.work().join("x"), "x", "1.0.0");
    publish_is_refused(&home, "x", &["--version", "1.2.x"], 2, &["`1.2.x` is not a semantic version"]);
    publish_is_refused(&home, "x", &["--key", "other"], 4, &["no key `other`", "key list"]);
    is_untouched(&home);
}

#[test]
fn file_that_cannot_be_read() {
    let home = Home::on_loopback();
    let root = package(&home.work().join("x"), "x", "1.0.0");
    let secret = root.join("secret");
    fs::write(&secret, "s").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).unwrap();
    let publish = |format: &str| {
        let mut command = home.command(&["marketplace", "p2p", "--format", format, "publish", "x"]);
        if fs::read(&secret).is_ok() {
            // Permissions do not stop root, unless it drops the capability to override them.
            let binary = command.get_program().to_owned();
            let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
            let mut with_less = Command::new("setpriv");
            with_less.args(["--bounding-set=-dac_override,-dac_read_search", "--"]).arg(binary).args(arguments);
            with_less.current_dir(home.work()).env("GGEN_HOME", home.path()).env("HOME", home.work());
            command = with_less;
        }
        finish(&mut command)
    };
    check_human(&publish("human"), 1, &["secret", "Permission denied"]);
    check_json(&publish("json"), 1, &["secret", "Permission denied"]);
    fs::remove_file(&secret).unwrap();

    // A pipe, because opening it would wait for its writer.
    let made = Command::new("mkfifo").arg(root.join("pipe")).status().unwrap();
    assert!(made.success());
    publish_is_refused(&home, "x", &[], 3, &["`pipe`", "it is a pipe"]);
    fs::remove_file(root.join("pipe")).unwrap();
    let _socket = UnixListener::bind(root.join("socket")).unwrap();
    publish_is_refused(&home, "x", &[], 3, &["`socket`", "it is a socket"]);
    is_untouched(&home);
}

#[test]
fn symlink_out_of_the_tree() {
    let home = Home::on_loopback();
    let root = package(&home.work().join("x"), "x", "1.0.0");
    for target in ["/etc/hosts", "../../x/run.sh", "../../../x"] {
        symlink(target, root.join("src/link")).unwrap();
        publish_is_refused(&home, "x", &[], 3, &["`src/link`", target, "leads out of the tree"]);
        publish_is_refused(&home, "x", &["--skip-verify"], 3, &["`src/link`"]);
        fs::remove_file(root.join("src/link")).unwrap();
    }
    is_untouched(&home);
}

#[test]
fn tarball_with_unsafe_entries() {
    let home = Home::on_loopback();
    let file = |path: &str| entry(path, EntryType::Regular, b"evil");
    let cases = [
        (vec![file("../evil")], &["its path contains `..`"][..]),
        (vec![file("a/../../evil")], &["its path contains `..`"]),
        (vec![file("/evil")], &["its path is absolute"]),
        (vec![file("evil"), file("evil/below")], &["`evil", "unpack it with `tar xf`"]),
        (vec![entry("evil", EntryType::Char, b"")], &["`evil`", "a device", "unpack it with `tar xf`"]),
    ];
    for (entries, parts) in cases {
        for (name, bytes) in [("x.tar", tarball(&entries)), ("x.tgz", gzip(&tarball(&entries)))] {
            fs::write(home.work().join(name), bytes).unwrap();
            publish_is_refused(&home, name, &[], 3, &[&[name], parts].concat());
        }
    }
    assert!(!home.work().join("evil").exists() && !Path::new("/evil").exists());
    is_untouched(&home);
}

#[test]
fn archive_that_is_damaged_or_a_bomb() {
    let home = Home::on_loopback();
    let content: Vec<u8> =
        (0..100_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let good = gzip(&tarball(&[entry("file", EntryType::Regular, &content)]));
    let mut corrupt = good.clone();
    let middle = corrupt.len() / 2;
    corrupt[middle..middle + 16].fill(0x55);
    let mut wrong_sum = good.clone();
    let sum = wrong_sum.len() - 8;
    wrong_sum[sum] ^= 1;
    let bomb = gzip(&tarball(&[entry("zeros", EntryType::Regular, &vec![0; BOMB_BYTES])]));
    for (name, bytes, part) in [
        ("truncated.tgz", &good[..good.len() * 2 / 3], "archive"),
        ("headless.tgz", &good[..5], "archive"),
        ("corrupt.tgz", &corrupt, "archive"),
        ("wrong-sum.tgz", &wrong_sum, "archive"),
        ("noise.tar", &content, "archive"),
        ("empty.tar", &[], ""),
        ("bomb.tgz", &bomb, "200"),
    ] {
        fs::write(home.work().join(name), bytes).unwrap();
        publish_is_refused(&home, name, &[], 1, &[name, part]);
    }
    is_untouched(&home);
}

#[test]
fn target_that_cannot_be_had() {
    let (alice, bob) = (Home::on_loopback(), Home::on_loopback());
    let (server, _node) = (alice.start(&[]), bob.start(&[]));
    let damaged = format!("{}z", &ABSENT[..ABSENT.len() - 1]);
    let cases: [(&str, i32, &str); 7] = [
        ("bafynotacid", 2, "`bafynotacid`"),
        (&damaged, 2, &damaged),
        ("/ipfs/Qm", 2, "`/ipfs/Qm`"),
        ("acme/x@one", 2, "`one`"),
        ("Acme/x", 2, "`Acme`"),
        ("nobody/claims", 4, "package `nobody/claims` not found"),
        (ABSENT, 5, "no peer is connected that could be asked"),
    ];
    for (target, code, part) in cases {
        refused(&bob, &["fetch", target, "--timeout", "1", "-o", "out"], code, &[part]);
    }
    let provider = ["fetch", ABSENT, "--timeout", "1", "-o", "out", "--provider", server.address()];
    refused(&bob, &provider, 5, &[ABSENT, "1 peer", "--provider", "--timeout"]);
    refused(&bob, &["fetch", ABSENT, "--offline", "-o", "out"], 4, &[ABSENT]);
    let names: Vec<_> = fs::read_dir(bob.work()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["home"], "something was written");
    drop(_node);
    is_untouched(&bob);
}

#[test]
fn place_that_is_taken_or_missing() {
    let home = Home::on_loopback();
    let root = package(&home.work().join("packages/x"), "x", "1.0.0");
    home.publish(&root);
    fs::create_dir(home.work().join("x")).unwrap();
    fs::write(home.work().join("x/mine"), "mine").unwrap();
    fs::write(home.work().join("file"), "mine").unwrap();
    let mine = tree(&home.work().join("x"));
    for to in [&[] as &[&str], &["-o", "x"], &["-o", "file"]] {
        refused(&home, &[&["fetch", "acme/x", "--offline"], to].concat(), 1, &["exists", "-o"]);
    }
    refused(&home, &["fetch", "acme/x", "--offline", "-o", "file/x"], 1, &["file`", "create"]);
    refused(&home, &["fetch", "acme/x", "--offline", "--tar", "file/x.tar"], 1, &["file"]);
    refused(&home, &["fetch", "acme/x", "--offline", "--tar", "x"], 1, &["is a directory", "--tar FILE"]);
    assert!(tree(&home.work().join("x")) == mine);
    assert_eq!(fs::read_to_string(home.work().join("file")).unwrap(), "mine");
    works(&home);
}

#[test]
fn port_in_use() {
    let home = Home::on_loopback();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("/ip4/127.0.0.1/tcp/{}", taken.local_addr().unwrap().port());
    for start in [&["start"] as &[&str], &["start", "--daemon"]] {
        let args = [start, &["--no-mdns", "--listen", &address]].concat();
        refused(&home, &args, 1, &[&address, "in use", "--listen"]);
    }
    home.p2p(&["status"]).expect_code(4);
    drop(home.start(&[]));
    is_untouched(&home);
}

#[test]
fn home_in_use() {
    let home = Home::on_loopback();
    let node = home.start(&[]);
    let named = format!("in use by process {}", node.pid());
    for start in [&["start"] as &[&str], &["start", "--daemon"]] {
        refused(&home, start, 1, &[&named, "stop"]);
    }
    drop(node);

    // A command without a daemon holds the home while it runs. Other commands wait for it, up to the configured
    // timeout.
    home.configure(
        "mdns = false\nlisten_addresses = [\"/ip4/127.0.0.1/tcp/0\"]\n\n[timeouts]\nhome_lock_seconds = 0\n",
    );
    let lock = fs::File::create(home.path().join("lock")).unwrap();
    lock.try_lock().unwrap();
    fs::write(home.path().join("lock"), "4711\n").unwrap();
    let root = package(&home.work().join("x"), "x", "1.0.0");
    for command in [&["publish", root.to_str().unwrap()] as &[&str], &["search", "x"], &["start"], &["key", "list"]] {
        refused(&home, command, 1, &["in use by process 4711", "wait until"]);
    }
    drop(lock);
    is_untouched(&home);
}
