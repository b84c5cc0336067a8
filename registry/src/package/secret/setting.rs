//! Detection of secret values in configuration files, which are legitimate package content otherwise.

use std::{borrow::Cow, collections::HashMap, sync::LazyLock};

use super::name;

/// A configuration file of a tool.
struct Form {
    /// Suffixes of its path: a slash and all parts of it, or the end of its name.
    files: &'static [&'static str],
    /// The settings whose values are secrets, in lower case.
    settings: &'static [&'static str],
    /// What those settings contain.
    what: &'static str,
}

/// The configuration of yarn 1.
const YARN_1: &str = "/.yarnrc";
const FORMS: [Form; 10] = [
    Form {
        files: &["/.npmrc", "/npmrc"],
        settings: &["_authtoken", "_auth", "_password"],
        what: "a token for an npm registry",
    },
    Form { files: &["/.yarnrc.yml"], settings: &["npmauthtoken", "npmauthident"], what: "a token for an npm registry" },
    // Of yarn 1, without a sign between a setting and its value.
    Form { files: &[YARN_1], settings: &["_authtoken", "_auth", "_password"], what: "a token for an npm registry" },
    Form { files: &["/pip.conf", "/pip.ini", "/.gitmodules", "/.gitconfig"], settings: &[], what: URL_WITH_PASSWORD },
    Form {
        files: &["/.docker/config.json", "/.dockerconfigjson", "/containers/auth.json", "/helm/registry/config.json"],
        settings: &["auth", "identitytoken", "password", "registrytoken"],
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
/// The suffixes of [`FORMS`] that have a whole file name, by that name, because every file of a package is looked up.
static BY_NAME: LazyLock<HashMap<&str, Vec<(&str, &Form)>>> = LazyLock::new(|| {
    let mut by_name: HashMap<_, Vec<_>> = HashMap::new();
    for (end, form) in FORMS.iter().flat_map(|form| form.files.iter().map(move |end| (*end, form))) {
        if end.starts_with('/') {
            by_name.entry(name::file_name(end)).or_default().push((end, form));
        }
    }
    by_name
});
/// What is found where no setting says it.
const URL_WITH_PASSWORD: &str = "a password, in a URL";
/// Ends of the names of environment variables that hold a secret.
const SECRET_VARIABLES: [&str; 18] = [
    "ACCESS_KEY",
    "APIKEY",
    "API_KEY",
    "APP_KEY",
    "AUTH_KEY",
    "ENCRYPTION_KEY",
    "MASTER_KEY",
    "MNEMONIC",
    "PASSPHRASE",
    "PASSWD",
    "PASSWORD",
    "PRIVATE_KEY",
    "SECRET",
    "SECRET_KEY",
    "SECRET_KEY_BASE",
    "SEED_PHRASE",
    "SIGNING_KEY",
    "TOKEN",
];
/// Last words of such names, where longer ones that end so mean something else: `BYPASS`, `COMPAT`.
const SECRET_WORDS: [&str; 3] = ["PASS", "PAT", "PWD"];
/// The variables in which shells keep a directory.
const DIRECTORIES: [&str; 2] = ["PWD", "OLDPWD"];
/// Shortest text beside a reference to a variable that is a secret, in letters and digits.
const MIN_BESIDE_REFERENCE: usize = 8;
/// What stands where a value is to be filled in.
const BLANKS: [&str; 9] = ["changeme", "change_me", "false", "none", "null", "placeholder", "redacted", "true", "~"];

/// Returns which secret a configuration file contains; `path` is in lower case.
pub(super) fn of_secret(path: &str, content: &[u8]) -> Option<&'static str> {
    let form = form_of(path);
    if form.is_none() && !name::may_be_env(path) {
        return None;
    }
    let text = text(content);
    let Some(form) = form else {
        return text
            .lines()
            .any(sets_secret_variable)
            .then_some("environment variables that are secrets, by their names or values");
    };
    let is_spaced = path.ends_with(YARN_1);
    let is_set = |setting: &&str| {
        values(&text, setting).any(is_literal) || is_spaced && spaced_values(&text, setting).any(is_literal)
    };
    if form.settings.iter().any(is_set) {
        return Some(form.what);
    }
    text.lines().any(|line| !is_comment(line) && has_password_in_url(line)).then_some(URL_WITH_PASSWORD)
}

/// The form of the configuration file at `path`.
fn form_of(path: &str) -> Option<&'static Form> {
    let is_at = |(end, form): &(&str, &'static Form)| path.ends_with(end).then_some(*form);
    let by_name = BY_NAME.get(name::file_name(path)).and_then(|ends| ends.iter().find_map(is_at));
    let ends_name = |form: &&Form| form.files.iter().any(|end| !end.starts_with('/') && path.ends_with(end));
    by_name.or_else(|| FORMS.iter().find(ends_name))
}

/// The text of a file, with a line feed at the end of each line: also of one in UTF-16, of one with carriage returns, and of
/// the lines that a swap file of vim holds.
fn text(content: &[u8]) -> Cow<'_, str> {
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    let is_wide =
        matches!(content, [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, 1..=255, ..] | [1..=255, 0, 1..=255, 0, ..]);
    let text = match is_wide {
        true => {
            let letters: Vec<u8> = content.iter().copied().filter(|byte| !matches!(byte, 0 | 0xfe | 0xff)).collect();
            Cow::Owned(String::from_utf8_lossy(&letters).into_owned())
        }
        false => String::from_utf8_lossy(content),
    };
    if text.contains(['\r', '\0']) { Cow::Owned(text.replace(['\r', '\0'], "\n")) } else { text }
}

/// `DB_PASSWORD=x`, `export TOKEN="x"`, `DATABASE_URL=postgres://user:password@host/`.
fn sets_secret_variable(line: &str) -> bool {
    let line = line.trim();
    let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
    let Some((variable, value)) = line.split_once('=') else { return false };
    let is_variable = variable.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let variable = variable.to_ascii_uppercase();
    let has_word = || SECRET_WORDS.contains(&variable.rsplit('_').next().unwrap_or_default());
    let is_secret = SECRET_VARIABLES.iter().any(|end| variable.ends_with(end)) || has_word();
    let is_directory = DIRECTORIES.contains(&variable.as_str());
    let value = unquoted(value.trim_start());
    is_variable && ((is_secret && !is_directory && is_literal(value)) || has_password_in_url(line))
}

/// Whether a line has a URL with a user and a password: `https://user:password@host`.
fn has_password_in_url(line: &str) -> bool {
    line.match_indices("://").any(|(at, scheme)| {
        let rest = &line[at + scheme.len()..];
        let end = rest.find(|letter: char| letter.is_whitespace() || "/?#\"'`<>".contains(letter));
        let user = rest[..end.unwrap_or(rest.len())].rsplit_once('@').and_then(|(user, _)| user.split_once(':'));
        user.is_some_and(|(_, password)| is_literal(password) && !password.contains("${"))
    })
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with(['#', ';'])
}

/// The values of a setting that has nothing but white space before them, as yarn 1 writes it: `"//host/:setting" "value"`.
fn spaced_values<'a>(text: &'a str, setting: &str) -> impl Iterator<Item = &'a str> {
    text.lines().filter(|line| !is_comment(line)).filter_map(move |line| {
        let (key, value) = line.trim().rsplit_once([' ', '\t'])?;
        let key = key.trim_end().trim_matches('"');
        let is_it = key
            .to_ascii_lowercase()
            .strip_suffix(setting)
            .is_some_and(|before| before.is_empty() || before.ends_with(':'));
        is_it.then(|| unquoted(value))
    })
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
        let line = before.rsplit('\n').next().unwrap_or_default();
        let rest = rest.strip_prefix(['"', '\'']).unwrap_or(rest);
        let rest = rest.strip_prefix("[]").unwrap_or(rest).trim_start_matches([' ', '\t']);
        let value = rest.strip_prefix(['=', ':', '>'])?.trim_start_matches([' ', '\t']);
        (begins && !is_comment(line)).then(|| unquoted(value))
    })
}

/// The value at the beginning of a text, without quotes.
fn unquoted(text: &str) -> &str {
    let end = match text.chars().next() {
        Some(quote @ ('"' | '\'')) => return text[1..].split([quote, '\n']).next().unwrap_or_default(),
        _ if text.starts_with("${") => text.find('}').map(|end| end + 1 + end_of_value(&text[end + 1..])),
        _ => Some(end_of_value(text)),
    };
    text[..end.unwrap_or(text.len())].trim()
}

/// Where a value without quotes ends.
fn end_of_value(text: &str) -> usize {
    text.find(['\n', '\r', ',', '}', '<', ' ', '\t']).unwrap_or(text.len())
}

/// Whether a value is one, and not where it comes from or a blank to be filled in.
fn is_literal(value: &str) -> bool {
    if let Some(rest) = value.strip_prefix("${") {
        let (variable, beside) = rest.split_once('}').unwrap_or((rest, ""));
        let letters = beside.bytes().filter(u8::is_ascii_alphanumeric).count();
        if letters >= MIN_BESIDE_REFERENCE && !beside.contains('$') {
            return true;
        }
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
