//! `publish`: signs and announces a release of a package directory or tarball.

use std::{fmt::Write as _, path::PathBuf, time::Duration};

use ggen_marketplace::{
    Caller, Failure, Interrupt, Mode, PublishRequest, Published, RecoveryKeyReport, RecoveryKeyRequest, RecoveryNotice,
};
use serde::Serialize;

use super::seconds;
use crate::{context::Context, control::Call, error, files, git, ui::text};

/// Most peers that `--min-replicas` waits for.
const MAX_REPLICAS: u32 = 1000;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  ggen marketplace p2p publish ./my-package\n  ggen marketplace p2p publish ./my-package \
                  --version 1.2.3 --dry-run\n  ggen marketplace p2p publish ./my-package --min-replicas 2\n\nA package has a \
                  gpack.toml, which begins like this:\n  [package]\n  name = \"my-package\"\n  version = \"1.0.0\"\n  \
                  description = \"What it is good for\"\n\nAll keys, ignore files, what is \
                  refused:\n  ggen help gpack"
)]
pub(crate) struct Args {
    /// Directory with a gpack.toml, or a tarball of one (.tar, .tar.gz, .tgz, .tar.zst, .crate); - is stdin
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Version to publish, instead of the one in gpack.toml
    #[arg(long, value_name = "V")]
    version: Option<String>,
    /// Namespace to publish in, instead of the one in gpack.toml or in the configuration
    #[arg(long, value_name = "NS")]
    namespace: Option<String>,
    /// Name of the key that signs [default: `default`, made by the first publish]
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
    /// Sign even if this clock is behind your last signature
    #[arg(long)]
    trust_clock: bool,
    /// Print the recovery key, in the JSON document too, until you confirm that you saved it
    #[arg(long, conflicts_with = "dry_run")]
    show_recovery_key: bool,
    /// Publish private keys and credentials that are in the package, instead of refusing it
    #[arg(long)]
    allow_secrets: bool,
    /// Publish although files are missing that gpack.toml names (readme, license-file), with a warning
    #[arg(long)]
    skip_verify: bool,
    /// List the files that would be published; store, sign and send nothing
    #[arg(long)]
    dry_run: bool,
    /// Wait until N peers confirm a full copy
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "dry_run",
        value_parser = super::count(0, MAX_REPLICAS))]
    min_replicas: u32,
    /// Wait at most SECS for those peers; the release stays published if there are too few
    #[arg(long, value_name = "SECS", default_value = "60", value_parser = seconds)]
    timeout: Duration,
}

pub(crate) async fn run(context: &Context, args: &Args, interrupt: &Interrupt) -> Result<(), Failure> {
    let (path, input) = tokio::select! {
        package = files::package(&args.path) => package?,
        () = interrupt.wait() => return Err(error::interrupted()),
    };
    let ignored = git::user_ignore_file(&path)?;
    let request = PublishRequest {
        user_ignore_file: ignored.file,
        path,
        version: args.version.clone(),
        namespace: args.namespace.clone(),
        key: args.key.clone(),
        trust_clock: args.trust_clock,
        allow_secrets: args.allow_secrets,
        skip_verify: args.skip_verify,
        dry_run: args.dry_run,
        min_replicas: args.min_replicas,
        timeout: args.timeout,
    };
    let mode = if args.dry_run { Mode::Offline } else { Mode::Ephemeral };
    let call = Call::Publish(request);
    let answer = context.perform_for(Caller { input }, mode, call, interrupt).await?;
    let (mut published, served): (Published, bool) = answer;
    published.warnings.iter_mut().for_each(|warning| *warning = error::with_commands(warning).into());
    published.warnings.splice(..0, ignored.warning.map(Into::into));
    published.warnings.iter().for_each(|warning| context.ui.warn(&warning.to_string()));
    let pem = recovery_key(context, args, &published).await;
    let asked_for = pem.as_deref().filter(|_| args.show_recovery_key);
    context.ui.answer(&Answer { published: &published, recovery_key: asked_for }, render)?;
    if let Some(notice) = &published.recovery {
        ask_to_back_up(context, notice, pem.as_deref().filter(|_| asked_for.is_none()));
    }
    if !served && !args.dry_run && published.replicas == 0 {
        context.ui.note("hint: other nodes cannot fetch this yet: run `ggen marketplace p2p start --daemon`");
    }
    if served && !args.dry_run && published.announced_to == 0 {
        context.ui.note(
            "hint: no peer follows this network's announcements yet; connect to one with `ggen marketplace p2p bootstrap \
             ADDRESS`",
        );
    }
    Ok(())
}

/// The JSON answer: the report, and the recovery key if it was requested.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    published: &'a Published,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery_key: Option<&'a str>,
}

/// The recovery key, if it was requested or may be shown on the terminal. The release is already published, so a
/// failure here is a warning, and the key stays in its file.
async fn recovery_key(context: &Context, args: &Args, published: &Published) -> Option<String> {
    let RecoveryNotice { key, is_new, .. } = published.recovery.as_ref()?;
    let is_shown = args.show_recovery_key || (*is_new && context.ui.shows_secrets());
    if !is_shown {
        return None;
    }
    let request = RecoveryKeyRequest { key: Some(key.clone()), confirm: false };
    let shown: Result<RecoveryKeyReport, _> = context.perform(Mode::Offline, Call::RecoveryKey(request)).await;
    match shown {
        Ok(report) => report.pem,
        Err(failure) => {
            context.ui.warn(&failure.in_one_line());
            None
        }
    }
}

/// Tells the user how to back the recovery key up; `pem` is shown only on a terminal.
fn ask_to_back_up(context: &Context, notice: &RecoveryNotice, pem: Option<&str>) {
    if let Some(pem) = pem {
        context.ui.show_secret(&format!("\n{RECOVERY_KEY_IS}\n\n{pem}\n"));
    }
    let RecoveryNotice { key, file, .. } = notice;
    let name = if key == "default" { String::new() } else { format!(" --key {key}") };
    context.ui.note(&format!(
        "warning: back up your recovery key: `ggen marketplace p2p key recovery show{name}` prints it; then `ggen \
         marketplace p2p key recovery confirm{name}` deletes the copy here, {}",
        file.display()
    ));
}

/// Explanation of a recovery key.
const RECOVERY_KEY_IS: &str = "This first publish made your publisher identity. With this recovery key you get it back \
                               if the signing key is\nlost or stolen; keep it off this machine:";

fn render(answer: &Answer<'_>) -> String {
    let published = answer.published;
    let name = format!("{}@{}", published.package, published.version);
    let size = format!("{}, {}", text::count(published.files, "file"), text::bytes(published.size_bytes));
    let mut out = String::new();
    if let Some(entries) = &published.entries {
        for entry in entries {
            writeln!(out, "{}", entry.replace('\n', "\u{fffd}")).expect("a string takes everything");
        }
        return match published.unchanged {
            true => out + &format!("already published {name}, nothing to do: {}\n", published.cid),
            false => out + &format!("would publish {name}, {size}: {}\n", published.cid),
        };
    }
    if let Some(key) = answer.recovery_key {
        // Not indented, because it is the contents of a file, to be copied verbatim.
        writeln!(out, "{}\n", key.trim_end()).expect("a string takes everything");
    }
    if let Some(release) = &published.release {
        writeln!(out, "release {release}").expect("a string takes everything");
    }
    if published.unchanged {
        return out + &format!("already published {name}, nothing to do: {}\n", published.cid);
    }
    let news = text::count(published.new_blocks, "new block");
    let reach = text::count(published.announced_to, "peer");
    let held = match published.replicas {
        0 => String::new(),
        replicas => format!(", held by {}", text::count(replicas, "other")),
    };
    out + &format!("published {name}, {size}, {news}, announced to {reach}{held}: {}\n", published.cid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published() -> Published {
        Published {
            package: "acme/http".to_owned(),
            version: "1.2.0".to_owned(),
            cid: "bafycid".to_owned(),
            release: Some("bafyrelease".to_owned()),
            publisher: Some("bafypublisher".to_owned()),
            files: 2,
            size_bytes: 1500,
            blocks: 3,
            new_blocks: 1,
            announced_to: 0,
            replicas: 0,
            unchanged: false,
            entries: None,
            recovery: None,
            warnings: Vec::new(),
        }
    }

    fn shown(published: &Published) -> String {
        render(&Answer { published, recovery_key: None })
    }

    #[test]
    fn cid_comes_last_so_that_it_can_be_copied() {
        let text = shown(&published());
        assert_eq!(
            text.lines().last(),
            Some("published acme/http@1.2.0, 2 files, 1.50 kB, 1 new block, announced to 0 peers: bafycid")
        );
        assert!(shown(&Published { unchanged: true, ..published() }).contains("already published"));
    }

    #[test]
    fn recovery_key_is_a_file_that_can_be_copied() {
        let text = render(&Answer { published: &published(), recovery_key: Some("secret words\n") });
        assert!(text.starts_with("secret words\n\nrelease"), "{text}");
    }

    #[test]
    fn dry_run_lists_the_entries() {
        let entries = Some(vec!["a".to_owned(), "dir/b".to_owned()]);
        let text = shown(&Published { entries, release: None, ..published() });
        assert!(text.starts_with("a\ndir/b\nwould publish acme/http@1.2.0"), "{text}");
    }
}
