//! The environment of a command and of its home: umask, hang-ups, the lock of the home, modes and links.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::support::{Home, finish, package};

/// The binary in a shell with this umask.
fn with_umask(home: &Home, umask: &str, args: &[&str]) -> Command {
    let environment = home.command::<&str>(&[]);
    let mut command = Command::new("sh");
    let line = format!("umask {umask}; exec \"$0\" marketplace p2p \"$@\"");
    command.args(["-c", &line, env!("CARGO_BIN_EXE_ggen")]).args(args);
    command.current_dir(home.work()).env("GGEN_HOME", home.path()).env("HOME", home.work()).stdin(Stdio::null());
    for (name, _) in environment.get_envs().filter(|(_, value)| value.is_none()) {
        command.env_remove(name);
    }
    command
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Every path below a directory.
fn below(root: &Path) -> Vec<std::path::PathBuf> {
    let mut found = vec![root.to_owned()];
    let mut next = 0;
    while next < found.len() {
        if found[next].is_dir() {
            found.extend(fs::read_dir(&found[next]).unwrap().map(|entry| entry.unwrap().path()));
        }
        next += 1;
    }
    found
}

#[test]
fn home_is_private_whatever_the_umask() {
    let home = Home::new();
    let root = package(&home.work().join("http"), "http", "1.0.0");
    let root = root.to_str().unwrap();
    finish(&mut with_umask(&home, "0", &["publish", root, "--namespace", "acme"])).expect_code(0);
    let listen = ["start", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"];
    let mut node =
        Reaped(with_umask(&home, "0", &listen).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    BufReader::new(node.0.stdout.take().unwrap()).lines().next().expect("the node starts").unwrap();
    let checks: [&[&str]; 4] = [
        &["publish", root, "--namespace", "acme", "--version", "1.1.0"],
        &["mirror", "add", "acme/*"],
        &["gc"],
        &["verify"],
    ];
    for command in checks {
        finish(&mut with_umask(&home, "0", command)).expect_code(0);
    }
    let exposed: Vec<_> = below(&home.path()).into_iter().filter(|path| mode(path) & 0o077 != 0).collect();
    let shown: Vec<_> = exposed.iter().map(|path| format!("{} {:o}", path.display(), mode(path))).collect();
    assert_eq!(shown, [""; 0]);
    assert!(below(&home.path()).len() > 12, "there was something to look at");
}

#[test]
fn what_is_fetched_gets_the_permissions_that_the_commands_umask_gives() {
    let home = Home::on_loopback();
    let root = package(&home.work().join("http"), "http", "1.0.0");
    home.publish(&root);
    let check = |name: &str, umask: &str, [file, executable, directory]: [u32; 3]| {
        let args = ["fetch", "acme/http", "--offline", "-o", name];
        finish(&mut with_umask(&home, umask, &args)).expect_code(0);
        let copy = home.work().join(name);
        let modes = [copy.join("gpack.toml"), copy.join("run.sh"), copy.join("src")].map(|path| mode(&path));
        assert_eq!(modes, [file, executable, directory], "{name} under {umask}: {modes:?}");
        let packed = format!("{name}.tar");
        let args = ["fetch", "acme/http", "--offline", "--tar", &packed];
        finish(&mut with_umask(&home, umask, &args)).expect_code(0);
        assert_eq!(mode(&home.work().join(packed)), file, "{name}.tar under {umask}");
    };
    let check_all = |prefix: &str| {
        check(&format!("{prefix}-022"), "022", [0o644, 0o755, 0o755]);
        check(&format!("{prefix}-077"), "077", [0o600, 0o700, 0o700]);
        check(&format!("{prefix}-002"), "002", [0o664, 0o775, 0o775]);
        check(&format!("{prefix}-027"), "027", [0o640, 0o750, 0o750]);
    };
    check_all("alone");
    let _node = home.start(&[]);
    check_all("served");
}

#[test]
fn node_that_loses_its_terminal_ends_in_order_and_says_so() {
    let home = Home::new();
    let mut command = home.command(&["marketplace", "p2p", "start", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"]);
    let mut node = Reaped(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(node.0.stdout.take().unwrap()).lines();
    lines.next().expect("the node starts").unwrap();
    assert!(Command::new("kill").args(["-HUP", &node.0.id().to_string()]).status().unwrap().success());
    assert_eq!(node.0.wait().unwrap().code(), Some(0));
    let mut log = String::new();
    node.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(log.contains("SIGHUP"), "{log}");
    assert!(!home.path().join("ggen.sock").exists());
}

#[test]
fn command_that_loses_its_terminal_ends_as_one_that_is_interrupted_unless_nohup_started_it() {
    let (home, other) = (Home::new(), Home::new());
    // With a peer that could have the content, the command waits for it.
    let peer = other.start(&[]);
    let _node = home.start(&[]);
    home.p2p(&["bootstrap", peer.address()]).expect_code(0);
    let cid = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy";
    let args = ["--format", "json", "--verbose", "marketplace", "p2p", "fetch", cid, "--timeout", "600"];
    let begin = |command: &mut Command| {
        let mut child = Reaped(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        let mut stderr = BufReader::new(child.0.stderr.take().unwrap());
        // Its first log line shows that it is running and handles signals.
        while !{
            let mut line = String::new();
            assert!(stderr.read_line(&mut line).unwrap() > 0, "the command ended");
            line.contains("carries it out")
        } {}
        (child, stderr)
    };
    let kill = |child: &Reaped, signal: &str| {
        assert!(Command::new("kill").args([signal, &child.0.id().to_string()]).status().unwrap().success());
    };
    let (mut child, _stderr) = begin(&mut home.command(&args));
    kill(&child, "-HUP");
    assert_eq!(child.0.wait().unwrap().code(), Some(130));

    let mut command = Command::new("sh");
    let line = "trap '' HUP; exec \"$0\" \"$@\"";
    command
        .args(["-c", line, env!("CARGO_BIN_EXE_ggen")])
        .args(args)
        .env("GGEN_HOME", home.path())
        .current_dir(home.work());
    let (mut child, _stderr) = begin(&mut command);
    kill(&child, "-HUP");
    home.p2p(&["status"]).expect_code(0);
    assert!(child.0.try_wait().unwrap().is_none(), "it was started with the signal ignored");
}

#[test]
fn commands_without_a_daemon_wait_for_each_other_and_say_so() {
    let home = Home::on_loopback();
    let root = package(&home.work().join("http"), "http", "1.0.0");
    home.publish(&root);
    // A command that holds the home until its input ends.
    let archive = crate::support::tarball(&[]);
    let mut first = Reaped(
        home.command(&["marketplace", "p2p", "--verbose", "publish", "--namespace", "acme", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let lock = fs::File::open(home.path().join("lock")).unwrap();
    while lock.try_lock_shared().is_ok() {
        lock.unlock().unwrap();
        std::thread::yield_now();
    }
    let mut waiting = Reaped(home.begin(&["search", "http", "--local"]));
    let mut line = String::new();
    BufReader::new(waiting.0.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let (first_pid, begins) = (first.0.id().to_string(), "Blocking waiting for file lock on the home");
    assert!(line.starts_with(begins) && line.contains(&first_pid), "{line}");
    let mut input = first.0.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, &archive).unwrap();
    drop(input);
    assert_eq!(first.0.wait().unwrap().code(), Some(0));
    assert_eq!(waiting.0.wait().unwrap().code(), Some(0));

    // Several at once.
    let commands: Vec<_> = (0..6).map(|_| home.begin(&["search", "http", "--local"])).collect();
    for child in commands {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn wait_for_the_home_is_bounded_by_the_configuration() {
    let home = Home::new();
    home.configure("mdns = false\n[timeouts]\nhome_lock_seconds = 0\n");
    fs::write(home.path().join("lock"), "4711\n").unwrap();
    let lock = fs::File::open(home.path().join("lock")).unwrap();
    lock.lock().unwrap();
    let output = home.p2p(&["--format", "json", "search", "http", "--local"]).expect_code(1);
    assert_eq!(output.json()["error"]["kind"], "in_use", "{output:?}");
    assert!(output.stdout.contains("in use by process 4711"), "{output:?}");
}

#[test]
fn home_that_others_can_write_to_is_refused() {
    let home = Home::on_loopback();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let refused: [&[&str]; 3] = [&["search", "x", "--local"], &["start"], &["start", "--daemon"]];
    for command in refused {
        let output = home.p2p(command).expect_code(1);
        assert!(output.stderr.contains("its mode is 777"), "{command:?}: {output:?}");
        assert!(output.stderr.contains("chmod go-w"), "{command:?}: {output:?}");
    }
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    home.p2p(&["search", "x", "--local"]).expect_code(0);
}

#[test]
fn links_in_place_of_the_locks_are_refused_and_not_followed() {
    for (name, commands) in [
        (
            "lock",
            &[&["search", "x", "--local"] as &[&str], &["start", "--listen", "/ip4/127.0.0.1/tcp/0"]] as &[&[&str]],
        ),
        ("daemon.json", &[&["search", "x", "--local"], &["start"], &["start", "--daemon"], &["status"], &["stop"]]),
    ] {
        let home = Home::on_loopback();
        let victim = home.work().join("victim");
        fs::write(&victim, "precious").unwrap();
        symlink(&victim, home.path().join(name)).unwrap();
        for command in commands {
            let output = home.p2p(command).expect_code(1);
            assert!(output.stderr.contains(&format!("{name}` is a symbolic link")), "{command:?}: {output:?}");
        }
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    }
}

/// A process that does not outlive its test.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
