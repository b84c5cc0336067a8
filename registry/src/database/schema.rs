//! Opening a database: its tables are made if there are none, and older ones are brought up to date.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::{Access, DatabaseError, check_if_small};

/// How long to wait for another process that reads or writes the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What one of the databases of a home is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schema {
    /// What errors call it.
    pub(crate) name: &'static str,
    /// Stands in `application_id`, so that no other program's database is taken for this one. 0 is that of every program.
    pub(crate) application: i64,
    /// Version of the tables; stands in `user_version`, from 1.
    pub(crate) version: i64,
    /// Makes the tables in an empty file.
    pub(crate) create: fn(&Transaction<'_>) -> rusqlite::Result<()>,
    /// Brings tables of an older version up to date, from 1.
    pub(crate) upgrade: fn(&Transaction<'_>, i64) -> rusqlite::Result<()>,
    /// Settings of the connection.
    pub(crate) settings: &'static str,
}

impl Schema {
    /// Opens the database at `path`, which is made if it is not there.
    ///
    /// # Errors
    /// [`DatabaseError`]: a newer schema, another program's database, a damaged or locked file, what the system refuses.
    pub(crate) fn open(&self, path: &Path, access: Access) -> Result<Connection, DatabaseError> {
        let failed = self.failed("open", path);
        let mut connection = access.open(path).map_err(&failed)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(&failed)?;
        // Two processes that open a fresh file at once must not both make the tables: look and make in one transaction.
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
        self.prepare(&transaction, path)?;
        transaction.commit().map_err(&failed)?;
        if let Some(reason) = check_if_small(&connection, path).map_err(&failed)? {
            return Err(self.damaged(path, reason));
        }
        connection.execute_batch(self.settings).map_err(&failed)?;
        Ok(connection)
    }

    /// Makes the tables, or brings them up to date.
    fn prepare(&self, transaction: &Transaction<'_>, path: &Path) -> Result<(), DatabaseError> {
        let Self { name, application, version, .. } = *self;
        let failed = self.failed("open", path);
        let pragma =
            |name: &str| transaction.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(&failed);
        let tables: i64 =
            transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(&failed)?;
        let set_version = || transaction.pragma_update(None, "user_version", version);
        match (tables, pragma("application_id")?, pragma("user_version")?) {
            (0, ..) => {
                (self.create)(transaction).map_err(&failed)?;
                transaction.pragma_update(None, "application_id", application).map_err(&failed)?;
                set_version().map_err(&failed)
            }
            (_, found, _) if found != application => {
                Err(self.damaged(path, "it is a database of another program".to_owned()))
            }
            (_, _, found) if found == version => Ok(()),
            (_, _, found) if found > version => {
                Err(DatabaseError::Newer { name, path: path.to_owned(), found, supported: version })
            }
            (_, _, found @ 1..) => {
                let failed = self.failed("bring up to date", path);
                (self.upgrade)(transaction, found).and_then(|()| set_version()).map_err(failed)
            }
            (_, _, found) => Err(self.damaged(path, format!("it has the unknown schema {found}"))),
        }
    }

    /// Turns SQLite's errors during `action` into this database's.
    pub(crate) fn failed(
        &self,
        action: &'static str,
        path: &Path,
    ) -> impl Fn(rusqlite::Error) -> DatabaseError + use<> {
        let (name, path) = (self.name, path.to_owned());
        move |source| DatabaseError::from_sqlite(name, action, &path, source)
    }

    /// The error of a damaged database.
    pub(crate) fn damaged(&self, path: &Path, reason: String) -> DatabaseError {
        DatabaseError::Damaged { name: self.name, path: path.to_owned(), reason }
    }
}
