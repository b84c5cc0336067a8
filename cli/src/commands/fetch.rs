//! `fetch`: a package, a release or any IPFS file or directory is brought here and written.

use std::{path::PathBuf, time::Duration};

use ggen_marketplace::{ErrorKind, Failure, FetchRequest, FetchTo, Fetched, Mode};

use super::seconds;
use crate::{
    context::{Context, absolute},
    control::Call,
    ui::text,
};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  ggen marketplace p2p fetch acme/http@^1.2 -o ./http\n  ggen marketplace p2p fetch \
                  /ipfs/bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"
)]
pub(crate) struct Args {
    /// CID, /ipfs/<cid>[/path], ns/name, ns/name@REQ or <publisher>/ns/name[@REQ]
    target: String,
    /// Write to this path instead of ./<name> or ./<cid>
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Write the canonical tarball to this file, the same bytes for everyone
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    tar: Option<PathBuf>,
    /// Seconds without anything new after which to give up
    #[arg(long, value_name = "SECS", default_value = "60", value_parser = seconds)]
    timeout: Duration,
    /// Use only what is here
    #[arg(long)]
    offline: bool,
    /// Address of a peer to ask first, with /p2p/<peer id>; may be repeated
    #[arg(long = "provider", value_name = "ADDR", conflicts_with = "offline")]
    providers: Vec<String>,
}

pub(crate) async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let request = FetchRequest {
        target: args.target.clone(),
        to: existing(destination(args)?)?,
        timeout: args.timeout,
        offline: args.offline,
        providers: args.providers.clone(),
    };
    let mode = if args.offline { Mode::Offline } else { Mode::Ephemeral };
    let fetched: Fetched = context.perform(mode, Call::Fetch(request)).await?;
    context.ui.answer(&fetched, render)
}

/// Paths are made absolute here: the daemon runs in another directory.
fn destination(args: &Args) -> Result<FetchTo, Failure> {
    Ok(match (&args.output, &args.tar) {
        (Some(path), _) => FetchTo::Path(absolute(path)?),
        (None, Some(file)) => FetchTo::Tar(absolute(file)?),
        (None, None) => FetchTo::NamedIn(absolute(".".as_ref())?),
    })
}

/// Refuses a place whose directory does not exist, before anything is fetched for it.
fn existing(to: FetchTo) -> Result<FetchTo, Failure> {
    let (FetchTo::Path(path) | FetchTo::Tar(path)) = &to else { return Ok(to) };
    match path.parent() {
        Some(parent) if !parent.is_dir() => {
            let parent = parent.display();
            Err(Failure::new(ErrorKind::Failed, format!("directory `{parent}` does not exist"))
                .hinted(format!("make it with `mkdir -p {parent}`")))
        }
        _ => Ok(to),
    }
}

fn render(fetched: &Fetched) -> String {
    let what = match (&fetched.package, &fetched.version) {
        (Some(package), Some(version)) => format!("{package}@{version}"),
        (Some(package), None) => package.clone(),
        (None, _) => fetched.cid.clone(),
    };
    let size = format!("{}, {}", text::count(fetched.files, "file"), text::bytes(fetched.size_bytes));
    let came = if fetched.blocks_fetched == 0 {
        "all of it was here".to_owned()
    } else {
        let sources = text::count(fetched.providers.len() as u64, "peer");
        format!("{} from {sources}", text::bytes(fetched.bytes_fetched))
    };
    let mut out = String::new();
    if let Some(publisher) = &fetched.publisher {
        out += &format!("signed by {publisher}\n");
    }
    out + &format!("fetched {what}, {size}, {came}, {:.1} s: {}\n", fetched.seconds, fetched.path.display())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parse(words: &[&str]) -> Result<Args, clap::Error> {
        Line::try_parse_from([&["fetch"], words].concat()).map(|line| line.args)
    }

    #[test]
    fn destination_is_absolute_in_every_form() {
        let here = std::env::current_dir().unwrap();
        let to = |words: &[&str]| destination(&parse(words).unwrap()).unwrap();
        assert_eq!(to(&["t"]), FetchTo::NamedIn(here.clone()));
        assert_eq!(to(&["t", "-o", "x"]), FetchTo::Path(here.join("x")));
        assert_eq!(to(&["t", "--tar", "x.tar"]), FetchTo::Tar(here.join("x.tar")));
    }

    #[test]
    fn contradictions_and_senseless_timeouts_are_refused() {
        assert!(parse(&["t", "-o", "x", "--tar", "y"]).is_err());
        assert!(parse(&["t", "--timeout", "0"]).is_err());
        assert!(parse(&["t", "--timeout", "18446744073709551615"]).is_err());
        assert!(parse(&["t", "--offline", "--provider", "/ip4/127.0.0.1/tcp/1"]).is_err());
    }

    #[test]
    fn path_comes_last() {
        let fetched = Fetched {
            cid: "bafycid".to_owned(),
            package: None,
            version: None,
            publisher: None,
            path: "/x/y".into(),
            files: 1,
            size_bytes: 10,
            blocks_fetched: 0,
            bytes_fetched: 0,
            blocks_reused: 1,
            providers: Vec::new(),
            seconds: 0.04,
        };
        assert_eq!(render(&fetched), "fetched bafycid, 1 file, 10 B, all of it was here, 0.0 s: /x/y\n");
    }
}
