//! The process that performs a command: the daemon of the home, or a registry opened for this one command.

use std::{sync::Arc, time::Duration};

use ggen_marketplace::{Caller, ErrorKind, Failure, Interrupt, Registry, Reporter};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::control::{Call, Client, NOTICE, Watch, limit, stalled, waits_for};

/// How long a short-lived registry may take to close.
const CLOSE_PATIENCE: Duration = Duration::from_secs(10);

/// The limit between two bounded steps of a request, as a multiple of the timeout for a silent daemon.
const MARGIN_PATIENCES: u32 = 4;

/// The process that performs a command.
#[derive(Debug)]
pub(crate) enum Backend {
    Daemon(Client),
    Local(Registry),
}

impl Backend {
    /// Returns whether the node that performs the command continues to serve afterwards.
    pub(crate) fn stays(&self) -> bool {
        matches!(self, Self::Daemon(_))
    }

    /// Performs `call` for `caller`, and closes the registry if it was opened for this call. Dropping the future
    /// cancels the call. `interrupt` asks a call that signs to end; the failure then states whether it had signed.
    /// `say` receives messages for the user while the daemon makes no progress.
    pub(crate) async fn perform<T: DeserializeOwned>(
        self,
        call: Call,
        caller: Caller,
        reporter: Arc<dyn Reporter>,
        interrupt: Interrupt,
        say: impl Fn(&str),
    ) -> Result<T, Failure> {
        let registry = match self {
            Self::Daemon(client) => return by_daemon(client, call, caller, reporter, interrupt, say).await,
            Self::Local(registry) => registry,
        };
        let outcome = perform(&registry, call, caller, reporter, interrupt).await;
        if tokio::time::timeout(CLOSE_PATIENCE, registry.shutdown()).await.is_err() {
            tracing::warn!(seconds = CLOSE_PATIENCE.as_secs(), "the registry does not close in time");
        }
        serde_json::from_value(outcome?).map_err(|cause| misshapen(&cause))
    }
}

/// Sends `call` to the daemon, and watches its progress.
async fn by_daemon<T: DeserializeOwned>(
    mut client: Client,
    call: Call,
    caller: Caller,
    reporter: Arc<dyn Reporter>,
    interrupt: Interrupt,
    say: impl Fn(&str),
) -> Result<T, Failure> {
    let (home, patience) = client.terms();
    let home = home.clone();
    let watch = Watch::new(reporter, NOTICE);
    let waiting = || {
        say(&format!("{}. Ctrl-C ends the command", waits_for(&home, &call)));
    };
    let give_up = |limit| stalled(&home, &call, limit);
    let limit = limit(&call, MARGIN_PATIENCES * patience);
    watch.over(&call, client.call_for(&call, caller, &watch, &interrupt), limit, waiting, give_up).await
}

/// Dispatches a call to the registry's operation, both in a daemon and in a command without one.
pub(crate) async fn perform(
    registry: &Registry,
    call: Call,
    caller: Caller,
    reporter: Arc<dyn Reporter>,
    interrupt: Interrupt,
) -> Result<Value, Failure> {
    match call {
        Call::Publish(request) => value(registry.publish_for(caller, request, reporter, interrupt).await?),
        Call::Fetch(request) => value(registry.fetch(request, reporter).await?),
        Call::Search(request) => value(registry.search(request).await?),
        Call::Info(request) => value(registry.info(request, reporter).await?),
        Call::Yank(request) => value(registry.yank_interruptible(request, interrupt).await?),
        Call::Bootstrap(request) => value(registry.bootstrap(request).await?),
        Call::Doctor(request) => value(registry.doctor(request, reporter).await?),
        Call::PeerList(request) => value(registry.peer_list(request).await?),
        Call::PeerInfo(request) => value(registry.peer_info(request).await?),
        Call::PeerRule(request) => value(registry.peer_rule(request).await?),
        Call::Status => value(registry.status().await?),
        Call::Keys => value(registry.keys().await?),
        Call::RecoveryKey(request) => value(registry.recovery_key(request).await?),
        Call::Gc(request) => value(registry.gc(request).await?),
        Call::PinAdd(request) => value(registry.pin_add(request, reporter).await?),
        Call::PinRm(request) => value(registry.pin_rm(request).await?),
        Call::PinLs => value(registry.pin_ls()),
        Call::Verify(request) => value(registry.verify(request, reporter).await?),
        Call::MirrorAdd(request) => value(registry.mirror_add(request).await?),
        Call::MirrorRm(request) => value(registry.mirror_rm(request).await?),
        Call::MirrorLs => value(registry.mirror_ls().await?),
        Call::TrustAdd(request) => value(registry.trust_add(request).await?),
        Call::TrustRemove(request) => value(registry.trust_remove(request).await?),
        Call::TrustList => value(registry.trust_list().await?),
        Call::Listening => value(registry.listening()),
        Call::Stop | Call::Interrupt(_) => {
            Err(Failure::new(ErrorKind::Failed, "a registry without a daemon cannot be stopped"))
        }
    }
}

fn value(report: impl Serialize) -> Result<Value, Failure> {
    serde_json::to_value(report).map_err(|cause| misshapen(&cause))
}

fn misshapen(cause: &serde_json::Error) -> Failure {
    Failure::from_error(ErrorKind::Failed, cause).while_doing("cannot pass the result on")
}
