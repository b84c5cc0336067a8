//! What the project wants to reach, as bounds on what the table holds.

use crate::table::{Table, align, shown};

/// A bound on a ratio of two systems, or on the value of one.
struct Goal {
    /// What the workload's label begins with.
    workload: &'static str,
    step: &'static str,
    system: &'static str,
    other: Option<&'static str>,
    at_most: f64,
}

const fn ratio(
    workload: &'static str,
    step: &'static str,
    system: &'static str,
    other: &'static str,
    at_most: f64,
) -> Goal {
    Goal { workload, step, system, other: Some(other), at_most }
}

const fn value(workload: &'static str, step: &'static str, at_most: f64) -> Goal {
    Goal { workload, step, system: "ggen", other: None, at_most }
}

/// As ratios of ours to theirs: five times as fast is at most a fifth. Where nothing else is wanted, we want to be first.
const GOALS: [Goal; 37] = [
    ratio("file", "publish, s", "ggen", "kubo", 1.0 / 1.5),
    ratio("file", "publish, s", "ggen", "iroh", 1.0),
    ratio("file", "publish, s", "ggen", "sha256-copy", 1.0),
    ratio("file", "publish, s", "ggen", "rust-ipfs", 1.0),
    ratio("file", "fetch, s", "ggen", "kubo", 0.2),
    ratio("file", "fetch, s", "ggen", "kubo-pin", 1.0),
    ratio("file", "fetch, s", "ggen", "iroh", 0.5),
    ratio("file", "fetch, s", "ggen", "rust-ipfs", 0.5),
    ratio("file", "fetch, s", "ggen", "curl", 2.2),
    ratio("file", "fetch, s", "kubo-to-ggen", "kubo", 1.0),
    ratio("file", "fetch, s", "ggen-to-kubo", "kubo", 1.0),
    ratio("tree", "publish, s", "ggen", "kubo", 0.25),
    ratio("tree", "publish, s", "ggen", "iroh", 1.0),
    ratio("tree", "fetch, s", "ggen", "kubo", 0.04),
    ratio("tree", "fetch, s", "ggen", "kubo-pin", 1.0),
    ratio("tree", "fetch, s", "ggen", "iroh", 1.0),
    ratio("tree", "fetch, s", "ggen", "curl", 2.5),
    ratio("new version", "publish, s", "ggen", "kubo", 1.0),
    ratio("new version", "publish, s", "ggen", "iroh", 1.0),
    ratio("new version", "fetch, s", "ggen", "kubo", 1.0),
    ratio("new version", "fetch, s", "ggen", "iroh", 1.0),
    ratio("new version", "fetch, s", "ggen", "curl", 1.0),
    value("200 small packages", "fetch each, ms", 10.0),
    ratio("200 small packages", "publish each, ms", "ggen", "kubo", 1.0),
    ratio("200 small packages", "fetch each, ms", "ggen", "kubo", 1.0),
    ratio("over a WAN: tree", "fetch, s", "ggen", "curl-gz", 1.3),
    ratio("over a WAN: tree", "fetch, s", "ggen", "kubo", 1.0),
    ratio("over a WAN: tree", "fetch, s", "kubo-release-to-ggen", "raw / rate + 6 RTT", 1.5),
    value("over a WAN: updates", "geometric mean of bytes / .tar.gz", 0.10),
    value("over a WAN: updates", "largest of bytes / .tar.gz", 0.40),
    value("over a WAN: cold", "largest of bytes / .tar.gz", 1.10),
    ratio("over a WAN: providers", "fetch, s", "three", "one", 1.0 / 2.6),
    ratio("over a WAN: providers", "fetch, s", "three, one stalls", "two", 1.3),
    value("daemon", "first answer, ms", 300.0),
    value("daemon", "idle memory, MiB", 60.0),
    value("daemon", "idle processor, %", 0.5),
    value("daemon: load", "memory at most, MiB", 300.0),
];

/// Returns a line for each bound on something that was measured.
pub(crate) fn render(table: &Table) -> String {
    let mut cells = vec![["goal", "", "at most", "is", ""].map(str::to_owned).to_vec()];
    for goal in &GOALS {
        let (what, measured) = match goal.other {
            Some(other) => {
                (format!("{} / {other}", goal.system), table.ratio(goal.workload, goal.step, goal.system, other))
            }
            None => (goal.system.to_owned(), table.median(goal.workload, goal.step, goal.system)),
        };
        if let Some(measured) = measured {
            let verdict = if measured <= goal.at_most { "" } else { "missed" };
            let step = format!("{}: {}", goal.workload, goal.step);
            cells.push(vec![step, what, shown(Some(goal.at_most)), shown(Some(measured)), verdict.to_owned()]);
        }
    }
    if cells.len() == 1 { String::new() } else { align(&cells, 2) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Place;

    #[test]
    fn a_goal_is_shown_when_it_was_measured_and_says_when_it_is_missed() {
        let mut table = Table::default();
        assert_eq!(render(&table), "");
        table.add("file, 1 MiB", "fetch, s", "ggen", Place::Main, 1.0);
        table.add("file, 1 MiB", "fetch, s", "kubo", Place::Main, 4.0);
        table.add("file, 1 MiB", "fetch, s", "curl", Place::Main, 4.0);
        let text = render(&table);
        let line = |other: &str| text.lines().find(|line| line.contains(other)).expect("the goal is shown").to_owned();
        assert!(line("ggen / kubo").ends_with("missed"), "{text}");
        assert!(!line("ggen / curl").ends_with("missed"), "{text}");
        assert_eq!(text.lines().count(), 4);
    }
}
