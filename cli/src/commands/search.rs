//! `search`: finds packages by terms, category and tags.

use std::fmt::Write as _;

use ggen_marketplace::{Failure, Mode, SearchHit, SearchRequest, Status};

use crate::{
    context::{Context, ask},
    control::Call,
    ui::text,
};

/// Most characters of a description in a list.
const DESCRIPTION_CHARS: usize = 160;
/// Largest `--limit`.
const MAX_LIMIT: u32 = 1000;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  ggen marketplace p2p search \"web framework\" --category middleware --tags http --tags async"
)]
pub(crate) struct Args {
    /// Text to search for in names, descriptions, tags and keywords
    #[arg(required = true)]
    query: Vec<String>,
    /// Only packages of this category
    #[arg(long, value_name = "C")]
    category: Option<String>,
    /// Only packages with this tag; of several, separated by commas or the flag repeated, with all of them
    #[arg(long, value_name = "T", value_delimiter = ',')]
    tags: Vec<String>,
    /// Show at most N packages
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = super::count(1, MAX_LIMIT))]
    limit: u32,
    /// Only packages that a peer of at least this reputation (0 to 1) provides
    #[arg(long, value_name = "X", value_parser = reputation)]
    min_reputation: Option<f64>,
    /// Search only the local catalog
    #[arg(long)]
    local: bool,
}

pub(crate) async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let (query, limit) = (args.query.join(" "), args.limit as usize);
    let request = SearchRequest {
        query: query.clone(),
        category: args.category.clone(),
        tags: args.tags.clone(),
        // One hit more than is shown tells whether there are further hits.
        limit: (limit + 1).min(MAX_LIMIT as usize),
        min_reputation: args.min_reputation,
        local: args.local,
    };
    // Without a daemon, a temporary node is started for the search if bootstrap nodes are configured.
    let asks = !args.local && !context.configuration(Vec::new())?.config.bootstrap_nodes.is_empty();
    let mode = if asks { Mode::Ephemeral } else { Mode::Offline };
    let (mut hits, by_daemon): (Vec<SearchHit>, bool) = context.perform_where(mode, Call::Search(request)).await?;
    if hits.is_empty() {
        let filtered = args.category.is_some() || !args.tags.is_empty() || args.min_reputation.is_some();
        let filters = if filtered { " and the filters" } else { "" };
        context.ui.note(&format!("no package matches `{query}`{filters}"));
    }
    let are_more = hits.len() > limit;
    hits.truncate(limit);
    context.ui.answer(&hits, |hits| render(hits))?;
    if are_more {
        context.ui.note(&format!("more packages match; `--limit {}` shows more", (limit * 2).min(MAX_LIMIT as usize)));
    }
    if args.local {
        return Ok(());
    }
    let hint = match by_daemon {
        // The result is already printed, so a node that stopped meanwhile does not fail the search.
        true => alone(context).await.unwrap_or_default(),
        false => without_node(asks, hits.is_empty()),
    };
    hint.iter().for_each(|hint| context.ui.note(&format!("hint: {hint}")));
    Ok(())
}

/// A hint if the node that searched has no connection.
async fn alone(context: &Context) -> Result<Option<&'static str>, Failure> {
    let mut daemon = context.running_daemon().await?;
    let status: Status = ask(&mut daemon, Call::Status).await?;
    Ok((status.connected_peers == 0).then_some(
        "no peer is connected, so only the local catalog was searched: connect to one with `ggen marketplace \
         p2p bootstrap ADDRESS`",
    ))
}

/// A hint if no node runs; `asked` means that a temporary node was started for the search.
fn without_node(asked: bool, found_nothing: bool) -> Option<&'static str> {
    match (asked, found_nothing) {
        (false, _) => Some(
            "no node is running, so only the local catalog was searched: start one with `ggen marketplace p2p \
             start --daemon --bootstrap ADDRESS`",
        ),
        (true, true) => Some("`ggen marketplace p2p doctor` says whether any peer could be asked"),
        (true, false) => None,
    }
}

/// Parses a reputation.
pub(super) fn reputation(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if (0.0..=1.0).contains(&number) => Ok(number),
        _ => Err("it is not a number from 0 to 1".to_owned()),
    }
}

fn render(hits: &[SearchHit]) -> String {
    let mut out = String::new();
    if hits.first().is_some_and(|hit| hit.fuzzy) {
        out += "no package has these words; did you mean one of these?\n";
    }
    for hit in hits {
        let name = text::one_line(&format!("{}@{}", hit.package, hit.version));
        // If several publishers claim the name, the user must see whose package it is.
        let yanked = if hit.yanked { "  (yanked)" } else { "" };
        let doubt = if hit.trust == "conflict" { "  (another publisher claims this name too)" } else { "" };
        let license = hit.license.as_deref().map(|license| format!(", {}", shortened(license))).unwrap_or_default();
        writeln!(
            out,
            "{name}{yanked}{doubt}\n    {}\n    by {}{license}\n    {}",
            shortened(&hit.description),
            hit.publisher,
            hit.cid
        )
        .expect("a string takes everything");
    }
    out
}

/// Text from a peer on one line, truncated to fit in a list.
fn shortened(text: &str) -> String {
    let line = text::one_line(text);
    match line.char_indices().nth(DESCRIPTION_CHARS) {
        Some((end, _)) => format!("{}...", line[..end].trim_end()),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reputation_is_a_share() {
        assert_eq!(reputation("0.8"), Ok(0.8));
        for wrong in ["1.1", "-0.1", "NaN", "x"] {
            assert!(reputation(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn description_cannot_fake_another_hit() {
        let hit = SearchHit {
            yanked: false,
            package: "a/b".to_owned(),
            version: "1.0.0".to_owned(),
            description: "x\nevil/name@9.9.9".to_owned(),
            cid: "bafycid".to_owned(),
            publisher: "p".to_owned(),
            trust: "conflict".to_owned(),
            tags: Vec::new(),
            category: None,
            license: None,
            providers: 0,
            reputation: 1.0,
            score: 1.0,
            fuzzy: false,
        };
        let text = render(std::slice::from_ref(&hit));
        assert_eq!(text.lines().count(), 4);
        assert!(text.contains("another publisher claims this name too"), "{text}");
        assert!(text.contains("    by p\n"), "{text}");
        let long =
            SearchHit { description: "\u{e9}".repeat(1000), license: Some("MIT".to_owned()), fuzzy: true, ..hit };
        let text = render(&[long]);
        assert!(text.starts_with("no package has these words; did you mean"), "{text}");
        assert!(text.contains(&format!("    {}...\n", "\u{e9}".repeat(DESCRIPTION_CHARS))), "{text}");
        assert!(text.contains("    by p, MIT\n"), "{text}");
    }
}
