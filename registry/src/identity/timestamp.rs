//! Timestamps in records.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Whole seconds since 1970-01-01T00:00:00Z. Its text form is RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// 9999-12-31T23:59:59Z, the last second that RFC 3339 can express.
    pub const MAX: Self = Self(253_402_300_799);

    /// The time `seconds` after 1970-01-01T00:00:00Z, at most [`Timestamp::MAX`].
    pub fn from_unix(seconds: u64) -> Self {
        Self(seconds.min(Self::MAX.0))
    }

    /// Converts a system time. Times before 1970 become 1970, times after [`Timestamp::MAX`] become that.
    pub fn from_system(time: std::time::SystemTime) -> Self {
        Self::from_unix(time.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }

    /// Parses the RFC 3339 form, rounded down to whole seconds; `None` if it is not one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let seconds = OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp();
        u64::try_from(seconds).ok().map(Self::from_unix)
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    pub fn as_unix(self) -> u64 {
        self.0
    }

    /// This time plus `duration`, rounded down to whole seconds, at most [`Timestamp::MAX`].
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self::from_unix(self.0.saturating_add(duration.as_secs()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = i64::try_from(self.0.min(Self::MAX.0)).map_err(|_| fmt::Error)?;
        let date = OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| fmt::Error)?;
        formatter.write_str(&date.format(&Rfc3339).map_err(|_| fmt::Error)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_reads_as_rfc_3339() {
        assert_eq!(Timestamp::from_unix(1_700_000_000).to_string(), "2023-11-14T22:13:20Z");
        assert_eq!(Timestamp::from_unix(u64::MAX).to_string(), "9999-12-31T23:59:59Z");
        assert_eq!(Timestamp::MAX.plus(Duration::from_secs(1)), Timestamp::MAX);
        for text in ["2023-11-14T22:13:20Z", "2023-11-15T00:13:20.5+02:00"] {
            assert_eq!(Timestamp::parse(text), Some(Timestamp::from_unix(1_700_000_000)), "{text}");
        }
        assert_eq!(Timestamp::parse(&Timestamp::MAX.to_string()), Some(Timestamp::MAX));
        for text in ["", "2023-11-14", "1969-12-31T23:59:59Z", "2023-11-14T25:13:20Z"] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_clock_beyond_what_can_be_written_counts_as_the_nearest_that_can() {
        let epoch = std::time::UNIX_EPOCH;
        let days = |days: u64| Duration::from_secs(days * 24 * 3600);
        assert_eq!(Timestamp::from_system(epoch - days(1)), Timestamp::from_unix(0));
        assert_eq!(Timestamp::from_system(epoch + days(5_000_000)), Timestamp::MAX);
    }
}
