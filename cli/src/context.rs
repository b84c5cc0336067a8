//! The context of a command: the terminal, the home, the configuration, and the connection to the daemon.

use std::{
    future::Future,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use ggen_marketplace::{Caller, ErrorKind, Failure, Interrupt, Mode, Place, Registry, Timeouts};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::{
    backend::Backend,
    config::{self, Assignment, ConfigFile, Resolved},
    control::{self, Call, Client, no_socket, silent},
    error,
    flags::GlobalArgs,
    home::{Holder, Home, when_free},
    ui::Ui,
};

/// How long to wait for a daemon that is starting or stopping.
const TRANSITION_PATIENCE: Duration = Duration::from_secs(40);
/// Interval between two checks of such a daemon.
const TRANSITION_PAUSE: Duration = Duration::from_millis(20);
/// After this time a socket that is missing is talked of.
const SOCKET_NOTICE: Duration = Duration::from_millis(500);
/// How long a daemon may take to answer what needs no network.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);

/// The context of a command.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) ui: Ui,
    pub(crate) home: Home,
    /// The global flags as given, for a process that is started with the same flags.
    pub(crate) global: GlobalArgs,
}

impl Context {
    pub(crate) fn new(ui: Ui, global: GlobalArgs) -> Result<Self, Failure> {
        Ok(Self { ui, home: Home::resolve(global.home.as_deref())?, global })
    }

    /// The configuration file: the home's, which may be missing, or a file that the user named, which must exist.
    pub(crate) fn config_file(&self) -> Result<ConfigFile, Failure> {
        match &self.global.config {
            Some(path) => {
                let path = absolute(path)?;
                Ok(ConfigFile { required: path != self.home.config_file(), path })
            }
            None => Ok(ConfigFile { path: self.home.config_file(), required: false }),
        }
    }

    /// Reads file and environment, and applies the flags of the command.
    pub(crate) fn configuration(&self, flags: Vec<Assignment>) -> Result<Resolved, Failure> {
        config::resolve(&self.config_file()?, |name| std::env::var_os(name), flags)
    }

    /// Returns whether a process serves the home, or is starting to.
    pub(crate) fn is_served(&self) -> bool {
        Holder::of(&self.home).is_ok_and(|holder| holder.is_some())
    }

    /// Connects to the daemon of the home, if there is one. Waits for a daemon that is starting or stopping.
    pub(crate) async fn daemon(&self) -> Result<Option<Client>, Failure> {
        // An invalid configuration is reported by the commands that need the configuration.
        let timeouts =
            self.configuration(Vec::new()).map_or_else(|_| Timeouts::default(), |found| found.config.timeouts);
        self.daemon_within(timeouts.daemon()).await
    }

    /// As `daemon`, with a timeout: `patience` without a sign of life ends the connection.
    async fn daemon_within(&self, patience: Duration) -> Result<Option<Client>, Failure> {
        let (started, mut said) = (Instant::now(), false);
        loop {
            let patience_now = match control::connect(self.home.path()).await {
                Ok(Some(stream)) => return Ok(Some(Client::new(stream, &self.home, patience))),
                Ok(None) => TRANSITION_PATIENCE,
                // The daemon does not accept connections: the backlog of its socket is full.
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => patience,
                Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => match Holder::of(&self.home) {
                    // What a node of another user has left behind.
                    Ok(None) => return Ok(None),
                    Ok(Some(_)) => return Err(unreachable(&self.home, &cause)),
                    // A node may run there, or none.
                    Err(_) => return Err(unreadable(&self.home, &cause)),
                },
                Err(cause) => return Err(unreachable(&self.home, &cause)),
            };
            let Some(holder) = Holder::of(&self.home)? else { return Ok(None) };
            // A stopped process does not finish its start.
            let patience_now = if holder.is_stopped() { patience.min(patience_now) } else { patience_now };
            let is_missing = !control::is_there(self.home.path());
            if started.elapsed() >= patience_now {
                return Err(if is_missing {
                    no_socket(&self.home, patience_now)
                } else {
                    silent(&self.home, patience_now)
                });
            }
            if let Some(pid) = holder.pid.filter(|_| is_missing && !said && started.elapsed() >= SOCKET_NOTICE) {
                said = true;
                let home = self.home.path().display();
                self.ui.note(&format!(
                    "Waiting for the daemon (process {pid}): it has no control socket in `{home}`, or not yet"
                ));
            }
            tokio::time::sleep(TRANSITION_PAUSE).await;
        }
    }

    /// Connects to the daemon of the home.
    ///
    /// # Errors
    /// No daemon is running: exit 4, with a hint how to start one.
    pub(crate) async fn running_daemon(&self) -> Result<Client, Failure> {
        self.daemon().await?.ok_or_else(|| error::no_node(self.home.path()))
    }

    /// Performs `call` in the daemon or, without one, in a registry opened for it in `mode`; shows its progress.
    pub(crate) async fn perform<T: DeserializeOwned>(&self, mode: Mode, call: Call) -> Result<T, Failure> {
        Ok(self.perform_where(mode, call).await?.0)
    }

    /// As `perform`; also returns whether a node that continues to serve performed the call.
    pub(crate) async fn perform_where<T: DeserializeOwned>(
        &self,
        mode: Mode,
        call: Call,
    ) -> Result<(T, bool), Failure> {
        self.perform_until(mode, call, &Interrupt::new()).await
    }

    /// As `perform_where`, for a call that signs: see [`Backend::perform`].
    pub(crate) async fn perform_until<T: DeserializeOwned>(
        &self,
        mode: Mode,
        call: Call,
        interrupt: &Interrupt,
    ) -> Result<(T, bool), Failure> {
        self.perform_for(Caller::default(), mode, call, interrupt).await
    }

    /// As `perform_until`, with the open files of `caller`.
    pub(crate) async fn perform_for<T: DeserializeOwned>(
        &self,
        caller: Caller,
        mode: Mode,
        call: Call,
        interrupt: &Interrupt,
    ) -> Result<(T, bool), Failure> {
        let bar = self.ui.bar();
        let work = async {
            let backend = tokio::select! {
                backend = self.backend(mode, &call) => backend?,
                () = interrupt.wait() => return Err(error::interrupted()),
            };
            let stays = backend.stays();
            let say = |line: &str| bar.aside(|| self.ui.note(line));
            let outcome = backend.perform(call, caller, bar.clone(), interrupt.clone(), say).await;
            let outcome = outcome.map_err(|mut failure: Failure| {
                failure.hint.iter_mut().filter(|_| !stays).for_each(error::start_instead_of_bootstrap);
                failure
            });
            Ok((outcome?, stays))
        };
        bar.during(work).await
    }

    async fn backend(&self, mode: Mode, call: &Call) -> Result<Backend, Failure> {
        // An invalid configuration is reported even if a daemon runs with an older state of it.
        let config = self.configuration(Vec::new())?.config;
        let say = |failure: &Failure| self.ui.note(&format!("Blocking waiting for file lock on the home: {failure}"));
        // A daemon that has started meanwhile is used, so that the command does not wait for it to end.
        when_free(config.timeouts.home_lock(), say, || async {
            if let Some(client) = self.daemon_within(config.timeouts.daemon()).await? {
                tracing::debug!(method = call.method(), "the daemon carries it out");
                return Ok(Backend::Daemon(client));
            }
            tracing::debug!(method = call.method(), ?mode, "no daemon: a registry of this process carries it out");
            // What only looks makes no home: one that does not exist is empty.
            let place = if call.only_looks() && is_absent(self.home.path()) {
                self.ui.note(&format!("no home at `{}` yet", self.home.path().display()));
                Place::memory()
            } else {
                self.home.create()?;
                Place::home(self.home.path())
            };
            let place = if call.frees_space() { place.to_free_space() } else { place };
            let registry = Registry::open_in(place, config.clone(), mode).await?;
            for note in registry.notes() {
                self.ui.warn(note);
            }
            Ok(Backend::Local(registry))
        })
        .await
    }
}

/// Whether nothing is there. A file in the place of a directory above it is something.
fn is_absent(path: &Path) -> bool {
    path.symlink_metadata().is_err_and(|cause| cause.kind() == io::ErrorKind::NotFound)
}

/// The failure if the daemon of a home cannot be reached.
fn unreachable(home: &Home, cause: &io::Error) -> Failure {
    let failure = error::io("reach the daemon of home", home.path(), cause);
    match cause.kind() {
        io::ErrorKind::PermissionDenied => {
            failure.hinted("it belongs to another user: name a home of your own with `--home DIR`")
        }
        _ => failure,
    }
}

/// The failure of a home that this user cannot read, so that nothing can be said of its daemon.
fn unreadable(home: &Home, cause: &io::Error) -> Failure {
    error::io("read home", home.path(), cause)
        .hinted("it belongs to another user: run the command as that one, or name a home of your own with `--home DIR`")
}

/// Asks a daemon something that it answers without the network.
pub(crate) async fn ask<T: DeserializeOwned>(client: &mut Client, call: Call) -> Result<T, Failure> {
    within(ANSWER_PATIENCE, client.call(&call, &|_| {})).await
}

/// Applies a timeout to an exchange with a daemon that may hang.
pub(crate) async fn within<T>(
    patience: Duration,
    conversation: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(patience, conversation).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let message = format!("the daemon did not answer within {} s", patience.as_secs());
            Err(Failure::new(ErrorKind::TimedOut, message).hinted("`ggen.log` in the home says more"))
        }
    }
}

/// The path as seen from any directory; it need not exist.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|cause| error::io("use path", path, &cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn home_of_another_user_is_answered_with_how_to_name_an_own_one() {
        let home = Home::resolve(Some(Path::new("/h"))).unwrap();
        let failure = unreachable(&home, &io::ErrorKind::PermissionDenied.into());
        assert!(failure.hint.is_some_and(|hint| hint.to_string().contains("--home DIR")));
        assert_eq!(unreachable(&home, &io::ErrorKind::ConnectionReset.into()).hint, None);
        let failure = unreadable(&home, &io::ErrorKind::PermissionDenied.into());
        assert!(failure.message.starts_with("cannot read home `/h`"), "{failure}");
    }
}
