//! Hints for targets that cannot be parsed.

use ggen_blockstore::parse_cid;

use crate::{
    Hint, Operation,
    error::hint,
    package::{NameError, PackageId, Requirement, Target},
};

/// Returns a hint what the user may have meant by `text`.
pub(super) fn hint(text: &str, error: &NameError) -> Option<Hint> {
    match error {
        NameError::Unverifiable { .. } => {
            return Some("ask for a CID under sha2-256, which `ipfs add` makes unless it is given another hash".into());
        }
        NameError::BrokenCid { .. } => return Some("copy the complete CID".into()),
        _ => {}
    }
    if let Some(path) = path_in_url(text).or_else(|| path_below_cid(text)) {
        return Some(format!("write `{path}`").into());
    }
    let repaired = text.trim_start_matches('@').trim_end_matches(['/', '@']);
    if repaired != text && repaired.contains('/') && repaired.parse::<Target>().is_ok() {
        return Some(format!("write `{repaired}`").into());
    }
    if let Some(written) = without_v(text) {
        return Some(format!("write `{written}`").into());
    }
    if matches!(error, NameError::Requirement { .. }) {
        return Some(
            "a version is `1.2.0`, a range `^1.2` or `>=1, <2`; without one the newest version is meant".into(),
        );
    }
    if let Some((package, path)) = path_in_package(text) {
        return Some(hint![
            format!("fetch the whole package, `{package}`; or `/ipfs/<cid>/{path}`, with the CID that "),
            Operation::Info.on(package.to_string()),
            " shows as content"
        ]);
    }
    let is_word = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.@".contains(c));
    let word = text.trim_matches('@').split('@').next().filter(|word| is_word && !word.is_empty())?;
    Some(hint![Operation::Search.on(word), " lists packages with their full names"])
}

/// Returns the path in a gateway URL: `https://<host>/ipfs/<cid>/path` or `https://<cid>.ipfs.<host>/path`.
fn path_in_url(text: &str) -> Option<String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path = path.split(['?', '#']).next().unwrap_or(path).trim_end_matches('/');
    let below = match host.split_once(".ipfs.") {
        Some((cid, _)) => format!("/ipfs/{cid}/{path}"),
        None => format!("/{path}"),
    };
    let below = below.trim_end_matches('/');
    matches!(below.parse(), Ok(Target::Content { .. })).then(|| below.to_owned())
}

/// Converts `<cid>/path`, which `ipfs get` accepts, to `/ipfs/<cid>/path`.
fn path_below_cid(text: &str) -> Option<String> {
    let (root, _) = text.split_once('/')?;
    parse_cid(root).ok()?;
    let path = format!("/ipfs/{}", text.trim_end_matches('/'));
    path.parse::<Target>().is_ok().then_some(path)
}

/// Returns the target without the `v` before its version.
fn without_v(text: &str) -> Option<String> {
    let (name, version) = text.split_once('@')?;
    let version = version.strip_prefix(['v', 'V'])?;
    let written = format!("{name}@{version}");
    (Requirement::of_target(version).is_ok() && written.parse::<Target>().is_ok()).then_some(written)
}

/// Splits `ns/name/path`.
fn path_in_package(text: &str) -> Option<(PackageId, &str)> {
    let name = text.split('@').next()?;
    let (slash, _) = name.match_indices('/').nth(1)?;
    Some((name[..slash].parse().ok()?, name[slash..].trim_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::super::target;
    use super::*;
    use crate::ErrorKind;

    const CID: &str = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";

    /// Returns the hint for a target that cannot be parsed.
    fn told(text: &str) -> String {
        let failure = target(text).unwrap_err();
        assert_eq!(failure.kind, ErrorKind::Usage, "{text}");
        failure.hint.unwrap_or_else(|| panic!("no hint for {text}: {}", failure.message)).to_string()
    }

    #[test]
    fn what_a_hint_says_to_write_can_be_read() {
        for (typed, written) in [
            (format!("{CID}/content"), format!("/ipfs/{CID}/content")),
            (format!("{CID}/a/b/"), format!("/ipfs/{CID}/a/b")),
            (format!("https://ipfs.io/ipfs/{CID}"), format!("/ipfs/{CID}")),
            (format!("http://127.0.0.1:8080/ipfs/{CID}/a?filename=b"), format!("/ipfs/{CID}/a")),
            (format!("https://{CID}.ipfs.dweb.link/a"), format!("/ipfs/{CID}/a")),
            ("@acme/http".to_owned(), "acme/http".to_owned()),
            ("@acme/http@1.0.0".to_owned(), "acme/http@1.0.0".to_owned()),
            ("acme/http/".to_owned(), "acme/http".to_owned()),
            ("acme/http@".to_owned(), "acme/http".to_owned()),
            ("acme/http@v1.2.0".to_owned(), "acme/http@1.2.0".to_owned()),
        ] {
            assert_eq!(told(&typed), format!("write `{written}`"), "{typed}");
            written.parse::<Target>().unwrap();
        }
    }

    #[test]
    fn other_mistakes_have_the_hint_that_fits() {
        for (typed, part) in [
            (
                "examples/greeter/bin/x",
                "`/ipfs/<cid>/bin/x`, with the CID that the operation `info` on `examples/greeter`",
            ),
            ("http", "`search` on `http`"),
            ("@http", "`search` on `http`"),
            (&CID[..20], "copy the complete CID"),
            (&format!("/ipfs/{}", &CID[..20]), "copy the complete CID"),
            ("acme/x@one", "the newest version"),
        ] {
            assert!(told(typed).contains(part), "{typed}: {}", told(typed));
        }
    }
}
