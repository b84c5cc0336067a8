//! The DHTs of a node: the records it stores for other peers, its announcements, and the queries under way.

pub(super) mod amino;
pub(super) mod announcements;
pub(super) mod queries;
pub(super) mod records;
pub(super) mod validator;
