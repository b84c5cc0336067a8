//! Selects the `ipfs` binary for the tests: the one named by the environment, a recent one on `PATH`, or one built from
//! the Go module in `tests/kubo`, which pins version and checksums.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Environment variable that names the `ipfs` binary to use, whatever its version.
pub(crate) const BINARY_VARIABLE: &str = "GGEN_TEST_IPFS";

/// Oldest accepted `ipfs` on `PATH`: `TEST_DHT_STUB` needs 0.41, `ipfs provide once` needs 0.42.
const OLDEST_VERSION: (u64, u64) = (0, 42);

/// Lines of `go build -v` between two reports.
const REPORTED_STEP: usize = 200;
/// Lines of `go build -v` in the message of a failure.
const MAX_LAST_LINES: usize = 40;

/// The tool that `tests/kubo/go.mod` pins.
const KUBO_PACKAGE: &str = "github.com/ipfs/kubo/cmd/ipfs";

/// Returns the path of the `ipfs` binary, built at the first call of the first process that needs it.
///
/// # Panics
///
/// When there is none and none can be built: the message says what to install.
pub(crate) fn locate() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = env::var_os(BINARY_VARIABLE) {
            let path = PathBuf::from(path);
            assert!(version_of(&path).is_some(), "{BINARY_VARIABLE} is no ipfs binary: `{}`", path.display());
            return path;
        }
        match version_of(Path::new("ipfs")) {
            Some(version) if version >= OLDEST_VERSION => PathBuf::from("ipfs"),
            _ => build_once(),
        }
    })
}

/// Returns major and minor version of an `ipfs` binary, `None` when it does not run.
fn version_of(binary: &Path) -> Option<(u64, u64)> {
    let output = Command::new(binary).args(["version", "--number"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut numbers = text.trim().split('.').map(|part| part.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// Builds the pinned Kubo into the cargo target directory unless it exists there already. A file lock makes parallel
/// test processes build it once; the binary comes into place by rename, so a half-built one is never run.
fn build_once() -> PathBuf {
    let module = module_directory();
    let home = target_directory().join(format!("kubo-{}", pinned_version(&module)));
    let binary = home.join(format!("ipfs{}", env::consts::EXE_SUFFIX));
    fs::create_dir_all(&home).unwrap_or_else(|error| panic!("cannot create `{}`: {error}", home.display()));
    let lock = File::create(home.join("lock")).unwrap_or_else(|error| panic!("cannot create the build lock: {error}"));
    lock.lock().unwrap_or_else(|error| panic!("cannot take the build lock in `{}`: {error}", home.display()));
    if !binary.exists() {
        let unfinished = home.join("ipfs.unfinished");
        go_build(&module, &unfinished);
        fs::rename(&unfinished, &binary)
            .unwrap_or_else(|error| panic!("cannot move the built Kubo to `{}`: {error}", binary.display()));
    }
    binary
}

fn go_build(module: &Path, output: &Path) {
    say(&format!("building Kubo {} for the tests, once: this takes some minutes", pinned_version(module)));
    let child = Command::new("go")
        .current_dir(module)
        // Pure Go: no C compiler is needed, and the build is the same on every machine. The caller's settings must not
        // replace the pinned module.
        .env("CGO_ENABLED", "0")
        .env_remove("GOFLAGS")
        .env("GOWORK", "off")
        .args(["build", "-v", "-mod=readonly", "-buildvcs=false", "-trimpath", "-o"])
        .args([output.as_os_str(), OsStr::new(KUBO_PACKAGE)])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let remedy = format!(
        "install Go (the version in `{}` or newer) so that Kubo can be built, put ipfs {}.{} or newer on PATH, or set \
         {BINARY_VARIABLE} to an ipfs binary",
        module.join("go.mod").display(),
        OLDEST_VERSION.0,
        OLDEST_VERSION.1,
    );
    let mut child =
        child.unwrap_or_else(|error| panic!("the tests need a real Kubo, and `go` does not run ({error}); {remedy}"));
    let last = follow(BufReader::new(child.stderr.take().expect("stderr is piped")));
    let status = child.wait().unwrap_or_else(|error| panic!("cannot wait for `go build`: {error}"));
    assert!(status.success(), "building Kubo failed; {remedy}\n{}", last.join("\n"));
    say("Kubo is built");
}

/// Reports the progress of `go build -v`: a line for each downloaded module and compiled package. Returns the last
/// lines, which contain the cause of a failure.
fn follow(lines: impl BufRead) -> Vec<String> {
    let (mut done, mut last) = (0_usize, Vec::new());
    for line in lines.lines().map_while(Result::ok) {
        done += 1;
        if done.is_multiple_of(REPORTED_STEP) {
            say(&format!("building Kubo: {done} modules and packages so far"));
        }
        if last.len() == MAX_LAST_LINES {
            last.remove(0);
        }
        last.push(line);
    }
    last
}

/// Writes to stderr directly, because the test harness would hold back the output until the test ends.
fn say(message: &str) {
    drop(writeln!(io::stderr(), "{message}"));
}

/// Returns `tests/kubo` of the repository, whichever of its packages this file is compiled into.
fn module_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|directory| directory.join("tests/kubo"))
        .find(|directory| directory.join("go.mod").exists())
        .expect("the package lies inside the repository, which has tests/kubo/go.mod")
}

/// Returns the Kubo version in `go.mod`, as `v0.42.0`.
fn pinned_version(module: &Path) -> String {
    let text = fs::read_to_string(module.join("go.mod")).expect("module_directory has found this file");
    text.lines()
        .find_map(|line| line.trim().strip_prefix("github.com/ipfs/kubo "))
        .and_then(|rest| rest.split_whitespace().next())
        .expect("tests/kubo/go.mod requires github.com/ipfs/kubo")
        .to_owned()
}

/// Returns cargo's target directory: the nearest one above the running program that cargo marked as a cache, or, if
/// another program created it, in which cargo stores its metadata.
pub(crate) fn target_directory() -> PathBuf {
    let program = env::current_exe().expect("a running program has a path");
    program
        .ancestors()
        .find(|directory| [".rustc_info.json", "CACHEDIR.TAG"].iter().any(|mark| directory.join(mark).exists()))
        .unwrap_or_else(|| panic!("`{}` does not lie in a cargo target directory", program.display()))
        .to_owned()
}
