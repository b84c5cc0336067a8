//! The only place of the operations that reads the clock, and where durations that callers chose become moments.

use std::time::{Duration, Instant, SystemTime};

use crate::{ErrorKind, Failure, identity::Timestamp};

/// What a moment farther away than the clock can count becomes: nothing here runs for thirty years.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

pub(super) fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

/// The time to sign with: none is, where the clock stands before 1970.
pub(super) fn now_to_sign() -> Result<Timestamp, Failure> {
    let now = SystemTime::now();
    check(now)?;
    Ok(Timestamp::from_system(now))
}

/// The moment after `patience`, however long that is.
pub(super) fn after(patience: Duration) -> Instant {
    Instant::now() + patience.min(FAR)
}

/// Refuses a clock before 1970. Certificates, signatures and messages all count from then, and no peer would believe any
/// of them; libraries below take it for impossible.
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
