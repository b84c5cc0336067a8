//! The main job in one program: two nodes on loopback, a real package published on one, found and fetched on the other
//! by name and by CID, and the trees compared byte by byte.
//!
//!     cargo run --example demo [PACKAGE]

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for people at a terminal")]

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ggen_marketplace::{BootstrapRequest, Config, FetchRequest, FetchTo, Mode, Progress, PublishRequest, Registry};

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/packages/greeter");
    let package = std::env::args().nth(1).map_or(sample, PathBuf::from).canonicalize()?;
    let scratch = tempfile::tempdir()?;

    let alice = Registry::open(&scratch.path().join("alice"), loopback(), Mode::Daemon).await?;
    let bob = Registry::open(&scratch.path().join("bob"), loopback(), Mode::Daemon).await?;
    println!("alice is {}", alice.listening().peer_id);
    println!("bob   is {}", bob.listening().peer_id);
    let nodes = alice.listening().listen_addresses;
    bob.bootstrap(BootstrapRequest { nodes, timeout: PATIENCE }).await?;

    let published = alice.publish(publish(&package), Arc::new(|_: Progress| {})).await?;
    println!(
        "alice published {}@{}: {} files, {} bytes",
        published.package, published.version, published.files, published.size_bytes
    );
    println!("  content {}", published.cid);

    let by_name =
        bob.fetch(fetch(&published.package, scratch.path().join("by-name")), Arc::new(|_: Progress| {})).await?;
    println!(
        "bob fetched {} by name: {} blocks from {} peer(s) in {:.3} s",
        published.package,
        by_name.blocks_fetched,
        by_name.providers.len(),
        by_name.seconds
    );
    let by_cid = bob.fetch(fetch(&published.cid, scratch.path().join("by-cid")), Arc::new(|_: Progress| {})).await?;
    println!("bob fetched {} by CID: {} blocks were already here", by_cid.cid, by_cid.blocks_reused);

    let original = tree(&package)?;
    assert_eq!(original, tree(&by_name.path)?, "the tree fetched by name differs");
    let plain =
        |files: &Tree| files.iter().map(|(path, file)| (path.clone(), file.contents.clone())).collect::<Vec<_>>();
    assert_eq!(plain(&original), plain(&tree(&by_cid.path)?), "the tree fetched by CID differs");
    println!("all {} files are identical, byte for byte", original.len());

    alice.shutdown().await?;
    bob.shutdown().await?;
    Ok(())
}

fn loopback() -> Config {
    let listen_addresses = vec!["/ip4/127.0.0.1/tcp/0".parse().expect("a literal address parses")];
    Config { listen_addresses, mdns: false, ..Config::default() }
}

fn publish(path: &Path) -> PublishRequest {
    PublishRequest {
        path: path.to_owned(),
        version: None,
        namespace: None,
        key: None,
        trust_clock: false,
        allow_secrets: false,
        user_ignore_file: None,
        skip_verify: false,
        dry_run: false,
        min_replicas: 0,
        timeout: PATIENCE,
    }
}

fn fetch(target: &str, to: PathBuf) -> FetchRequest {
    FetchRequest {
        target: target.to_owned(),
        to: FetchTo::Path(to),
        timeout: PATIENCE,
        offline: false,
        providers: Vec::new(),
        min_reputation: None,
    }
}

type Tree = BTreeMap<PathBuf, File>;

#[derive(Debug, PartialEq)]
struct File {
    executable: bool,
    contents: Contents,
}

#[derive(Clone, Debug, PartialEq)]
enum Contents {
    Bytes(Vec<u8>),
    LinkTo(PathBuf),
}

fn tree(root: &Path) -> std::io::Result<Tree> {
    let mut files = Tree::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let metadata = fs::symlink_metadata(&path)?;
            if metadata.is_dir() {
                folders.push(path);
                continue;
            }
            let (executable, contents) = if metadata.is_symlink() {
                (false, Contents::LinkTo(fs::read_link(&path)?))
            } else {
                (metadata.permissions().mode() & 0o100 != 0, Contents::Bytes(fs::read(&path)?))
            };
            let name = path.strip_prefix(root).map_err(std::io::Error::other)?.to_owned();
            files.insert(name, File { executable, contents });
        }
    }
    Ok(files)
}
