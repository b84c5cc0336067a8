//! The DHTs of a node: which records it keeps for others, what it announces, and the queries under way.

pub(super) mod amino;
pub(super) mod announcements;
pub(super) mod queries;
pub(super) mod records;
pub(super) mod validator;
