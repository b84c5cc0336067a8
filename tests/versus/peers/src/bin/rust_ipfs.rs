//! rust-ipfs with its store on files: `rust_ipfs DIRECTORY`. It adds and gets single files only.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use rust_ipfs::builder::DefaultIpfsBuilder;
use rust_ipfs::unixfs::UnixfsStatus;
use rust_ipfs::{Ipfs, IpfsPath, Multiaddr, Protocol};
use versus_peers::{Node, serve};

struct RustIpfs(Ipfs);

#[tokio::main]
async fn main() -> Result<()> {
    let directory = PathBuf::from(env::args_os().nth(1).context("usage: rust_ipfs DIRECTORY")?);
    let ipfs = DefaultIpfsBuilder::new().with_default().set_path(&directory).enable_tcp().start().await?;
    let listener = ipfs.add_listening_address("/ip4/127.0.0.1/tcp/0".parse()?).await?;
    let peer = ipfs.keypair().public().to_peer_id();
    let addresses = ipfs.get_listening_address(listener).await?;
    let address = addresses.into_iter().next().context("rust-ipfs listens nowhere")?.with(Protocol::P2p(peer));
    serve(address, &RustIpfs(ipfs)).await
}

impl Node for RustIpfs {
    async fn add(&self, path: &Path) -> Result<String> {
        let mut statuses = self.0.add_unixfs(path);
        while let Some(status) = statuses.next().await {
            match status {
                UnixfsStatus::CompletedStatus { path, .. } => {
                    return Ok(path.root().cid().context("the root is no CID")?.to_string());
                }
                UnixfsStatus::FailedStatus { error, .. } => bail!("rust-ipfs cannot add: {error}"),
                UnixfsStatus::ProgressStatus { .. } => {}
            }
        }
        bail!("rust-ipfs stopped adding without a word")
    }

    async fn get(&self, id: &str, address: &str, out: &Path) -> Result<()> {
        let address: Multiaddr = address.parse().context("no multiaddress")?;
        let peer = address.iter().find_map(|part| if let Protocol::P2p(peer) = part { Some(peer) } else { None });
        let peer = peer.context("the address names no peer")?;
        if !self.0.is_connected(peer).await? {
            self.0.connect(address).await?;
        }
        let path: IpfsPath = id.parse().context("no path")?;
        let mut statuses = self.0.get_unixfs(path, out).provider(peer);
        while let Some(status) = statuses.next().await {
            match status {
                UnixfsStatus::CompletedStatus { .. } => return Ok(()),
                UnixfsStatus::FailedStatus { error, .. } => bail!("rust-ipfs cannot get: {error}"),
                UnixfsStatus::ProgressStatus { .. } => {}
            }
        }
        bail!("rust-ipfs stopped getting without a word")
    }
}
