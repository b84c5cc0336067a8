//! Valid ranges of numbers: every count, size and duration of a configuration has a range, and all are checked here.

use std::{fmt, ops::RangeInclusive};

use super::{Config, ConfigError};
use crate::mirror::MirrorRule;

/// Upper bound of every byte limit: 1 EiB.
const MOST_BYTES: u64 = 1 << 60;

/// The valid integers for a key or a flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberRange {
    numbers: RangeInclusive<u64>,
    /// The unit; empty for a plain count.
    unit: &'static str,
}

impl NumberRange {
    /// A range of counts.
    pub const fn count(least: u64, most: u64) -> Self {
        Self { numbers: least..=most, unit: "" }
    }

    /// A range of sizes, in bytes.
    pub const fn bytes(least: u64, most: u64) -> Self {
        Self { numbers: least..=most, unit: " bytes" }
    }

    /// A range of durations, in seconds.
    pub const fn seconds(least: u64, most: u64) -> Self {
        Self { numbers: least..=most, unit: " seconds" }
    }

    /// Checks a number.
    ///
    /// # Errors
    /// The number and the range, as a message.
    pub fn check(&self, number: u64) -> Result<u64, String> {
        if self.numbers.contains(&number) { Ok(number) } else { Err(format!("is {number}, which is not {self}")) }
    }
}

impl fmt::Display for NumberRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "from {} to {}{}", self.numbers.start(), self.numbers.end(), self.unit)
    }
}

/// Valid numbers of versions per package in a mirror rule.
pub const RULE_VERSIONS: NumberRange = NumberRange::count(1, 1 << 16);
/// Valid byte limits of a mirror rule.
pub const RULE_BYTES: NumberRange = NumberRange::bytes(1, MOST_BYTES);

impl Config {
    /// The valid numbers for `key`, a path as in the file; `None` if the key is not a number.
    pub fn range(key: &str) -> Option<NumberRange> {
        Self::default().numbers().into_iter().find(|(known, ..)| *known == key).map(|(.., range)| range)
    }

    /// Every number with its key and range.
    fn numbers(&self) -> [(&'static str, u64, NumberRange); 8] {
        let (limits, timeouts) = (&self.limits, &self.timeouts);
        [
            ("limits.connections", limits.connections.into(), NumberRange::count(1, 1 << 16)),
            ("limits.connections_per_peer", limits.connections_per_peer.into(), NumberRange::count(1, 1 << 10)),
            ("limits.package_bytes", limits.package_bytes, NumberRange::bytes(1, MOST_BYTES)),
            ("limits.store_bytes", limits.store_bytes, NumberRange::bytes(0, MOST_BYTES)),
            ("timeouts.dht_query_seconds", timeouts.dht_query_seconds, NumberRange::seconds(1, 3600)),
            ("timeouts.dial_seconds", timeouts.dial_seconds, NumberRange::seconds(1, 3600)),
            ("timeouts.daemon_seconds", timeouts.daemon_seconds, NumberRange::seconds(2, 3600)),
            ("timeouts.home_lock_seconds", timeouts.home_lock_seconds, NumberRange::seconds(0, 24 * 3600)),
        ]
    }

    pub(super) fn check_numbers(&self) -> Result<(), ConfigError> {
        for (key, number, range) in self.numbers() {
            range.check(number).map_err(|reason| ConfigError { key, reason })?;
        }
        for rule in &self.mirror.rules {
            let refuse = |reason| ConfigError { key: "mirror.rules", reason: format!("are wrong: {reason}") };
            check_rule(rule).map_err(refuse)?;
        }
        Ok(())
    }
}

/// Checks the numbers of a mirror rule.
///
/// # Errors
/// The number and its range, as a message.
pub(crate) fn check_rule(rule: &MirrorRule) -> Result<(), String> {
    let numbers =
        [("versions", rule.versions.map(u64::from), RULE_VERSIONS), ("max_bytes", rule.max_bytes, RULE_BYTES)];
    for (name, number, range) in numbers {
        let Some(number) = number else { continue };
        range.check(number).map_err(|reason| format!("`{name}` of the rule `{}` {reason}", rule.what))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use toml::Value;

    use super::*;

    fn numbers_of(prefix: &str, value: &Value, keys: &mut Vec<String>) {
        match value {
            Value::Table(table) => table.iter().for_each(|(name, value)| {
                let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                numbers_of(&key, value, keys);
            }),
            Value::Integer(_) | Value::Float(_) => keys.push(prefix.to_owned()),
            _ => {}
        }
    }

    #[test]
    fn every_number_of_the_configuration_has_a_range_that_its_default_is_in() {
        let mut keys = Vec::new();
        numbers_of("", &Value::try_from(Config::default()).unwrap(), &mut keys);
        assert!(keys.len() >= 8, "{keys:?}");
        for key in keys {
            assert!(Config::range(&key).is_some(), "{key}");
        }
        Config::default().validate().unwrap();
    }

    #[test]
    fn what_is_outside_is_refused_with_key_value_and_range() {
        let mut config = Config::default();
        config.timeouts.dial_seconds = i64::MAX as u64;
        let error = config.validate().unwrap_err().to_string();
        assert_eq!(error, "`timeouts.dial_seconds` is 9223372036854775807, which is not from 1 to 3600 seconds");
        config.timeouts.dial_seconds = 3600;
        config.validate().unwrap();
        let what = "acme/*".parse().unwrap();
        config.mirror.rules = vec![MirrorRule { what, versions: Some(0), max_bytes: None }];
        let error = config.validate().unwrap_err().to_string();
        assert!(error.contains("`mirror.rules`") && error.contains("`versions` of the rule `acme/*` is 0"), "{error}");
    }
}
