//! The mirror's database: its rules, the releases that they select, and the claims that it republishes.
//!
//! It is one SQLite file, `mirror.db` in the home. It is separate from the catalog, which can be rebuilt from signed
//! records, while an operator's rules cannot. The rules are therefore also kept in a copy (`copy`).

mod copy;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use ggen_blockstore::{Cid, DAMAGE};
use rusqlite::{Connection, Params, Row, params};

use self::copy::{Copy, Rules};
use crate::{
    MAX_RULES, MirrorRule,
    database::{Access, DatabaseError, Schema},
    home::HomeError,
    identity::{PublisherId, Timestamp},
    index::Claim,
    mirror::plan::Candidate,
    package::PackageId,
};

const SCHEMA: Schema = Schema {
    name: "mirror database",
    application: 0,
    version: 2,
    create: |transaction| transaction.execute_batch(TABLES).and_then(|()| transaction.execute_batch(MEANINGS)),
    upgrade: |transaction, _| transaction.execute_batch(MEANINGS),
    settings: "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;",
};
/// Claims of one package that are read at a time; under its name there is room for eight.
const MAX_CLAIMS_READ: usize = 64;

const TABLES: &str = "
    CREATE TABLE rules (
        what      TEXT PRIMARY KEY,             -- ns/name, ns/*, a publisher, or all
        versions  INTEGER,
        max_bytes INTEGER
    ) STRICT;
    CREATE TABLE releases (                     -- what rules are about, and what is held
        publisher BLOB NOT NULL,
        package   TEXT NOT NULL,
        version   TEXT NOT NULL,
        release   BLOB NOT NULL,                -- binary CID
        content   BLOB NOT NULL,                -- binary CID
        bytes     INTEGER NOT NULL,
        created   INTEGER NOT NULL,             -- seconds since 1970, by the publisher, not after it was learned of
        offered   INTEGER NOT NULL,             -- the newest catalog seen has it, not yanked
        held      INTEGER NOT NULL,
        PRIMARY KEY (publisher, package, version)
    ) STRICT;
    CREATE TABLE claims (                       -- the newest claim of each package of which something is held
        publisher BLOB NOT NULL,
        package   TEXT NOT NULL,
        claim     BLOB NOT NULL,
        PRIMARY KEY (publisher, package)
    ) STRICT;
";

/// The tables that schema 2 adds to schema 1.
const MEANINGS: &str = "
    CREATE TABLE meanings (                     -- whose the bare name is by which something is held
        what      TEXT PRIMARY KEY,             -- ns/name or ns/*
        publisher BLOB NOT NULL
    ) STRICT;
";

const SET_RULE: &str = "INSERT OR REPLACE INTO rules (what, versions, max_bytes) VALUES (?1, ?2, ?3)";
const SET_MEANING: &str = "INSERT OR IGNORE INTO meanings (what, publisher) VALUES (?1, ?2)";

/// Why the database cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BookError {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("the copy of the mirror's rules is not kept")]
    Copy(#[source] HomeError),
    #[error("there are {MAX_RULES} mirror rules already")]
    TooMany,
}

/// The database; see the module. All methods block.
#[derive(Debug)]
pub(crate) struct Book {
    connection: Mutex<Connection>,
    path: PathBuf,
    /// `None` for a database in memory, or one that is only read.
    copy: Option<Copy>,
    /// Held while rules or meanings change, in the copy and in the database: each change starts from the one before.
    changing: Mutex<()>,
}

impl Book {
    /// Opens the database at `path` and creates it if it does not exist; `:memory:` opens one in memory. A damaged one
    /// is set aside and rebuilt with the rules of the copy. If the rules of the two differ, those of the copy replace
    /// those of the database.
    ///
    /// # Errors
    /// A damaged database without a valid copy of its rules; a database of a newer program; I/O errors.
    pub(crate) fn open(path: &Path, access: Access) -> Result<Self, BookError> {
        let copy = Copy::beside(path);
        let kept = copy.as_ref().and_then(Copy::read);
        let copy = copy.filter(|_| access == Access::Write);
        match (Self::open_sound(path, access), kept) {
            (Ok(book), kept) => {
                let book = Self { copy, ..book };
                book.compare(kept)?;
                Ok(book)
            }
            (Err(error @ BookError::Database(DatabaseError::Damaged { .. })), Some(kept)) => {
                let aside = access.set_aside(path)?;
                tracing::warn!(
                    target: DAMAGE, %error, aside = %aside.display(), rules = kept.rules.len(),
                    "the mirror's database is made again with its rules; what it holds is found by its pins"
                );
                let book = Self { copy, ..Self::open_sound(access.made_again_at(path), Access::Write)? };
                book.take_over(&kept)?;
                Ok(book)
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Opens and checks a database, without its copy.
    fn open_sound(path: &Path, access: Access) -> Result<Self, BookError> {
        let connection = SCHEMA.open(path, access)?;
        let book =
            Self { connection: Mutex::new(connection), path: path.to_owned(), copy: None, changing: Mutex::default() };
        // The integrity check does not detect invalid values: read all rows once.
        book.rules()?;
        book.meanings()?;
        book.releases()?;
        Ok(book)
    }

    /// Makes database and copy agree on the rules when the database is opened. The copy takes precedence.
    fn compare(&self, kept: Option<Rules>) -> Result<(), BookError> {
        let here = self.rules_here()?;
        match kept {
            Some(kept) if kept == here => Ok(()),
            Some(kept) => {
                tracing::warn!(
                    target: DAMAGE, path = %self.path.display(), rules = kept.rules.len(),
                    "the rules in the mirror's database are not those of their copy, which has a checksum: the copy counts"
                );
                self.take_over(&kept)
            }
            None if here == Rules::default() => Ok(()),
            None => self.write_copy(&here),
        }
    }

    /// Replaces the rules in the database with those of a copy.
    fn take_over(&self, kept: &Rules) -> Result<(), BookError> {
        let mut connection = self.lock();
        let run = || -> rusqlite::Result<()> {
            let transaction = connection.transaction()?;
            transaction.execute_batch("DELETE FROM rules; DELETE FROM meanings;")?;
            for MirrorRule { what, versions, max_bytes } in &kept.rules {
                let max_bytes = max_bytes.map(u64::cast_signed);
                transaction.execute(SET_RULE, params![what.to_string(), versions, max_bytes])?;
            }
            for (what, publisher) in &kept.meanings {
                transaction.execute(SET_MEANING, params![what, publisher.to_bytes()])?;
            }
            transaction.commit()
        };
        let mut run = run;
        run().map_err(self.failed("write"))
    }

    fn rules_here(&self) -> Result<Rules, BookError> {
        Ok(Rules { rules: self.rules()?, meanings: self.meanings()? })
    }

    /// Changes rules or meanings: first in the copy, then by `sql` in the database. If the process dies in between, the next
    /// opening takes the rules of the copy. Returns how many rows have changed.
    fn change(&self, change: impl FnOnce(&mut Rules), sql: &str, params: impl Params) -> Result<usize, BookError> {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rules = self.rules_here()?;
        change(&mut rules);
        self.write_copy(&rules)?;
        self.write(sql, params)
    }

    fn write_copy(&self, rules: &Rules) -> Result<(), BookError> {
        self.copy.as_ref().map_or(Ok(()), |copy| copy.write(rules)).map_err(BookError::Copy)
    }

    /// Returns the rules, ordered by scope.
    pub(crate) fn rules(&self) -> Result<Vec<MirrorRule>, BookError> {
        let rows = self.rows("SELECT what, versions, max_bytes FROM rules ORDER BY what", [], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, Option<u32>>(1)?, row.get::<_, Option<i64>>(2)?))
        })?;
        rows.into_iter()
            .map(|(what, versions, max_bytes)| {
                let what = what.parse().map_err(|error| self.damaged(error))?;
                Ok(MirrorRule { what, versions, max_bytes: max_bytes.map(i64::cast_unsigned) })
            })
            .collect()
    }

    /// Sets a rule, and replaces one with the same scope.
    pub(crate) fn set_rule(&self, rule: &MirrorRule) -> Result<(), BookError> {
        let what = rule.what.to_string();
        let others = "SELECT count(*) FROM rules WHERE what <> ?1";
        let others: Vec<i64> = self.rows(others, params![what], |row| row.get(0))?;
        if others.first().is_some_and(|count| *count >= MAX_RULES as i64) {
            return Err(BookError::TooMany);
        }
        let change = |rules: &mut Rules| {
            rules.rules.retain(|other| other.what != rule.what);
            rules.rules.push(rule.clone());
        };
        self.change(change, SET_RULE, params![what, rule.versions, rule.max_bytes.map(u64::cast_signed)])?;
        Ok(())
    }

    /// Removes the rule with scope `what` and returns whether there was one.
    pub(crate) fn drop_rule(&self, what: &str) -> Result<bool, BookError> {
        self.forget_meaning(what)?;
        let change = |rules: &mut Rules| rules.rules.retain(|rule| rule.what.to_string() != what);
        Ok(self.change(change, "DELETE FROM rules WHERE what = ?1", params![what])? > 0)
    }

    /// Returns the publishers that bare names resolve to, by the scope of the rule, where something is held.
    pub(crate) fn meanings(&self) -> Result<BTreeMap<String, PublisherId>, BookError> {
        let rows: Vec<(String, Vec<u8>)> =
            self.rows("SELECT what, publisher FROM meanings", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.into_iter().map(|(what, publisher)| Ok((what, self.publisher(&publisher)?))).collect()
    }

    /// Fixes the publisher that a bare name resolves to, so that a later claimant does not replace it.
    pub(crate) fn set_meaning(&self, what: &str, publisher: &PublisherId) -> Result<(), BookError> {
        let change = |rules: &mut Rules| {
            rules.meanings.entry(what.to_owned()).or_insert(*publisher);
        };
        self.change(change, SET_MEANING, params![what, publisher.to_bytes()])?;
        Ok(())
    }

    /// Deletes the publisher that a bare name resolves to.
    pub(crate) fn forget_meaning(&self, what: &str) -> Result<(), BookError> {
        let change = |rules: &mut Rules| {
            rules.meanings.remove(what);
        };
        self.change(change, "DELETE FROM meanings WHERE what = ?1", params![what])?;
        Ok(())
    }

    /// Returns all releases that the rules cover, and all held ones.
    pub(crate) fn releases(&self) -> Result<Vec<Candidate>, BookError> {
        self.candidates("ORDER BY publisher, package", [])
    }

    /// Returns the known releases of one package of a publisher.
    pub(crate) fn releases_of(
        &self,
        publisher: &PublisherId,
        package: &PackageId,
    ) -> Result<Vec<Candidate>, BookError> {
        self.candidates("WHERE publisher = ?1 AND package = ?2", params![publisher.to_bytes(), package.as_str()])
    }

    /// Returns the packages of a publisher with held releases.
    pub(crate) fn held_packages(&self, publisher: &PublisherId) -> Result<BTreeSet<PackageId>, BookError> {
        let sql = "SELECT DISTINCT package FROM releases WHERE publisher = ?1 AND held";
        let names: Vec<String> = self.rows(sql, params![publisher.to_bytes()], |row| row.get(0))?;
        names.iter().map(|name| name.parse().map_err(|error| self.damaged(error))).collect()
    }

    fn candidates(&self, condition: &str, params: impl Params) -> Result<Vec<Candidate>, BookError> {
        let sql = format!(
            "SELECT publisher, package, version, release, content, bytes, created, offered, held FROM releases
             {condition}"
        );
        let rows = self.rows(&sql, params, |row| {
            Ok((
                row.get::<_, Vec<u8>>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, String>(2)?,
                (row.get::<_, Vec<u8>>(3)?, row.get::<_, Vec<u8>>(4)?),
                (row.get::<_, i64>(5)?, row.get::<_, i64>(6)?),
                (row.get::<_, bool>(7)?, row.get::<_, bool>(8)?),
            ))
        })?;
        rows.into_iter()
            .map(|(publisher, package, version, (release, content), (bytes, created), (offered, held))| {
                Ok(Candidate {
                    publisher: self.publisher(&publisher)?,
                    package: package.parse().map_err(|error| self.damaged(error))?,
                    version: version.parse().map_err(|error: semver::Error| self.damaged(error))?,
                    release: self.cid(&release)?,
                    content: self.cid(&content)?,
                    bytes: bytes.cast_unsigned(),
                    created: Timestamp::from_unix(created.cast_unsigned()),
                    offered,
                    held,
                })
            })
            .collect()
    }

    /// Records the releases of a package in the newest catalog of a publisher. Releases that it no longer offers and
    /// that are not held are deleted.
    pub(crate) fn offer(
        &self,
        publisher: &PublisherId,
        package: &PackageId,
        offered: &[Candidate],
    ) -> Result<(), BookError> {
        let mut connection = self.lock();
        let run = || -> rusqlite::Result<()> {
            let transaction = connection.transaction()?;
            let key = params![publisher.to_bytes(), package.as_str()];
            transaction.execute("UPDATE releases SET offered = 0 WHERE publisher = ?1 AND package = ?2", key)?;
            for candidate in offered {
                transaction.execute(
                    "INSERT INTO releases (publisher, package, version, release, content, bytes, created, offered, held)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, 0)
                     ON CONFLICT (publisher, package, version) DO UPDATE SET offered = 1",
                    params![
                        publisher.to_bytes(),
                        package.as_str(),
                        candidate.version.to_string(),
                        candidate.release.to_bytes(),
                        candidate.content.to_bytes(),
                        candidate.bytes.cast_signed(),
                        candidate.created.as_unix().cast_signed(),
                    ],
                )?;
            }
            transaction.execute(
                "DELETE FROM releases WHERE publisher = ?1 AND package = ?2 AND NOT offered AND NOT held",
                params![publisher.to_bytes(), package.as_str()],
            )?;
            transaction.commit()
        };
        let mut run = run;
        run().map_err(self.failed("write"))
    }

    /// Marks a release as held or not held, and returns whether the database knows it.
    pub(crate) fn set_held(&self, candidate: &Candidate, held: bool) -> Result<bool, BookError> {
        let sql = "UPDATE releases SET held = ?4 WHERE publisher = ?1 AND package = ?2 AND version = ?3";
        let (publisher, version) = (candidate.publisher.to_bytes(), candidate.version.to_string());
        let known = self.write(sql, params![publisher, candidate.package.as_str(), version, held])? > 0;
        let forget = "DELETE FROM releases WHERE NOT offered AND NOT held";
        self.write(forget, [])?;
        Ok(known)
    }

    /// Deletes all releases that are not held, so that they are determined again under the current rules.
    pub(crate) fn forget_offers(&self) -> Result<(), BookError> {
        self.write("DELETE FROM releases WHERE NOT held", [])?;
        Ok(())
    }

    /// Keeps the newest claim of a package.
    pub(crate) fn keep_claim(&self, claim: &Claim) -> Result<(), BookError> {
        let Some(package) = claim.package() else { return Ok(()) };
        let sql = "INSERT OR REPLACE INTO claims (publisher, package, claim) VALUES (?1, ?2, ?3)";
        self.write(sql, params![claim.publisher().to_bytes(), package.as_str(), claim.encoded()])?;
        Ok(())
    }

    /// Deletes the claims on packages without held releases.
    pub(crate) fn drop_idle_claims(&self) -> Result<(), BookError> {
        let sql = "DELETE FROM claims WHERE NOT EXISTS (
                       SELECT 1 FROM releases
                       WHERE held AND releases.publisher = claims.publisher AND releases.package = claims.package)";
        self.write(sql, [])?;
        Ok(())
    }

    /// Returns the last announced claim on a package, encoded.
    pub(crate) fn claim_of(&self, publisher: &PublisherId, package: &PackageId) -> Result<Option<Vec<u8>>, BookError> {
        let sql = "SELECT claim FROM claims WHERE publisher = ?1 AND package = ?2";
        let found: Vec<_> = self.rows(sql, params![publisher.to_bytes(), package.as_str()], |row| row.get(0))?;
        Ok(found.into_iter().next())
    }

    /// Returns the first `most` claims after the row id `place`, encoded, each with its row id.
    pub(crate) fn claims_after(&self, place: i64, most: usize) -> Result<Vec<(i64, Vec<u8>)>, BookError> {
        let sql = "SELECT rowid, claim FROM claims WHERE rowid > ?1 ORDER BY rowid LIMIT ?2";
        self.rows(sql, params![place, most as i64], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// Returns the claims of all publishers on a package, encoded, at most [`MAX_CLAIMS_READ`].
    pub(crate) fn claims_on(&self, package: &PackageId) -> Result<Vec<Vec<u8>>, BookError> {
        let sql = "SELECT claim FROM claims WHERE package = ?1 ORDER BY publisher LIMIT ?2";
        self.rows(sql, params![package.as_str(), MAX_CLAIMS_READ as i64], |row| row.get(0))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic under the lock leaves at most an open transaction, which its drop rolls back.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rows<T>(
        &self,
        sql: &str,
        params: impl Params,
        row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, BookError> {
        let connection = self.lock();
        let run = || -> rusqlite::Result<_> { connection.prepare_cached(sql)?.query_map(params, row)?.collect() };
        run().map_err(self.failed("read"))
    }

    fn write(&self, sql: &str, params: impl Params) -> Result<usize, BookError> {
        self.lock().execute(sql, params).map_err(self.failed("write"))
    }

    fn failed(&self, action: &'static str) -> impl Fn(rusqlite::Error) -> BookError + use<> {
        let failed = SCHEMA.failed(action, &self.path);
        move |source| failed(source).into()
    }

    fn damaged(&self, reason: impl std::fmt::Display) -> BookError {
        SCHEMA.damaged(&self.path, reason.to_string()).into()
    }

    fn publisher(&self, bytes: &[u8]) -> Result<PublisherId, BookError> {
        PublisherId::from_bytes(bytes).ok_or_else(|| self.damaged("not a publisher id"))
    }

    fn cid(&self, bytes: &[u8]) -> Result<Cid, BookError> {
        Cid::try_from(bytes).map_err(|error| self.damaged(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::plan::tests::candidate;

    #[test]
    fn rules_and_what_is_held_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mirror.db");
        let rule = MirrorRule { what: "acme/*".parse().unwrap(), versions: Some(3), max_bytes: Some(u64::MAX) };
        let (kept, gone) = (candidate("acme/http", "1.0.0", 10), candidate("acme/http", "1.1.0", 20));
        {
            let book = Book::open(&path, Access::Write).unwrap();
            book.set_rule(&rule).unwrap();
            book.set_rule(&MirrorRule { versions: Some(4), ..rule.clone() }).unwrap();
            book.set_rule(&rule).unwrap();
            book.offer(&kept.publisher, &kept.package, &[kept.clone(), gone.clone()]).unwrap();
            book.set_held(&kept, true).unwrap();
        }
        let book = Book::open(&path, Access::Write).unwrap();
        assert_eq!(book.rules().unwrap(), [rule]);
        assert_eq!(book.releases().unwrap().len(), 2);
        assert_eq!(book.releases_of(&kept.publisher, &kept.package).unwrap().len(), 2);
        assert_eq!(book.held_packages(&kept.publisher).unwrap(), BTreeSet::from([kept.package.clone()]));
        // Both are yanked: the held release is kept until it is marked as not held, the other is deleted.
        book.offer(&kept.publisher, &kept.package, &[]).unwrap();
        let left = book.releases().unwrap();
        assert_eq!(left, [Candidate { held: true, offered: false, ..kept.clone() }]);
        assert!(book.set_held(&kept, false).unwrap());
        assert_eq!(book.releases().unwrap(), []);
        assert!(!book.set_held(&kept, true).unwrap(), "nothing is known of it any more");
        book.set_meaning("acme/*", &kept.publisher).unwrap();
        assert_eq!(book.meanings().unwrap().len(), 1);
        assert!(book.drop_rule("acme/*").unwrap() && !book.drop_rule("acme/*").unwrap());
        assert_eq!(book.meanings().unwrap(), BTreeMap::new(), "a rule that is made anew finds out anew");
    }

    #[test]
    fn a_damaged_book_is_made_again_with_the_rules_of_its_copy_and_refused_without_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mirror.db");
        let rule = MirrorRule { what: "acme/*".parse().unwrap(), versions: Some(3), max_bytes: None };
        let publisher = candidate("acme/http", "1.0.0", 10).publisher;
        {
            let book = Book::open(&path, Access::Write).unwrap();
            book.set_rule(&rule).unwrap();
            book.set_rule(&MirrorRule { what: "all".parse().unwrap(), ..rule.clone() }).unwrap();
            book.set_meaning("acme/*", &publisher).unwrap();
            assert!(book.drop_rule("all").unwrap());
        }
        // A flipped bit that the integrity check does not detect changes the rule.
        Connection::open(&path).unwrap().execute_batch("UPDATE rules SET what = 'abme/*'").unwrap();
        assert_eq!(Book::open(&path, Access::Write).unwrap().rules().unwrap(), std::slice::from_ref(&rule));
        for damage in [vec![7; 5000], Vec::from(*b"SQLite format 3")] {
            std::fs::write(&path, damage).unwrap();
            let book = Book::open(&path, Access::Write).unwrap();
            assert_eq!(book.rules().unwrap(), std::slice::from_ref(&rule));
            assert_eq!(book.meanings().unwrap(), BTreeMap::from([("acme/*".to_owned(), publisher)]));
        }
        assert!(dir.path().join("mirror.db.damaged-2").exists());
        std::fs::write(dir.path().join("mirror.rules"), "nothing").unwrap();
        assert_eq!(Book::open(&path, Access::Write).unwrap().rules().unwrap().len(), 1, "the copy is written again");
        std::fs::write(dir.path().join("mirror.rules"), "nothing").unwrap();
        std::fs::write(&path, vec![7; 5000]).unwrap();
        assert!(matches!(Book::open(&path, Access::Write), Err(BookError::Database(DatabaseError::Damaged { .. }))));
    }

    #[test]
    fn a_book_of_the_schema_before_keeps_its_rules() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mirror.db");
        let script = format!("{TABLES} INSERT INTO rules (what) VALUES ('acme/*'); PRAGMA user_version = 1;");
        Connection::open(&path).unwrap().execute_batch(&script).unwrap();
        let book = Book::open(&path, Access::Write).unwrap();
        assert_eq!((book.rules().unwrap().len(), book.meanings().unwrap().len()), (1, 0));
    }

    #[test]
    fn a_book_of_a_later_version_is_refused_and_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mirror.db");
        drop(Book::open(&path, Access::Write).unwrap());
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 9).unwrap();
        assert!(matches!(
            Book::open(&path, Access::Write),
            Err(BookError::Database(DatabaseError::Newer { found: 9, .. }))
        ));
    }

    #[test]
    fn changes_at_the_same_time_all_take_effect_in_the_copy_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mirror.db");
        let book = Book::open(&path, Access::Write).unwrap();
        let publisher = candidate("acme/http", "1.0.0", 10).publisher;
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let book = &book;
                scope.spawn(move || {
                    for number in 0..10 {
                        let what = format!("acme/p{thread}-{number}");
                        let rule = MirrorRule { what: what.parse().unwrap(), versions: None, max_bytes: None };
                        book.set_rule(&rule).unwrap();
                        book.set_meaning(&what, &publisher).unwrap();
                    }
                });
            }
        });
        assert_eq!((book.rules().unwrap().len(), book.meanings().unwrap().len()), (40, 40));
        let kept = Copy::beside(&path).unwrap().read().unwrap();
        assert_eq!((kept.rules.len(), kept.meanings.len()), (40, 40));
    }
}
