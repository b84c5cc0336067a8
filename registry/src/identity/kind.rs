//! The kinds of records.

use ipld_core::ipld::Ipld;

/// The field of every record that names its kind.
pub(super) const TYPE_FIELD: &str = "type";

/// The kind of a record. Name and version of the kind are signed twice: as the signature's domain and as the record's
/// `type` field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RecordKind {
    /// [`IdentityDocument`](crate::identity::IdentityDocument), at most 4 KiB.
    Identity,
    /// [`Release`](crate::package::Release), at most 16 KiB.
    Release,
    /// [`LogEntry`](crate::index::LogEntry), at most 2 KiB.
    LogEntry,
    /// [`Head`](crate::index::Head), at most 2 KiB.
    Head,
    /// [`Refresh`](crate::index::Refresh) of a head, at most 512 bytes.
    Refresh,
}

impl RecordKind {
    /// The value of the record's `type` field.
    pub fn tag(self) -> &'static str {
        match self {
            Self::Identity => "ggen/identity/v1",
            Self::Release => "ggen/release/v1",
            Self::LogEntry => "ggen/log/v1",
            Self::Head => "ggen/head/v1",
            Self::Refresh => "ggen/refresh/v1",
        }
    }

    /// The prefix that a signature covers before the payload. It makes a signature of one kind invalid for every other
    /// kind.
    pub fn domain(self) -> &'static [u8] {
        match self {
            Self::Identity => b"ggen:identity:v1\0",
            Self::Release => b"ggen:release:v1\0",
            Self::LogEntry => b"ggen:log:v1\0",
            Self::Head => b"ggen:head:v1\0",
            Self::Refresh => b"ggen:refresh:v1\0",
        }
    }

    /// Largest payload in bytes, checked before anything is decoded.
    pub fn max_payload_bytes(self) -> usize {
        match self {
            Self::Release => 16 << 10,
            Self::Identity => 4 << 10,
            Self::LogEntry | Self::Head => 2 << 10,
            Self::Refresh => 512,
        }
    }

    /// The noun for the kind in error messages.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Identity => "identity document",
            Self::Release => "release",
            Self::LogEntry => "log entry",
            Self::Head => "head",
            Self::Refresh => "head refresh",
        }
    }

    /// The kind with this `type` field, `None` for one unknown to this program.
    pub fn from_tag(tag: &str) -> Option<Self> {
        [Self::Identity, Self::Release, Self::LogEntry, Self::Head, Self::Refresh]
            .into_iter()
            .find(|kind| kind.tag() == tag)
    }

    /// The kind of a payload, `None` if it is no record of a known kind. A payload larger than the largest record is
    /// not decoded.
    pub fn of_payload(payload: &[u8]) -> Option<Self> {
        if payload.len() > Self::Release.max_payload_bytes() {
            return None;
        }
        match serde_ipld_dagcbor::from_slice(payload) {
            Ok(Ipld::Map(fields)) => match fields.get(TYPE_FIELD) {
                Some(Ipld::String(tag)) => Self::from_tag(tag),
                _ => None,
            },
            _ => None,
        }
    }
}
