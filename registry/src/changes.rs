//! Notification of changes, for tasks that wait for a condition.

use tokio::sync::watch;

/// Notifies subscribers that something has changed. Clones notify the same subscribers.
#[derive(Clone, Debug)]
pub(crate) struct ChangeNotifier(watch::Sender<()>);

impl Default for ChangeNotifier {
    fn default() -> Self {
        Self(watch::Sender::new(()))
    }
}

impl ChangeNotifier {
    /// Notifies all subscribers. The change must already be visible to them.
    pub(crate) fn ring(&self) {
        self.0.send_replace(());
    }

    pub(crate) fn changes(&self) -> Changes {
        Changes(self.0.subscribe())
    }
}

/// A subscription to changes of what a registry knows: a package or a publisher in its catalog, a peer, a reputation,
/// the mirrored releases. It does not say what has changed: a subscriber checks its condition again after every change.
#[derive(Clone, Debug)]
pub struct Changes(watch::Receiver<()>);

impl Changes {
    /// Waits until something has changed since this subscription was created, or since the previous call returned.
    /// Several changes in between count as one. Cancel-safe. Once the registry is dropped, it waits forever.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn what_changed_before_it_is_waited_for_is_not_missed() {
        let bell = ChangeNotifier::default();
        let mut changes = bell.changes();
        assert_eq!(changes.next().now_or_never(), None);
        bell.ring();
        bell.ring();
        assert_eq!(changes.next().now_or_never(), Some(()));
        assert_eq!(changes.next().now_or_never(), None);
        drop(bell);
        assert_eq!(changes.next().now_or_never(), None);
    }
}
