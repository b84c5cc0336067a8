//! The only module of the operations that reads the clock, and that converts durations chosen by callers to deadlines.

use std::time::{Duration, Instant, SystemTime};

use crate::{ErrorKind, Failure, identity::Timestamp};

/// The latest deadline, which also replaces durations that would overflow the clock: no operation runs for 30 years.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

pub(super) fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

/// Returns the time for a signature.
///
/// # Errors
/// A clock before 1970.
pub(super) fn now_to_sign() -> Result<Timestamp, Failure> {
    let now = SystemTime::now();
    check(now)?;
    Ok(Timestamp::from_system(now))
}

/// Returns the deadline `patience` from now, at most [`FAR`].
pub(super) fn after(patience: Duration) -> Instant {
    Instant::now() + patience.min(FAR)
}

/// Refuses a clock before 1970 or after [`LAST_YEAR`]. Certificates, signatures and messages all count from 1970, and no peer
/// would believe any of them; libraries below take both for impossible.
pub(crate) fn check(now: SystemTime) -> Result<(), Failure> {
    let message = match now.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) if since.as_secs() < END_OF_LAST_YEAR => return Ok(()),
        Ok(_) => format!("the clock of this machine is set to a time after the year {LAST_YEAR}"),
        Err(before) => {
            let days = before.duration().as_secs() / (24 * 3600);
            format!("the clock of this machine is set to {days} days before 1970")
        }
    };
    Err(Failure::new(ErrorKind::Failed, message)
        .hinted("set it, for example with `timedatectl set-ntp true` or `date -s`, and run the command again"))
}

/// The last year that a clock may show: gossip counts nanoseconds from 1970 in 64 bits, which end in 2554.
const LAST_YEAR: u32 = 2499;
/// When that ends, in seconds since 1970.
const END_OF_LAST_YEAR: u64 = 16_725_225_600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_duration_is_too_long() {
        assert!(after(Duration::MAX) > Instant::now());
        assert!(after(Duration::from_secs(u64::MAX)) > Instant::now());
        assert!(after(Duration::ZERO) <= Instant::now());
    }

    #[test]
    fn a_clock_before_1970_is_refused_and_named() {
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(3 * 24 * 3600);
        let failure = check(before).unwrap_err();
        assert_eq!(failure.message, "the clock of this machine is set to 3 days before 1970");
        assert!(check(SystemTime::UNIX_EPOCH).is_ok() && check(SystemTime::now()).is_ok());
        assert_eq!(Timestamp::from_system(before).as_unix(), 0);
    }

    #[test]
    fn a_clock_after_the_last_year_is_refused() {
        let first_refused = SystemTime::UNIX_EPOCH + Duration::from_secs(END_OF_LAST_YEAR);
        assert!(check(first_refused).unwrap_err().message.ends_with("after the year 2499"));
        assert!(check(first_refused - Duration::from_secs(1)).is_ok());
        assert_eq!(Timestamp::from_system(first_refused).to_string(), "2500-01-01T00:00:00Z");
    }
}
