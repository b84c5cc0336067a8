//! Files that hold secrets: private keys, told by their content, and credentials, told by the names that tools give them.
//!
//! A file with the words of a key in it is none: the body of a PEM block has to decode to a key. Public keys and
//! certificates are no secrets.

mod key;

use ggen_blockstore::Inspected;

/// Says what secret a file holds, if it holds one; `path` is the one in the tree.
pub(crate) fn secret_in(path: &str, inspected: Inspected<'_>) -> Option<&'static str> {
    // Names are compared as tools on file systems that ignore case would read them.
    let path = format!("/{}", path.to_ascii_lowercase());
    let name = path.rsplit('/').next().unwrap_or_default();
    match inspected {
        Inspected::Path => by_path(&path, name),
        Inspected::Content(content) => by_setting(name, content).or_else(|| key::in_content(content)),
        Inspected::Part(part) => by_setting(name, part).or_else(|| key::in_pem(part)),
    }
}

/// Private keys of SSH, by the names that `ssh-keygen` gives them.
const SSH_KEYS: [&str; 7] = ["id_rsa", "id_dsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk", "id_xmss"];
/// Files of which every line, or nearly so, is a secret: by the end of their path.
const CREDENTIALS: [(&str, &str); 18] = [
    ("/.netrc", "passwords for hosts"),
    ("/_netrc", "passwords for hosts"),
    ("/.pypirc", "credentials for a Python index"),
    ("/credentials.toml", "tokens of cargo registries"),
    ("/.cargo/credentials", "tokens of cargo registries"),
    ("/.gem/credentials", "tokens of RubyGems"),
    ("/.git-credentials", "passwords for git hosts"),
    ("/.config/git/credentials", "passwords for git hosts"),
    ("/.aws/credentials", "AWS access keys"),
    ("/.boto", "cloud access keys"),
    ("/.s3cfg", "cloud access keys"),
    ("/application_default_credentials.json", "Google Cloud credentials"),
    ("/.kube/config", "Kubernetes credentials"),
    ("/.dockercfg", "container registry credentials"),
    ("/.pgpass", "database passwords"),
    ("/.my.cnf", "database passwords"),
    ("/.htpasswd", "password hashes"),
    ("/.vault-token", "a Vault token"),
];
/// Endings of an `.env` file that is there to be copied and filled in.
const ENV_TEMPLATES: [&str; 7] = ["example", "sample", "template", "dist", "defaults", "schema", "tpl"];

fn by_path(path: &str, name: &str) -> Option<&'static str> {
    if SSH_KEYS.contains(&name) {
        return Some("a private SSH key, by its name");
    }
    if is_env(name) {
        return Some("environment variables, which often are secrets");
    }
    CREDENTIALS.iter().find(|(end, _)| path.ends_with(end)).map(|(_, what)| *what)
}

/// `.env`, `.env.production`, ..., but no template.
fn is_env(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(".env") else { return false };
    let is_template = rest.rsplit('.').next().is_some_and(|last| ENV_TEMPLATES.contains(&last));
    rest.is_empty() || (rest.starts_with('.') && !is_template)
}

/// Configuration files that hold a secret in some of their settings.
fn by_setting(name: &str, content: &[u8]) -> Option<&'static str> {
    let (settings, separator, what): (&[&str], _, _) = match name {
        ".npmrc" | "npmrc" => (&["_authtoken", "_auth", "_password"], '=', "a token for an npm registry"),
        ".yarnrc.yml" => (&["npmauthtoken", "npmauthident"], ':', "a token for an npm registry"),
        _ => return None,
    };
    let text = String::from_utf8_lossy(content);
    let is_set = |line: &str| {
        let line = line.trim();
        let Some((setting, value)) = line.split_once(separator) else { return false };
        let setting = setting.trim().to_ascii_lowercase();
        // `//registry.example/:_authToken=...` names the host first.
        let setting = setting.rsplit(':').next().unwrap_or_default();
        let value = value.trim().trim_matches(['"', '\'']);
        // A variable of the environment is no secret.
        settings.contains(&setting) && !value.is_empty() && !value.starts_with("${") && !line.starts_with(['#', ';'])
    };
    // In YAML the host is a key of its own, above; the setting's own colon is the first one then.
    text.lines().any(is_set).then_some(what)
}

#[cfg(test)]
mod tests;
