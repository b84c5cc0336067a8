//! What was measured, and the one table it becomes.

use std::fmt::Write;

/// Where stores and files lay.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    /// The directory that counts, on tmpfs where there is one.
    Main,
    /// The one beside it, on a disk.
    Disk,
}

/// All values of one system for one step of one workload, in order of the rounds.
#[derive(Debug)]
struct Row {
    workload: String,
    step: String,
    system: String,
    values: Vec<f64>,
    on_disk: Vec<f64>,
}

/// The rows, in the order in which they came up.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

/// The system whose ratio to each other one is shown.
const OURS: &str = "ggen";

impl Table {
    /// Adds one value; a step says its unit: `fetch, s`.
    pub(crate) fn add(&mut self, workload: &str, step: &str, system: &str, place: Place, value: f64) {
        let same = |row: &&mut Row| row.workload == workload && row.step == step && row.system == system;
        let row = match self.rows.iter_mut().find(same) {
            Some(row) => row,
            None => {
                let (workload, step, system) = (workload.to_owned(), step.to_owned(), system.to_owned());
                self.rows.push(Row { workload, step, system, values: Vec::new(), on_disk: Vec::new() });
                self.rows.last_mut().expect("a row was pushed")
            }
        };
        match place {
            Place::Main => row.values.push(value),
            Place::Disk => row.on_disk.push(value),
        }
    }

    /// Returns the median of a system, where `workload` is what its label begins with.
    pub(crate) fn median(&self, workload: &str, step: &str, system: &str) -> Option<f64> {
        self.row(workload, step, system).and_then(|row| median(&row.values))
    }

    /// Returns how much of another system's value a system needs.
    pub(crate) fn ratio(&self, workload: &str, step: &str, system: &str, other: &str) -> Option<f64> {
        ratio(&self.row(workload, step, system)?.values, &self.row(workload, step, other)?.values)
    }

    fn row(&self, workload: &str, step: &str, system: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.workload.starts_with(workload) && row.step == step && row.system == system)
    }

    /// Returns the table: median and extremes of every system, what they were on the disk, and the ratio of ours.
    pub(crate) fn render(&self) -> String {
        let disk = self.rows.iter().any(|row| !row.on_disk.is_empty());
        let mut cells =
            vec![["workload", "step", "system", "median", "from", "to", "ggen / it"].map(str::to_owned).to_vec()];
        if disk {
            cells[0].extend(["disk", "ggen / it"].map(str::to_owned));
        }
        // The steps of a workload stand together, whatever order the rounds brought them in.
        let mut groups: Vec<(&str, &str)> = Vec::new();
        for row in &self.rows {
            if !groups.contains(&(&row.workload, &row.step)) {
                groups.push((&row.workload, &row.step));
            }
        }
        for (workload, step) in groups {
            let group: Vec<&Row> =
                self.rows.iter().filter(|row| row.workload == workload && row.step == step).collect();
            let ours = group.iter().find(|row| row.system == OURS);
            for (at, row) in group.iter().enumerate() {
                let heads = if at == 0 { [workload, step] } else { ["", ""] };
                let mut line = heads.map(str::to_owned).to_vec();
                line.push(row.system.clone());
                let extremes = [f64::min, f64::max].map(|choose| row.values.iter().copied().reduce(choose));
                line.extend([median(&row.values), extremes[0], extremes[1]].map(shown));
                let other = ours.filter(|ours| ours.system != row.system);
                line.push(shown(other.and_then(|ours| ratio(&ours.values, &row.values))));
                if disk {
                    line.push(shown(median(&row.on_disk)));
                    line.push(shown(other.and_then(|ours| ratio(&ours.on_disk, &row.on_disk))));
                }
                cells.push(line);
            }
        }
        align(&cells, 3)
    }
}

/// Returns the median of the rounds' ratios; the ratio of the medians where the numbers of rounds differ.
fn ratio(ours: &[f64], theirs: &[f64]) -> Option<f64> {
    if ours.len() != theirs.len() {
        return Some(median(ours)? / median(theirs)?);
    }
    let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
    median(&ratios)
}

/// Returns the median, the mean of the middle two of an even number; `None` of nothing.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    Some(if sorted.len() % 2 == 1 { upper } else { (sorted[middle - 1] + upper) / 2.0 })
}

/// Returns a number with as many digits as tell something.
pub(crate) fn shown(value: Option<f64>) -> String {
    match value {
        None => String::new(),
        Some(value) if value.abs() >= 100.0 => format!("{value:.0}"),
        Some(value) if value.abs() >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.3}"),
    }
}

/// Lays cells out in columns: the first `texts` to the left, numbers to the right.
pub(crate) fn align(cells: &[Vec<String>], texts: usize) -> String {
    let columns = cells.first().map_or(0, Vec::len);
    let widths: Vec<usize> =
        (0..columns).map(|column| cells.iter().map(|line| line[column].len()).max().unwrap_or(0)).collect();
    let mut text = String::from("\n");
    for line in cells {
        let mut shown = String::new();
        for (column, (cell, &width)) in line.iter().zip(&widths).enumerate() {
            let padded = if column < texts { format!("{cell:<width$}") } else { format!("{cell:>width$}") };
            write!(shown, "{padded}  ").expect("writing to a string does not fail");
        }
        text.push_str(shown.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_the_middle_or_the_mean_of_the_middle_two() {
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[9.0, 1.0, 2.0, 4.0]), Some(3.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_ratio_is_taken_round_by_round_where_the_rounds_are_the_same() {
        assert_eq!(ratio(&[1.0, 10.0, 3.0], &[2.0, 10.0, 3.0]), Some(1.0));
        assert_eq!(ratio(&[1.0, 2.0, 9.0], &[4.0]), Some(0.5));
        assert_eq!(ratio(&[], &[]), None);
    }

    #[test]
    fn columns_line_up() {
        let line = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let text = align(&[line(["a", "step", "ggen"]), line(["longer", "b", "10.25"])], 2);
        assert_eq!(text, "\na       step   ggen\nlonger  b     10.25\n");
    }

    #[test]
    fn the_table_groups_the_systems_of_a_step() {
        let mut table = Table::default();
        for (step, system, value) in [("put, s", "ggen", 1.0), ("get, s", "ggen", 2.0), ("put, s", "kubo", 4.0)] {
            table.add("file", step, system, Place::Main, value);
        }
        let text = table.render();
        let lines: Vec<Vec<&str>> = text.lines().skip(2).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["kubo", "4.000", "4.000", "4.000", "0.250"]);
        assert_eq!(lines[2][..4], ["file", "get,", "s", "ggen"]);
    }
}
