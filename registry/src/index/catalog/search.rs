//! Search by words.
//!
//! A query is user input: it is cut into words here, and never read as FTS5 syntax. Hits are ordered by
//!
//! 1. the name: exactly the query, then the query's words, then beginning with the query, then all others;
//! 2. the publisher: followed or of this home, then long known, then others;
//! 3. how well the words fit (bm25; a word in the name weighs most, then tags and keywords, then namespace and publisher).
//!
//! Every word must be found, as the beginning of a word (within Chinese, Japanese or Korean text anywhere, see
//! `index/terms.rs`); if nothing has them all, any one does; and if that finds nothing either, what is a typo away. Of one publisher that nobody here follows a page shows a quarter at most, as
//! long as there is something else to show.

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
/// Packages that share trigrams with a query and are compared with it letter by letter.
const MAX_SIMILAR: i64 = 256;
/// Least score of a hit whose name is the query, or the query's words.
const NAMED: f64 = 900.0;
/// Hits of one unfollowed publisher that any page may show.
const MIN_SHARE: usize = 3;
/// What is left of the page for others: one part in this many is the most for one publisher.
const SHARES: usize = 4;
/// How far a hit beyond its publisher's share falls: below all others.
const DEMOTION: f64 = 2000.0;

/// What a search leaves out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchFilters {
    /// Only packages of this category, whatever its case.
    pub category: Option<String>,
    /// Only packages that have all these tags, whatever their case. At most 16 are read.
    pub tags: Vec<String>,
    /// Publishers first seen before this are long known, and stand before others.
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

/// A package that a search found.
#[derive(Clone, Debug)]
pub struct Hit {
    /// Its latest release that is not yanked, else its latest.
    pub entry: ReleaseEntry,
    /// How well it fits: higher is better; over 900 for an exact name, over 100 for the beginning of one, below 0 for
    /// what is beyond its publisher's share of the page.
    pub score: f64,
    /// Whether no package has the words of the query, and this one has words a typo away.
    pub fuzzy: bool,
}

impl Hit {
    /// Whether its name is the query, or the query's words.
    pub(crate) fn is_named(&self) -> bool {
        self.score >= NAMED
    }
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

/// Where hits come from.
enum Source {
    All,
    Words(String),
    /// Packages by id, with how near each is.
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
    /// Binds a value and returns its place in the statement.
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

    /// Hits that a publisher which nobody here follows may have on the page.
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

    /// What is a typo away: packages that share trigrams with the query, compared letter by letter.
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

/// Says whether releases fit a query, by the very rules of [`Catalog::search`]: what others answer is checked with it.
#[derive(Debug)]
pub struct Matcher {
    connection: Connection,
    words: Words,
    is_everything: bool,
    filters: SearchFilters,
}

impl Matcher {
    /// For one query.
    ///
    /// # Errors
    /// [`CatalogError`] if SQLite has no memory.
    pub fn new(query: &str, filters: &SearchFilters) -> Result<Self, CatalogError> {
        let connection = Connection::open_in_memory().map_err(failed)?;
        connection.execute_batch(words::TABLES).map_err(failed)?;
        let (words, is_everything) = (Words::of(query), query.trim().is_empty());
        Ok(Self { connection, words, is_everything, filters: filters.clone() })
    }

    /// Says whether a release fits: some word of the query, or something a typo away from all of them, and the filters.
    ///
    /// # Errors
    /// [`CatalogError`] if SQLite has no memory.
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

/// Words under which a release can be found on the network, the weightiest first: name, title, tags, keywords, category,
/// namespace, publisher, then the description's longest. At most `limit`. A run of Chinese, Japanese or Korean counts as
/// its first bigrams; what else it has comes before the description.
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

/// Bigrams of one run that stand before the words of other texts: a long title must not leave no room for tags.
const FIRST_BIGRAMS: usize = 3;
