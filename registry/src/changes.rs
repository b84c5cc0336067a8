//! Word that something has changed, for whoever waits for something to come about.

use tokio::sync::watch;

/// Rings when something has changed. Clones are the same bell.
#[derive(Clone, Debug)]
pub(crate) struct ChangeNotifier(watch::Sender<()>);

impl Default for ChangeNotifier {
    fn default() -> Self {
        Self(watch::Sender::new(()))
    }
}

impl ChangeNotifier {
    /// Something has changed, and can be seen.
    pub(crate) fn ring(&self) {
        self.0.send_replace(());
    }

    pub(crate) fn changes(&self) -> Changes {
        Changes(self.0.subscribe())
    }
}

/// Tells when something has changed of what a registry knows: a package or a publisher in its catalog, a peer, a
/// reputation, what it mirrors. What it was is for the waiting to look at: who waits for something looks whether it
/// holds, and looks again after every change.
#[derive(Clone, Debug)]
pub struct Changes(watch::Receiver<()>);

impl Changes {
    /// Waits until something has changed since these changes were begun, or since the last one that was waited for.
    /// Several at once are one. Cancel-safe. When the registry is gone, it waits for ever.
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
