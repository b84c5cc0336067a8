//! The full-text index of packages: their terms, and trigrams for matches with typos.

use rusqlite::{Connection, params};

use crate::{
    identity::PublisherId,
    index::terms::{Term, indexed, terms},
    package::Release,
};

/// The full-text tables; `rowid` is `packages.id`. The `words` table stores text in the form that [`indexed`] returns.
pub(super) const TABLES: &str = "
    CREATE VIRTUAL TABLE words USING fts5 (
        name, namespace, description, tags, keywords, category, publisher,
        content = '', contentless_delete = 1, prefix = '2 3', tokenize = 'unicode61 remove_diacritics 2'
    );
    CREATE VIRTUAL TABLE trigrams USING fts5 (  -- of name, title, tags and keywords, a space around each word
        text, content = '', contentless_delete = 1, detail = 'none', tokenize = 'trigram remove_diacritics 1'
    );
";

/// Weight of each column of `words` in `bm25`.
pub(super) const WEIGHTS: &str = "10, 4, 2, 5, 5, 3, 4";

/// Most terms of a query that are searched for; the rest is ignored.
const MAX_WORDS: usize = 16;
/// Trigrams of a query that are searched for.
const MAX_TRIGRAMS: usize = 64;
/// Most characters of a word that are compared by edit distance.
const MAX_COMPARED_CHARS: usize = 64;

/// Adds the searchable text of a package.
pub(super) fn insert(connection: &Connection, id: i64, release: &Release) -> rusqlite::Result<()> {
    let metadata = &release.metadata;
    let name = [release.package.name(), metadata.title.as_deref().unwrap_or_default()].join(" ");
    let words = params![
        id,
        indexed(&name),
        indexed(release.package.namespace()),
        indexed(&metadata.description),
        indexed(&metadata.tags.join(" ")),
        indexed(&metadata.keywords.join(" ")),
        indexed(metadata.category.as_deref().unwrap_or_default()),
        names_of(&release.publisher),
    ];
    connection
        .prepare_cached(
            "INSERT INTO words (rowid, name, namespace, description, tags, keywords, category, publisher)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(words)?;
    let text = format!(" {} ", compared(release).join(" "));
    connection.prepare_cached("INSERT INTO trigrams (rowid, text) VALUES (?1, ?2)")?.execute(params![id, text])?;
    Ok(())
}

/// The text under which a publisher is found: its short id and its full id.
fn names_of(publisher: &PublisherId) -> String {
    format!("{} {publisher}", publisher.short())
}

/// Removes the searchable text of a package.
pub(super) fn remove(connection: &Connection, id: i64) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM words WHERE rowid = ?1")?.execute([id])?;
    connection.prepare_cached("DELETE FROM trigrams WHERE rowid = ?1")?.execute([id])?;
    Ok(())
}

/// The words that a query is compared with by edit distance, in lower case.
pub(super) fn compared(release: &Release) -> Vec<String> {
    let metadata = &release.metadata;
    let texts = [release.package.name(), metadata.title.as_deref().unwrap_or_default()];
    let texts = texts.into_iter().chain(metadata.tags.iter().chain(&metadata.keywords).map(String::as_str));
    texts.flat_map(terms).map(|term| term.text().to_owned()).collect()
}

/// A query split into terms; never parsed as any syntax.
#[derive(Clone, Debug)]
pub(super) struct Words(Vec<Term>);

impl Words {
    pub(super) fn of(query: &str) -> Self {
        let mut words: Vec<Term> = Vec::new();
        for term in terms(query) {
            if !words.contains(&term) && words.len() < MAX_WORDS {
                words.push(term);
            }
        }
        Self(words)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn are_several(&self) -> bool {
        self.0.len() > 1
    }

    /// The terms joined by spaces, for comparison with a name.
    pub(super) fn joined(&self) -> String {
        self.texts().collect::<Vec<_>>().join(" ")
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(Term::text)
    }

    /// An FTS5 expression: every term, or any of them.
    pub(super) fn expression(&self, operator: &str) -> String {
        self.0.iter().map(Term::phrase).collect::<Vec<_>>().join(operator)
    }

    /// An FTS5 expression that matches any trigram of the words, including the space before and after each word.
    pub(super) fn trigram_expression(&self) -> String {
        let mut trigrams: Vec<String> = Vec::new();
        for word in self.texts() {
            let padded: Vec<char> = format!(" {word} ").chars().collect();
            for trigram in padded.windows(3) {
                let trigram = format!("\"{}\"", trigram.iter().collect::<String>());
                if !trigrams.contains(&trigram) && trigrams.len() < MAX_TRIGRAMS {
                    trigrams.push(trigram);
                }
            }
        }
        trigrams.join(" OR ")
    }

    /// Similarity of the query to a package whose words are `compared`, from 0 to 1. `None` if a word of the query is
    /// not within a typo's distance of any of them.
    pub(super) fn nearness(&self, compared: &[String]) -> Option<f64> {
        let mut sum = 0.0;
        for word in self.texts() {
            let length = word.chars().count();
            let allowed = typos(length);
            let nearest = compared.iter().filter_map(|other| distance_within(word, other, allowed)).min()?;
            sum += 1.0 - nearest as f64 / (length as f64 + 1.0);
        }
        Some(sum / self.0.len().max(1) as f64)
    }
}

/// Number of typos allowed in a word of `length` characters.
fn typos(length: usize) -> usize {
    match length {
        0..=3 => 0,
        4..=6 => 1,
        _ => 2,
    }
}

/// Edit distance between `a` and `b` or a prefix of `b` of about the same length, because a query may be the beginning
/// of a word: characters to insert, remove, replace or swap. `None` if it exceeds `allowed`.
fn distance_within(a: &str, b: &str, allowed: usize) -> Option<usize> {
    let bounded = |text: &str| text.chars().take(MAX_COMPARED_CHARS).collect::<String>();
    let (a, b) = (bounded(a), bounded(b));
    let length = a.chars().count();
    let beginnings = [length, length + 1].map(|length| b.chars().take(length).collect::<String>());
    let distances = beginnings.iter().chain([&b]).map(|other| strsim::osa_distance(&a, other));
    distances.min().filter(|distance| *distance <= allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_is_near_and_another_word_is_not() {
        let near = |query: &str, word: &str| Words::of(query).nearness(&[word.to_owned()]).is_some();
        for (query, word) in [
            ("sedre", "serde"),
            ("tokoi", "tokio"),
            ("reqest", "request"),
            ("serialise", "serialize"),
            ("requst", "requests"),
        ] {
            assert!(near(query, word), "{query} {word}");
        }
        for (query, word) in [("http", "html"), ("abc", "abd"), ("serde", "tower"), ("x", "y")] {
            assert!(!near(query, word), "{query} {word}");
        }
        assert!(!near("tokio nothing", "tokio"), "every word counts");
    }

    #[test]
    fn a_query_becomes_quoted_words_only() {
        let words = Words::of("Serde\" OR (json NEAR* \u{0}x");
        assert_eq!(words.expression(" "), r#""serde"* "or"* "json"* "near"* "x"*"#);
        assert_eq!(Words::of("ab").trigram_expression(), r#"" ab" OR "ab ""#);
        assert!(Words::of("\"*():-").is_empty());
        assert_eq!(Words::of(&"w ".repeat(100)).joined(), "w");
    }
}
