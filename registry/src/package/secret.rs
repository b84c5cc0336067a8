//! Files that hold secrets: private keys, told by their content, and credentials, told by the names that tools give them.
//!
//! A file with the words of a key in it is none: the body of a PEM block has to decode to a key, and a setting has to have a
//! value. Public keys, certificates and stores of them are no secrets.

mod key;
mod name;
mod setting;

use ggen_blockstore::Inspected;

/// Says what secret a file holds, if it holds one; `path` is the one in the tree.
pub(crate) fn secret_in(path: &str, inspected: Inspected<'_>) -> Option<&'static str> {
    // Names are compared as tools on file systems that ignore case would read them.
    let mut lower = String::with_capacity(path.len() + 1);
    lower.push('/');
    lower.push_str(path);
    lower.make_ascii_lowercase();
    let path = name::original(lower);
    match inspected {
        Inspected::Path => name::of_secret(&path),
        Inspected::Content(content) => setting::of_secret(&path, content).or_else(|| key::in_content(content)),
        Inspected::Part(part) => setting::of_secret(&path, part).or_else(|| key::in_part(part)),
    }
}

#[cfg(test)]
mod tests;
