//! Running commands, timed or not.

use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// Runs a command to its end; returns its standard output and how long it took. Dirty pages of earlier work are
/// written out first, so that they do not count.
pub(crate) fn timed(command: &mut Command) -> Result<(String, Duration)> {
    sync()?;
    let begin = Instant::now();
    let output = output_of(command)?;
    Ok((output, begin.elapsed()))
}

/// How long ago everything was written out if it needs not be again: commands of milliseconds leave next to nothing.
const SYNCED: Duration = Duration::from_secs(1);

/// Writes out what the system has not written yet.
pub(crate) fn sync() -> Result<()> {
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if last.is_none_or(|last| last.elapsed() > SYNCED) {
        ensure!(Command::new("sync").status().context("cannot run `sync`")?.success(), "`sync` failed");
        *last = Some(Instant::now());
    }
    Ok(())
}

/// Runs a command to its end and returns its standard output.
pub(crate) fn output_of(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {shown}"))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{shown} failed with {}\n{stdout}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(stdout)
}
