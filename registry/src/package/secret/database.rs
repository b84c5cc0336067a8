//! The databases of a node: whom it knows, and what its user decided.

/// How a database of SQLite begins.
const SQLITE: &[u8] = b"SQLite format 3\0";
/// Where the id of the program stands that it belongs to, and those of `catalog.db` and `peers.db`.
const APPLICATION_AT: usize = 68;
const APPLICATIONS: [&[u8]; 2] = [b"ggen", b"ggpe"];

/// Says that a file is one of them, by its first bytes.
pub(super) fn of_node(content: &[u8]) -> Option<&'static str> {
    let application = content.starts_with(SQLITE).then(|| content.get(APPLICATION_AT..)).flatten()?;
    APPLICATIONS.iter().any(|id| application.starts_with(id)).then_some("a database of a node")
}
