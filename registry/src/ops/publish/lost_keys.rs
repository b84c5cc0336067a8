//! A home that has published and whose keys are gone: a new publisher would be a rival of the one under whose names it
//! publishes.

use std::collections::BTreeSet;

use crate::{
    ErrorKind, Failure, Setting,
    error::hint,
    identity::{PublisherId, Record as _},
    index::Head,
    keys::{DEFAULT_KEY, KeyStore, KeyStoreError},
    ops::{failure, own_records::records, storage::Storage},
};

/// Looks for the keys of what this home has published.
#[derive(Clone, Debug)]
pub(crate) struct LostKeys {
    pub(in crate::ops) storage: Storage,
    pub(in crate::ops) keys: KeyStore,
}

impl LostKeys {
    /// The first publish makes the default key, and no other one.
    pub(in crate::ops) fn check_makes_key(&self, name: &str) -> Result<(), Failure> {
        self.keys.publisher(name)?;
        match name == DEFAULT_KEY && self.publisher_without_keys()?.is_none() {
            true => Ok(()),
            false => Err(self.no_key(name)?),
        }
    }

    /// Why nothing can be signed with a key of which there is no file.
    pub(in crate::ops) fn no_key(&self, name: &str) -> Result<Failure, Failure> {
        let Some(publisher) = self.publisher_without_keys()?.filter(|_| name == DEFAULT_KEY) else {
            return Ok(KeyStoreError::Unknown { name: name.to_owned() }.into());
        };
        let [key, identity] = self.keys.files_that_sign(name);
        let message = format!(
            "this home has published as {publisher}, and the files `{}` and `{}` are missing",
            key.display(),
            identity.display()
        );
        Ok(Failure::new(ErrorKind::Failed, message).hinted(hint![
            "put a backup of its directory `keys` back; to publish as another publisher, use another home with ",
            Setting::Home.to("DIR")
        ]))
    }

    /// A publisher that has signed in this home and whose identity is not beside any key, as far as catalog and records show.
    pub(in crate::ops) fn publisher_without_keys(&self) -> Result<Option<PublisherId>, Failure> {
        let mut here = BTreeSet::new();
        for name in self.keys.names()? {
            // One that is damaged stops what needs it.
            here.extend(self.keys.chain(&name).ok().flatten().map(|chain| chain.publisher()));
        }
        let known = self.storage.catalog.own_publishers().map_err(failure::catalog)?;
        let heads =
            records(&*self.storage.store).into_iter().filter_map(|cid| self.storage.store.get(&cid).ok().flatten());
        let signed = heads.filter_map(|payload| Some(Head::from_payload(&payload).ok()?.publisher));
        Ok(known.into_iter().chain(signed).find(|publisher| !here.contains(publisher)))
    }
}
