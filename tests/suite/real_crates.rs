//! The packages made of real crates: enough in number and variety for the tests that publish them.

use std::collections::BTreeSet;
use std::fs;

use crate::support::crates::{MANY_FILES, files, gather};

#[test]
fn twenty_crates_of_different_sizes_are_gathered() {
    let crates = gather(20);
    let names: BTreeSet<&str> = crates.packages.iter().map(|package| package.name.as_str()).collect();
    assert_eq!(names.len(), 20);
    assert!(crates.packages.iter().any(|package| package.files > MANY_FILES));
    let smallest = crates.packages.iter().map(|package| package.bytes).min().unwrap();
    let largest = crates.packages.iter().map(|package| package.bytes).max().unwrap();
    assert!(smallest < 32 << 10 && largest > 1 << 20, "sizes from {smallest} to {largest}");
    for package in &crates.packages {
        let found = files(&package.path);
        assert_eq!(found.len(), package.files, "{}", package.name);
        let bytes: u64 = found.iter().map(|file| fs::metadata(file).unwrap().len()).sum();
        assert_eq!(bytes, package.bytes, "{}", package.name);
        let manifest = fs::read_to_string(package.path.join("gpack.toml")).unwrap();
        assert!(manifest.contains(&format!("name = \"{}\"", package.name)), "{manifest}");
    }
}
