//! Targets: the TARGET argument of the command line.

use std::{fmt, str::FromStr};

use ggen_blockstore::{Cid, Error, parse_cid};

use crate::{
    identity::PublisherId,
    package::{NameError, PackageId, Requirement},
};

/// Shortest text with a CID's prefix that is treated as a damaged CID and not as a name, in characters.
const MIN_CID_CHARS: usize = 10;
/// The same for a CIDv0.
const MIN_V0_CHARS: usize = 5;
/// Longest target text, in bytes.
const MAX_TARGET_BYTES: usize = 4096;

/// A parsed target.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// `<cid>` or `/ipfs/<cid>[/path]`: content, a release, any IPFS file or directory.
    Content {
        /// The root.
        cid: Cid,
        /// Names below it; empty for the root itself.
        path: Vec<String>,
    },
    /// `/ipns/<name>[/path]`.
    Ipns {
        /// A key's CID or a DNS name, as given.
        name: String,
        /// Names below what it resolves to.
        path: Vec<String>,
    },
    /// `[<publisher>/]ns/name[@REQ]`.
    Package {
        /// The publisher, if one is named.
        publisher: Option<PublisherId>,
        /// The package.
        package: PackageId,
        /// The accepted versions.
        requirement: Requirement,
    },
}

impl FromStr for Target {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() > MAX_TARGET_BYTES {
            return Err(refuse(text, &format!("it is longer than {MAX_TARGET_BYTES} bytes")));
        }
        let path = text.strip_prefix('/').unwrap_or(text);
        for scheme in ["ipfs", "ipns"] {
            let rest =
                path.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://").or_else(|| rest.strip_prefix('/')));
            if let Some(rest) = rest {
                return parse_path(text, scheme == "ipfs", rest);
            }
        }
        if text.starts_with('/') {
            return Err(refuse(text, "a path begins with /ipfs/ or /ipns/"));
        }
        match text.split_once('/') {
            None => match parse_cid(text) {
                Ok(cid) => Ok(Self::Content { cid, path: Vec::new() }),
                Err(error @ (Error::UnsupportedHash { .. } | Error::DigestLength { .. })) => {
                    Err(refuse_cid(text, &error))
                }
                Err(_) if looks_like_cid(text) => Err(broken_cid(text)),
                Err(_) => Err(refuse(text, "a package is named `namespace/name`, with `@1.2` for a version")),
            },
            Some(_) => parse_package(text),
        }
    }
}

/// Returns whether a text without a slash was probably meant to be a CID, in one of the bases that IPFS tools print.
fn looks_like_cid(text: &str) -> bool {
    /// The bases and codecs that are common.
    const BEGINNINGS: [&str; 7] = ["bafy", "bafk", "bagu", "k51", "zb2r", "zdj7", "zdpu"];
    let are_all = |allowed: fn(char) -> bool| text.chars().all(allowed);
    // No package is named in capitals, so a few characters of a CIDv0 are enough.
    if text.starts_with("Qm") {
        // A few are enough only if all of them may stand in one.
        let is_base58 = !text.contains(['0', 'O', 'I', 'l']);
        let least = if is_base58 { MIN_V0_CHARS } else { MIN_CID_CHARS };
        return text.len() >= least && are_all(|character| character.is_ascii_alphanumeric());
    }
    let is_base16 = text.starts_with("f01") && are_all(|character| character.is_ascii_hexdigit());
    text.len() >= MIN_CID_CHARS
        && are_all(|character| character.is_ascii_alphanumeric())
        && (is_base16 || BEGINNINGS.iter().any(|beginning| text.starts_with(beginning)))
}

fn parse_path(text: &str, ipfs: bool, rest: &str) -> Result<Target, NameError> {
    let mut segments = rest.split('/').filter(|segment| !segment.is_empty());
    let root = segments.next().ok_or_else(|| refuse(text, "the path names no root"))?;
    let path: Vec<String> = segments.map(str::to_owned).collect();
    if path.iter().any(|segment| segment == "." || segment == "..") {
        return Err(refuse(text, "`.` and `..` have no meaning in an IPFS path"));
    }
    if !ipfs {
        return Ok(Target::Ipns { name: root.to_owned(), path });
    }
    let cid = parse_cid(root).map_err(|error| refuse_cid(text, &error))?;
    Ok(Target::Content { cid, path })
}

fn parse_package(text: &str) -> Result<Target, NameError> {
    if text.starts_with('@') {
        return Err(refuse(text, "a package name has no `@` in front"));
    }
    let (name, requirement) = match text.split_once('@') {
        Some((_, requirement)) if requirement.trim().is_empty() => {
            return Err(refuse(text, "no version requirement stands behind the `@`"));
        }
        Some((name, requirement)) => (name, Requirement::of_target(requirement)?),
        None => (text, Requirement::Latest),
    };
    let (first, rest) = name.split_once('/').unwrap_or((name, ""));
    let publisher: Option<PublisherId> = first.parse().ok();
    let (publisher, package) = match (rest.split('/').count(), publisher) {
        (2, Some(publisher)) => (Some(publisher), rest),
        _ if parse_cid(first).is_ok() => return Err(refuse(text, "a path below a CID begins with /ipfs/")),
        _ if name.ends_with('/') => return Err(refuse(text, "it ends with a slash")),
        (1, _) => (None, name),
        (2, _) if looks_like_cid(first) => return Err(broken_cid(first)),
        _ => {
            let reason = "a package is named `namespace/name` or `<publisher>/namespace/name`, without a path";
            return Err(refuse(text, reason));
        }
    };
    Ok(Target::Package { publisher, package: package.parse()?, requirement })
}

/// The error for an invalid CID, or for one whose hash function is unsupported.
fn refuse_cid(text: &str, error: &Error) -> NameError {
    match error {
        Error::UnsupportedHash { .. } | Error::DigestLength { .. } => {
            NameError::Unverifiable { text: shortened(text), reason: error.to_string() }
        }
        Error::InvalidCid { text: root, .. } if looks_like_cid(root) => broken_cid(root),
        _ => refuse(text, &error.to_string()),
    }
}

/// The error for a text with a CID's prefix that is not a valid CID.
fn broken_cid(text: &str) -> NameError {
    /// Characters of a CIDv0, and of a CIDv1 of a sha2-256 digest in base32, base58 and base16.
    const V0_CHARS: usize = 46;
    const V1_CHARS: usize = 59;
    const V1_BASE58_CHARS: usize = 49;
    const V1_BASE16_CHARS: usize = 73;
    let usual = match text.as_bytes() {
        [b'Q', ..] => V0_CHARS,
        [b'z', ..] => V1_BASE58_CHARS,
        [b'f', ..] => V1_BASE16_CHARS,
        _ => V1_CHARS,
    };
    NameError::BrokenCid { text: shortened(text), is_short: text.len() < usual }
}

fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}

fn refuse(text: &str, reason: &str) -> NameError {
    NameError::Target { text: shortened(text), reason: reason.to_owned() }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let write_path = |formatter: &mut fmt::Formatter<'_>, path: &[String]| {
            path.iter().try_for_each(|segment| write!(formatter, "/{segment}"))
        };
        match self {
            Self::Content { cid, path } if path.is_empty() => write!(formatter, "{cid}"),
            Self::Content { cid, path } => {
                write!(formatter, "/ipfs/{cid}")?;
                write_path(formatter, path)
            }
            Self::Ipns { name, path } => {
                write!(formatter, "/ipns/{name}")?;
                write_path(formatter, path)
            }
            Self::Package { publisher, package, requirement } => {
                if let Some(publisher) = publisher {
                    write!(formatter, "{publisher}/")?;
                }
                write!(formatter, "{package}")?;
                match requirement {
                    Requirement::Latest => Ok(()),
                    Requirement::Matching(_) | Requirement::Build(_) => write!(formatter, "@{requirement}"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CID_V0: &str = "QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ";
    const CID_V1: &str = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";
    /// Raw blocks with md5, and with sha2-256 truncated to 10 bytes.
    const MD5: &str = "bafk5kaiqaeaqcaibaeaqcaibaeaqcaibae";
    const SHORT: &str = "bafkrecqbaeaqcaibaeaqcai";
    const PUBLISHER: &str = "bafyreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";

    fn parse(text: &str) -> Target {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn every_form_of_the_contract_reads() {
        let root = |cid: &str| Target::Content { cid: parse_cid(cid).unwrap(), path: Vec::new() };
        assert_eq!(parse(CID_V0), root(CID_V0));
        assert_eq!(parse(CID_V1), root(CID_V1));
        assert_eq!(parse(&format!("/ipfs/{CID_V1}")), root(CID_V1));
        assert_eq!(parse(&format!("ipfs://{CID_V1}/")), root(CID_V1));
        let below = Target::Content { cid: parse_cid(CID_V1).unwrap(), path: vec!["a".into(), "b c".into()] };
        assert_eq!(parse(&format!("/ipfs/{CID_V1}/a/b c")), below);
        let ipns = Target::Ipns { name: "example.org".into(), path: vec!["x".into()] };
        assert_eq!(parse("/ipns/example.org/x"), ipns);
        let package = |publisher: Option<&str>, requirement: &str| Target::Package {
            publisher: publisher.map(|text| text.parse().unwrap()),
            package: "acme/http".parse().unwrap(),
            requirement: requirement.parse().unwrap(),
        };
        assert_eq!(parse("acme/http"), package(None, "latest"));
        assert_eq!(parse("acme/http@latest"), package(None, "latest"));
        assert_eq!(parse("acme/http@1.2"), package(None, "^1.2"));
        assert_eq!(parse("acme/http@1.0.5"), package(None, "=1.0.5"));
        assert_eq!(parse(&format!("{PUBLISHER}/acme/http@>=1, <3")), package(Some(PUBLISHER), ">=1, <3"));
    }

    #[test]
    fn targets_print_as_they_read() {
        for text in [
            CID_V0.to_owned(),
            format!("/ipfs/{CID_V1}/a"),
            "/ipns/example.org/x".to_owned(),
            "acme/http".to_owned(),
            format!("{PUBLISHER}/acme/http@^1.2"),
        ] {
            assert_eq!(parse(&text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_target_is_refused_with_a_hint() {
        for (text, hint) in [
            ("http", "`namespace/name`"),
            ("", "`namespace/name`"),
            (&CID_V1[..30], "is not a complete CID"),
            (&CID_V0[..CID_V0.len() - 1], "is not a complete CID"),
            (&format!("{}{}", &CID_V1[..30], CID_V1[29..].to_uppercase()), "is not a valid CID"),
            (&format!("/ipfs/{}/a", &CID_V1[..30]), "is not a complete CID"),
            (&format!("{}/acme/http", &PUBLISHER[..30]), "is not a complete CID"),
            ("Qmail", "`namespace/name`"),
            ("QmZZZ", "is not a complete CID"),
            ("f01551220aa", "is not a complete CID"),
            ("/etc/passwd", "/ipfs/"),
            ("/ipfs/", "no root"),
            ("/ipfs/nonsense", "invalid CID"),
            (&format!("/ipfs/{CID_V1}/../x"), "`..`"),
            ("a/b/c/d", "<publisher>/namespace/name"),
            ("alice/acme/http", "publisher"),
            ("acme/http/", "ends with a slash"),
            (&format!("{CID_V1}/content"), "begins with /ipfs/"),
            (&format!("{CID_V0}/a/b"), "begins with /ipfs/"),
            (&format!("{PUBLISHER}/content"), "begins with /ipfs/"),
            ("@acme/http", "no `@` in front"),
            ("acme/http@v1.2.0", "write `1.2.0`, without `v`"),
            ("acme/http@", "requirement"),
            ("acme/http@nonsense", "requirement"),
            ("Acme/http", "namespace"),
            (&"x".repeat(5000), "longer"),
            (MD5, "md5 is not supported"),
            (&format!("/ipfs/{MD5}/a"), "md5 is not supported"),
            (SHORT, "cannot be verified: a sha2-256 digest has 20 to 32 bytes"),
        ] {
            let error = text.parse::<Target>().unwrap_err().to_string();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }
}
