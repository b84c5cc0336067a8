//! The copy of the operator's rules: `mirror.rules`, next to the database.
//!
//! It is written before the database, and read when the database is opened.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{MirrorRule, checked_file, database::MEMORY, home::HomeError, identity::PublisherId};

/// Maximum size of the copy in bytes, more than the maximum number of rules takes.
const MAX_BYTES: u64 = 2 << 20;

/// The contents of the copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::mirror) struct Rules {
    /// Ordered by what they are about.
    pub(in crate::mirror) rules: Vec<MirrorRule>,
    /// Whose bare names are.
    pub(in crate::mirror) meanings: BTreeMap<String, PublisherId>,
}

/// The form in the file.
#[derive(Serialize, Deserialize)]
struct Text {
    rules: Vec<MirrorRule>,
    meanings: BTreeMap<String, String>,
}

/// The file of the copy.
#[derive(Debug)]
pub(in crate::mirror) struct Copy {
    path: PathBuf,
}

impl Copy {
    /// The copy of the book at `path`; a book in memory has none.
    pub(in crate::mirror) fn beside(path: &Path) -> Option<Self> {
        (path != Path::new(MEMORY)).then(|| Self { path: path.with_extension("rules") })
    }

    /// What stands in it, if all of it is as it was written.
    pub(in crate::mirror) fn read(&self) -> Option<Rules> {
        let Text { rules, meanings } = checked_file::read(&self.path, MAX_BYTES)?;
        let meanings = meanings.into_iter().map(|(what, publisher)| Some((what, publisher.parse().ok()?)));
        Some(Rules { rules, meanings: meanings.collect::<Option<_>>()? })
    }

    pub(in crate::mirror) fn write(&self, rules: &Rules) -> Result<(), HomeError> {
        let mut ordered = rules.rules.clone();
        ordered.sort_by_key(|rule| rule.what.to_string());
        let meanings = rules.meanings.iter().map(|(what, publisher)| (what.clone(), publisher.to_string())).collect();
        checked_file::write(&self.path, &Text { rules: ordered, meanings })
    }
}
