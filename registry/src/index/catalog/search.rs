//! Full-text search.
//!
//! A query is user input: it is split into terms and never parsed as FTS5 syntax. Hits are ordered by
//!
//! 1. the name: equal to the query, then equal to the query's terms, then beginning with the query, then all others;
//! 2. the publisher: followed or of this home, then known for long, then all others;
//! 3. how well the terms match (bm25; a term in the name weighs most, then tags and keywords, then namespace and
//!    publisher).
//!
//! Every term must match, as a prefix of a word (within Chinese, Japanese or Korean text at any position, see
//! `index/terms.rs`). If no package matches all terms, one of them suffices. If that finds nothing either, packages
//! within a typo's distance are found. A page shows at most a quarter of hits from one unfollowed publisher, as long as
//! there are other hits.

use rusqlite::{Connection, types::Value};

use crate::{
    identity::{PublisherId, Timestamp},
    index::{
        Catalog, CatalogError, ReleaseEntry,
        catalog::words::{self, Words},
        terms::{Term, terms},
    },
    package::Release,
};

/// Longest query, in bytes.
pub const MAX_QUERY_BYTES: usize = 1024;
/// Most hits of one search.
pub const MAX_SEARCH_LIMIT: usize = 1000;
/// Most tags to filter by.
const MAX_FILTER_TAGS: usize = 16;
/// Most packages that share trigrams with a query and are compared with it by edit distance.
const MAX_SIMILAR: i64 = 256;
/// Least score of a hit whose name is the query, or the query's terms.
const NAMED: f64 = 900.0;
/// Hits of one unfollowed publisher that any page may show.
const MIN_SHARE: usize = 3;
/// The divisor of the page size that gives the most hits of one unfollowed publisher.
const SHARES: usize = 4;
/// Score deducted from a hit beyond its publisher's share, so that it ranks below all other hits.
const DEMOTION: f64 = 2000.0;

/// Filters of a search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchFilters {
    /// Only packages of this category, whatever its case.
    pub category: Option<String>,
    /// Only packages that have all these tags, whatever their case. At most 16 are read.
    pub tags: Vec<String>,
    /// Publishers first seen before this count as known for long and rank before the rest.
    pub known_before: Option<Timestamp>,
}

impl SearchFilters {
    fn admits(&self, release: &Release) -> bool {
        let metadata = &release.metadata;
        let category = metadata.category.as_deref().unwrap_or_default().to_lowercase();
        let has = |wanted: &String| metadata.tags.iter().any(|tag| tag.to_lowercase() == wanted.to_lowercase());
        self.category.as_ref().is_none_or(|wanted| wanted.to_lowercase() == category)
            && self.tags.iter().take(MAX_FILTER_TAGS).all(has)
    }
}

/// A package found by a search.
#[derive(Clone, Debug)]
pub struct Hit {
    /// Its latest release that is not yanked, else its latest.
    pub entry: ReleaseEntry,
    /// How well it matches; higher is better. Over 900 for an exact name, over 100 for the beginning of a name, below 0
    /// for a hit beyond its publisher's share of the page.
    pub score: f64,
    /// Whether no package contains the query's terms, and this one contains terms within a typo's distance.
    pub fuzzy: bool,
}

impl Hit {
    /// Whether its name is the query, or the query's terms.
    pub(crate) fn is_named(&self) -> bool {
        self.score >= NAMED
    }
}

impl Catalog {
    /// Finds packages, best first, at most `limit` (and at most [`MAX_SEARCH_LIMIT`]). An empty query matches
    /// everything that passes the filters, ordered by name.
    ///
    /// # Errors
    /// [`CatalogError::QueryTooLong`] over [`MAX_QUERY_BYTES`]; otherwise the errors of the database.
    pub fn search(&self, query: &str, filters: &SearchFilters, limit: usize) -> Result<Vec<Hit>, CatalogError> {
        if query.len() > MAX_QUERY_BYTES {
            return Err(CatalogError::QueryTooLong { bytes: query.len(), limit: MAX_QUERY_BYTES });
        }
        let name = query.trim().to_lowercase();
        let words = Words::of(&name);
        let search = Search { catalog: self, name: &name, words: &words, filters, limit };
        match (name.is_empty(), words.is_empty()) {
            (true, _) => search.run(Source::All),
            (false, true) => Ok(Vec::new()),
            (false, false) => {
                let mut hits = search.run(Source::Words(words.expression(" ")))?;
                if hits.is_empty() && words.are_several() {
                    hits = search.run(Source::Words(words.expression(" OR ")))?;
                }
                if hits.is_empty() { search.similar() } else { Ok(hits) }
            }
        }
    }
}

/// The candidates of a search.
enum Source {
    All,
    Words(String),
    /// Packages by row id, each with its similarity to the query.
    Near(Vec<(i64, f64)>),
}

struct Search<'a> {
    catalog: &'a Catalog,
    name: &'a str,
    words: &'a Words,
    filters: &'a SearchFilters,
    limit: usize,
}

/// The values of a statement under construction.
#[derive(Default)]
struct Values(Vec<Value>);

impl Values {
    /// Binds a value and returns its placeholder.
    fn bind(&mut self, value: impl Into<Value>) -> String {
        self.0.push(value.into());
        format!("?{}", self.0.len())
    }
}

impl Search<'_> {
    fn run(&self, source: Source) -> Result<Vec<Hit>, CatalogError> {
        let mut values = Values::default();
        let (name, joined) = (values.bind(self.name.to_owned()), values.bind(self.words.joined()));
        let fuzzy = matches!(source, Source::Near(_));
        let (from, relevance, condition) = match source {
            Source::All => ("packages p".to_owned(), "0.0".to_owned(), "TRUE".to_owned()),
            Source::Words(expression) => (
                "words JOIN packages p ON p.id = words.rowid".to_owned(),
                format!("-bm25(words, {})", words::WEIGHTS),
                format!("words MATCH {}", values.bind(expression)),
            ),
            Source::Near(near) => {
                let rows = near.iter().map(|(id, nearness)| format!("({id}, {nearness:.3})")).collect::<Vec<_>>();
                (
                    format!("(VALUES {}) AS near JOIN packages p ON p.id = near.column1", rows.join(", ")),
                    "near.column2".to_owned(),
                    "TRUE".to_owned(),
                )
            }
        };
        let filters = self.filters(&mut values);
        let known_before = self.filters.known_before.map_or(0, |time| time.as_unix().cast_signed());
        let (known_before, share) = (values.bind(known_before), values.bind(self.share()));
        let limit = values.bind(i64::try_from(self.limit.min(MAX_SEARCH_LIMIT)).unwrap_or(i64::MAX));
        let sql = format!(
            "WITH found AS MATERIALIZED (
                SELECT p.publisher, p.package, p.latest, max({relevance}, 0.0) AS relevance,
                       CASE WHEN {name} = '' THEN 0
                            WHEN p.name = {name} OR p.package = {name} THEN 1000
                            WHEN replace(replace(replace(p.name, '-', ' '), '_', ' '), '.', ' ') = {joined} THEN 900
                            WHEN substr(p.name, 1, length({name})) = {name} THEN 100 ELSE 0 END AS class
                FROM {from} WHERE {condition}{filters}
             ), judged AS (
                SELECT f.*, u.standing,
                       f.class + CASE WHEN u.standing > 0 THEN 50 WHEN u.first_seen < {known_before} THEN 25 ELSE 0 END
                       + 20.0 * f.relevance / (f.relevance + 5.0) AS score
                FROM found f JOIN publishers u ON u.id = f.publisher
             ), placed AS (
                SELECT *, row_number() OVER (PARTITION BY publisher ORDER BY score DESC, package) AS place FROM judged
             )
             SELECT r.envelope, r.yanked, r.seen, r.source,
                    CASE WHEN s.standing = 0 AND s.place > {share} THEN s.score - {DEMOTION:.1} ELSE s.score END AS rank
             FROM placed s JOIN releases r ON r.cid = s.latest
             ORDER BY rank DESC, s.package, s.publisher LIMIT {limit}"
        );
        let rows = self.catalog.read_rows(&sql, rusqlite::params_from_iter(values.0), |row| {
            Ok(((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?), row.get(4)?))
        })?;
        rows.into_iter().map(|(row, score)| Ok(Hit { entry: self.catalog.release_entry(row)?, score, fuzzy })).collect()
    }

    /// Most hits of one unfollowed publisher on the page.
    fn share(&self) -> i64 {
        (self.limit / SHARES).max(MIN_SHARE) as i64
    }

    fn filters(&self, values: &mut Values) -> String {
        let mut sql = String::new();
        if let Some(category) = &self.filters.category {
            sql += &format!(" AND p.category = {}", values.bind(category.to_lowercase()));
        }
        for tag in self.filters.tags.iter().take(MAX_FILTER_TAGS) {
            let tag = values.bind(tag.to_lowercase());
            sql += &format!(" AND EXISTS (SELECT 1 FROM tags WHERE tags.package = p.id AND tags.tag = {tag})");
        }
        sql
    }

    /// Finds packages within a typo's distance: those that share trigrams with the query, compared by edit distance.
    fn similar(&self) -> Result<Vec<Hit>, CatalogError> {
        let mut values = Values::default();
        let expression = values.bind(self.words.trigram_expression());
        let filters = self.filters(&mut values);
        let sql = format!(
            "SELECT p.id, r.envelope FROM trigrams JOIN packages p ON p.id = trigrams.rowid
             JOIN releases r ON r.cid = p.latest
             WHERE trigrams MATCH {expression}{filters} ORDER BY bm25(trigrams) LIMIT {MAX_SIMILAR}"
        );
        let rows: Vec<(i64, Vec<u8>)> =
            self.catalog.read_rows(&sql, rusqlite::params_from_iter(values.0), |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut near = Vec::new();
        for (id, envelope) in rows {
            let release = self.catalog.open_stored(&envelope)?;
            near.extend(self.words.nearness(&words::compared(release.record())).map(|nearness| (id, nearness)));
        }
        if near.is_empty() { Ok(Vec::new()) } else { self.run(Source::Near(near)) }
    }
}

/// Decides whether releases match a query, by the rules of [`Catalog::search`]. It verifies the search responses of
/// peers.
#[derive(Debug)]
pub struct Matcher {
    connection: Connection,
    words: Words,
    is_everything: bool,
    filters: SearchFilters,
}

impl Matcher {
    /// Creates a matcher for one query.
    ///
    /// # Errors
    /// [`CatalogError`] if SQLite cannot allocate memory.
    pub fn new(query: &str, filters: &SearchFilters) -> Result<Self, CatalogError> {
        let connection = Connection::open_in_memory().map_err(failed)?;
        connection.execute_batch(words::TABLES).map_err(failed)?;
        let (words, is_everything) = (Words::of(query), query.trim().is_empty());
        Ok(Self { connection, words, is_everything, filters: filters.clone() })
    }

    /// Returns whether a release matches: it passes the filters, and it contains a term of the query or each term has a
    /// near match within a typo's distance.
    ///
    /// # Errors
    /// [`CatalogError`] if SQLite cannot allocate memory.
    pub fn fits(&self, release: &Release) -> Result<bool, CatalogError> {
        if !self.filters.admits(release) || (self.words.is_empty() && !self.is_everything) {
            return Ok(false);
        }
        if self.is_everything || self.words.nearness(&words::compared(release)).is_some() {
            return Ok(true);
        }
        let run = || {
            words::insert(&self.connection, 1, release)?;
            let sql = "SELECT count(*) FROM words WHERE words MATCH ?1";
            let found: i64 =
                self.connection.prepare_cached(sql)?.query_row([self.words.expression(" OR ")], |row| row.get(0))?;
            words::remove(&self.connection, 1)?;
            Ok(found > 0)
        };
        run().map_err(failed)
    }
}

fn failed(source: rusqlite::Error) -> CatalogError {
    super::schema::SCHEMA.failed("search", std::path::Path::new(crate::database::MEMORY))(source).into()
}

/// Keywords under which a release is findable in the DHT, the most significant first: name, title, tags, keywords,
/// category, namespace, publisher, then the description's longest. At most `limit`. A run of Chinese, Japanese or
/// Korean contributes its first bigrams; its remaining bigrams follow before the description.
pub fn words_of(release: &Release, limit: usize) -> Vec<String> {
    let metadata = &release.metadata;
    let publisher: &PublisherId = &release.publisher;
    let lists = metadata.tags.iter().chain(&metadata.keywords).map(String::as_str);
    let mut texts = vec![release.package.name(), metadata.title.as_deref().unwrap_or_default()];
    texts.extend(lists);
    texts.extend([metadata.category.as_deref().unwrap_or_default(), release.package.namespace()]);
    let (mut found, mut rest) = (Vec::new(), Vec::new());
    for term in texts.into_iter().flat_map(terms) {
        let mut keys = term.keys();
        rest.extend(keys.split_off(keys.len().min(FIRST_BIGRAMS)));
        found.extend(keys);
    }
    found.push(publisher.short());
    found.append(&mut rest);
    let mut description = terms(&metadata.description);
    description.sort_by_key(|term| std::cmp::Reverse(term.text().chars().count()));
    found.extend(description.iter().flat_map(Term::keys));
    let mut kept: Vec<String> = Vec::new();
    for word in found {
        if kept.len() < limit && !kept.contains(&word) {
            kept.push(word);
        }
    }
    kept
}

/// Bigrams of one run that precede the keywords of later fields, so that a long title leaves room for tags.
const FIRST_BIGRAMS: usize = 3;
