//! Search by words.
//!
//! A query is user input: it is cut into words here, and never read as FTS5 syntax. A package whose name *is* the
//! query comes first, then those whose name begins with it, then the rest by bm25, the name weighing most. Every word
//! must be found, as the beginning of a word; only if nothing has them all will any one do.

use rusqlite::types::Value;

use crate::index::{Catalog, CatalogError, ReleaseEntry};

/// Longest query, in bytes.
pub const MAX_QUERY_BYTES: usize = 1024;
/// Most hits of one search.
pub const MAX_SEARCH_LIMIT: usize = 1000;
/// Words of a query that are looked for; more are not read.
const MAX_WORDS: usize = 16;
/// Most tags to filter by.
const MAX_FILTER_TAGS: usize = 16;

/// What a search leaves out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchFilters {
    /// Only packages of this category, whatever its case.
    pub category: Option<String>,
    /// Only packages that have all these tags, whatever their case. At most 16 are read.
    pub tags: Vec<String>,
}

/// A package that a search found.
#[derive(Clone, Debug)]
pub struct Hit {
    /// Its latest release that is not yanked, else its latest.
    pub entry: ReleaseEntry,
    /// How well it fits: higher is better; over 1000 for an exact name, over 100 for the beginning of one.
    pub score: f64,
}

impl Catalog {
    /// Finds packages, best first, at most `limit` (and at most [`MAX_SEARCH_LIMIT`]). An empty query finds all that
    /// pass the filters, by name.
    ///
    /// # Errors
    /// [`CatalogError::QueryTooLong`] over [`MAX_QUERY_BYTES`]; the database's errors.
    pub fn search(&self, query: &str, filters: &SearchFilters, limit: usize) -> Result<Vec<Hit>, CatalogError> {
        if query.len() > MAX_QUERY_BYTES {
            return Err(CatalogError::QueryTooLong { bytes: query.len(), limit: MAX_QUERY_BYTES });
        }
        let name = query.trim().to_lowercase();
        let words = words(&name);
        match (name.is_empty(), words.is_empty()) {
            (true, _) => self.run_search(None, &name, filters, limit),
            (false, true) => Ok(Vec::new()),
            (false, false) => {
                let all = self.run_search(Some(&words.join(" ")), &name, filters, limit)?;
                match all.is_empty() && words.len() > 1 {
                    true => self.run_search(Some(&words.join(" OR ")), &name, filters, limit),
                    false => Ok(all),
                }
            }
        }
    }

    fn run_search(
        &self,
        expression: Option<&str>,
        name: &str,
        filters: &SearchFilters,
        limit: usize,
    ) -> Result<Vec<Hit>, CatalogError> {
        let mut values = vec![Value::from(name.to_owned())];
        let mut bind = |value: Value| {
            values.push(value);
            format!("?{}", values.len())
        };
        let (from, rank) = match expression {
            Some(_) => ("words JOIN packages p ON p.id = words.rowid", "-bm25(words, 10, 2, 5, 5, 3)"),
            None => ("packages p", "0.0"),
        };
        let mut sql = format!(
            "SELECT r.envelope, r.yanked, r.seen, r.source,
                    {rank} + CASE WHEN ?1 = '' THEN 0
                                  WHEN p.name = ?1 OR p.package = ?1 THEN 1000
                                  WHEN substr(p.name, 1, length(?1)) = ?1 THEN 100 ELSE 0 END AS score
             FROM {from} JOIN releases r ON r.cid = p.latest WHERE TRUE"
        );
        if let Some(expression) = expression {
            sql += &format!(" AND words MATCH {}", bind(expression.to_owned().into()));
        }
        if let Some(category) = &filters.category {
            sql += &format!(" AND p.category = {}", bind(category.to_lowercase().into()));
        }
        for tag in filters.tags.iter().take(MAX_FILTER_TAGS) {
            let tag = bind(tag.to_lowercase().into());
            sql += &format!(" AND EXISTS (SELECT 1 FROM tags WHERE tags.package = p.id AND tags.tag = {tag})");
        }
        let limit = bind(i64::try_from(limit.min(MAX_SEARCH_LIMIT)).unwrap_or(i64::MAX).into());
        sql += &format!(" ORDER BY score DESC, p.package, p.publisher LIMIT {limit}");
        let rows = self.read_rows(&sql, rusqlite::params_from_iter(values), |row| {
            Ok(((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?), row.get(4)?))
        })?;
        rows.into_iter().map(|(row, score)| Ok(Hit { entry: self.release_entry(row)?, score })).collect()
    }
}

/// The words of a query as FTS5 strings that match the beginning of a word.
fn words(query: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in query.split(|character: char| !character.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let word = format!("\"{word}\"*");
        if !words.contains(&word) && words.len() < MAX_WORDS {
            words.push(word);
        }
    }
    words
}
