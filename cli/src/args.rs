//! The tree of commands. Doc comments are the help.

use clap::{Parser, Subcommand};

use crate::{
    commands::{
        bootstrap, completions, config, doctor, fetch, gc, help, info, key, mirror, peer, peer_info, peer_list, pin,
        publish, search, start, status, stop, trust, verify, yank,
    },
    flags::GlobalArgs,
};

/// Decentralised, content-addressed package registry that speaks IPFS
#[derive(Debug, Parser)]
#[command(
    name = "ggen",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "Example:\n  ggen start --daemon\n  ggen search \"web framework\"\n  ggen fetch acme/http\n\nThe commands \
                  of the registry are short for `ggen marketplace p2p COMMAND`, which scripts should use."
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Publish, find and fetch packages
    #[command(
        subcommand,
        version,
        arg_required_else_help = true,
        after_help = "Example:\n  ggen marketplace p2p fetch acme/http"
    )]
    Marketplace(Marketplace),
    #[command(flatten)]
    Short(P2p),
    /// Print the completion script of a shell
    Completions(completions::Args),
    /// Print the help of a command, or a page on a topic: `ggen help gpack`
    Help(help::Args),
    /// Print a manual page
    #[command(hide = true, after_help = "Example:\n  ggen man > ggen.1")]
    Man,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Marketplace {
    /// Use the peer-to-peer registry: all commands are below this one
    #[command(
        subcommand,
        version,
        arg_required_else_help = true,
        after_help = "Example:\n  ggen marketplace p2p start --daemon\n  ggen marketplace p2p publish ./my-package"
    )]
    P2p(P2p),
}

#[derive(Debug, Subcommand)]
pub(crate) enum P2p {
    /// Start a node, in the foreground or (--daemon) in the background
    Start(start::Args),
    /// Stop the running node
    Stop(stop::Args),
    /// Show node status: addresses, peers, packages, store, traffic
    Status(status::Args),
    /// Publish a package
    Publish(publish::Args),
    /// Fetch a package, a release or any IPFS file or directory
    Fetch(fetch::Args),
    /// Search for packages, in the local catalog and on other nodes
    Search(search::Args),
    /// Show the releases, publisher and providers of a package
    Info(info::Args),
    /// Yank a version of your package, or undo a yank
    Yank(yank::Args),
    /// List signing keys, and show the recovery key
    #[command(subcommand, arg_required_else_help = true, after_help = "Example:\n  ggen marketplace p2p key list")]
    Key(key::Command),
    /// List the peers that are connected or known
    PeerList(peer_list::Args),
    /// Show what is known of a peer, with --full its history
    PeerInfo(peer_info::Args),
    /// Allow or deny a peer, or forget it
    #[command(
        subcommand,
        arg_required_else_help = true,
        after_help = "Example:\n  ggen marketplace p2p peer deny 12D3KooWGC6TvWhfapngX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5"
    )]
    Peer(peer::Command),
    /// Connect the running node to other nodes by address
    Bootstrap(bootstrap::Args),
    /// Diagnose the node, or why a target cannot be fetched
    Doctor(doctor::Args),
    /// Check stored blocks, and repair them
    Verify(verify::Args),
    /// Pin packages and other content, so that `gc` keeps them
    #[command(
        subcommand,
        arg_required_else_help = true,
        after_help = "Example:\n  ggen marketplace p2p pin add acme/http@^1.2"
    )]
    Pin(pin::Command),
    /// Delete unpinned blocks
    Gc(gc::Args),
    /// Mirror packages of other publishers as they are released
    #[command(
        subcommand,
        arg_required_else_help = true,
        after_help = "Example:\n  ggen marketplace p2p mirror add 'acme/*' --versions 3"
    )]
    Mirror(mirror::Command),
    /// Decide which publisher the names of a namespace mean
    #[command(subcommand, arg_required_else_help = true, after_help = "Example:\n  ggen marketplace p2p trust list")]
    Trust(trust::Command),
    /// Show or change the configuration
    #[command(subcommand, arg_required_else_help = true, after_help = "Example:\n  ggen marketplace p2p config show")]
    Config(config::Command),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::flags::Format;

    fn check_example(command: &clap::Command, path: &str) {
        let path = format!("{path} {}", command.get_name());
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.contains("Example:\n  ggen"), "the help of `{path}` has no example");
        for child in command.get_subcommands().filter(|child| child.get_name() != "help") {
            check_example(child, &path);
        }
    }

    #[test]
    fn definition_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        check_example(&Args::command(), "");
    }

    #[test]
    fn every_command_of_the_registry_has_its_short_form() {
        let mut program = Args::command();
        let registry = program.find_subcommand_mut("marketplace").unwrap().find_subcommand_mut("p2p").unwrap().clone();
        for command in registry.get_subcommands().filter(|command| command.get_name() != "help") {
            let short = program.find_subcommand(command.get_name());
            let arguments =
                |command: &clap::Command| command.get_arguments().map(|arg| arg.get_id().clone()).collect::<Vec<_>>();
            assert_eq!(short.map(arguments), Some(arguments(command)), "{}", command.get_name());
        }
        let parsed = Args::try_parse_from(["ggen", "--home", "/h", "publish", "./x", "--version", "1.2.3"]).unwrap();
        assert!(matches!(parsed.command, Command::Short(P2p::Publish(_))), "{parsed:?}");
    }

    #[test]
    fn global_flags_stand_before_or_after_the_command() {
        let words: [&[&str]; 3] = [
            &["ggen", "--format", "json", "--home", "/h", "marketplace", "p2p", "status"],
            &["ggen", "marketplace", "--format", "json", "p2p", "--home", "/h", "status"],
            &["ggen", "marketplace", "p2p", "status", "--format", "json", "--home", "/h"],
        ];
        for args in words {
            let parsed = Args::try_parse_from(args).unwrap();
            assert_eq!(parsed.global.format, Format::Json, "{args:?}");
            assert_eq!(parsed.global.home.as_deref(), Some(std::path::Path::new("/h")), "{args:?}");
        }
    }
}
