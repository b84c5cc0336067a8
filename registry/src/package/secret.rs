//! Files that hold secrets: private keys and databases of a node, recognised by their content, and credentials, recognised by the names
//! that tools give them.
//!
//! Text that merely mentions a key is not a secret: the body of a PEM block must decode to a key, and a setting must
//! have a value. Public keys, certificates and certificate stores are not secrets.

mod database;
mod key;
mod name;
mod setting;

use ggen_blockstore::Inspected;

/// Returns which secret a file contains, if any; `path` is its path in the tree.
pub(crate) fn secret_in(path: &str, inspected: Inspected<'_>) -> Option<&'static str> {
    // Names are compared as on a file system that ignores case.
    let mut lower = String::with_capacity(path.len() + 1);
    lower.push('/');
    lower.push_str(path);
    lower.make_ascii_lowercase();
    let path = name::original(lower);
    match inspected {
        Inspected::Path => name::of_secret(&path),
        Inspected::Content(content) => {
            let by_setting = setting::of_secret(&path, content);
            by_setting.or_else(|| database::of_node(content)).or_else(|| key::in_content(content))
        }
        Inspected::Part(part) => {
            setting::of_secret(&path, part).or_else(|| database::of_node(part)).or_else(|| key::in_part(part))
        }
    }
}

#[cfg(test)]
mod tests;
