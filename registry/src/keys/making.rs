//! A publisher is made: its keys first, its identity last, since that names them and none signs without it.
//!
//! As long as that takes, the identity stands there under another name (`<name>.making`). Key files that it names and that
//! no identity goes with are left over from a making that was interrupted. All others are keys that were in use once: they
//! are never written over.

use super::{
    DEFAULT_KEY, KeyStore, KeyStoreError, PublisherKeys, entropy, head_file, identity_file, key_file, recovery,
};
use crate::identity::{ChainError, IDENTITY_ENTROPY_BYTES, IdentityChain, NewIdentity, PublicKey, Timestamp};

impl KeyStore {
    /// The keys of a publisher, made if there are none and the name is the default one: a first publish asks no
    /// question.
    pub(crate) fn publisher_or_new(&self, name: &str, now: Timestamp) -> Result<PublisherKeys, KeyStoreError> {
        if let Some(keys) = self.publisher(name)? {
            return Ok(keys);
        }
        if name != DEFAULT_KEY {
            return Err(KeyStoreError::Unknown { name: name.to_owned() });
        }
        let unfinished = self.unfinished(name)?;
        for file in self.key_files(name)?.iter().filter(|file| self.is_of(file, &unfinished)) {
            self.files.remove(file)?;
        }
        let mut seed = [0; IDENTITY_ENTROPY_BYTES];
        entropy(&mut seed)?;
        let identity = NewIdentity::create(&seed, now).map_err(KeyStoreError::Create)?;
        let failed = |source| KeyStoreError::Create(ChainError::Record { seq: 0, source });
        self.files.write(&making_file(name), &identity.chain.encode().map_err(failed)?)?;
        self.create(name, &identity.signing)?;
        self.create(&super::timestamp_name(name), &identity.timestamp)?;
        self.create(&format!("{name}.ipns"), &identity.ipns)?;
        self.create(&recovery::name_of(name), &identity.recovery)?;
        self.files.rename(&making_file(name), &identity_file(name))?;
        Ok(PublisherKeys { signing: identity.signing, chain: identity.chain })
    }

    /// Refuses a publisher without an identity of which something else is there.
    pub(super) fn check_absent(&self, name: &str) -> Result<(), KeyStoreError> {
        let unfinished = self.unfinished(name)?;
        let mut there = self.key_files(name)?;
        there.retain(|file| !self.is_of(file, &unfinished));
        if self.files.read(&head_file(name))?.is_some() {
            there.push(head_file(name));
        }
        if there.is_empty() {
            return Ok(());
        }
        // It comes first: an identity alone signs nothing.
        if !there.contains(&key_file(name)) {
            return Err(KeyStoreError::Missing { path: self.files.path(&key_file(name)) });
        }
        Err(KeyStoreError::WithoutIdentity { identity: self.files.path(&identity_file(name)), there })
    }

    /// The identity of a publisher whose making was interrupted.
    fn unfinished(&self, name: &str) -> Result<Option<IdentityChain>, KeyStoreError> {
        let encoded = self.files.read(&making_file(name))?;
        // One that cannot be read names no key, and so lets none be written over.
        Ok(encoded.and_then(|encoded| IdentityChain::decode(&encoded).ok()))
    }

    /// The key files of a publisher, ordered.
    fn key_files(&self, name: &str) -> Result<Vec<String>, KeyStoreError> {
        let is_its = |file: &String| {
            let stem = file.strip_suffix(".key");
            stem.and_then(|stem| stem.strip_prefix(name)).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let mut files = self.files.names()?;
        files.retain(is_its);
        Ok(files)
    }

    /// Whether a key file was written with an identity.
    fn is_of(&self, file: &str, identity: &Option<IdentityChain>) -> bool {
        let Some(chain) = identity else { return false };
        let stem = file.strip_suffix(".key").unwrap_or(file);
        let Ok(Some(key)) = self.read(stem) else { return false };
        let document = chain.current().record();
        let is_named = |key: &PublicKey| {
            let signs = document.keys.iter().chain(&document.recovery).any(|other| other == key);
            signs || document.timestamp == *key || document.ipns == Some(*key)
        };
        is_named(&key.public())
    }
}

fn making_file(name: &str) -> String {
    format!("{name}.making")
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, path::Path};

    use super::*;

    fn contents(directory: &Path) -> BTreeMap<String, Vec<u8>> {
        let entry = |file: std::io::Result<fs::DirEntry>| {
            let file = file.unwrap();
            (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap())
        };
        fs::read_dir(directory).unwrap().map(entry).collect()
    }

    fn made() -> (tempfile::TempDir, KeyStore) {
        let dir = tempfile::tempdir().unwrap();
        let keys = KeyStore::new(dir.path().to_owned());
        keys.publisher_or_new(DEFAULT_KEY, Timestamp::from_unix(1)).unwrap();
        (dir, keys)
    }

    #[test]
    fn keys_without_their_identity_are_never_written_over() {
        for kept in [
            &["default.key"][..],
            &["default.key", "default.ipns.key"],
            &["default.key", "default.ipns.key", "default.timestamp.key"],
            &["default.key", "default.recovery.key"],
            &["default.recovery.key"],
            &["default.timestamp.key"],
        ] {
            let (dir, keys) = made();
            for file in contents(dir.path()).keys().filter(|file| !kept.contains(&file.as_str())) {
                fs::remove_file(dir.path().join(file)).unwrap();
            }
            let before = contents(dir.path());
            let refused = keys.publisher_or_new(DEFAULT_KEY, Timestamp::from_unix(2)).unwrap_err();
            let text = refused.to_string();
            match kept.contains(&"default.key") {
                true => {
                    assert!(text.contains("default.identity") && kept.iter().all(|file| text.contains(file)), "{text}")
                }
                false => assert!(text.contains("default.key"), "{text}"),
            }
            assert_eq!(contents(dir.path()), before, "{kept:?}");
            let listed = keys.list().unwrap();
            let default = listed.iter().find(|key| key.name == DEFAULT_KEY).expect("it is listed");
            assert_eq!(default.problem.as_deref(), Some(text.as_str()));
        }
    }

    #[test]
    fn making_that_was_interrupted_anywhere_is_done_again_and_removes_nothing_else() {
        let files = ["default.key", "default.timestamp.key", "default.ipns.key", "default.recovery.key"];
        for written in 0..=files.len() {
            let (dir, keys) = made();
            fs::rename(dir.path().join("default.identity"), dir.path().join("default.making")).unwrap();
            files[written..].iter().for_each(|file| fs::remove_file(dir.path().join(file)).unwrap());
            assert_eq!(keys.list().unwrap().len(), 1, "nothing was published with it");
            let made = keys.publisher_or_new(DEFAULT_KEY, Timestamp::from_unix(2)).unwrap();
            let again = keys.publisher(DEFAULT_KEY).unwrap().expect("it is whole");
            assert_eq!(again.chain.publisher(), made.chain.publisher());
            assert!(!dir.path().join("default.making").exists());
        }
        let (dir, keys) = made();
        fs::rename(dir.path().join("default.identity"), dir.path().join("default.making")).unwrap();
        let (other, _) = made();
        fs::copy(other.path().join("default.key"), dir.path().join("default.key")).unwrap();
        let before = contents(dir.path());
        assert!(keys.publisher_or_new(DEFAULT_KEY, Timestamp::from_unix(2)).is_err());
        assert_eq!(contents(dir.path()), before, "a key that was put there meanwhile");
    }
}
