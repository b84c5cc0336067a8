//! `peer allow`, `peer deny`, `peer reset`: the user's decisions about a peer.

use clap::Subcommand;
use ggen_marketplace::{Failure, Mode, PeerLists, PeerRule, PeerRuleRequest};

use crate::{context::Context, control::Call};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Always allow a peer, regardless of its reputation
    #[command(
        after_help = "Example:\n  ggen marketplace p2p peer allow 12D3KooWGC6TvWhfapngX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5"
    )]
    Allow(Args),
    /// Neither connect to a peer nor let it connect
    #[command(
        after_help = "Example:\n  ggen marketplace p2p peer deny 12D3KooWGC6TvWhfapngX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5"
    )]
    Deny(Args),
    /// Remove a peer from both lists, and delete its history
    #[command(
        after_help = "Example:\n  ggen marketplace p2p peer reset 12D3KooWGC6TvWhfapngX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5"
    )]
    Reset(Args),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Peer id, or an address that ends with it
    #[arg(add = super::completions::peers())]
    peer: String,
}

pub(crate) async fn run(context: &Context, command: &Command) -> Result<(), Failure> {
    let (args, rule) = match command {
        Command::Allow(args) => (args, PeerRule::Allow),
        Command::Deny(args) => (args, PeerRule::Deny),
        Command::Reset(args) => (args, PeerRule::Reset),
    };
    let request = PeerRuleRequest { peer: args.peer.clone(), rule };
    let lists: PeerLists = context.perform(Mode::Offline, Call::PeerRule(request)).await?;
    context.ui.answer(&lists, render)
}

fn render(lists: &PeerLists) -> String {
    let lines = |name: &str, peers: &[String]| -> String {
        match peers {
            [] => format!("{name:<8} none\n"),
            peers => peers.iter().map(|peer| format!("{name:<8} {peer}\n")).collect(),
        }
    };
    lines("allowed", &lists.allowed) + &lines("denied", &lists.denied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lists_are_shown() {
        let lists = PeerLists { allowed: Vec::new(), denied: vec!["12D3a".to_owned(), "12D3b".to_owned()] };
        assert_eq!(render(&lists), "allowed  none\ndenied   12D3a\ndenied   12D3b\n");
    }
}
