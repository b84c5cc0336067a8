//! Known names that resemble a misspelt name.

use rusqlite::params;

use crate::{
    index::{Catalog, CatalogError},
    package::{PackageId, nearest_package},
};

/// Most packages that share the namespace or name with the given one and are compared with it by edit distance.
const MAX_COMPARED: i64 = 4096;

impl Catalog {
    /// The known package that `name` most likely misspells: one with the same namespace or the same name whose full
    /// name resembles it.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub(crate) fn nearest_package(&self, name: &PackageId) -> Result<Option<PackageId>, CatalogError> {
        // `0` follows `/` in ASCII, so the range between the two contains every name that begins with the namespace.
        let sql = "SELECT package FROM releases WHERE package > ?1 || '/' AND package < ?1 || '0'
                   UNION SELECT package FROM packages WHERE name = ?2 LIMIT ?3";
        let parameters = params![name.namespace(), name.name(), MAX_COMPARED];
        let known: Vec<String> = self.read_rows(sql, parameters, |row| row.get(0))?;
        Ok(nearest_package(name, known.iter().filter_map(|known| known.parse().ok())))
    }
}
