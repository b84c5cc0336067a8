//! Suggestions for misspelt package names.

use super::PackageId;

/// Least similarity (0 to 1) between a misspelt name and a known one for a suggestion.
const SUGGESTION_SIMILARITY: f64 = 0.75;

/// The name in `known` that resembles `name` most, if any resembles it enough. `name` itself is never returned.
pub(crate) fn nearest_package(name: &PackageId, known: impl IntoIterator<Item = PackageId>) -> Option<PackageId> {
    let likeness = |other: &PackageId| strsim::normalized_damerau_levenshtein(name.as_str(), other.as_str());
    let scored = known.into_iter().filter(|other| other != name).map(|other| (likeness(&other), other));
    let (best, other) = scored.max_by(|left, right| left.0.total_cmp(&right.0))?;
    (best >= SUGGESTION_SIMILARITY).then_some(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_resembles_a_name_is_suggested_and_nothing_else() {
        let known = || ["examples/greeter", "examples/web-1", "acme/http"].map(|name| name.parse().unwrap());
        let nearest = |name: &str| nearest_package(&name.parse().unwrap(), known()).map(|found| found.to_string());
        assert_eq!(nearest("examples/greter").as_deref(), Some("examples/greeter"));
        assert_eq!(nearest("exmaples/greeter").as_deref(), Some("examples/greeter"));
        assert_eq!(nearest("acme/htttp").as_deref(), Some("acme/http"));
        assert_eq!(nearest("acme/http"), None, "it is known, so it is not misspelt");
        assert_eq!(nearest("other/thing"), None);
    }
}
