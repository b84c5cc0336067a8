//! Configuration files that are published with good reason, unless some of their settings have a secret value.

use super::name;

/// A configuration file of a tool.
struct Form {
    /// Ends of its path.
    files: &'static [&'static str],
    /// The settings that are secrets, in lower case.
    settings: &'static [&'static str],
    /// What they hold.
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
/// Ends of the names of environment variables that hold a secret.
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
/// What stands where a value is to be filled in.
const BLANKS: [&str; 9] = ["changeme", "change_me", "false", "none", "null", "placeholder", "redacted", "true", "~"];

/// Says what secret a configuration file holds; `path` is in lower case.
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

/// `DB_PASSWORD=x`, `export TOKEN="x"`.
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

/// The values that a setting, named in lower case, has in a text: as `setting=value`, `setting[]=value`, `setting: value`,
/// `"setting": "value"` or `<setting>value</setting>`. Lines that are comments have none.
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

/// Whether a value is one, and not where it comes from or a blank to be filled in.
fn is_literal(value: &str) -> bool {
    if let Some(variable) = value.strip_prefix("${").and_then(|variable| variable.split('}').next()) {
        // With a default it has a value nevertheless.
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
