//! What the control socket needs of the daemon: to carry out calls, and to end.

use std::{future::Future, sync::Arc};

use ggen_marketplace::{Caller, Failure, Interrupt, Reporter};
use serde_json::Value;
use tokio::sync::watch;

use super::protocol::Call;
use crate::umask::Lent;

/// Carries out what clients ask for.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Does what `call` says, for `caller`. It is dropped when the client leaves; `interrupt` is triggered when the client
    /// asks that it end. [`Call::Stop`] and [`Call::Interrupt`] never come here.
    fn call(
        &self,
        call: Call,
        caller: Caller,
        reporter: Arc<dyn Reporter>,
        interrupt: Interrupt,
    ) -> impl Future<Output = Result<Value, Failure>> + Send;

    /// The umask under which files are written for clients.
    fn umask(&self) -> &Lent;
}

/// Tells every task of the daemon that it is to stop.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    wish: Arc<watch::Sender<bool>>,
}

impl Stop {
    pub(crate) fn new() -> Self {
        Self { wish: Arc::new(watch::Sender::new(false)) }
    }

    pub(crate) fn trigger(&self) {
        self.wish.send_replace(true);
    }

    /// Returns once it was triggered. Cancel-safe.
    pub(crate) async fn wait(&self) {
        let mut seen = self.wish.subscribe();
        // It fails only if the sender is gone, and `self` keeps it.
        drop(seen.wait_for(|wished| *wished).await);
    }
}
