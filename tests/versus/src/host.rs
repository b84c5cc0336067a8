//! Where a node runs: this machine's loopback, or a network namespace with an address of its own.

use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::process::Command;

/// A place for nodes to run and listen.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) address: Ipv4Addr,
    namespace: Option<String>,
}

impl Host {
    /// Returns this machine, where nodes listen on loopback.
    pub(crate) fn loopback() -> Self {
        Self { address: Ipv4Addr::LOCALHOST, namespace: None }
    }

    /// Returns the network namespace of this name, where nodes listen on `address`.
    pub(crate) fn in_namespace(namespace: String, address: Ipv4Addr) -> Self {
        Self { address, namespace: Some(namespace) }
    }

    /// Returns the words before a command that run it here.
    pub(crate) fn prefix(&self) -> Vec<String> {
        let words = |namespace: &String| ["ip", "netns", "exec", namespace].map(str::to_owned).to_vec();
        self.namespace.as_ref().map(words).unwrap_or_default()
    }

    /// Returns a command that runs `program` here.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let Some(namespace) = &self.namespace else { return Command::new(program) };
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace]).arg(program);
        command
    }
}
