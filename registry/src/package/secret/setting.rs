//! Detection of secret values in configuration files, which are legitimate package content otherwise.

use super::name;

/// A configuration file of a tool.
struct Form {
    /// Suffixes of its path.
    files: &'static [&'static str],
    /// The settings whose values are secrets, in lower case.
    settings: &'static [&'static str],
    /// What those settings contain.
    what: &'static str,
}

const FORMS: [Form; 8] = [
    Form {
        files: &["/.npmrc", "/npmrc"],
        settings: &["_authtoken", "_auth", "_password"],
        what: "a token for an npm registry",
    },
    Form { files: &["/.yarnrc.yml"], settings: &["npmauthtoken", "npmauthident"], what: "a token for an npm registry" },
    Form {
        files: &["/.docker/config.json", "/.dockerconfigjson", "/containers/auth.json", "/helm/registry/config.json"],
        settings: &["auth", "identitytoken", "registrytoken"],
        what: "container registry credentials",
    },
    Form {
        files: &["kubeconfig", "kubeconfig.yaml", "kubeconfig.yml", "/admin.conf", "/super-admin.conf"],
        settings: &["client-key-data", "token", "password"],
        what: "Kubernetes credentials",
    },
    Form { files: &["/gh/hosts.yml"], settings: &["oauth_token"], what: "a token for GitHub" },
    Form {
        files: &["/.m2/settings.xml"],
        settings: &["password", "passphrase"],
        what: "passwords for Maven repositories",
    },
    Form { files: &["/.terraformrc", "/terraform.rc"], settings: &["token"], what: "tokens of Terraform" },
    Form { files: &["/doctl/config.yaml"], settings: &["access-token"], what: "a token for a cloud" },
];
/// Suffixes of environment variables that contain a secret.
const SECRET_VARIABLES: [&str; 12] = [
    "ACCESS_KEY",
    "APIKEY",
    "API_KEY",
    "ENCRYPTION_KEY",
    "PASSPHRASE",
    "PASSWD",
    "PASSWORD",
    "PRIVATE_KEY",
    "SECRET",
    "SECRET_KEY",
    "SIGNING_KEY",
    "TOKEN",
];
/// Placeholders for values.
const BLANKS: [&str; 9] = ["changeme", "change_me", "false", "none", "null", "placeholder", "redacted", "true", "~"];

/// Returns which secret a configuration file contains; `path` is in lower case.
pub(super) fn of_secret(path: &str, content: &[u8]) -> Option<&'static str> {
    let form = FORMS.iter().find(|form| form.files.iter().any(|end| path.ends_with(end)));
    if form.is_none() && !name::may_be_env(path) {
        return None;
    }
    let text = String::from_utf8_lossy(content);
    match form {
        Some(form) => {
            let is_set = |setting: &&str| values(&text, setting).any(is_literal);
            form.settings.iter().any(is_set).then_some(form.what)
        }
        None => {
            text.lines().any(sets_secret_variable).then_some("environment variables that are secrets, by their names")
        }
    }
}

/// Returns whether a line such as `DB_PASSWORD=x` or `export TOKEN="x"` sets a secret variable.
fn sets_secret_variable(line: &str) -> bool {
    let line = line.trim();
    let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
    let Some((variable, value)) = line.split_once('=') else { return false };
    let is_variable = variable.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let variable = variable.to_ascii_uppercase();
    is_variable
        && SECRET_VARIABLES.iter().any(|end| variable.ends_with(end))
        && is_literal(unquoted(value.trim_start()))
}

/// The values of a setting, named in lower case, in a text: from `setting=value`, `setting[]=value`, `setting: value`,
/// `"setting": "value"` or `<setting>value</setting>`. Comment lines are skipped.
pub(super) fn values<'a>(text: &'a str, setting: &str) -> impl Iterator<Item = &'a str> {
    let places: Vec<usize> = {
        let lower = text.to_ascii_lowercase();
        lower.match_indices(setting).map(|(at, _)| at).collect()
    };
    let length = setting.len();
    places.into_iter().filter_map(move |at| {
        let (before, rest) = (&text[..at], &text[at + length..]);
        let begins = before.chars().next_back().is_none_or(|last| !last.is_alphanumeric() && !"_-.".contains(last));
        let line = before.rsplit('\n').next().unwrap_or_default().trim_start();
        let rest = rest.strip_prefix(['"', '\'']).unwrap_or(rest);
        let rest = rest.strip_prefix("[]").unwrap_or(rest).trim_start_matches([' ', '\t']);
        let value = rest.strip_prefix(['=', ':', '>'])?.trim_start_matches([' ', '\t']);
        (begins && !line.starts_with(['#', ';'])).then(|| unquoted(value))
    })
}

/// The value at the beginning of a text, without quotes.
fn unquoted(text: &str) -> &str {
    let end = match text.chars().next() {
        Some(quote @ ('"' | '\'')) => return text[1..].split([quote, '\n']).next().unwrap_or_default(),
        _ if text.starts_with("${") => text.find('}').map(|end| end + 1),
        _ => text.find(['\n', '\r', ',', '}', '<', ' ', '\t']),
    };
    text[..end.unwrap_or(text.len())].trim()
}

/// Returns whether a value is a literal, as opposed to a reference or a placeholder.
fn is_literal(value: &str) -> bool {
    if let Some(variable) = value.strip_prefix("${").and_then(|variable| variable.split('}').next()) {
        // A default value of a reference is a literal too.
        return variable.split_once('-').is_some_and(|(name, default)| {
            let is_name = name.trim_end_matches(':').bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            is_name && is_literal(default)
        });
    }
    let is_reference = value.starts_with(['$', '%', '<', '`']) || value.starts_with("{{");
    let lower = value.to_ascii_lowercase();
    let is_blank = BLANKS.contains(&lower.as_str())
        || lower.starts_with("your")
        || value.bytes().all(|byte| b"xX*.-_".contains(&byte));
    !is_reference && !is_blank
}
