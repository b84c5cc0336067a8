//! The recovery key of a publisher. It stays in a file of its own, with access for its owner only, until the user
//! confirms that it is saved elsewhere. Only this key can recover an identity whose signing key is lost or stolen, so
//! nothing but that confirmation removes it.

use std::path::PathBuf;

use super::{KeyStore, KeyStoreError, check_name, key_file};
use crate::identity::KeyPair;

/// The name of a publisher's recovery key among the key files.
pub(super) fn name_of(name: &str) -> String {
    format!("{name}.recovery")
}

impl KeyStore {
    /// The path of a publisher's unconfirmed recovery key; `None` after confirmation.
    pub(crate) fn recovery_file(&self, name: &str) -> Result<Option<PathBuf>, KeyStoreError> {
        check_name(name)?;
        let file = key_file(&name_of(name));
        Ok(self.files.read(&file)?.map(|_| self.files.path(&file)))
    }

    /// The recovery key of a publisher.
    ///
    /// # Errors
    /// [`KeyStoreError::NoRecoveryKey`] after it was confirmed as saved, [`KeyStoreError::Unknown`] if its publisher
    /// has no key in this home.
    pub(crate) fn recovery(&self, name: &str) -> Result<KeyPair, KeyStoreError> {
        check_name(name)?;
        let Some(recovery) = self.read(&name_of(name))? else { return Err(self.no_recovery_key(name)?) };
        // A user who saved a wrong key instead could not recover the identity.
        match self.chain(name)?.is_none_or(|chain| chain.current().record().recovery.contains(&recovery.public())) {
            true => Ok(recovery),
            false => Err(self.other_key(&name_of(name), name)),
        }
    }

    /// Removes the recovery key after the user has saved it elsewhere. Returns its former path.
    ///
    /// # Errors
    /// [`KeyStoreError::NoRecoveryKey`] if there is none, [`KeyStoreError::Unknown`] if its publisher has no key in
    /// this home.
    pub(crate) fn confirm_recovery(&self, name: &str) -> Result<PathBuf, KeyStoreError> {
        let Some(path) = self.recovery_file(name)? else { return Err(self.no_recovery_key(name)?) };
        self.files.remove(&key_file(&name_of(name)))?;
        Ok(path)
    }

    /// The error for a missing recovery key.
    fn no_recovery_key(&self, name: &str) -> Result<KeyStoreError, KeyStoreError> {
        let name = name.to_owned();
        Ok(match self.read(&name)? {
            Some(_) => KeyStoreError::NoRecoveryKey { name },
            None => KeyStoreError::Unknown { name },
        })
    }
}
