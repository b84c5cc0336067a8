//! Files that only the command can access: its standard streams, pipes of its shell, paths that are not UTF-8. The
//! command passes its descriptors to a daemon, so everything works as without one.

use std::{
    ffi::OsStr,
    fs,
    io::Write as _,
    os::unix::ffi::OsStrExt,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::support::{Home, Output, entry, finish, gzip, package, tarball, tree};

const PUBLISH: &str = "exec \"$GGEN\" marketplace p2p --format json publish --namespace acme";

/// Runs a line of the shell in which `$GGEN` is the binary, with the home of `home`.
fn shell(home: &Home, line: &str) -> Command {
    let environment = home.command::<&str>(&[]);
    let mut command = Command::new("sh");
    command.args(["-c", line]).current_dir(home.work()).env("GGEN", env!("CARGO_BIN_EXE_ggen")).stdin(Stdio::null());
    for (name, value) in environment.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// Runs a line of the shell with `input` in the pipe that is its stdin.
fn piped(home: &Home, line: &str, input: &[u8]) -> Output {
    let mut child = shell(home, line)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a shell is there");
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // A command that fails early does not read its input to the end.
    let writer = std::thread::spawn(move || stdin.write_all(&input).ok());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output.into()
}

#[test]
fn a_tarball_whose_reader_closes_the_pipe_is_a_failure() {
    check_both(|home| {
        home.publish(&package(&home.work().join("large"), "large", "1.0.0"));
        // More than the capacity of a pipe, and only its beginning is read.
        let line =
            "{ \"$GGEN\" marketplace p2p fetch acme/large --offline --tar -; echo $? > code; } | head -c 100 > head";
        let output = piped(home, line, b"");
        assert!(output.stderr.contains("Broken pipe"), "{output:?}");
        assert_eq!(fs::read_to_string(home.work().join("code")).unwrap(), "1\n");
        assert_eq!(fs::metadata(home.work().join("head")).unwrap().len(), 100);
    });
}

#[test]
fn a_tarball_for_a_stdout_that_does_not_take_it_is_a_failure() {
    check_both(|home| {
        home.publish(&package(&home.work().join("http"), "http", "1.0.0"));
        let fetch = "exec \"$GGEN\" marketplace p2p fetch acme/http --offline --tar";
        for (stdout, cause) in [
            (">&-", "stdout is closed"),
            ("1</dev/null", "Bad file descriptor"),
            #[cfg(target_os = "linux")]
            (">/dev/full", "No space left"),
        ] {
            for name in ["-", "/dev/stdout"] {
                let refused = finish(&mut shell(home, &format!("{fetch} {name} {stdout}"))).expect_code(1);
                assert!(refused.stderr.contains("cannot write to `-`"), "{stdout}: {refused:?}");
                assert!(refused.stderr.contains(cause), "{stdout}: {refused:?}");
            }
        }
        finish(&mut shell(home, &format!("{fetch} - >/dev/null"))).expect_code(0);
    });
}

/// Whether stdout was closed cannot be seen afterwards: the standard library opens the null device in its place.
#[cfg(target_os = "linux")]
#[test]
fn every_command_fails_whose_answer_cannot_be_written() {
    check_both(|home| {
        home.publish(&package(&home.work().join("http"), "http", "1.0.0"));
        let commands = [
            "search http --local",
            "info acme/http --offline",
            "publish http --namespace acme",
            "publish http --namespace acme --dry-run",
            "fetch acme/http --offline -o copy --update",
            "fetch acme/http --offline --tar x.tar",
            "key list",
            "key recovery show",
            "peer-list",
            "pin ls",
            "pin add acme/http --offline",
            "gc --dry-run",
            "verify",
            "mirror ls",
            "mirror add acme/http",
            "peer allow 12D3KooWGC6TvWhfapngX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5",
            "config show",
            "yank acme/http@1.0.0",
        ];
        let p2p = commands.map(|command| format!("marketplace p2p --format json {command}"));
        let others =
            ["completions bash", "man", "help gpack", "help", "--help", "--version", "fetch --help", "key list"];
        for command in p2p.into_iter().chain(others.map(str::to_owned)) {
            for stdout in [">/dev/full", "1</dev/null"] {
                let line = format!("exec \"$GGEN\" {command} {stdout}");
                let output = finish(&mut shell(home, &line));
                assert_eq!(output.code, Some(1), "{line}: {output:?}");
                assert!(output.stderr.contains("cannot write to stdout"), "{line}: {output:?}");
            }
        }
    });
}

/// With and without a daemon.
fn check_both(check: impl Fn(&Home)) {
    let home = Home::on_loopback();
    check(&home);
    let served = Home::on_loopback();
    let _node = served.start(&[]);
    check(&served);
}

fn archive() -> Vec<u8> {
    let file = entry("pkg/large", tar::EntryType::Regular, &vec![7; 3_000_000]);
    let gpack = b"[package]\nname = \"piped\"\nversion = \"1.0.0\"\ndescription = \"A test package\"\n";
    let gpack = entry("pkg/gpack.toml", tar::EntryType::Regular, gpack);
    gzip(&[gpack, file, vec![0; 1024]].concat())
}

#[test]
fn package_is_published_from_a_stream_of_the_command() {
    check_both(|home| {
        let archive = archive();
        fs::write(home.work().join("pkg.tar.gz"), &archive).unwrap();
        let expected = finish(&mut shell(home, &format!("{PUBLISH} --dry-run pkg.tar.gz"))).expect_code(0).json();
        for line in [
            format!("{PUBLISH} --dry-run -"),
            format!("{PUBLISH} --dry-run /dev/stdin"),
            format!("exec 7<&0; {PUBLISH} --dry-run /dev/fd/7 </dev/null"),
            format!("exec 7<&0; {PUBLISH} /dev/fd/7 </dev/null"),
            format!("{PUBLISH} /dev/stdin"),
            format!("{PUBLISH} -"),
        ] {
            let published = piped(home, &line, &archive).expect_code(0).json();
            assert_eq!((&published["cid"], &published["package"]), (&expected["cid"], &"acme/piped".into()), "{line}");
        }
        for line in [format!("{PUBLISH} - <pkg.tar.gz"), format!("{PUBLISH} --dry-run - <pkg.tar.gz")] {
            let published = finish(&mut shell(home, &line)).expect_code(0).json();
            assert_eq!(published["cid"], expected["cid"], "{line}");
        }
    });
}

#[test]
fn stream_that_is_no_package_is_refused_as_a_file_is() {
    check_both(|home| {
        for input in [&b"no archive at all"[..], b"", &archive()[..2000], &tarball(&[])[..550]] {
            let output = piped(home, &format!("{PUBLISH} -"), input);
            assert_ne!(output.code, Some(0), "{output:?}");
            assert!(output.json()["error"]["message"].is_string(), "{output:?}");
        }
    });
}

#[test]
fn paths_that_are_not_utf_8_go_in_and_out() {
    check_both(|home| {
        let root = package(&home.work().join(OsStr::from_bytes(b"p\xffkg")), "http", "1.0.0");
        let run = |args: &[&OsStr]| {
            let fixed = ["marketplace", "p2p", "--format", "json"].map(OsStr::new);
            finish(&mut home.command(&[&fixed, args].concat())).expect_code(0).json()
        };
        let [publish, namespace, acme, fetch, name, output, offline, tar] =
            ["publish", "--namespace", "acme", "fetch", "acme/http", "-o", "--offline", "--tar"].map(OsStr::new);
        run(&[publish, root.as_os_str(), namespace, acme]);
        let (within, packed) = (OsStr::from_bytes(b"w\xfethin"), OsStr::from_bytes(b"\xfd.tar"));
        let copy: PathBuf = [within, OsStr::new("copy")].iter().collect();
        fs::create_dir(home.work().join(within)).unwrap();
        let fetched: Value = run(&[fetch, name, output, copy.as_os_str(), offline]);
        assert!(fetched["path"].as_str().unwrap().ends_with("w\u{fffd}thin/copy"), "{fetched}");
        assert_eq!(tree(&home.work().join(copy)), tree(&root));
        run(&[fetch, name, tar, packed, offline]);
        assert!(fs::metadata(home.work().join(packed)).unwrap().len() > 3_000_000);
    });
}

/// The package is read from, and written to, a directory that only a descriptor of the shell identifies.
#[cfg(target_os = "linux")]
#[test]
fn directory_that_is_an_open_descriptor_goes_in_and_out() {
    check_both(|home| {
        let root = package(&home.work().join("http"), "http", "1.0.0");
        fs::create_dir(home.work().join("out")).unwrap();
        let run = |line: &str| finish(&mut shell(home, line));
        for line in [
            format!("{PUBLISH} --dry-run /dev/fd/7 7<http"),
            format!("{PUBLISH} /dev/stdin <http"),
            format!("{PUBLISH} /proc/self/fd/7 7<http"),
        ] {
            assert_eq!(run(&line).expect_code(0).json()["package"], "acme/http", "{line}");
        }
        let fetch = "exec \"$GGEN\" marketplace p2p --format json fetch acme/http --offline";
        for (number, more) in
            ["-o /dev/fd/7/0", "-o /dev/fd/7/made/1", "-o /proc/self/fd/7/0 --update"].iter().enumerate()
        {
            run(&format!("{fetch} {more} 7<out")).expect_code(0);
            let place = ["out/0", "out/made/1", "out/0"][number];
            assert_eq!(tree(&home.work().join(place)), tree(&root), "{more}");
        }
        run(&format!("{fetch} --tar /dev/fd/7 7>x.tar")).expect_code(0);
        assert!(fs::metadata(home.work().join("x.tar")).unwrap().len() > 3_000_000);

        // Descriptors that are not open, and a removed directory: the daemon does not search for them.
        for (line, cause) in [
            (format!("{PUBLISH} /dev/fd/90"), "no such open file"),
            (format!("{fetch} -o /dev/fd/90/x"), "no such open file"),
            (format!("exec 7<gone; rmdir gone; {fetch} -o /dev/fd/7/x"), "No such file or directory"),
        ] {
            fs::create_dir_all(home.work().join("gone")).unwrap();
            let refused = run(&line).expect_code(1);
            assert!(refused.json()["error"]["message"].as_str().unwrap().contains(cause), "{line}: {refused:?}");
        }
    });
}
