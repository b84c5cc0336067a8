//! Parsing gpack.toml, the package manifest, in both of its forms.

use std::collections::BTreeMap;

use ggen_blockstore::PathPatterns;
use semver::Version;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{
    Hint, Setting,
    error::hint,
    package::{Dependency, GpackError, MAX_DEPENDENCIES, Metadata, NameError, PackageId, Requirement},
};

/// Largest gpack.toml in bytes.
pub const MAX_GPACK_BYTES: usize = 256 << 10;
/// Most dependencies on other ecosystems that are stored.
const MAX_FOREIGN_DEPENDENCIES: usize = 1024;

/// Keys of `[package]` and `[gpack]`; `docs/gpack.md` describes them.
const KEYS: [&str; 17] = [
    "name",
    "version",
    "description",
    "namespace",
    "id",
    "license",
    "category",
    "tags",
    "keywords",
    "authors",
    "repository",
    "homepage",
    "readme",
    "license-file",
    "allow-secrets",
    "ggen_compat",
    "metadata",
];
/// Keys of `[package]` and `[gpack]` that name a file of the package.
const FILE_KEYS: [&str; 2] = ["readme", "license-file"];
/// Keys of a dependency on a package of this registry.
const DEPENDENCY_KEYS: [&str; 2] = ["version", "publisher"];
/// Least similarity (0 to 1) between an unknown key and a known one for a suggestion.
const SUGGESTION_SIMILARITY: f64 = 0.85;

/// An unknown key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKey {
    /// Line of its value, from 1.
    pub line: usize,
    /// The table that contains it, as written: `package`, `dependencies."ns/name"`; empty above the first table.
    pub table: String,
    /// The key.
    pub key: String,
    /// The known key of that table that it resembles most, if it resembles one.
    pub nearest: Option<&'static str>,
}

/// A file of the package that gpack.toml names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// The key that names it: `readme` or `license-file`.
    pub key: &'static str,
    /// Line of the value, from 1.
    pub line: usize,
    /// The path as written, relative to the root of the package. Whether it leads to a file is not checked.
    pub path: String,
}

/// A parsed gpack.toml.
///
/// `[package]` and `[gpack]` are both accepted; if both exist, a field of `[package]` wins. Unknown tables are ignored,
/// and unknown keys are listed. The package contains the file itself, so nothing is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpack {
    /// The namespace, if the file has one.
    pub namespace: Option<String>,
    /// The package's name: `name`, or `id` if `name` is a display title.
    pub name: String,
    /// The version.
    pub version: Version,
    /// The metadata for display and search.
    pub metadata: Metadata,
    /// Packages of this registry that it needs.
    pub dependencies: Vec<Dependency>,
    /// Keys of `[dependencies]` that belong to other ecosystems, with their version or path as text.
    pub foreign_dependencies: BTreeMap<String, String>,
    /// The supported versions of ggen, as written in the file.
    pub ggen_compat: Option<String>,
    /// Files of the package that gpack.toml names.
    pub files: Vec<NamedFile>,
    /// Files that are published although they contain secrets.
    pub allow_secrets: PathPatterns,
    /// Unknown keys, in the order of the file. They are not errors.
    pub unknown_keys: Vec<UnknownKey>,
}

impl Gpack {
    /// Parses the text of a gpack.toml. Error messages show `file` as its name.
    ///
    /// # Errors
    /// [`GpackError`] with file, line and field.
    pub fn parse(file: &str, text: &str) -> Result<Self, GpackError> {
        if text.len() > MAX_GPACK_BYTES {
            return Err(GpackError::TooLarge { file: file.to_owned(), bytes: text.len(), limit: MAX_GPACK_BYTES });
        }
        let source = Source { file, text };
        let document = DeTable::parse(text).map_err(|error| GpackError::Syntax {
            file: file.to_owned(),
            line: source.line(error.span().map_or(0, |span| span.start)),
            reason: error.message().to_owned(),
        })?;
        Reader::new(source, document.get_ref())?.read()
    }
}

/// The text of the file, for line numbers.
#[derive(Clone, Copy)]
struct Source<'a> {
    file: &'a str,
    text: &'a str,
}

impl Source<'_> {
    fn line(&self, offset: usize) -> usize {
        1 + self.text.as_bytes()[..offset.min(self.text.len())].iter().filter(|byte| **byte == b'\n').count()
    }

    fn refuse<T>(&self, field: &str, value: &Spanned<DeValue<'_>>, reason: impl Into<String>) -> Result<T, GpackError> {
        self.refuse_with_hint(field, value, reason, None)
    }

    fn refuse_with_hint<T>(
        &self,
        field: &str,
        value: &Spanned<DeValue<'_>>,
        reason: impl Into<String>,
        hint: Option<Hint>,
    ) -> Result<T, GpackError> {
        Err(GpackError::Field {
            file: self.file.to_owned(),
            line: self.line(value.span().start),
            field: field.to_owned(),
            reason: reason.into(),
            hint,
        })
    }
}

type Value<'a> = Spanned<DeValue<'a>>;

/// The tables in which fields are looked up, in this order.
struct Reader<'a> {
    source: Source<'a>,
    document: &'a DeTable<'a>,
    main: Vec<&'a DeTable<'a>>,
    table: &'static str,
    line: usize,
}

impl<'a> Reader<'a> {
    fn new(source: Source<'a>, document: &'a DeTable<'a>) -> Result<Self, GpackError> {
        let mut reader = Self { source, document, main: Vec::new(), table: "package", line: 0 };
        for name in ["package", "gpack"] {
            let Some(value) = get(document, name) else { continue };
            let Some(table) = value.get_ref().as_table() else {
                return source.refuse(name, value, "is not a table");
            };
            if reader.main.is_empty() {
                (reader.table, reader.line) = (name, source.line(value.span().start));
            }
            reader.main.push(table);
        }
        match reader.main.is_empty() {
            true => Err(GpackError::NoTable { file: source.file.to_owned(), nearest: misspelt_table(document) }),
            false => Ok(reader),
        }
    }

    fn read(&self) -> Result<Gpack, GpackError> {
        let missing: Vec<&'static str> =
            ["name", "version", "description"].into_iter().filter(|field| self.field(field).is_none()).collect();
        let lacks = |fields| GpackError::Missing {
            file: self.source.file.to_owned(),
            line: self.line,
            table: self.table,
            fields,
        };
        let (Some(name), Some(version), Some(description)) =
            (self.field("name"), self.field("version"), self.field("description"))
        else {
            return Err(lacks(missing));
        };
        let (name, title) = self.read_name(name)?;
        let version = match self.text("version", version)?.parse() {
            Ok(version) => version,
            Err(error) => {
                let hint =
                    full_version(self.text("version", version)?).map(|full| format!("write `version = \"{full}\"`"));
                let reason = format!("is not a semver version: {error}");
                return self.source.refuse_with_hint("version", version, reason, hint.map(Into::into));
            }
        };
        let metadata = self.read_metadata(description, title)?;
        let (dependencies, foreign_dependencies) = self.read_dependencies()?;
        Ok(Gpack {
            namespace: self.read_namespace()?,
            name,
            version,
            metadata,
            dependencies,
            foreign_dependencies,
            ggen_compat: self.optional_text("ggen_compat")?,
            files: self.read_files()?,
            allow_secrets: self.read_allowed_secrets()?,
            unknown_keys: self.unknown_keys(),
        })
    }

    fn read_name(&self, value: &Value<'a>) -> Result<(String, Option<String>), GpackError> {
        let name = self.text("name", value)?;
        let Err(error) = PackageId::check_name(name) else { return Ok((name.to_owned(), None)) };
        match self.field("id") {
            Some(id) if PackageId::check_name(self.text("id", id)?).is_ok() => {
                Ok((self.text("id", id)?.to_owned(), Some(name.to_owned())))
            }
            _ => self.source.refuse_with_hint("name", value, format!("is not usable: {error}"), name_hint(name)),
        }
    }

    fn read_namespace(&self) -> Result<Option<String>, GpackError> {
        let Some(value) = self.field("namespace") else { return Ok(None) };
        let namespace = self.text("namespace", value)?;
        match PackageId::check_namespace(namespace) {
            Ok(()) => Ok(Some(namespace.to_owned())),
            Err(error) => self.source.refuse("namespace", value, format!("is not usable: {error}")),
        }
    }

    fn read_metadata(&self, description: &Value<'a>, title: Option<String>) -> Result<Metadata, GpackError> {
        let metadata = Metadata {
            description: self.text("description", description)?.to_owned(),
            title,
            license: self.optional_text("license")?,
            category: self.optional_text("category")?,
            tags: self.read_tags()?,
            keywords: self.list("keywords")?,
            authors: self.list("authors")?,
            repository: self.optional_text("repository")?,
            homepage: self.optional_text("homepage")?,
        };
        match metadata.validate() {
            Ok(()) => Ok(metadata),
            Err((field, reason)) => self.source.refuse(field, self.field(field).unwrap_or(description), reason),
        }
    }

    /// Reads the tags, which are a list, or a table with entries `tag = true`; a table may also contain lists of tags
    /// by topic.
    fn read_tags(&self) -> Result<Vec<String>, GpackError> {
        let Some(value) = self.field("tags") else { return Ok(Vec::new()) };
        let Some(table) = value.get_ref().as_table() else { return self.list("tags") };
        let mut tags = Vec::new();
        for (key, value) in table {
            match value.get_ref() {
                DeValue::Boolean(true) => tags.push(key.get_ref().to_string()),
                DeValue::Array(_) => tags.extend(self.strings("tags", value)?),
                _ => {}
            }
        }
        Ok(tags)
    }

    fn read_files(&self) -> Result<Vec<NamedFile>, GpackError> {
        let mut files = Vec::new();
        for key in FILE_KEYS {
            let Some(value) = self.field(key) else { continue };
            let path = self.text(key, value)?.to_owned();
            files.push(NamedFile { key, line: self.source.line(value.span().start), path });
        }
        Ok(files)
    }

    fn read_allowed_secrets(&self) -> Result<PathPatterns, GpackError> {
        let mut patterns = PathPatterns::default();
        let Some(value) = self.field("allow-secrets") else { return Ok(patterns) };
        for text in self.strings("allow-secrets", value)? {
            let refuse =
                |reason: &str| self.source.refuse("allow-secrets", value, format!("has `{text}`, which {reason}"));
            if let Err(error) = patterns.add(&text) {
                return refuse(&error.to_string());
            }
            // A copied template must not publish unrelated files beside it.
            if !text.chars().any(char::is_alphanumeric) {
                let hint = hint![Setting::AllowSecrets, " publishes them all"];
                let reason = format!("has `{text}`, which names no file");
                return self.source.refuse_with_hint("allow-secrets", value, reason, Some(hint));
            }
        }
        Ok(patterns)
    }

    fn read_dependencies(&self) -> Result<(Vec<Dependency>, BTreeMap<String, String>), GpackError> {
        let (mut ours, mut foreign) = (Vec::new(), BTreeMap::new());
        let Some(value) = get(self.document, "dependencies") else { return Ok((ours, foreign)) };
        let Some(table) = value.get_ref().as_table() else {
            return self.source.refuse("dependencies", value, "is not a table");
        };
        for (key, value) in table {
            let key = key.get_ref().as_ref();
            if is_ours(key) {
                ours.push(self.read_dependency(key, value)?);
            } else {
                foreign.insert(key.to_owned(), describe(value.get_ref()));
            }
            if ours.len() > MAX_DEPENDENCIES || foreign.len() > MAX_FOREIGN_DEPENDENCIES {
                return self.source.refuse("dependencies", value, "is one more than this program accepts");
            }
        }
        ours.sort_unstable();
        Ok((ours, foreign))
    }

    fn read_dependency(&self, key: &str, value: &Value<'a>) -> Result<Dependency, GpackError> {
        let refuse = |reason: String| self.source.refuse(&format!("dependencies.\"{key}\""), value, reason);
        let (requirement, publisher) = match value.get_ref() {
            DeValue::String(text) => (text.as_ref(), None),
            DeValue::Table(table) => {
                let text = |name| get(table, name).and_then(|value| value.get_ref().as_str());
                let Some(version) = text("version") else { return refuse("has no `version`".to_owned()) };
                (version, text("publisher"))
            }
            _ => return refuse("is neither a version requirement nor a table".to_owned()),
        };
        let package: PackageId = match key.parse() {
            Ok(package) => package,
            Err(error) => return refuse(format!("is not usable: {error}")),
        };
        let parsed: Result<Requirement, NameError> = requirement.parse();
        if let Err(error) = parsed {
            return refuse(format!("is not usable: {error}"));
        }
        let publisher = match publisher.map(str::parse).transpose() {
            Ok(publisher) => publisher,
            Err(error) => return refuse(format!("is not usable: {error}")),
        };
        Ok(Dependency { package, requirement: requirement.to_owned(), publisher })
    }

    /// Lists unknown keys in tables whose keys are known. Tables are ignored, because other programs use tables of
    /// their own.
    fn unknown_keys(&self) -> Vec<UnknownKey> {
        // The root of the document, which contains all tables.
        let mut tables = vec![(String::new(), self.document, &["tags"][..])];
        for name in ["package", "gpack"] {
            let table = get(self.document, name).and_then(|value| value.get_ref().as_table());
            tables.extend(table.map(|table| (name.to_owned(), table, &KEYS[..])));
        }
        let dependencies = get(self.document, "dependencies").and_then(|value| value.get_ref().as_table());
        for (key, value) in dependencies.into_iter().flatten().filter(|(key, _)| is_ours(key.get_ref())) {
            let table = value.get_ref().as_table();
            tables.extend(
                table.map(|table| (format!("dependencies.\"{}\"", key.get_ref()), table, &DEPENDENCY_KEYS[..])),
            );
        }
        let mut unknown: Vec<_> =
            tables.iter().flat_map(|(name, table, keys)| self.unknown_in(name, table, keys)).collect();
        unknown.sort_by_key(|unknown| unknown.line);
        unknown
    }

    fn unknown_in<'k>(
        &'k self,
        name: &'k str,
        table: &'k DeTable<'a>,
        keys: &'k [&'static str],
    ) -> impl Iterator<Item = UnknownKey> + 'k {
        let is_table = |value: &DeValue<'_>| match value {
            DeValue::Table(_) => true,
            DeValue::Array(items) => !items.is_empty() && items.iter().all(|item| item.get_ref().as_table().is_some()),
            _ => false,
        };
        let unknown = table
            .iter()
            .filter(move |(key, value)| !keys.contains(&key.get_ref().as_ref()) && !is_table(value.get_ref()));
        unknown.map(move |(key, value)| UnknownKey {
            line: self.source.line(value.span().start),
            table: name.to_owned(),
            key: key.get_ref().to_string(),
            nearest: nearest(key.get_ref(), keys),
        })
    }

    /// Looks a field up in `[package]`, `[gpack]`, their `metadata`, `[metadata]`, and for `tags` in the root of the
    /// document.
    fn field(&self, name: &str) -> Option<&'a Value<'a>> {
        let inner = self.main.iter().filter_map(|table| get(table, "metadata")?.get_ref().as_table());
        let outer = get(self.document, "metadata").and_then(|value| value.get_ref().as_table());
        let own = self.main.iter().find_map(|table| get(table, name));
        own.or_else(|| inner.chain(outer).find_map(|table| get(table, name)))
            .or_else(|| (name == "tags").then(|| get(self.document, name)).flatten())
    }

    fn text(&self, field: &str, value: &'a Value<'a>) -> Result<&'a str, GpackError> {
        match value.get_ref().as_str().map(str::trim) {
            Some("") => self.source.refuse(field, value, "is empty"),
            Some(text) => Ok(text),
            None => self.refuse_unquoted(field, value),
        }
    }

    /// Refuses a value that should be a string, with a hint if only its quotes are missing.
    fn refuse_unquoted<T>(&self, field: &str, value: &Value<'a>) -> Result<T, GpackError> {
        let written = self
            .source
            .text
            .get(value.span())
            .filter(|_| matches!(value.get_ref(), DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_)));
        let quoted = written.map(|written| match full_version(written).filter(|_| field == "version") {
            Some(full) => format!("write `{field} = \"{full}\"`"),
            None => format!("write `{field} = \"{written}\"`"),
        });
        self.source.refuse_with_hint(field, value, "is not a string", quoted.map(Into::into))
    }

    fn optional_text(&self, field: &str) -> Result<Option<String>, GpackError> {
        let Some(value) = self.field(field) else { return Ok(None) };
        match value.get_ref().as_str() {
            Some(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
            None => self.refuse_unquoted(field, value),
        }
    }

    fn list(&self, field: &str) -> Result<Vec<String>, GpackError> {
        self.field(field).map_or(Ok(Vec::new()), |value| self.strings(field, value))
    }

    fn strings(&self, field: &str, value: &Value<'a>) -> Result<Vec<String>, GpackError> {
        match value.get_ref() {
            DeValue::String(text) => Ok(vec![text.to_string()]),
            DeValue::Array(items) => items
                .iter()
                .map(|item| match item.get_ref().as_str() {
                    Some(text) => Ok(text.to_owned()),
                    None => self.source.refuse(field, item, "holds something that is not a string"),
                })
                .collect(),
            _ => self.source.refuse(field, value, "is not a list of strings"),
        }
    }
}

/// A suggestion for an invalid name.
fn name_hint(name: &str) -> Option<Hint> {
    if let Ok(id) = name.parse::<PackageId>() {
        return Some(format!("write `namespace = \"{}\"` and `name = \"{}\"`", id.namespace(), id.name()).into());
    }
    let near = name.to_lowercase().replace(char::is_whitespace, "-");
    let is_name = PackageId::check_name(&near).is_ok();
    is_name.then(|| {
        format!("write `name = \"{near}\"`; a title for people may stay if `id = \"{near}\"` stands beside it").into()
    })
}

/// A version of three numbers that `text` may stand for: `1.0` and `v1.0.0` are `1.0.0`.
fn full_version(text: &str) -> Option<Version> {
    let text = text.trim().trim_start_matches(['v', 'V', '=']);
    let candidates = [text.to_owned(), format!("{text}.0"), format!("{text}.0.0")];
    candidates.iter().find_map(|candidate| candidate.parse().ok())
}

/// A table whose name resembles a required one.
fn misspelt_table(document: &DeTable<'_>) -> Option<(String, &'static str)> {
    let tables = document.iter().filter(|(_, value)| value.get_ref().as_table().is_some());
    tables.map(|(name, _)| name.get_ref().to_string()).find_map(|name| {
        let meant = nearest(&name, &["package", "gpack"])?;
        Some((name, meant))
    })
}

/// Returns whether a dependency is a package of this registry.
fn is_ours(key: &str) -> bool {
    // Scoped npm packages (`@scope/name`) contain a slash too, but no namespace begins with `@`.
    key.contains('/') && !key.starts_with('@')
}

fn nearest(key: &str, keys: &[&'static str]) -> Option<&'static str> {
    let key = key.to_lowercase().replace('-', "_");
    let alike = keys.iter().map(|known| (strsim::jaro_winkler(&key, known), *known));
    let (likeness, known) = alike.max_by(|left, right| left.0.total_cmp(&right.0))?;
    (likeness >= SUGGESTION_SIMILARITY).then_some(known)
}

fn get<'t, 'a>(table: &'t DeTable<'a>, name: &str) -> Option<&'t Value<'a>> {
    table.iter().find(|(key, _)| key.get_ref() == name).map(|(_, value)| value)
}

/// The version or path of a dependency of another ecosystem, as text.
fn describe(value: &DeValue<'_>) -> String {
    let text = |value: &DeValue<'_>| value.as_str().map(str::to_owned);
    match value {
        DeValue::Table(table) => ["version", "path", "git"]
            .into_iter()
            .find_map(|name| get(table, name).and_then(|value| text(value.get_ref())))
            .unwrap_or_default(),
        value => text(value).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
