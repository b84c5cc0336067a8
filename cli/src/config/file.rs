//! The configuration file: TOML, parsed strictly; every error names file, line and key.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use ggen_marketplace::{ErrorKind, Failure};
use serde_json::Value;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{Assignment, ConfigFile, Origin, keys};
use crate::{error, ui::text::one_line};

/// Largest configuration file, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Reads the file's values; none if the file is missing and not required.
pub(super) fn read(file: &ConfigFile) -> Result<Vec<Assignment>, Failure> {
    text(file)?.map_or_else(|| Ok(Vec::new()), |content| parse(&file.path, &content))
}

/// The text of the file; `None` if the file is missing and not required.
pub(super) fn text(file: &ConfigFile) -> Result<Option<String>, Failure> {
    let refuse = |cause: &io::Error| {
        let failure = error::io("read configuration file", &file.path, cause);
        let failure = Failure { kind: ErrorKind::Usage, ..failure };
        match cause.kind() {
            io::ErrorKind::NotFound => {
                failure.hinted("without `--config` the home's `p2p-config.toml` is used, which need not exist")
            }
            io::ErrorKind::InvalidData => failure.hinted("write it again as UTF-8 text, or move it away"),
            _ => failure,
        }
    };
    match File::open(&file.path) {
        Ok(opened) => {
            let mut content = String::new();
            opened.take(MAX_FILE_BYTES + 1).read_to_string(&mut content).map_err(|cause| refuse(&cause))?;
            if content.len() as u64 > MAX_FILE_BYTES {
                return Err(refuse(&io::Error::other(format!("it is larger than {MAX_FILE_BYTES} bytes"))));
            }
            Ok(Some(content))
        }
        Err(cause) if cause.kind() == io::ErrorKind::NotFound && !file.required => Ok(None),
        Err(cause) => Err(refuse(&cause)),
    }
}

pub(super) fn parse(path: &Path, content: &str) -> Result<Vec<Assignment>, Failure> {
    let source = Source { path, content };
    let table = DeTable::parse(content).map_err(|cause| {
        let line = source.line(cause.span().map_or(0, |span| span.start));
        error::usage(format!("cannot read {line}: {}", one_line(cause.message())))
    })?;
    let mut assignments = Vec::new();
    source.collect("", table.get_ref(), &keys::defaults()?, &mut assignments)?;
    Ok(assignments)
}

/// The text that is parsed, for line numbers.
struct Source<'a> {
    path: &'a Path,
    content: &'a str,
}

impl Source<'_> {
    /// Walks the tables; recursion is bounded by the depth of the known keys.
    fn collect(
        &self,
        prefix: &str,
        table: &DeTable<'_>,
        known: &[Assignment],
        assignments: &mut Vec<Assignment>,
    ) -> Result<(), Failure> {
        for (name, item) in table {
            let key =
                if prefix.is_empty() { name.get_ref().to_string() } else { format!("{prefix}.{}", name.get_ref()) };
            let start = name.span().start;
            match (keys::role(known, &key), item.get_ref()) {
                (keys::Role::Unknown, _) => return Err(self.unknown(&key, start, known)),
                (keys::Role::Table, DeValue::Table(inner)) => self.collect(&key, inner, known, assignments)?,
                (keys::Role::Table, _) => {
                    return Err(error::usage(format!("`{key}` must be a table, in {}", self.line(start))));
                }
                (keys::Role::Value, value) => {
                    let assignment = Assignment { key, value: to_json(value), origin: self.origin(start) };
                    self.check(&assignment, item)?;
                    assignments.push(assignment);
                }
            }
        }
        Ok(())
    }

    /// Checks a value here, because the line numbers of a list's entries are known here.
    fn check(&self, assignment: &Assignment, item: &Spanned<DeValue<'_>>) -> Result<(), Failure> {
        if let DeValue::Array(entries) = item.get_ref() {
            for (index, entry) in entries.iter().enumerate() {
                let alone = Value::Array(vec![to_json(entry.get_ref())]);
                let origin = self.origin(entry.span().start);
                let single = Assignment { key: assignment.key.clone(), value: alone, origin };
                if let Err(failure) = keys::check(&single) {
                    let shown = keys::shown(&to_json(entry.get_ref()));
                    let place = self.line(entry.span().start);
                    let message = keys::wrong_entry(&assignment.key, index, &shown, &format!("in {place}"));
                    return Err(Failure { message, ..failure });
                }
            }
        }
        keys::check(assignment)
    }

    fn unknown(&self, key: &str, start: usize, known: &[Assignment]) -> Failure {
        keys::unknown(known, key, &format!(" in {}", self.line(start)))
    }

    fn origin(&self, start: usize) -> Origin {
        Origin::File { path: self.path.to_owned(), line: self.line_number(start) }
    }

    /// File and line, as a phrase for messages.
    fn line(&self, start: usize) -> String {
        format!("`{}`, line {}", self.path.display(), self.line_number(start))
    }

    fn line_number(&self, start: usize) -> usize {
        let before = &self.content.as_bytes()[..start.min(self.content.len())];
        before.iter().filter(|&&byte| byte == b'\n').count() + 1
    }
}

/// Converts the value to the form from which [`ggen_marketplace::Config`] is deserialised. What JSON cannot express
/// becomes a string, which is invalid for a number.
fn to_json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::from(number),
            Err(_) => Value::from(number.as_str()),
        },
        DeValue::Float(number) => match number.as_str().parse::<f64>() {
            Ok(number) => Value::from(number),
            Err(_) => Value::from(number.as_str()),
        },
        DeValue::Boolean(truth) => Value::from(*truth),
        DeValue::Datetime(time) => Value::from(time.to_string()),
        DeValue::Array(items) => items.iter().map(|item| to_json(item.get_ref())).collect(),
        DeValue::Table(table) => {
            table.iter().map(|(name, item)| (name.get_ref().to_string(), to_json(item.get_ref()))).collect()
        }
    }
}
