//! The only place of the operations that reads the clock.

use std::time::SystemTime;

use crate::identity::Timestamp;

pub(super) fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}
