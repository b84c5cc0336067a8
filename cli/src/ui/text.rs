//! Text formatting for output.

/// Replaces control characters other than line feeds and tabs, so that external text cannot control the terminal.
pub(crate) fn plain(text: &str) -> String {
    let safe = |c: char| if drives_terminal(c) { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().map(safe).collect()
}

/// Returns whether a terminal would interpret `c` instead of showing it. Bidirectional overrides count too, because
/// they can make text misleading.
fn drives_terminal(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text on one line, for external fields in lists and tables.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A number of bytes in decimal units, with at least three digits: `999 B`, `34.1 kB`, `2.15 GB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut scaled = count as f64 / 1000.0;
    let mut unit = 0;
    // At this threshold, rounding to three digits would show 1000.
    while scaled >= 999.5 && unit + 1 < UNITS.len() {
        scaled /= 1000.0;
        unit += 1;
    }
    let decimals = if scaled < 9.995 {
        2
    } else if scaled < 99.95 {
        1
    } else {
        0
    };
    format!("{scaled:.decimals$} {}", UNITS[unit])
}

/// A counted noun: `1 file`, `2 files`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// A time span in its two largest units: `45 s`, `3 min 5 s`, `2 h 0 min`, `9 d 4 h`.
pub(crate) fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match () {
        () if days > 0 => format!("{days} d {} h", hours % 24),
        () if hours > 0 => format!("{hours} h {} min", minutes % 60),
        () if minutes > 0 => format!("{minutes} min {} s", seconds % 60),
        () => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_three_digits_and_never_show_a_thousand() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (9_994, "9.99 kB"),
            (34_123, "34.1 kB"),
            (999_499, "999 kB"),
            (999_500, "1.00 MB"),
            (2_147_483_648, "2.15 GB"),
            (u64::MAX, "18.4 EB"),
        ];
        for (count, text) in cases {
            assert_eq!(bytes(count), text, "{count}");
        }
    }

    #[test]
    fn durations_have_two_units() {
        let cases = [(0, "0 s"), (45, "45 s"), (185, "3 min 5 s"), (7200, "2 h 0 min"), (792_000, "9 d 4 h")];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn plain_text_keeps_lines_and_letters_and_nothing_that_drives_a_terminal() {
        assert_eq!(plain("a\tb\n\u{e9}"), "a\tb\n\u{e9}");
        assert_eq!(plain("a\x1b[31m\r\u{202e}"), "a\u{fffd}[31m\u{fffd}\u{fffd}");
    }
}
