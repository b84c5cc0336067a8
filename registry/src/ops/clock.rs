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

/// Fails if the clock is before 1970. Certificates, signatures and messages count time from then, so peers would
/// reject them all; and libraries of the node assume that it cannot happen.
pub(crate) fn check(now: SystemTime) -> Result<(), Failure> {
    match now.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(_) => Ok(()),
        Err(before) => {
            let days = before.duration().as_secs() / (24 * 3600);
            let message = format!("the clock of this machine is set to {days} days before 1970");
            Err(Failure::new(ErrorKind::Failed, message)
                .hinted("set it, for example with `timedatectl set-ntp true` or `date -s`, and run the command again"))
        }
    }
}

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
}
