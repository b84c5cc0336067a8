//! Pins, mirrors and the store.

use serde_json::{Value, json};

use super::{
    super::Reader,
    packages::{PUBLISHED, WEB_PACKAGES},
};

/// Returns whether the user has a pin.
fn pinned(reader: &Reader) -> bool {
    let pins = reader.ask(&["pin", "ls"]);
    pins.as_array().unwrap().iter().any(|pin| pin["label"].as_str().unwrap().contains("examples/web-2"))
}

pub(super) fn pins(reader: &mut Reader, command: &str) {
    assert!(!pinned(reader));
    reader.works(command);
    assert!(pinned(reader), "{}", reader.ask(&["pin", "ls"]));
}

pub(super) fn lists_the_pin(reader: &mut Reader, command: &str) {
    let printed = reader.works(command);
    assert!(printed.contains("examples/web-2"), "{printed}");
}

pub(super) fn unpins(reader: &mut Reader, command: &str) {
    reader.works(command);
    assert!(!pinned(reader));
}

pub(super) fn mirrors(reader: &mut Reader, command: &str) {
    reader.works(command);
    let all = (PUBLISHED.len() + WEB_PACKAGES) as u64;
    reader.until(&["mirror", "ls"], |rules| rules[0]["packages_held"].as_u64() == Some(all));
}

pub(super) fn lists_trusted_publishers(reader: &mut Reader, command: &str) {
    let printed = reader.works(command);
    assert!(printed.lines().any(|line| line.starts_with("examples  ")), "{printed}");
}

pub(super) fn lists_the_mirror(reader: &mut Reader, command: &str) {
    let printed = reader.works(command);
    assert!(printed.contains("examples/*"), "{printed}");
}

pub(super) fn mirrors_no_more(reader: &mut Reader, command: &str) {
    reader.works(command);
    assert_eq!(reader.ask(&["mirror", "ls"]), json!([]));
}

pub(super) fn tells_what_would_go(reader: &mut Reader, command: &str) {
    let blocks = reader.ask(&["status"])["blocks"].clone();
    let printed = reader.works(command);
    assert!(printed.starts_with("would remove ") && !printed.contains(" 0 blocks"), "{printed}");
    assert_eq!(reader.ask(&["status"])["blocks"], blocks);
}

pub(super) fn removes_what_nothing_keeps(reader: &mut Reader, command: &str) {
    let before = reader.ask(&["status"])["blocks"].as_u64();
    let printed = reader.works(command);
    assert!(printed.starts_with("removed "), "{printed}");
    assert!(reader.ask(&["status"])["blocks"].as_u64() < before);
}

pub(super) fn finds_every_block_sound(reader: &mut Reader, command: &str) {
    reader.works(command);
    let report: Value = serde_json::from_str(&reader.works(&format!("{command} --format json"))).unwrap();
    assert!(report["checked_blocks"].as_u64() > Some(0) && report["bad"] == json!([]), "{report}");
}
