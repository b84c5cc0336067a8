//! Updates of real crates: what a host receives, as its kernel counts it, when it has one release and fetches the next,
//! and when it has nothing; relative to the new release's `.tar.gz`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::network::Network;
use super::{Link, PREFIX};
use crate::command::output_of;
use crate::run::Directory;
use crate::system::ggen::{Node, Program, text};
use crate::system::web::tarball;
use crate::table::{Place, Table};
use crate::{crates, files};

/// Consecutive releases of well-known crates.
const RELEASES: [(&str, &str, &str); 10] = [
    ("serde_json", "1.0.153", "1.0.154"),
    ("regex-automata", "0.4.17", "0.4.18"),
    ("tokio", "1.53.2", "1.53.3"),
    ("clap_builder", "4.6.6", "4.6.7"),
    ("hyper", "1.11.1", "1.12.0"),
    ("rustls", "0.23.45", "0.23.46"),
    ("syn", "3.0.8", "3.0.9"),
    ("axum", "0.8.8", "0.8.9"),
    ("h2", "0.4.19", "0.4.20"),
    ("time", "0.3.54", "0.3.55"),
];

/// Measures all pairs, each with new nodes.
pub(crate) fn measure(program: &Program, link: Link, directory: &Directory, table: &mut Table) -> Result<()> {
    let at = directory.path.join("updates");
    files::make(&at)?;
    let former = sources(&at.join("former"), |release| release.1)?;
    let next = sources(&at.join("next"), |release| release.2)?;
    let (mut updates, mut colds) = (Vec::new(), Vec::new());
    for (index, (name, from, to)) in RELEASES.iter().enumerate() {
        let at = at.join(name);
        let (former, next) =
            (package(&former[index], &at.join("a"), name, from)?, package(&next[index], &at.join("b"), name, to)?);
        tarball(&next, &at.join("next.tar.gz"), true)?;
        let whole = at.join("next.tar.gz").metadata().context("the tarball was made")?.len();
        let (update, cold) =
            pair(program, link, &at, &former, &next).with_context(|| format!("{name} {from} to {to}"))?;
        let of_whole = |bytes: u64| bytes as f64 / whole as f64;
        eprintln!("{name} {from} -> {to}: .tar.gz {whole}, update {update}, cold {cold} bytes received");
        updates.push(of_whole(update));
        colds.push(of_whole(cold));
    }
    for (what, values) in [("updates", updates), ("cold", colds)] {
        let label = format!("{PREFIX}{what}");
        let mut add = |step: &str, value| table.add(&label, step, "ggen", Place::Main, value);
        for ((name, from, to), &value) in RELEASES.iter().zip(&values) {
            add(&format!("{name} {from} -> {to}: bytes / .tar.gz"), value);
        }
        let mean = values.iter().map(|value| value.ln()).sum::<f64>() / values.len() as f64;
        add("geometric mean of bytes / .tar.gz", mean.exp());
        add("largest of bytes / .tar.gz", values.iter().copied().fold(0.0, f64::max));
    }
    Ok(())
}

/// Returns what the update and a cold fetch of the new release make a host receive.
fn pair(program: &Program, link: Link, at: &Path, former: &Path, next: &Path) -> Result<(u64, u64)> {
    let network = Network::start(link.round_trip, &[link.mbit; 3])?;
    let publisher = Node::start(program, at.join("publisher"), &network.hosts[0])?;
    let follower = Node::start(program, at.join("follower"), &network.hosts[1])?;
    follower.meet(&publisher.address)?;
    let (answer, _) = publisher.publish(former)?;
    let name = text(&answer["package"], "package")?;
    let out = at.join("out");
    output_of(&mut follower.fetch(&name, &out))?;
    files::ensure_same(former, &out)?;

    // Counted from before the new release is there: its announcement is part of what it costs.
    let before = network.received(1)?;
    let (answer, _) = publisher.publish(next)?;
    let version = text(&answer["version"], "version")?;
    let target = format!("{name}@={version}");
    output_of(&mut follower.fetch(&target, &out))?;
    let update = network.received(1)? - before;
    ensure_updated(next, &out)?;

    let newcomer = Node::start(program, at.join("newcomer"), &network.hosts[2])?;
    newcomer.meet(&publisher.address)?;
    let before = network.received(2)?;
    let out = at.join("cold");
    output_of(&mut newcomer.fetch(&target, &out))?;
    let cold = network.received(2)? - before;
    files::ensure_same(next, &out)?;
    Ok((update, cold))
}

/// Fails unless all files of the new release are there; an update leaves what it does not know.
fn ensure_updated(next: &Path, out: &Path) -> Result<()> {
    files::relative(next)?.iter().try_for_each(|file| files::ensure_same_file(&next.join(file), &out.join(file)))
}

/// Lets cargo download one release of each crate; returns where it has unpacked them. Their dependencies come along.
fn sources(at: &Path, version: fn(&(&str, &'static str, &'static str)) -> &'static str) -> Result<Vec<PathBuf>> {
    files::make(&at.join("src"))?;
    fs::write(at.join("src/lib.rs"), "").context("cannot write lib.rs")?;
    let mut manifest =
        String::from("[package]\nname = \"releases\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n");
    for release in &RELEASES {
        manifest.push_str(&format!(
            "{} = {{ version = \"={}\", default-features = false }}\n",
            release.0,
            version(release)
        ));
    }
    let path = at.join("Cargo.toml");
    fs::write(&path, manifest).context("cannot write Cargo.toml")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut metadata = Command::new(cargo);
    metadata.args(["metadata", "--quiet", "--format-version", "1", "--manifest-path"]).arg(&path);
    let known: Value = serde_json::from_str(&output_of(&mut metadata)?).context("cargo printed no JSON")?;
    RELEASES
        .iter()
        .map(|release| {
            let wanted = |package: &&Value| package["name"] == release.0 && package["version"] == version(release);
            let package = known["packages"].as_array().into_iter().flatten().find(wanted);
            let manifest = package.and_then(|package| package["manifest_path"].as_str());
            let manifest = manifest.with_context(|| format!("cargo did not download {}", release.0))?;
            Ok(Path::new(manifest).parent().context("a manifest lies in a directory")?.to_owned())
        })
        .collect()
}

/// Copies a crate and makes it a package.
fn package(source: &Path, to: &Path, name: &str, version: &str) -> Result<PathBuf> {
    crates::copy_tree(source, to);
    let name = name.replace('_', "-");
    // The sources of some crates hold keys for their tests.
    let allowed = "allow-secrets = [\"*.rs\", \"*.md\", \"*.pem\", \"*.der\", \"*.key\", \"*.rsa\", \"*.cc\"]";
    let text = format!(
        "[package]\nname = \"{name}\"\nversion = \"{version}\"\ndescription = \"The crate {name}\"\n{allowed}\n"
    );
    fs::write(to.join("gpack.toml"), text).context("cannot write gpack.toml")?;
    Ok(to.to_owned())
}
