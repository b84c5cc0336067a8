//! Common properties of every refusal.

use super::{Home, Output, rehash, tree};
use crate::support::package;

/// Each `kind` of an error with its exit code.
const KINDS: [(i32, &str); 6] =
    [(1, "failed"), (1, "in_use"), (2, "usage"), (3, "verification"), (4, "not_found"), (5, "timed_out")];

/// Runs `ggen marketplace p2p <args>` in both formats. It must fail with `code` and one clear error that contains all
/// of `parts`, in the requested format.
#[track_caller]
pub(crate) fn refused(home: &Home, args: &[&str], code: i32, parts: &[&str]) {
    check_human(&home.p2p(args), code, parts);
    check_json(&home.p2p(&[&["--format", "json"], args].concat()), code, parts);
}

/// An error for users: nothing on stdout; on stderr the failure, the cause and the hint, each on lines of its own.
#[track_caller]
pub(crate) fn check_human(output: &Output, code: i32, parts: &[&str]) {
    assert_eq!(output.code, Some(code), "{output:?}");
    assert_eq!(output.stdout, "", "an error is no answer");
    let lines: Vec<_> = output.stderr.lines().collect();
    assert!(lines.first().is_some_and(|line| line.starts_with("error: ")), "{output:?}");
    let goes_on = |line: &&str| line.starts_with("  cause: ") || line.starts_with("hint: ");
    assert!(lines[1..].iter().all(goes_on), "more than one error: {output:?}");
    check_parts(&output.stderr, parts);
}

/// An error for scripts: one document on stdout, nothing on stderr.
#[track_caller]
pub(crate) fn check_json(output: &Output, code: i32, parts: &[&str]) {
    assert_eq!(output.code, Some(code), "{output:?}");
    assert_eq!(output.stderr, "", "{output:?}");
    let document = output.json();
    let error = &document["error"];
    let kind = error["kind"].as_str().expect("an error has a kind");
    assert!(KINDS.contains(&(code, kind)), "{output:?}");
    let message = error["message"].as_str().expect("an error has a message");
    assert!(!message.ends_with('.'), "{message}");
    check_parts(&format!("{message} {}", error["hint"]), parts);
}

#[track_caller]
fn check_parts(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in {text:?}");
    }
}

/// After a refusal: no process holds the home, nothing of the refused operation is left in it, and the next valid
/// command works.
#[track_caller]
pub(crate) fn is_untouched(home: &Home) {
    let hits = home.p2p(&["--format", "json", "search", "test", "--local"]).expect_code(0).json();
    assert_eq!(hits, serde_json::json!([]), "something was published");
    let (_, pins) = rehash(home);
    assert_eq!(pins, 0, "something was pinned");
    works(home);
}

/// A valid package can be published and fetched without a node, and the store is intact.
#[track_caller]
pub(crate) fn works(home: &Home) {
    let root = package(&home.work().join("a-good-one"), "good", "1.0.0");
    home.publish(&root);
    home.p2p(&["fetch", "acme/good", "--offline", "-o", "a-good-copy"]).expect_code(0);
    assert!(tree(&home.work().join("a-good-copy")) == tree(&root));
    rehash(home);
}
