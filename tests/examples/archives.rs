//! Compares what an import makes of tarballs with what GNU tar unpacks: names, bytes, executable bits, links.
//!
//! cargo run -p ggen-tests --example archives -- ARCHIVE-OR-DIRECTORY...
//!
//! For example on popular packages, as their own clients download them: `npm pack lodash`, `pip download --no-deps
//! --no-binary :all: requests`, `~/.cargo/registry/cache`.

#![allow(clippy::print_stdout, reason = "a program for people at a terminal")]
#![allow(clippy::unwrap_used, reason = "it shares the harness of the tests")]
#![allow(dead_code, reason = "a harness offers more than this program uses")]

use std::{fs, path::PathBuf, process::ExitCode};

use gnu_tar::{Outcome, compare};

#[path = "../suite/support/gnu_tar.rs"]
mod gnu_tar;
#[path = "../suite/support/trees.rs"]
mod trees;

fn main() -> ExitCode {
    let mut left: Vec<_> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let (mut same, mut different) = (0, 0);
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        match compare(&path) {
            Outcome::Same(_) => same += 1,
            other => {
                different += 1;
                println!("{}: {other:?}", path.display());
            }
        }
    }
    println!("{same} archives give the tree that GNU tar gives, {different} do not");
    ExitCode::from(u8::from(different > 0))
}
