//! Changes to the configuration file: one value, with everything else of the file left as it is. Of several at a time each
//! waits for the one before.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use ggen_marketplace::{ErrorKind, Failure};
use toml_edit::{DocumentMut, Item, Table, Value};

use super::{ConfigFile, file, keys};
use crate::error;

/// Sets `key` (as in `config show`: `limits.connections`) to `text`, or removes it if `text` is `None`.
///
/// `text` is parsed as a TOML value if it is one, and otherwise taken as a string, so that `acme` needs no quotes. For
/// a list of strings, it is the entries separated by commas. Nothing is written unless the resulting file is valid. The
/// file is replaced atomically; if it is a symbolic link, the link's target is replaced.
///
/// # Errors
/// An unknown key, an invalid value, a file that cannot be read (all exit 2), or a file that cannot be written.
pub(crate) fn set(file: &ConfigFile, key: &str, text: Option<&str>) -> Result<(), Failure> {
    let path = fs::canonicalize(&file.path).unwrap_or_else(|_| file.path.clone());
    let _until_it_is_written = lock(&path)?;
    let before = file::text(file)?.unwrap_or_default();
    // Existing errors are reported with their line before anything is changed.
    file::parse(&path, &before)?;
    let known = keys::defaults()?;
    if keys::role(&known, key) == keys::Role::Unknown {
        return Err(keys::unknown(&known, key, ""));
    }
    let after = changed(&before, key, text)?;
    let checked = file::parse(&path, &after).and_then(super::valid);
    checked
        .map_err(|failure| Failure { kind: ErrorKind::Usage, ..failure }.while_doing(format!("cannot set `{key}`")))?;
    replace(&path, &after).map_err(|cause| error::io("write configuration file", &path, &cause))
}

/// The text of the file with one value changed.
fn changed(before: &str, key: &str, text: Option<&str>) -> Result<String, Failure> {
    let mut document: DocumentMut =
        before.parse().map_err(|cause: toml_edit::TomlError| error::usage(cause.message().to_owned()))?;
    let (tables, name) = key.rsplit_once('.').map_or((None, key), |(tables, name)| (Some(tables), name));
    let mut table = document.as_table_mut();
    for part in tables.into_iter().flat_map(|tables| tables.split('.')) {
        let inner = table.entry(part).or_insert_with(|| Item::Table(Table::new()));
        table = inner.as_table_mut().ok_or_else(|| {
            error::usage(format!("`{part}` is not written as a table")).hinted("change the file with an editor")
        })?;
    }
    match text {
        Some(text) => {
            let mut value = value(key, text);
            if let Some(former) = table.get(name).and_then(Item::as_value) {
                // A comment after the value is preserved.
                *value.decor_mut() = former.decor().clone();
            }
            // The existing key is reused, with the comment above it.
            *table.entry(name).or_insert(Item::None) = Item::Value(value);
        }
        None => drop(table.remove(name)),
    }
    Ok(document.to_string())
}

/// The value that `text` denotes for `key`.
fn value(key: &str, text: &str) -> Value {
    let value = text.parse::<Value>().unwrap_or_else(|_| Value::from(text));
    match value.as_str() {
        Some(bare) if keys::is_list_of_texts(key) => {
            let entries = bare.split(',').map(str::trim).filter(|entry| !entry.is_empty());
            Value::Array(entries.collect())
        }
        _ => value,
    }
}

/// Waits until no other process changes a file in that directory, and keeps others waiting until it is dropped. The lock
/// ends with its process, however that ends, and leaves no file behind.
fn lock(path: &Path) -> Result<Option<File>, Failure> {
    let failed = |cause: io::Error| error::io("lock the directory of", path, &cause);
    match File::open(directory_of(path)) {
        Ok(directory) => directory.lock().map(|()| Some(directory)).map_err(failed),
        // What is written there, if it can be, says what is wrong.
        Err(_) => Ok(None),
    }
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes beside the file and renames; a reader finds the old text or the new. To be called under the lock: what a process
/// that was killed has left beside the file is removed.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".partial");
    let beside = directory_of(path).join(name);
    match fs::remove_file(&beside) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
        _ => {}
    }
    let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    let written = new.write_all(text.as_bytes()).and_then(|()| match fs::metadata(path) {
        Ok(metadata) => new.set_permissions(metadata.permissions()),
        Err(_) => Ok(()),
    });
    let renamed = written.and_then(|()| new.sync_all()).and_then(|()| fs::rename(&beside, path));
    renamed.inspect_err(|_| drop(fs::remove_file(&beside)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, ConfigFile) {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("p2p-config.toml");
        fs::write(&path, text).unwrap();
        (place, ConfigFile { path, required: false })
    }

    #[test]
    fn one_value_changes_and_comments_order_and_mode_stay() {
        use std::os::unix::fs::PermissionsExt;
        let (_place, file) = file("# mine\nmdns = true # why\n\n[limits]\nconnections = 9\n");
        fs::set_permissions(&file.path, fs::Permissions::from_mode(0o640)).unwrap();
        set(&file, "mdns", Some("false")).unwrap();
        set(&file, "namespace", Some("acme")).unwrap();
        set(&file, "limits.connections_per_peer", Some("2")).unwrap();
        set(&file, "timeouts.dial_seconds", Some("7")).unwrap();
        let text = fs::read_to_string(&file.path).unwrap();
        assert_eq!(
            text,
            "# mine\nmdns = false # why\nnamespace = \"acme\"\n\n[limits]\nconnections = 9\nconnections_per_peer = 2\n\n[timeouts]\n\
             dial_seconds = 7\n"
        );
        assert_eq!(fs::metadata(&file.path).unwrap().permissions().mode() & 0o777, 0o640);
        set(&file, "namespace", None).unwrap();
        assert!(!fs::read_to_string(&file.path).unwrap().contains("acme"));
    }

    #[test]
    fn a_list_needs_no_brackets() {
        let (_place, file) = file("");
        for (typed, written) in [
            ("/ip4/127.0.0.1/tcp/1", r#"["/ip4/127.0.0.1/tcp/1"]"#),
            ("/ip4/127.0.0.1/tcp/1, /ip4/127.0.0.1/tcp/2", r#"["/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/2"]"#),
            (r#""/ip4/127.0.0.1/tcp/3""#, r#"["/ip4/127.0.0.1/tcp/3"]"#),
            (r#"["/ip4/127.0.0.1/tcp/4"]"#, r#"["/ip4/127.0.0.1/tcp/4"]"#),
        ] {
            set(&file, "listen_addresses", Some(typed)).unwrap();
            assert_eq!(fs::read_to_string(&file.path).unwrap(), format!("listen_addresses = {written}\n"));
        }
        set(&file, "dns_servers", Some("192.0.2.1:53,192.0.2.2:53")).unwrap();
        let failure = set(&file, "bootstrap_nodes", Some("/dnsaddr/x,here")).unwrap_err();
        assert!(failure.causes[0].starts_with("invalid address `here`"), "{failure:?}");
    }

    #[test]
    fn an_unknown_key_is_not_removed_either() {
        let (_place, file) = file("namespace = \"acme\"\n");
        let failure = set(&file, "namspace", None).unwrap_err();
        assert_eq!((failure.kind, failure.hint), (ErrorKind::Usage, Some("did you mean `namespace`?".into())));
        set(&file, "namespace", None).unwrap();
        assert_eq!(fs::read_to_string(&file.path).unwrap(), "");
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let (_place, file) = file("mdns = true\n");
        for (key, value, part) in [
            ("mdns", "perhaps", "`mdns`"),
            ("namspace", "acme", "`namespace`"),
            ("timeouts.dial_seconds", "0", "timeouts"),
            ("mdns.x", "1", "`mdns`"),
            ("limits", "3", "`limits`"),
            ("namespace", "A_B", "`A_B`"),
            ("namespace", "", "`namespace`"),
            ("namespace", "a/b", "`a/b`"),
        ] {
            let failure = set(&file, key, Some(value)).unwrap_err();
            assert_eq!(failure.kind, ErrorKind::Usage, "{key}");
            let text = format!("{} {:?} {:?}", failure.message, failure.causes, failure.hint);
            assert!(text.contains(part), "{key}: {text}");
            assert_eq!(fs::read_to_string(&file.path).unwrap(), "mdns = true\n", "{key}");
        }
    }

    #[test]
    fn changes_at_the_same_time_all_count_and_leave_nothing_else() {
        let (place, file) = file("");
        // What a process has left that was killed.
        let left = place.path().join(".p2p-config.toml.partial");
        fs::write(&left, "mdns = false\n").unwrap();
        let values =
            ["limits.connections", "limits.connections_per_peer", "timeouts.dial_seconds", "timeouts.daemon_seconds"];
        std::thread::scope(|scope| {
            for key in values {
                scope.spawn(|| (2..=20).for_each(|value| set(&file, key, Some(&value.to_string())).unwrap()));
            }
        });
        let text = fs::read_to_string(&file.path).unwrap();
        assert_eq!(text.matches(" = 20\n").count(), values.len(), "{text}");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_symbolic_link_stays_one() {
        let (place, file) = file("mdns = true\n");
        let link = place.path().join("link.toml");
        std::os::unix::fs::symlink(&file.path, &link).unwrap();
        set(&ConfigFile { path: link.clone(), required: true }, "mdns", Some("false")).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&file.path).unwrap(), "mdns = false\n");
    }
}
