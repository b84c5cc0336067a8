//! The recovery key of a publisher: in a file of its own, for its owner only, until the user has saved it elsewhere and
//! said so. It is the only thing that gives an identity back whose signing key is lost or stolen, so nothing but that word
//! removes it.

use std::path::PathBuf;

use super::{KeyStore, KeyStoreError, check_name, key_file};
use crate::identity::KeyPair;

/// Under which name the recovery key of a publisher is among the key files.
pub(super) fn name_of(name: &str) -> String {
    format!("{name}.recovery")
}

impl KeyStore {
    /// Where the recovery key of a publisher waits to be saved; `None` once that was confirmed.
    pub(crate) fn recovery_file(&self, name: &str) -> Result<Option<PathBuf>, KeyStoreError> {
        check_name(name)?;
        let file = key_file(&name_of(name));
        Ok(self.files.read(&file)?.map(|_| self.files.path(&file)))
    }

    /// The recovery key of a publisher.
    ///
    /// # Errors
    /// [`KeyStoreError::NoRecoveryKey`] once it was confirmed to be saved, [`KeyStoreError::Unknown`] if its publisher has no
    /// key here.
    pub(crate) fn recovery(&self, name: &str) -> Result<KeyPair, KeyStoreError> {
        check_name(name)?;
        let Some(recovery) = self.read(&name_of(name))? else { return Err(self.no_recovery_key(name)?) };
        // Saved in the place of the right one, another would be of no use on the day it is needed.
        match self.chain(name)?.is_none_or(|chain| chain.current().record().recovery.contains(&recovery.public())) {
            true => Ok(recovery),
            false => Err(self.other_key(&name_of(name), name)),
        }
    }

    /// Removes the recovery key: its owner has it elsewhere. Returns where it was.
    ///
    /// # Errors
    /// [`KeyStoreError::NoRecoveryKey`] if there is none, [`KeyStoreError::Unknown`] if its publisher has no key here.
    pub(crate) fn confirm_recovery(&self, name: &str) -> Result<PathBuf, KeyStoreError> {
        let Some(path) = self.recovery_file(name)? else { return Err(self.no_recovery_key(name)?) };
        self.files.remove(&key_file(&name_of(name)))?;
        Ok(path)
    }

    /// Why there is no recovery key of a publisher.
    fn no_recovery_key(&self, name: &str) -> Result<KeyStoreError, KeyStoreError> {
        let name = name.to_owned();
        Ok(match self.read(&name)? {
            Some(_) => KeyStoreError::NoRecoveryKey { name },
            None => KeyStoreError::Unknown { name },
        })
    }
}
