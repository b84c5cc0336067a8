//! The trust file of a home, `trust.toml`: a table for each namespace, with its publisher.
//!
//! ```toml
//! [acme]
//! publisher = "bafyrei..."
//! since = "2026-11-30T10:00:00Z"
//! known-by = "first-use"
//! ```
//!
//! It is read each time a name is resolved, so an edit counts at once.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use super::{Trusted, TrustedBy};
use crate::{
    home::{HomeError, write_private},
    identity::{KeyError, Timestamp},
    package::PackageId,
};

/// Largest trust file that is read, in bytes: some 100,000 namespaces.
const MAX_FILE_BYTES: u64 = 16 << 20;
/// The beginning of the file.
const HEADER: &str = "# Which publisher each namespace means to this home. Written by the first fetch of a package of the\n\
                      # namespace, and by `trust add` and `trust remove`.\n";

/// Why the trust file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrustError {
    /// The operating system refused it.
    #[error("cannot read the trust file `{}`", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// It is not what this version writes.
    #[error("the trust file `{}` is damaged: {reason}", path.display())]
    Damaged { path: PathBuf, reason: String },
    /// It cannot be written.
    #[error(transparent)]
    Home(#[from] HomeError),
}

/// The trust file of a home, or one in memory.
#[derive(Debug, Default)]
pub(crate) struct TrustFile {
    /// `None` in memory.
    path: Option<PathBuf>,
    /// The contents of one in memory. Its lock serializes changes of both kinds.
    entries: Mutex<Entries>,
}

type Entries = BTreeMap<String, Trusted>;

/// A namespace, as it stands in the file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Written {
    publisher: String,
    since: String,
    known_by: TrustedBy,
}

impl TrustFile {
    /// The file at `path`, which need not exist.
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path: Some(path), entries: Mutex::default() }
    }

    /// The publisher that is trusted for a namespace.
    ///
    /// # Errors
    /// A file that cannot be read or is damaged. Then no bare name can be trusted.
    pub(crate) fn of(&self, namespace: &str) -> Result<Option<Trusted>, TrustError> {
        Ok(self.all()?.remove(namespace))
    }

    /// The publishers of all namespaces.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub(crate) fn all(&self) -> Result<BTreeMap<String, Trusted>, TrustError> {
        match &self.path {
            None => Ok(self.entries.lock().unwrap_or_else(PoisonError::into_inner).clone()),
            Some(path) => read(path),
        }
    }

    /// Trusts a publisher for a namespace. Returns the entry that it replaces.
    ///
    /// # Errors
    /// As [`Self::of`]; a home that cannot be written to.
    pub(crate) fn set(&self, namespace: &str, trusted: &Trusted) -> Result<Option<Trusted>, TrustError> {
        self.change(|entries| entries.insert(namespace.to_owned(), trusted.clone()))
    }

    /// As [`Self::set`], unless the namespace has a publisher already. Returns whether it had none.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub(crate) fn set_if_new(&self, namespace: &str, trusted: &Trusted) -> Result<bool, TrustError> {
        self.change(|entries| match entries.entry(namespace.to_owned()) {
            Entry::Vacant(entry) => {
                entry.insert(trusted.clone());
                true
            }
            Entry::Occupied(_) => false,
        })
    }

    /// Trusts no publisher for a namespace any more. Returns the removed entry.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub(crate) fn remove(&self, namespace: &str) -> Result<Option<Trusted>, TrustError> {
        self.change(|entries| entries.remove(namespace))
    }

    /// Changes the entries. The file is written only if they have changed.
    fn change<T>(&self, change: impl FnOnce(&mut Entries) -> T) -> Result<T, TrustError> {
        let mut in_memory = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(path) = &self.path else { return Ok(change(&mut in_memory)) };
        let before = read(path)?;
        let mut entries = before.clone();
        let changed = change(&mut entries);
        if entries != before {
            let entries: BTreeMap<_, _> =
                entries.iter().map(|(namespace, of)| (namespace, Written::from(of))).collect();
            let text = toml::to_string(&entries).expect("it is made of strings");
            write_private(path, format!("{HEADER}\n{text}").as_bytes())?;
        }
        Ok(changed)
    }
}

impl From<&Trusted> for Written {
    fn from(trusted: &Trusted) -> Self {
        let Trusted { publisher, since, known_by } = trusted;
        Self { publisher: publisher.to_string(), since: since.to_string(), known_by: *known_by }
    }
}

impl TryFrom<Written> for Trusted {
    type Error = String;

    fn try_from(entry: Written) -> Result<Self, String> {
        let publisher = entry.publisher.parse().map_err(|error: KeyError| error.to_string())?;
        let since = Timestamp::parse(&entry.since);
        let since = since.ok_or_else(|| format!("`{}` is not a time in RFC 3339", entry.since))?;
        Ok(Self { publisher, since, known_by: entry.known_by })
    }
}

fn read(path: &Path) -> Result<Entries, TrustError> {
    let io = |source| TrustError::Io { path: path.to_owned(), source };
    let mut text = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(MAX_FILE_BYTES + 1).read_to_end(&mut text).map_err(io)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Entries::new()),
        Err(error) => return Err(io(error)),
    };
    parse(text).map_err(|reason| TrustError::Damaged { path: path.to_owned(), reason })
}

fn parse(text: Vec<u8>) -> Result<Entries, String> {
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("it has more than {MAX_FILE_BYTES} bytes"));
    }
    let text = String::from_utf8(text).map_err(|error| error.to_string())?;
    let entries: BTreeMap<String, Written> = toml::from_str(&text).map_err(|error| {
        let line = text[..error.span().map_or(0, |span| span.start)].matches('\n').count() + 1;
        format!("line {line}: {}", error.message())
    })?;
    let checked = |(namespace, entry): (String, Written)| {
        PackageId::check_namespace(&namespace).map_err(|error| error.to_string())?;
        let trusted = entry.try_into().map_err(|reason| format!("`{namespace}`: {reason}"))?;
        Ok((namespace, trusted))
    };
    entries.into_iter().map(checked).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::PublisherId;

    fn publisher_id(seed: u8) -> PublisherId {
        PublisherId::new(*ggen_blockstore::Block::dag_cbor(vec![seed]).unwrap().cid()).unwrap()
    }

    fn trusted(number: u8, known_by: TrustedBy) -> Trusted {
        Trusted { publisher: publisher_id(number), since: Timestamp::from_unix(1_700_000_000), known_by }
    }

    #[test]
    fn what_is_set_is_read_by_the_next_process_until_it_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trust.toml");
        for file in [TrustFile::default(), TrustFile::at(path.clone())] {
            let (user, first) = (trusted(1, TrustedBy::User), trusted(2, TrustedBy::FirstUse));
            assert_eq!(file.of("acme").unwrap(), None);
            assert_eq!(file.set("acme", &first).unwrap(), None);
            assert_eq!(file.set("acme", &user).unwrap(), Some(first.clone()));
            assert!(!file.set_if_new("acme", &first).unwrap());
            assert!(file.set_if_new("a.b", &first).unwrap());
            let again = if file.path.is_some() { &TrustFile::at(path.clone()) } else { &file };
            assert_eq!(again.of("acme").unwrap(), Some(user.clone()), "a first use does not replace it");
            let all = [("a.b".to_owned(), first), ("acme".to_owned(), user.clone())];
            assert_eq!(again.all().unwrap(), BTreeMap::from(all));
            assert_eq!(again.remove("acme").unwrap(), Some(user));
            assert_eq!((again.of("acme").unwrap(), again.remove("acme").unwrap()), (None, None));
        }
    }

    #[test]
    fn a_damaged_file_is_an_error_that_names_it_and_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trust.toml");
        let good = {
            TrustFile::at(path.clone()).set("acme", &trusted(1, TrustedBy::User)).unwrap();
            std::fs::read_to_string(&path).unwrap()
        };
        let publisher = publisher_id(1).to_string();
        for wrong in [
            good.replace("known-by = \"user\"", "known-by = \"rumour\""),
            good.replace("[acme]", "[Acme]"),
            good.replace("[acme]", "[acme]\nmore = 1"),
            good.replace(&publisher, "bafy"),
            good.replace("2023-", "2023."),
            good.replace("[acme]", "[acme"),
        ] {
            assert_ne!(wrong, good);
            std::fs::write(&path, &wrong).unwrap();
            let file = TrustFile::at(path.clone());
            let errors = [
                file.of("acme").unwrap_err(),
                file.set("acme", &trusted(2, TrustedBy::User)).unwrap_err(),
                file.set_if_new("acme", &trusted(2, TrustedBy::User)).unwrap_err(),
            ];
            for error in errors {
                assert!(matches!(&error, TrustError::Damaged { path: named, .. } if *named == path), "{error} {wrong}");
            }
            assert_eq!(std::fs::read_to_string(&path).unwrap(), wrong);
        }
    }
}
