//! Lines of an ignore file that messages advise.

/// The pattern that matches the path of an entry, whatever letters it has.
pub(super) fn pattern_of(path: &str) -> String {
    let mut pattern = String::with_capacity(path.len());
    for letter in path.chars() {
        match letter {
            // A pattern is one line.
            '\n' | '\r' => pattern.push('?'),
            '*' | '?' | '[' | '\\' => pattern.extend(['\\', letter]),
            '!' | '#' if pattern.is_empty() => pattern.extend(['\\', letter]),
            letter => pattern.push(letter),
        }
    }
    match pattern.strip_suffix(' ') {
        Some(start) => format!("{start}\\ "),
        None => pattern,
    }
}

#[cfg(test)]
mod tests {
    use ggen_blockstore::PathPatterns;

    use super::*;

    #[test]
    fn a_pattern_matches_the_path_it_was_made_of_and_no_other() {
        assert_eq!(pattern_of("docs/link"), "docs/link");
        for path in ["a[b]", "!a", "#a", "a ", "*", "a?b", "a\\b", "docs/[x]*"] {
            let mut patterns = PathPatterns::default();
            patterns.add(&pattern_of(path)).unwrap();
            assert!(patterns.match_file(path), "{path}");
            assert!(!patterns.match_file(&path.replace(['*', '?', '[', '\\', '!', '#', ' '], "x")), "{path}");
        }
    }
}
