//! What stands above the table: the machine, the systems, and how they were measured.

use std::fs;
use std::path::Path;

use crate::run::Plan;
use crate::system::System;

/// Returns the lines above the table.
pub(crate) fn header(systems: &[System], plan: &Plan) -> String {
    let mut text = String::new();
    let cores = std::thread::available_parallelism().map_or_else(|_| "?".to_owned(), |count| count.to_string());
    let mut line = |name: &str, value: &str| text.push_str(&format!("{name:<20} {value}\n"));
    line("cpu", &format!("{}, {cores} cores", cpu_model()));
    line("kernel", &first_line("/proc/sys/kernel/osrelease").unwrap_or_else(|| std::env::consts::OS.to_owned()));
    line("load at the start", &first_line("/proc/loadavg").unwrap_or_else(|| "?".to_owned()));
    for directory in &plan.directories {
        line(
            "directory",
            &format!("{} ({}), {} rounds", directory.path.display(), file_system(&directory.path), directory.rounds),
        );
    }
    line("rounds", "interleaved; wall time of whole commands after a sync; medians; ratios round by round");
    for system in systems {
        line(&system.name, &system.version().unwrap_or_else(|error| format!("version unknown: {error:#}")));
    }
    text
}

fn cpu_model() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    model.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

/// Returns the type of the file system that holds a directory: that of the longest mount point above it.
fn file_system(directory: &Path) -> String {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let above = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (point, kind) = (words.next()?, words.next()?);
        directory.starts_with(point).then_some((point.len(), kind))
    });
    above.max_by_key(|&(length, _)| length).map_or_else(|| "?".to_owned(), |(_, kind)| kind.to_owned())
}

fn first_line(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()?.lines().next().map(str::to_owned)
}
