//! `fetch`: fetches a package, a release or any IPFS file or directory, and writes it.

mod stream;

use std::{io::IsTerminal, path::PathBuf, time::Duration};

use ggen_blockstore::Compression;
use ggen_marketplace::{Failure, FetchRequest, FetchTo, Fetched, KnownBy, Mode, Target};

use self::stream::{Sink, Stream};
use super::{search::reputation, seconds};
use crate::{context::Context, control::Call, error, files::seen_by_all, flags::Format, ui::text};

/// Most files listed in a note.
const NAMED_FILES: usize = 5;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  ggen marketplace p2p fetch acme/http@^1.2 -o ./http\n  ggen marketplace p2p fetch \
                  /ipfs/bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi\n\nREQ is a full version, which means \
                  exactly that one (1.2.3), or a range (1, 1.2, ^1.2.3, \">=1, <2\"); without it, the newest version. A \
                  name is checked against its publisher's signature, a CID against its hash."
)]
pub(crate) struct Args {
    /// CID, /ipfs/<cid>[/path], ns/name, ns/name@REQ or <publisher>/ns/name[@REQ]
    #[arg(add = super::completions::packages())]
    target: String,
    /// Write to this path instead of ./<name> or ./<cid>; an empty directory is filled, missing parents are made
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Write the canonical tarball to this file, compressed if it ends in .gz, .tgz, .zst or .tzst; - is stdout
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    tar: Option<PathBuf>,
    /// Make an older version at that place equal to this one; files that were never part of it are kept
    #[arg(long, conflicts_with = "tar")]
    update: bool,
    /// Overwrite local edits
    #[arg(long, requires = "update")]
    force: bool,
    /// Give up after SECS without progress
    #[arg(long, value_name = "SECS", default_value = "60", value_parser = seconds)]
    timeout: Duration,
    /// Use only the local store
    #[arg(long)]
    offline: bool,
    /// Address of a peer to ask first, with /p2p/<peer id>; may be repeated
    #[arg(long = "provider", value_name = "ADDR", conflicts_with = "offline")]
    providers: Vec<String>,
    /// Ask only peers of at least this reputation (0 to 1)
    #[arg(long, value_name = "X", value_parser = reputation, conflicts_with = "offline")]
    min_reputation: Option<f64>,
}

pub(crate) async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let sink = args.tar.as_deref().and_then(Sink::of);
    let stream = match sink.clone() {
        Some(sink) => Some(begin(context, sink).await?),
        None => None,
    };
    let to = match &stream {
        Some(stream) => FetchTo::Tar(stream.path().to_owned()),
        None => destination(args)?,
    };
    let request = FetchRequest {
        target: args.target.clone(),
        to: to.clone(),
        timeout: args.timeout,
        offline: args.offline,
        providers: args.providers.clone(),
        min_reputation: args.min_reputation,
    };
    let mode = if args.offline { Mode::Offline } else { Mode::Ephemeral };
    let outcome = context.perform(mode, Call::Fetch(request)).await;
    let mut fetched: Fetched = match stream {
        Some(stream) => stream.end(outcome).await?,
        None => outcome?,
    };
    if let Some(sink) = &sink {
        fetched.path = sink.path().to_owned();
    }
    if let Some(note) = resolved(&args.target, &fetched) {
        context.ui.note(&note);
    }
    match sink {
        // Stdout contains the tarball, so the report goes to stderr.
        Some(Sink::Stdout) => context.ui.note(&render(&fetched)),
        _ => context.ui.answer(&fetched, render)?,
    }
    for note in [unreached(&fetched), yanked(&fetched), publisher(&fetched), overwritten(&fetched), untracked(&fetched)]
        .into_iter()
        .flatten()
    {
        context.ui.note(&note);
    }
    Ok(())
}

/// A note about the version that a range resolved to.
fn resolved(target: &str, fetched: &Fetched) -> Option<String> {
    let Ok(Target::Package { requirement, .. }) = target.parse() else { return None };
    let version = fetched.version.as_ref().filter(|_| requirement.is_range())?;
    Some(format!("resolved `{target}` to version {version}"))
}

/// A warning about a version that its publisher has yanked.
fn yanked(fetched: &Fetched) -> Option<String> {
    let (package, version) = (fetched.package.as_ref()?, fetched.version.as_ref()?);
    fetched.yanked.then(|| super::yanked(&format!("{package}@{version}"), fetched.yank_reason.as_deref()))
}

/// Says how the publisher of a name is known if that is new to the user: at a first use, and where others claim the name.
fn publisher(fetched: &Fetched) -> Option<String> {
    let (publisher, package) = (fetched.publisher.as_ref()?, fetched.package.as_ref()?);
    let namespace = package.split('/').next()?;
    let others = text::count(fetched.other_claimants.len() as u64, "other publisher");
    match (fetched.known_by?, fetched.other_claimants.is_empty()) {
        (KnownBy::Claim, _) => fetched.first_use.then(|| format!(
            "first use of `{namespace}`: from now on its names mean packages of {publisher}; compare the id with what the \
             publisher says elsewhere, or undo this with `ggen marketplace p2p trust remove {namespace}`"
        )),
        (KnownBy::File, false) => {
            Some(format!("warning: `{package}` is claimed by {others}; you trust {publisher} for `{namespace}`"))
        }
        (KnownBy::FirstUse, false) => Some(format!(
            "warning: `{package}` is claimed by {others}; this is the publisher from which you first fetched `{namespace}`"
        )),
        (KnownBy::Own, false) => Some(format!("warning: `{package}` is claimed by {others}; this one is yours")),
        _ => None,
    }
}

/// Opens the pipe through which a tarball is written.
async fn begin(context: &Context, sink: Sink) -> Result<Stream, Failure> {
    if sink == Sink::Stdout {
        if context.global.format == Format::Json {
            return Err(error::usage("with `--format json` stdout holds the answer, and no tarball")
                .hinted("write the tarball to a file: `--tar FILE`"));
        }
        if std::io::stdout().is_terminal() {
            return Err(error::usage("a tarball is not written to a terminal")
                .hinted("pass it on, as in `... --tar - | tar -t`, or write it to a file: `--tar FILE`"));
        }
    }
    let Some(compression) = Compression::of_name(sink.path()) else {
        let shown = sink.path().display();
        return Err(error::usage(format!("cannot write `{shown}`: the end of its name asks for another format"))
            .hinted("tarballs are written as `.tar`, `.tar.gz`, `.tgz`, `.tar.zst` or `.tzst`"));
    };
    Stream::begin(&context.home, sink, compression).await
}

/// Warns of providers that could not be reached; what is written came from elsewhere.
fn unreached(fetched: &Fetched) -> Option<String> {
    let unreached = &fetched.unreached;
    (!unreached.is_empty()).then(|| format!("warning: `--provider` cannot be reached: {}", unreached.join("; ")))
}

/// Says which local edits are gone.
fn overwritten(fetched: &Fetched) -> Option<String> {
    // The path of a file fetched on its own is empty.
    let name = |path: &String| match path.is_empty() {
        true => fetched.path.display().to_string(),
        false => text::one_line(path),
    };
    let named: Vec<_> = fetched.overwritten.iter().take(NAMED_FILES).map(name).collect();
    let more = fetched.overwritten.len() - named.len();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    (!named.is_empty()).then(|| format!("local edits overwritten: {}{more}", named.join(", ")))
}

/// Says which files an update has kept although they are not part of the package.
fn untracked(fetched: &Fetched) -> Option<String> {
    let named: Vec<_> = fetched.untracked.iter().take(NAMED_FILES).map(|path| text::one_line(path)).collect();
    let more = (fetched.untracked.len() - named.len()) as u64 + fetched.more_untracked;
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    (!named.is_empty()).then(|| format!("kept (not part of the package): {}{more}", named.join(", ")))
}

/// The destination, with paths that are absolute and independent of this process, because the daemon has another
/// working directory and other open files.
fn destination(args: &Args) -> Result<FetchTo, Failure> {
    Ok(match (&args.output, &args.tar) {
        (Some(path), _) if args.force => FetchTo::Overwrite(seen_by_all(path)?),
        (Some(path), _) if args.update => FetchTo::Update(seen_by_all(path)?),
        (Some(path), _) => FetchTo::Path(seen_by_all(path)?),
        (None, Some(file)) => FetchTo::Tar(seen_by_all(file)?),
        (None, None) if args.force => FetchTo::OverwriteNamedIn(seen_by_all(".".as_ref())?),
        (None, None) if args.update => FetchTo::UpdateNamedIn(seen_by_all(".".as_ref())?),
        (None, None) => FetchTo::NamedIn(seen_by_all(".".as_ref())?),
    })
}

fn render(fetched: &Fetched) -> String {
    let what = match (&fetched.package, &fetched.version) {
        (Some(package), Some(version)) => format!("{package}@{version}"),
        (Some(package), None) => package.clone(),
        (None, _) => fetched.cid.clone(),
    };
    let mut size = format!("{}, {}", text::count(fetched.files, "file"), text::bytes(fetched.size_bytes));
    if fetched.files_kept > 0 {
        size += &format!(", {} unchanged", fetched.files_kept);
    }
    if fetched.files_removed > 0 {
        size += &format!(", {} removed", fetched.files_removed);
    }
    let came = if fetched.blocks_fetched == 0 {
        "already in the local store".to_owned()
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
        assert_eq!(to(&["t", "--update"]), FetchTo::UpdateNamedIn(here.clone()));
        assert_eq!(to(&["t", "-o", "x", "--update"]), FetchTo::Update(here.join("x")));
        assert_eq!(to(&["t", "--update", "--force"]), FetchTo::OverwriteNamedIn(here.clone()));
        assert_eq!(to(&["t", "-o", "x", "--update", "--force"]), FetchTo::Overwrite(here.join("x")));
        assert_eq!(to(&["t", "--tar", "x.tar"]), FetchTo::Tar(here.join("x.tar")));
    }

    #[test]
    fn contradictions_and_senseless_timeouts_are_refused() {
        assert!(parse(&["t", "-o", "x", "--tar", "y"]).is_err());
        assert!(parse(&["t", "--update", "--tar", "y"]).is_err());
        assert!(parse(&["t", "--force"]).is_err());
        assert!(parse(&["t", "--timeout", "0"]).is_err());
        assert!(parse(&["t", "--timeout", "18446744073709551615"]).is_err());
        assert!(parse(&["t", "--offline", "--provider", "/ip4/127.0.0.1/tcp/1"]).is_err());
        assert!(parse(&["t", "--offline", "--min-reputation", "0.5"]).is_err());
        assert!(parse(&["t", "--min-reputation", "1.5"]).is_err());
    }

    fn fetched() -> Fetched {
        Fetched {
            cid: "bafycid".to_owned(),
            package: None,
            version: None,
            yanked: false,
            yank_reason: None,
            publisher: None,
            known_by: None,
            first_use: false,
            other_claimants: Vec::new(),
            path: "/x/y".into(),
            files: 1,
            size_bytes: 10,
            files_kept: 0,
            files_removed: 0,
            overwritten: Vec::new(),
            untracked: Vec::new(),
            more_untracked: 0,
            unreached: Vec::new(),
            blocks_fetched: 0,
            bytes_fetched: 0,
            blocks_reused: 1,
            providers: Vec::new(),
            seconds: 0.04,
        }
    }

    #[test]
    fn version_that_a_range_resolved_to_is_named() {
        let fetched = Fetched { package: Some("acme/http".into()), version: Some("1.1.0".into()), ..fetched() };
        assert_eq!(resolved("acme/http@^1.0.5", &fetched).unwrap(), "resolved `acme/http@^1.0.5` to version 1.1.0");
        for exact in ["acme/http@1.1.0", "acme/http@=1.1.0", "acme/http", "acme/http@latest"] {
            assert_eq!(resolved(exact, &fetched), None, "{exact}");
        }
    }

    #[test]
    fn path_comes_last() {
        assert_eq!(render(&fetched()), "fetched bafycid, 1 file, 10 B, already in the local store, 0.0 s: /x/y\n");
    }

    #[test]
    fn update_says_what_stayed_and_what_is_strange() {
        let fetched = Fetched {
            files_kept: 1,
            files_removed: 2,
            overwritten: ["x", "y"].map(str::to_owned).to_vec(),
            untracked: ["a", "b", "c", "d", "e", "f"].map(str::to_owned).to_vec(),
            more_untracked: 7,
            ..fetched()
        };
        assert!(render(&fetched).contains("1 file, 10 B, 1 unchanged, 2 removed, "), "{}", render(&fetched));
        assert_eq!(untracked(&fetched).unwrap(), "kept (not part of the package): a, b, c, d, e and 8 more");
        assert_eq!(overwritten(&fetched).unwrap(), "local edits overwritten: x, y");
        assert_eq!(untracked(&super::tests::fetched()), None);
    }
}
