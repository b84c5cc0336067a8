//! The facade: holds store, index and node, and turns each request into one operation.

use std::{path::Path, sync::Arc};

use crate::{
    BootstrapReport, BootstrapRequest, Config, ErrorKind, Failure, FetchRequest, Fetched, KeyReport, Listening,
    PublishRequest, Published, Reporter, SearchHit, SearchRequest, Status,
};

/// How much of a node a [`Registry`] runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A node that stays: listens on the configured addresses, serves, republishes.
    Daemon,
    /// A node for one command: dials out, listens on nothing but what it needs.
    Ephemeral,
    /// No network at all.
    Offline,
}

/// A registry in one home directory. Cheap to clone; all clones are the same registry.
#[derive(Clone, Debug)]
pub struct Registry {}

impl Registry {
    /// Opens the registry in `home`, creating it if need be, and starts its node as `mode` says. In daemon mode it
    /// returns once the node listens.
    ///
    /// # Errors
    /// A home that another process holds, a store or catalog that cannot be opened, an address in use.
    pub async fn open(home: &Path, config: Config, mode: Mode) -> Result<Self, Failure> {
        let _ = (home, config, mode);
        Err(Failure::new(ErrorKind::Failed, "placeholder"))
    }

    /// Where the node listens, and who it is.
    pub fn listening(&self) -> Listening {
        Listening { peer_id: String::new(), listen_addresses: Vec::new(), pid: std::process::id() }
    }

    /// Publishes a package.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn publish(&self, request: PublishRequest, reporter: Arc<dyn Reporter>) -> Result<Published, Failure> {
        let _ = (request, reporter);
        Err(Failure::new(ErrorKind::Failed, "placeholder"))
    }

    /// Fetches a target and writes it.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn fetch(&self, request: FetchRequest, reporter: Arc<dyn Reporter>) -> Result<Fetched, Failure> {
        let _ = (request, reporter);
        Err(Failure::new(ErrorKind::Failed, "placeholder"))
    }

    /// Searches the catalog.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn search(&self, request: SearchRequest) -> Result<Vec<SearchHit>, Failure> {
        let _ = request;
        Err(Failure::new(ErrorKind::Failed, "placeholder"))
    }

    /// Connects to bootstrap nodes.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn bootstrap(&self, request: BootstrapRequest) -> Result<BootstrapReport, Failure> {
        let _ = request;
        Err(Failure::new(ErrorKind::Failed, "placeholder"))
    }

    /// Lists the keys.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn keys(&self) -> Result<Vec<KeyReport>, Failure> {
        Err(Failure::new(ErrorKind::Failed, "placeholder"))
    }

    /// Says how the node is.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn status(&self) -> Result<Status, Failure> {
        Err(Failure::new(ErrorKind::Failed, "placeholder"))
    }

    /// Stops the node and closes the store; returns when everything is on disk.
    pub async fn shutdown(self) {}
}
