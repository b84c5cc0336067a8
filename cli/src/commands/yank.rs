//! `yank`: excludes a version from selection, or reverts that.

use ggen_marketplace::{Failure, Interrupt, Mode, PackageId, YankRequest, Yanked};

use crate::{context::Context, control::Call, error, ui::text};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Nothing is deleted: who names the version exactly or has locked it still gets it, with a warning and the \
                  reason. Yanked again with another reason, the version keeps that one.\n\nExample:\n  ggen \
                  marketplace p2p yank acme/http@1.2.0 --reason \"loses data on Windows\"\n  ggen marketplace p2p yank \
                  acme/http@1.2.0 --undo"
)]
pub(crate) struct Args {
    /// Package and version to yank: ns/name@1.2.0
    #[arg(value_name = "PKG@VERSION", add = super::completions::packages())]
    target: String,
    /// Undo the yank
    #[arg(long)]
    undo: bool,
    /// Reason, which `info` and `fetch` show
    #[arg(long, value_name = "TEXT", conflicts_with = "undo")]
    reason: Option<String>,
    /// Name of the key that signs [default: `default`]
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
    /// Sign even if this clock is behind your last signature
    #[arg(long)]
    trust_clock: bool,
}

pub(crate) async fn run(context: &Context, args: &Args, interrupt: &Interrupt) -> Result<(), Failure> {
    let (package, version) = parse(&args.target)?;
    let request = YankRequest {
        package,
        version,
        undo: args.undo,
        reason: args.reason.clone(),
        key: args.key.clone(),
        trust_clock: args.trust_clock,
    };
    let (yanked, _): (Yanked, bool) = context.perform_until(Mode::Ephemeral, Call::Yank(request), interrupt).await?;
    yanked.warnings.iter().for_each(|warning| context.ui.warn(warning));
    context.ui.answer(&yanked, render)
}

fn parse(target: &str) -> Result<(PackageId, semver::Version), Failure> {
    let wrong = |reason: &str| {
        error::usage(format!("`{target}` is not a package and its version: {reason}")).hinted(hint(target))
    };
    let (package, version) = target.split_once('@').ok_or_else(|| wrong("it names no version"))?;
    let package = package.parse().map_err(|cause: ggen_marketplace::NameError| wrong(&cause.to_string()))?;
    let version = version.strip_prefix('=').unwrap_or(version);
    let version = version.parse().map_err(|cause: semver::Error| wrong(&cause.to_string()))?;
    Ok((package, version))
}

/// A hint with the correct form of the target.
fn hint(target: &str) -> String {
    let target = target.trim_start_matches('@');
    let (package, version) = target.split_once('@').unwrap_or((target, ""));
    let package = if package.parse::<PackageId>().is_ok() { package } else { "ns/name" };
    let version = version.trim_start_matches(['v', 'V', '=', '^', '~']);
    match version.parse::<semver::Version>() {
        Ok(version) => format!("write `{package}@{version}`"),
        Err(_) => format!("write all three numbers of the version: `{package}@1.2.0`"),
    }
}

fn render(yanked: &Yanked) -> String {
    let name = format!("{}@{}", yanked.package, yanked.version);
    match (yanked.unchanged, yanked.yanked) {
        (true, true) => format!("{name} is yanked already, nothing to do\n"),
        (true, false) => format!("{name} is not yanked, nothing to do\n"),
        (false, done) => {
            let done = if done { "yanked" } else { "no longer yanked:" };
            let reason = yanked.reason.as_deref().map(|reason| format!(" ({})", text::one_line(reason)));
            let (reason, peers) = (reason.unwrap_or_default(), text::count(yanked.announced_to, "peer"));
            format!("{done} {name}{reason}, announced to {peers}\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use ggen_marketplace::ErrorKind;

    use super::*;

    #[test]
    fn target_is_one_version_of_one_package() {
        assert_eq!(parse("acme/http@1.2.0").unwrap(), ("acme/http".parse().unwrap(), semver::Version::new(1, 2, 0)));
        assert_eq!(parse("acme/http@=1.2.0").unwrap().1, semver::Version::new(1, 2, 0));
        assert_eq!(parse("acme/http@v1.2.0").unwrap_err().hint.unwrap(), "write `acme/http@1.2.0`".into());
        assert!(parse("acme/http").unwrap_err().hint.unwrap().to_string().ends_with("`acme/http@1.2.0`"));
        for wrong in ["acme/http", "acme/http@1.2", "acme/http@^1.2.0", "http@1.2.0", "@", ""] {
            assert_eq!(parse(wrong).unwrap_err().kind, ErrorKind::Usage, "{wrong}");
        }
    }

    #[test]
    fn answer_says_how_it_stands() {
        let yanked = Yanked {
            package: "acme/http".to_owned(),
            version: "1.2.0".to_owned(),
            yanked: true,
            reason: None,
            publisher: "p".to_owned(),
            unchanged: false,
            announced_to: 1,
            warnings: Vec::new(),
        };
        assert_eq!(render(&yanked), "yanked acme/http@1.2.0, announced to 1 peer\n");
        let again = Yanked { unchanged: true, ..yanked.clone() };
        assert_eq!(render(&again), "acme/http@1.2.0 is yanked already, nothing to do\n");
        let undone = Yanked { yanked: false, ..yanked };
        assert!(render(&undone).starts_with("no longer yanked: acme/http@1.2.0"));
    }
}
