//! `info`: shows everything known about a package, a release or content.

use std::{fmt::Write as _, time::Duration};

use ggen_marketplace::{Failure, InfoRequest, Mode, PackageInfo, ReleaseInfo};

use super::seconds;
use crate::{context::Context, control::Call, ui::text};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  ggen marketplace p2p info acme/http\n  ggen marketplace p2p info acme/http --versions"
)]
pub(crate) struct Args {
    /// ns/name, ns/name@REQ, <publisher>/ns/name[@REQ], or the CID of a release or of content
    #[arg(add = super::completions::packages())]
    target: String,
    /// Fetch the record of every version, and list them
    #[arg(long)]
    versions: bool,
    /// Give up after SECS without progress
    #[arg(long, value_name = "SECS", default_value = "60", value_parser = seconds)]
    timeout: Duration,
    /// Use only the local store
    #[arg(long)]
    offline: bool,
}

pub(crate) async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let request = InfoRequest {
        target: args.target.clone(),
        versions: args.versions,
        providers: true,
        timeout: args.timeout,
        offline: args.offline,
    };
    let mode = if args.offline { Mode::Offline } else { Mode::Ephemeral };
    let info: PackageInfo = context.perform(mode, Call::Info(request)).await?;
    if let Some(reason) = &info.incomplete {
        context.ui.warn(&format!("this is what is known here, and newer versions and yanks may be missing: {reason}"));
    }
    context.ui.answer(&info, |info| render(info, args.versions))
}

/// Width of the column of row names.
const COLUMN: usize = 13;

fn render(info: &PackageInfo, versions: bool) -> String {
    let mut rows: Vec<(&str, String)> = Vec::new();
    if let (Some(package), Some(version)) = (&info.package, &info.version) {
        let yanked = if info.yanked { " (yanked)" } else { "" };
        rows.push(("package", format!("{package}@{version}{yanked}")));
    }
    rows.extend(info.yank_reason.iter().map(|reason| ("yanked", reason.clone())));
    let how = info.known_by.map(|known_by| format!(" ({})", super::trust::how(known_by))).unwrap_or_default();
    let publisher = info.publisher.as_ref().map(|publisher| format!("{publisher}{how}"));
    let texts = [
        ("title", &info.metadata.title),
        ("license", &info.metadata.license),
        ("category", &info.metadata.category),
        ("repository", &info.metadata.repository),
        ("homepage", &info.metadata.homepage),
        ("publisher", &publisher),
        ("release", &info.release),
        ("published", &info.published),
    ];
    if !info.metadata.description.is_empty() {
        rows.push(("description", info.metadata.description.clone()));
    }
    rows.extend(texts.into_iter().filter_map(|(name, text)| Some((name, text.clone()?))));
    for (name, list) in
        [("tags", &info.metadata.tags), ("keywords", &info.metadata.keywords), ("authors", &info.metadata.authors)]
    {
        if !list.is_empty() {
            rows.push((name, list.join(", ")));
        }
    }
    let here = if info.here { " (here)" } else { "" };
    rows.push(("content", format!("{}{here}", info.cid)));
    if let (Some(files), Some(bytes)) = (info.files, info.size_bytes) {
        rows.push(("size", format!("{}, {}", text::count(files, "file"), text::bytes(bytes))));
    }
    rows.extend(info.dependencies.iter().map(|needed| ("needs", format!("{} {}", needed.package, needed.requirement))));
    rows.extend(info.claims.iter().map(|claim| {
        let doubt = if claim.equivocation { ", which signed two histories: not trusted" } else { "" };
        ("claimed by", format!("{}{doubt}", claim.publisher))
    }));
    rows.extend(info.providers.iter().map(|provider| {
        let connected = if provider.connected { " (connected)" } else { "" };
        ("provided by", format!("{}{connected}", provider.peer_id))
    }));
    if !versions && info.releases.len() > 1 {
        let names: Vec<_> = info.releases.iter().map(short).collect();
        rows.push(("versions", names.join(", ")));
    }
    let mut out = String::new();
    for (name, value) in rows {
        writeln!(out, "{name:<COLUMN$} {}", text::one_line(&value)).expect("a string takes everything");
    }
    if versions {
        for release in info.releases.iter().rev() {
            writeln!(out, "{:<COLUMN$} {}", "version", line(release)).expect("a string takes everything");
        }
    }
    out
}

fn short(release: &ReleaseInfo) -> String {
    format!("{}{}", release.version, if release.yanked { " (yanked)" } else { "" })
}

fn line(release: &ReleaseInfo) -> String {
    let line = match &release.record {
        Some(record) => {
            let size = format!("{}, {}", text::count(record.files, "file"), text::bytes(record.size_bytes));
            format!("{}, {}, {size}, {}", short(release), record.published, record.cid)
        }
        None => short(release),
    };
    match &release.yank_reason {
        Some(reason) => format!("{line}, yanked: {}", text::one_line(reason)),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use ggen_marketplace::{ClaimInfo, Metadata};

    use super::*;

    fn info() -> PackageInfo {
        let release = |version: &str, yanked| ReleaseInfo {
            version: version.to_owned(),
            release: "bafyrelease".to_owned(),
            yanked,
            yank_reason: None,
            record: None,
        };
        PackageInfo {
            package: Some("acme/http".to_owned()),
            version: Some("1.0.0".to_owned()),
            release: Some("bafyrelease".to_owned()),
            publisher: Some("bafypublisher".to_owned()),
            known_by: None,
            cid: "bafycontent".to_owned(),
            yanked: false,
            yank_reason: None,
            metadata: Metadata { description: "HTTP\nevil  row".to_owned(), ..Metadata::default() },
            size_bytes: Some(1500),
            files: Some(2),
            blocks: Some(3),
            published: Some("2026-01-01T00:00:00Z".to_owned()),
            dependencies: Vec::new(),
            executables: Vec::new(),
            releases: vec![release("1.0.0", false), release("1.1.0", true)],
            claims: vec![ClaimInfo {
                publisher: "bafypublisher".to_owned(),
                log_length: Some(3),
                issued: None,
                expires: None,
                first_seen: "2026-01-01T00:00:00Z".to_owned(),
                equivocation: true,
            }],
            providers: Vec::new(),
            here: true,
            incomplete: None,
        }
    }

    #[test]
    fn foreign_text_stays_in_its_row() {
        let text = render(&info(), false);
        assert!(text.contains("description   HTTP evil row\n"), "{text}");
        assert!(text.contains("content       bafycontent (here)\n"), "{text}");
        assert!(text.contains("versions      1.0.0, 1.1.0 (yanked)\n"), "{text}");
        assert!(text.contains("signed two histories"), "{text}");
    }

    #[test]
    fn versions_are_listed_newest_first() {
        let text = render(&info(), true);
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with("version ")).collect();
        assert_eq!(lines, ["version       1.1.0 (yanked)", "version       1.0.0"]);
    }
}
