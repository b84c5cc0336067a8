//! Change notifications for subscribers that wait for a condition.

use tokio::sync::watch;

/// Notifies subscribers of changes. Clones notify the same subscribers.
#[derive(Clone, Debug)]
pub(crate) struct ChangeNotifier(watch::Sender<()>);

impl Default for ChangeNotifier {
    fn default() -> Self {
        Self(watch::Sender::new(()))
    }
}

impl ChangeNotifier {
    /// Notifies subscribers that a change is visible.
    pub(crate) fn ring(&self) {
        self.0.send_replace(());
    }

    pub(crate) fn changes(&self) -> Changes {
        Changes(self.0.subscribe())
    }
}

/// Notifications of changes in a registry: of a package or a publisher in its catalog, a peer, a reputation, or what it
/// mirrors. A notification does not contain the change. A subscriber that waits for a condition checks it, and checks
/// it again after every notification.
#[derive(Clone, Debug)]
pub struct Changes(watch::Receiver<()>);

impl Changes {
    /// Waits for a change since this value was created or since the last change that was waited for. Several changes
    /// may be reported as one. Cancel-safe. When the registry is dropped, it never returns.
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
