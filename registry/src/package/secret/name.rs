//! Detection of secret files by name.

use std::{collections::HashMap, sync::LazyLock};

/// Private keys of SSH, by the names that `ssh-keygen` gives them.
const SSH_KEYS: [&str; 7] = ["id_rsa", "id_dsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk", "id_xmss"];
/// Files that consist almost entirely of secrets: the last part of the path, and what they contain.
const CREDENTIALS: [(&str, &str); 36] = [
    ("/.netrc", "passwords for hosts"),
    ("/_netrc", "passwords for hosts"),
    ("/.pypirc", "credentials for a Python index"),
    ("/.config/pypoetry/auth.toml", "credentials for a Python index"),
    ("/credentials.toml", "tokens of cargo registries"),
    ("/.cargo/credentials", "tokens of cargo registries"),
    ("/.gem/credentials", "tokens of RubyGems"),
    ("/.composer/auth.json", "credentials of Composer"),
    ("/.config/composer/auth.json", "credentials of Composer"),
    ("/.m2/settings-security.xml", "the master password of Maven"),
    ("/.git-credentials", "passwords for git hosts"),
    ("/.config/git/credentials", "passwords for git hosts"),
    ("/.config/hub", "a token for a git host"),
    ("/.aws/credentials", "AWS access keys"),
    ("/.boto", "cloud access keys"),
    ("/.s3cfg", "cloud access keys"),
    ("/.passwd-s3fs", "cloud access keys"),
    ("/rclone/rclone.conf", "cloud access keys"),
    ("/.databrickscfg", "cloud access keys"),
    ("/application_default_credentials.json", "Google Cloud credentials"),
    ("/gcloud/credentials.db", "Google Cloud credentials"),
    ("/gcloud/access_tokens.db", "Google Cloud credentials"),
    ("/.azure/accesstokens.json", "Azure credentials"),
    ("/.azure/msal_token_cache.json", "Azure credentials"),
    ("/.azure/msal_token_cache.bin", "Azure credentials"),
    ("/.azure/service_principal_entries.json", "Azure credentials"),
    ("/.azure/service_principal_entries.bin", "Azure credentials"),
    ("/.terraform.d/credentials.tfrc.json", "tokens of Terraform"),
    ("/.kube/config", "Kubernetes credentials"),
    ("/.dockercfg", "container registry credentials"),
    ("/.pgpass", "database passwords"),
    ("/.my.cnf", "database passwords"),
    ("/.mylogin.cnf", "database passwords"),
    ("/.htpasswd", "password hashes"),
    ("/.vault-token", "a Vault token"),
    ("/secring.gpg", "private OpenPGP keys"),
];
/// [`CREDENTIALS`] by the name of the file, because every path of a package is looked up.
static BY_NAME: LazyLock<HashMap<&str, Vec<(&str, &str)>>> = LazyLock::new(|| {
    let mut by_name: HashMap<_, Vec<_>> = HashMap::new();
    for (end, what) in CREDENTIALS {
        by_name.entry(file_name(end)).or_default().push((end, what));
    }
    by_name
});
/// Directories that contain only secrets.
const DIRECTORIES: [(&str, &str); 2] =
    [("/gcloud/legacy_credentials/", "Google Cloud credentials"), ("/private-keys-v1.d/", "private OpenPGP keys")];
/// Suffixes of copies, from editors or users.
const COPIES: [&str; 9] = [".bak", ".backup", ".copy", ".old", ".orig", ".save", ".swo", ".swp", ".tmp"];
/// What file managers put behind the name of a copy, or before its extension; a number may follow, or something in
/// parentheses stand instead.
const COPY_WORDS: [&str; 2] = [" - copy", " copy"];
/// What some put before it.
const COPY_OF: &str = "copy of ";
/// Last parts of the name of an `.env` file that is there to be copied and filled in.
const ENV_TEMPLATES: [&str; 7] = ["example", "sample", "template", "dist", "defaults", "schema", "tpl"];
/// Suffixes of `.env` files with encrypted values.
const ENV_ENCRYPTED: [&str; 6] = ["age", "enc", "encrypted", "gpg", "sops", "vault"];
/// Suffixes of programs that read the variables, or of their documentation.
const ENV_PROGRAMS: [&str; 10] = ["cjs", "go", "js", "md", "mjs", "mts", "py", "rb", "rs", "ts"];

/// The path of the file of which the one at `path`, in lower case, is a copy by its name (`.env~`, `#.env#`, `.netrc.bak`,
/// `.env copy`, `id_rsa (1)`); otherwise `path`.
pub(super) fn original(path: String) -> String {
    let (directory, file) = path.rsplit_once('/').unwrap_or(("", &path));
    if file.contains(' ')
        && let Some(name) = without_copy_words(file)
    {
        return original(format!("{directory}/{name}"));
    }
    let mut name = file;
    name = name.strip_prefix('#').and_then(|name| name.strip_suffix('#')).unwrap_or(name);
    loop {
        // `x.~2~` is a numbered copy of `x`.
        let tilde = name.strip_suffix('~').map(|name| name.rsplit_once(".~").map_or(name, |(name, _)| name));
        let end = || COPIES.iter().find_map(|end| name.strip_suffix(end));
        match tilde.or_else(end).filter(|name| !name.is_empty()) {
            Some(shorter) => name = shorter,
            None if name.len() == file.len() => return path,
            None => return format!("{directory}/{name}"),
        }
    }
}

/// The name of the file of which a file manager made this copy.
fn without_copy_words(name: &str) -> Option<String> {
    let of = |name: &str| {
        let name = name.strip_suffix(')').and_then(|name| name.rsplit_once(" (")).map_or(name, |(name, _)| name);
        let number = name.rsplit_once(' ').filter(|(_, number)| number.bytes().all(|byte| byte.is_ascii_digit()));
        let name = number.map_or(name, |(name, _)| name);
        COPY_WORDS.iter().find_map(|words| name.strip_suffix(words)).unwrap_or(name).len()
    };
    if let Some(name) = name.strip_prefix(COPY_OF) {
        return Some(name.to_owned());
    }
    let end = of(name);
    if end < name.len() {
        return (end > 0).then(|| name[..end].to_owned());
    }
    let (stem, extension) = name.rsplit_once('.')?;
    let end = of(stem);
    (0 < end && end < stem.len()).then(|| format!("{}.{extension}", &stem[..end]))
}

/// The last part of a path.
pub(super) fn file_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// Says what secret a file holds by its path, in lower case.
pub(super) fn of_secret(path: &str) -> Option<&'static str> {
    let name = file_name(path);
    // Vim hides the copy of `id_rsa` as `.id_rsa.swp`.
    if SSH_KEYS.contains(&name.strip_prefix('.').unwrap_or(name)) {
        return Some("a private SSH key, by its name");
    }
    if is_env(name) {
        return Some("environment variables, which often are secrets");
    }
    let by_end = BY_NAME.get(name).and_then(|ends| ends.iter().find(|(end, _)| path.ends_with(end)));
    by_end.or_else(|| DIRECTORIES.iter().find(|(directory, _)| path.contains(directory))).map(|(_, what)| *what)
}

/// `.env`, `.env.production`, `.env_prod`, ..., but not a template.
fn is_env(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(".env") else { return false };
    let last = rest.rsplit(SEPARATORS).next().unwrap_or_default();
    let is_harmless =
        [&ENV_TEMPLATES[..], &ENV_ENCRYPTED, &ENV_PROGRAMS].iter().any(|harmless| harmless.contains(&last));
    rest.is_empty() || (rest.starts_with(SEPARATORS) && !is_harmless)
}

/// Separators between the parts of a name.
const SEPARATORS: [char; 3] = ['.', '_', '-'];

/// Returns whether a file may contain environment variables, judged by its name: `.envrc`, `prod.env`.
pub(super) fn may_be_env(path: &str) -> bool {
    let name = file_name(path);
    let is_template = || name.split(SEPARATORS).any(|part| ENV_TEMPLATES.contains(&part));
    (name == ".envrc" || name.ends_with(".env")) && !is_template()
}
