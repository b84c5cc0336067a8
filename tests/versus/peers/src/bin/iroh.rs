//! iroh-blobs with its store on files: `iroh DIRECTORY`. A directory is added as a collection, as `sendme` does.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::{env, fs, thread};

use anyhow::{Context, Result, anyhow, bail, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use iroh::endpoint::presets;
use iroh::protocol::Router;
use iroh::{Endpoint, EndpointAddr, EndpointId, RelayMode};
use iroh_blobs::format::collection::Collection;
use iroh_blobs::store::fs::FsStore;
use iroh_blobs::{ALPN, BlobsProtocol, Hash, HashAndFormat};
use versus_peers::{Node, serve};

struct Iroh {
    store: FsStore,
    router: Router,
}

#[tokio::main]
async fn main() -> Result<()> {
    let directory = PathBuf::from(env::args_os().nth(1).context("usage: iroh DIRECTORY")?);
    let store = FsStore::load(&directory).await.map_err(|error| anyhow!("{error:#}"))?;
    // No relay, no look-up of addresses, one socket on loopback: it talks to nobody but whom it is told of.
    let endpoint = Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .clear_address_lookup()
        .clear_ip_transports()
        .bind_addr("127.0.0.1:0")
        .context("iroh takes no loopback address")?
        .bind()
        .await
        .context("iroh cannot bind its socket")?;
    let socket = *endpoint.bound_sockets().first().context("iroh has bound no socket")?;
    let id = endpoint.id();
    let router = Router::builder(endpoint).accept(ALPN, BlobsProtocol::new(&store, None)).spawn();
    serve(format!("{id}@{socket}"), &Iroh { store, router }).await
}

impl Node for Iroh {
    async fn add(&self, path: &Path) -> Result<String> {
        if path.is_file() {
            let tag = self.store.blobs().add_path(path).await.context("iroh cannot add the file")?;
            return Ok(tag.hash.to_string());
        }
        let added: Vec<(String, Hash)> = stream::iter(files(path)?)
            .map(|file| async move {
                let name = file.strip_prefix(path).expect("it lies below").to_str().context("no UTF-8 name")?;
                let tag = self.store.blobs().add_path(&file).await.context("iroh cannot add a file")?;
                Ok::<_, anyhow::Error>((name.to_owned(), tag.hash))
            })
            .buffered(parallel())
            .try_collect()
            .await?;
        let root = Collection::from_iter(added).store(&self.store).await.context("iroh cannot store the collection")?;
        self.store.tags().create(root.hash_and_format()).await.context("iroh cannot tag the collection")?;
        Ok(format!("collection:{}", root.hash()))
    }

    async fn get(&self, id: &str, address: &str, out: &Path) -> Result<()> {
        let (peer, socket) = address.split_once('@').context("an address is ID@SOCKET")?;
        let socket: SocketAddr = socket.parse().context("no socket address")?;
        let peer: EndpointId = peer.parse().context("no endpoint id")?;
        let connection = self
            .router
            .endpoint()
            .connect(EndpointAddr::new(peer).with_ip_addr(socket), ALPN)
            .await
            .context("iroh cannot connect")?;
        if let Some(hash) = id.strip_prefix("collection:") {
            let hash: Hash = hash.parse().context("no hash")?;
            let content = HashAndFormat::hash_seq(hash);
            self.store.remote().fetch(connection, content).await.context("iroh cannot fetch the collection")?;
            let collection = Collection::load(hash, &*self.store).await.map_err(|error| anyhow!("{error:#}"))?;
            return self.export(&collection, out).await;
        }
        let hash: Hash = id.parse().context("no hash")?;
        self.store.remote().fetch(connection, HashAndFormat::raw(hash)).await.context("iroh cannot fetch the blob")?;
        self.store.blobs().export(hash, out).await.context("iroh cannot export the blob")?;
        Ok(())
    }
}

impl Iroh {
    async fn export(&self, collection: &Collection, out: &Path) -> Result<()> {
        stream::iter(collection.iter())
            .map(|(name, hash)| async move {
                ensure!(!name.contains(".."), "a name leaves the directory");
                let file = out.join(name);
                fs::create_dir_all(file.parent().context("a file has a parent")?)?;
                self.store.blobs().export(*hash, &file).await.context("iroh cannot export a file")?;
                Ok(())
            })
            .buffer_unordered(parallel())
            .try_collect()
            .await
    }
}

fn parallel() -> usize {
    thread::available_parallelism().map_or(4, usize::from)
}

fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut open) = (Vec::new(), vec![root.to_owned()]);
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path);
            }
        }
    }
    if found.is_empty() {
        bail!("the directory holds no file");
    }
    found.sort();
    Ok(found)
}
