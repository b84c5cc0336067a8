//! The publishers that a mirror follows, and downloads from them.

use std::sync::Arc;

use crate::{
    Failure, Progress,
    identity::PublisherId,
    index::{PublisherEntry, VerifiedHead},
    keys::KeyStore,
    ops::{
        download::{Download, DownloadLimits},
        downloads::Downloads,
        storage::Storage,
    },
};

/// A publisher and its newest head.
pub(super) struct Followed {
    pub(super) entry: PublisherEntry,
    pub(super) head: VerifiedHead,
}

/// Finds publishers, and opens downloads from them.
#[derive(Clone, Debug)]
pub(in crate::ops) struct Publishers {
    pub(in crate::ops) storage: Storage,
    pub(in crate::ops) keys: KeyStore,
    pub(in crate::ops) downloads: Downloads,
}

impl Publishers {
    /// Returns a publisher if it may be mirrored: not one of this home's own, and not one that has equivocated.
    pub(super) async fn followed(&self, publisher: PublisherId) -> Result<Option<Followed>, Failure> {
        if self.is_own(publisher).await? {
            return Ok(None);
        }
        let entry = self.storage.with_catalog(move |catalog| catalog.publisher(&publisher)).await?;
        Ok(entry.filter(|entry| entry.equivocation.is_none()).and_then(|entry| {
            let head = entry.head.clone()?;
            Some(Followed { entry, head })
        }))
    }

    pub(super) async fn is_own(&self, publisher: PublisherId) -> Result<bool, Failure> {
        let keys = self.keys.clone();
        self.storage.run(move || Ok(keys.publishers()?.iter().any(|keys| keys.chain.publisher() == publisher))).await
    }

    /// Creates a download from connected peers and from the providers of the publisher's newest known release.
    pub(super) async fn following(&self, followed: &Followed) -> Result<Download, Failure> {
        // The idle timeout is that of a DHT query. After a failure the mirror tries again later.
        let idle_timeout = self.downloads.config.timeouts.dht_query();
        let max_bytes = self.downloads.config.limits.package_bytes;
        let limits = DownloadLimits { idle_timeout, max_bytes, least_reputation: 0.0 };
        let mut download = self.downloads.online(limits, Arc::new(|_: Progress| {})).await?;
        let publisher = followed.entry.chain.publisher();
        let newest = self.storage.with_catalog(move |catalog| catalog.newest_release_of(&publisher)).await?;
        if let Some(release) = newest {
            download.search_under(&release);
        }
        Ok(download)
    }
}
