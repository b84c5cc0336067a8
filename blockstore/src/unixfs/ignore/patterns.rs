//! A list of patterns in the syntax of ignore files that select entries of a tree.

use super::{Rule, read_line};

/// Patterns with the syntax of an ignore file, except `!`: they match a path or a directory above it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathPatterns {
    rules: Vec<Rule>,
}

/// Why a text is not a valid pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// It begins with `!`. In an ignore file, such a pattern cannot include a path again below a matching directory.
    #[error("begins with `!`, which has no meaning here")]
    Negated,
    /// It matches nothing.
    #[error("matches nothing")]
    Empty,
}

impl PathPatterns {
    /// Adds a pattern.
    ///
    /// # Errors
    /// [`PatternError`] for an invalid pattern.
    pub fn add(&mut self, pattern: &str) -> Result<(), PatternError> {
        let rule = Some(pattern).filter(|pattern| !pattern.starts_with('#') && !pattern.contains('\n'));
        let rule = rule.and_then(|pattern| read_line(pattern.as_bytes())).ok_or(PatternError::Empty)?;
        if rule.keeps {
            return Err(PatternError::Negated);
        }
        self.rules.push(rule);
        Ok(())
    }

    /// Returns whether there are no patterns.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Returns whether a pattern matches a file, given by its path from the root of the tree, or a directory above it.
    pub fn match_file(&self, path: &str) -> bool {
        let above = path.match_indices('/').map(|(slash, _)| (&path[..slash], true));
        let mut entries = above.chain([(path, false)]);
        entries.any(|(path, is_directory)| self.rules.iter().any(|rule| rule.matches(path.as_bytes(), is_directory)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_files_and_what_lies_below_directories() {
        let mut patterns = PathPatterns::default();
        assert!(patterns.is_empty());
        for pattern in ["/tests/keys/", "*.pem", "fixtures/**/id_rsa"] {
            patterns.add(pattern).unwrap();
        }
        for path in
            ["tests/keys/a", "tests/keys/b/c", "x.pem", "deep/x.pem/y", "fixtures/id_rsa", "fixtures/a/b/id_rsa"]
        {
            assert!(patterns.match_file(path), "{path}");
        }
        for path in ["tests/keys", "a/tests/keys/b", "x.pem.txt", "x.PEM", "a/fixtures/id_rsa", ".env"] {
            assert!(!patterns.match_file(path), "{path}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        let mut patterns = PathPatterns::default();
        for (text, error) in [
            ("", PatternError::Empty),
            ("/", PatternError::Empty),
            ("# a", PatternError::Empty),
            ("a\nb", PatternError::Empty),
            ("!a", PatternError::Negated),
        ] {
            assert_eq!(patterns.add(text), Err(error), "{text:?}");
        }
        assert!(patterns.is_empty());
    }
}
