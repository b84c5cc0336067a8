//! `trust`: decides which publisher the names of a namespace mean.

use clap::Subcommand;
use ggen_marketplace::{Failure, KnownBy, Mode, TrustAddRequest, TrustRemoveRequest, TrustReport};

use crate::{context::Context, control::Call};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Trust a publisher for a namespace: its names mean packages of that publisher
    #[command(
        after_help = "The publisher's id is in `ggen marketplace p2p info ns/name`. Compare it with what the publisher says \
                      elsewhere, such as on its website.\n\nExample:\n  ggen marketplace p2p trust add acme \
                      bafyreigdmqpykrgxyaxtlafqpqhzrb7qy2rh75nldvfd4tucqmqqme5yje"
    )]
    Add {
        /// The namespace: `acme` of acme/http
        #[arg(value_name = "NS")]
        namespace: String,
        /// The publisher's id
        #[arg(value_name = "PUBLISHER")]
        publisher: String,
    },
    /// Trust no publisher for a namespace any more; the next fetch of one of its packages is a first use
    #[command(visible_alias = "rm", after_help = "Example:\n  ggen marketplace p2p trust remove acme")]
    Remove {
        /// The namespace
        #[arg(value_name = "NS")]
        namespace: String,
    },
    /// List the namespaces whose publisher this home knows, since when, and how
    #[command(visible_alias = "ls", after_help = "Example:\n  ggen marketplace p2p trust list")]
    List,
}

pub(crate) async fn run(context: &Context, command: &Command) -> Result<(), Failure> {
    match command {
        Command::Add { namespace, publisher } => {
            let request = TrustAddRequest { namespace: namespace.clone(), publisher: publisher.clone() };
            let trusted: TrustReport = context.perform(Mode::Offline, Call::TrustAdd(request)).await?;
            context.ui.answer(&trusted, added)
        }
        Command::Remove { namespace } => {
            let request = TrustRemoveRequest { namespace: namespace.clone() };
            let removed: TrustReport = context.perform(Mode::Offline, Call::TrustRemove(request)).await?;
            context.ui.answer(&removed, |removed| {
                format!("`{}` no longer means packages of {}\n", removed.namespace, removed.publisher)
            })
        }
        Command::List => {
            let trusted: Vec<TrustReport> = context.perform(Mode::Offline, Call::TrustList).await?;
            if trusted.is_empty() {
                context.ui.note("no publisher is trusted yet; the first fetch of a name trusts its publisher");
            }
            context.ui.answer(&trusted, |trusted| trusted.iter().map(line).collect())
        }
    }
}

fn added(trusted: &TrustReport) -> String {
    let former = trusted.replaced.as_ref().map(|former| format!(", no longer of {former}"));
    format!("`{}` means packages of {}{}\n", trusted.namespace, trusted.publisher, former.unwrap_or_default())
}

/// How a publisher is known, for a line of output.
pub(super) fn how(known_by: KnownBy) -> &'static str {
    match known_by {
        KnownBy::Target => "named by you",
        KnownBy::File => "trusted by you",
        KnownBy::Own => "a publisher of this home",
        KnownBy::FirstUse => "first use",
        KnownBy::Claim => "the only claimant",
        _ => "known otherwise",
    }
}

fn line(trusted: &TrustReport) -> String {
    let how = how(trusted.known_by);
    let since = trusted.since.as_ref().map(|since| format!(", since {since}")).unwrap_or_default();
    format!("{}  {}  {how}{since}\n", trusted.namespace, trusted.publisher)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_whose_a_namespace_is_and_how_that_is_known() {
        let trusted = TrustReport {
            namespace: "acme".to_owned(),
            publisher: "bafyp".to_owned(),
            since: Some("2026-11-30T10:00:00Z".to_owned()),
            known_by: KnownBy::FirstUse,
            replaced: None,
        };
        assert_eq!(line(&trusted), "acme  bafyp  first use, since 2026-11-30T10:00:00Z\n");
        assert_eq!(added(&trusted), "`acme` means packages of bafyp\n");
        let own = TrustReport { known_by: KnownBy::Own, since: None, ..trusted.clone() };
        assert_eq!(line(&own), "acme  bafyp  a publisher of this home\n");
        let replaced = TrustReport { replaced: Some("bafyq".to_owned()), ..trusted };
        assert_eq!(added(&replaced), "`acme` means packages of bafyp, no longer of bafyq\n");
    }
}
