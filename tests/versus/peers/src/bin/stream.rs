//! The bare transports of libp2p: `stream tls|noise|quic`. What is fetched are so many bytes over one stream, which
//! nobody hashes and nobody keeps: the limit of what crosses such a connection.

use std::env;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol, Swarm, SwarmBuilder, noise, tcp, tls, yamux};
use libp2p_stream::{Behaviour, Control};
use tokio::sync::{mpsc, oneshot};
use versus_peers::{Node, serve};

const PROTOCOL: StreamProtocol = StreamProtocol::new("/versus/stream/1");
const BUFFER_BYTES: usize = 256 << 10;

type Dial = (Multiaddr, oneshot::Sender<()>);

struct Bare {
    control: Control,
    dial: mpsc::Sender<Dial>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let transport = env::args().nth(1).context("usage: stream tls|noise|quic")?;
    let mut swarm = swarm(&transport)?;
    let listen = if transport == "quic" { "/ip4/127.0.0.1/udp/0/quic-v1" } else { "/ip4/127.0.0.1/tcp/0" };
    swarm.listen_on(listen.parse()?)?;
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            break address.with(Protocol::P2p(*swarm.local_peer_id()));
        }
    };
    let mut control = swarm.behaviour().new_control();
    let mut inbound = control.accept(PROTOCOL)?;
    tokio::spawn(async move {
        while let Some((_, stream)) = inbound.next().await {
            tokio::spawn(async move {
                if let Err(error) = send(stream).await {
                    eprintln!("cannot send: {error:#}");
                }
            });
        }
    });
    let (dial, dials) = mpsc::channel(1);
    tokio::spawn(run(swarm, dials));
    serve(address, &Bare { control, dial }).await
}

fn swarm(transport: &str) -> Result<Swarm<Behaviour>> {
    let builder = SwarmBuilder::with_new_identity().with_tokio();
    let tcp = tcp::Config::default().nodelay(true);
    let idle = Duration::from_secs(3600);
    Ok(match transport {
        "tls" => builder
            .with_tcp(tcp, tls::Config::new, yamux::Config::default)?
            .with_behaviour(|_| Behaviour::new())?
            .with_swarm_config(|config| config.with_idle_connection_timeout(idle))
            .build(),
        "noise" => builder
            .with_tcp(tcp, noise::Config::new, yamux::Config::default)?
            .with_behaviour(|_| Behaviour::new())?
            .with_swarm_config(|config| config.with_idle_connection_timeout(idle))
            .build(),
        "quic" => builder
            .with_quic()
            .with_behaviour(|_| Behaviour::new())?
            .with_swarm_config(|config| config.with_idle_connection_timeout(idle))
            .build(),
        _ => bail!("`{transport}` is no transport"),
    })
}

/// Owns the swarm: dials whom it is told, and says when the connection stands.
async fn run(mut swarm: Swarm<Behaviour>, mut dials: mpsc::Receiver<Dial>) {
    let mut waiting: Vec<oneshot::Sender<()>> = Vec::new();
    loop {
        tokio::select! {
            event = swarm.select_next_some() => match event {
                SwarmEvent::ConnectionEstablished { .. } => {
                    for waiter in waiting.drain(..) {
                        // Whoever gave up waiting needs no word.
                        waiter.send(()).ok();
                    }
                }
                SwarmEvent::OutgoingConnectionError { error, .. } => {
                    eprintln!("cannot dial: {error}");
                    waiting.clear();
                }
                _ => {}
            },
            dial = dials.recv() => {
                let Some((address, waiter)) = dial else { return };
                match swarm.dial(address) {
                    Ok(()) => waiting.push(waiter),
                    Err(error) => eprintln!("cannot dial: {error}"),
                }
            }
        }
    }
}

/// Answers a stream: reads a count and writes so many bytes.
async fn send(mut stream: Stream) -> Result<()> {
    let mut count = [0; 8];
    stream.read_exact(&mut count).await?;
    let buffer: Vec<u8> = (0..BUFFER_BYTES).map(|at| (at.wrapping_mul(0x9e37_79b9) >> 11) as u8).collect();
    let mut left = usize::try_from(u64::from_le_bytes(count))?;
    while left > 0 {
        let part = left.min(BUFFER_BYTES);
        stream.write_all(&buffer[..part]).await?;
        left -= part;
    }
    stream.close().await?;
    Ok(())
}

impl Node for Bare {
    async fn add(&self, path: &Path) -> Result<String> {
        Ok(path.metadata().context("no such file")?.len().to_string())
    }

    async fn get(&self, id: &str, address: &str, _out: &Path) -> Result<()> {
        let bytes: u64 = id.parse().context("no number of bytes")?;
        let address: Multiaddr = address.parse().context("no multiaddress")?;
        let peer: Option<PeerId> =
            address.iter().find_map(|part| if let Protocol::P2p(peer) = part { Some(peer) } else { None });
        let (sender, connected) = oneshot::channel();
        self.dial.send((address, sender)).await.context("the swarm has ended")?;
        connected.await.context("no connection")?;
        let mut control = self.control.clone();
        let mut stream = control.open_stream(peer.context("the address names no peer")?, PROTOCOL).await?;
        stream.write_all(&bytes.to_le_bytes()).await?;
        let (mut buffer, mut received) = (vec![0; BUFFER_BYTES], 0);
        loop {
            match stream.read(&mut buffer).await? {
                0 => break,
                count => received += count as u64,
            }
        }
        ensure!(received == bytes, "{received} bytes came instead of {bytes}");
        Ok(())
    }
}
