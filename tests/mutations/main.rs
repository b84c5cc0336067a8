//! Breaks the registry in one place at a time, and checks that `backend_p2p` detects it: a test that passes regardless
//! of the code is useless.
//!
//!     cargo run --example mutations [NAME...]
//!
//! It works on a copy of the sources in the target directory, so the working tree stays as it is.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Instant,
};

mod list;

use list::{MUTATIONS, Mutation};

/// How long a test waits for an event that does not happen, in seconds.
const PATIENCE: &str = "10";

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let named: Vec<String> = env::args().skip(1).collect();
    let copy = Copy::make()?;
    let failed = copy.failing_tests()?;
    if !failed.is_empty() {
        eprintln!("without any mutation these fail: {failed:?}");
        return Ok(ExitCode::FAILURE);
    }
    let mut survived = 0;
    println!("| broken | where | noticed by |\n|---|---|---|");
    for mutation in MUTATIONS.iter().filter(|mutation| named.is_empty() || named.contains(&mutation.name.to_owned())) {
        let started = Instant::now();
        let failed = copy.with(mutation)?;
        let is_noticed = mutation.noticed_by.iter().all(|test| failed.iter().any(|failed| failed == test));
        survived += usize::from(!is_noticed);
        let failed = if failed.is_empty() { "nothing".to_owned() } else { failed.join(", ") };
        let verdict = if is_noticed { "" } else { " **not by what was expected**" };
        println!("| {} | `{}` | {failed}{verdict} ({} s) |", mutation.name, mutation.file, started.elapsed().as_secs());
    }
    Ok(if survived == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A copy of the sources, which may be mutated.
struct Copy {
    root: PathBuf,
    target: PathBuf,
}

impl Copy {
    fn make() -> Result<Self, Box<dyn Error>> {
        let from = Path::new(env!("CARGO_MANIFEST_DIR"));
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| from.join("target"), PathBuf::from);
        let root = target.join("mutations");
        let mut git = Command::new("git");
        git.arg("-C").arg(from).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let listed = String::from_utf8(git.output()?.stdout)?;
        for name in listed.split_terminator('\0').filter(|name| from.join(name).is_file()) {
            let contents = fs::read(from.join(name))?;
            // Unchanged files keep their modification time, so that they are not built again.
            if fs::read(root.join(name)).ok().as_ref() != Some(&contents) {
                fs::create_dir_all(root.join(name).parent().ok_or("a file has no directory")?)?;
                fs::write(root.join(name), contents)?;
            }
        }
        Ok(Self { root, target })
    }

    /// Applies one mutation, runs the tests, and reverts it.
    fn with(&self, mutation: &Mutation) -> Result<Vec<String>, Box<dyn Error>> {
        let path = self.root.join(mutation.file);
        let sound = fs::read_to_string(&path)?;
        if sound.matches(mutation.find).count() != 1 {
            return Err(format!("`{}` is not there once in {}", mutation.find, mutation.file).into());
        }
        fs::write(&path, sound.replace(mutation.find, mutation.replace))?;
        let failed = self.failing_tests();
        fs::write(&path, sound)?;
        failed
    }

    fn failing_tests(&self) -> Result<Vec<String>, Box<dyn Error>> {
        let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["test", "--features", "p2p", "--test", "backend_p2p", "--no-fail-fast"])
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", &self.target)
            .env("BACKEND_P2P_PATIENCE", PATIENCE)
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !text.contains("test result:") {
            return Err(format!("it does not build:\n{}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let failed = text.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
        Ok(failed.map(str::to_owned).collect())
    }
}
