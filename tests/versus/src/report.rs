//! What is printed: the machine, the systems, and one table of medians and ratios.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::run::Row;
use crate::system::System;

/// Returns the lines above the table: machine, versions, and how it was measured.
pub(crate) fn header(systems: &[System], directory: &Path, rounds: u32) -> String {
    let mut text = String::new();
    let cores = std::thread::available_parallelism().map_or_else(|_| "?".to_owned(), |count| count.to_string());
    let mut line = |name: &str, value: &str| text.push_str(&format!("{name:<9} {value}\n"));
    line("cpu", &format!("{}, {cores} cores", cpu_model()));
    line("kernel", &first_line("/proc/sys/kernel/osrelease").unwrap_or_else(|| std::env::consts::OS.to_owned()));
    line("directory", &directory.display().to_string());
    line("rounds", &format!("{rounds}, interleaved; wall time of whole commands, medians in seconds"));
    for system in systems {
        line(system.name, &system.version().unwrap_or_else(|error| format!("version unknown: {error:#}")));
    }
    text
}

/// Returns the table: a column of medians for every system, and the ratio of the first to each other.
pub(crate) fn table(systems: &[System], rows: &[Row]) -> String {
    let mut heads = vec!["workload".to_owned(), "step".to_owned()];
    heads.extend(systems.iter().map(|system| system.name.to_owned()));
    heads.extend(systems.iter().skip(1).map(|other| format!("{} / {}", systems[0].name, other.name)));
    let mut cells = vec![heads];
    for row in rows {
        let medians: Vec<f64> = row.times.iter().map(|times| median(times)).collect();
        let mut line = vec![row.workload.clone(), row.step.to_owned()];
        line.extend(medians.iter().map(|seconds| format!("{seconds:.3}")));
        line.extend(medians.iter().skip(1).map(|other| format!("{:.2}", medians[0] / other)));
        cells.push(line);
    }
    align(&cells)
}

/// Lays cells out in columns: the first two to the left, numbers to the right.
fn align(cells: &[Vec<String>]) -> String {
    let columns = cells.first().map_or(0, Vec::len);
    let widths: Vec<usize> =
        (0..columns).map(|column| cells.iter().map(|line| line[column].len()).max().unwrap_or(0)).collect();
    let mut text = String::from("\n");
    for line in cells {
        let mut shown = String::new();
        for (column, (cell, &width)) in line.iter().zip(&widths).enumerate() {
            let padded = if column < 2 { format!("{cell:<width$}") } else { format!("{cell:>width$}") };
            write!(shown, "{padded}  ").expect("writing to a string does not fail");
        }
        text.push_str(shown.trim_end());
        text.push('\n');
    }
    text
}

/// Returns the median in seconds; the mean of the middle two of an even number.
fn median(times: &[Duration]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort();
    let middle = sorted.len() / 2;
    let upper = sorted[middle].as_secs_f64();
    if sorted.len() % 2 == 1 { upper } else { (sorted[middle - 1].as_secs_f64() + upper) / 2.0 }
}

fn cpu_model() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    model.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

fn first_line(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()?.lines().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_the_middle_or_the_mean_of_the_middle_two() {
        let seconds = |values: &[u64]| values.iter().map(|&value| Duration::from_secs(value)).collect::<Vec<_>>();
        assert_eq!(median(&seconds(&[9, 1, 2])), 2.0);
        assert_eq!(median(&seconds(&[9, 1, 2, 4])), 3.0);
    }

    #[test]
    fn columns_line_up() {
        let line = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let text = align(&[line(["a", "step", "ggen"]), line(["longer", "b", "10.25"])]);
        assert_eq!(text, "\na       step   ggen\nlonger  b     10.25\n");
    }
}
