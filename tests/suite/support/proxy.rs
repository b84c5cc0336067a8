//! A proxy between two nodes that counts the received bytes, limits their rate, and can stop or be cut.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    try_join,
};

/// Bytes that are forwarded at once.
const STEP_BYTES: usize = 16 << 10;

/// The proxy; see the module documentation. Ends when it is dropped.
pub(crate) struct Proxy {
    address: String,
    way: Arc<Way>,
    _tasks: JoinSet<()>,
}

struct Way {
    /// Bytes received from the target.
    bytes: AtomicU64,
    /// Limit on bytes per second received from the target, over all connections together.
    rate: Option<u64>,
    /// When the last forwarded bytes have passed at the limited rate.
    free_at: Mutex<Instant>,
    /// After this number of bytes nothing more is forwarded from the target; [`u64::MAX`] for never.
    stops_after: AtomicU64,
    stopped: watch::Sender<bool>,
    cutting: Mutex<Cutting>,
    /// Number of times that all connections were cut.
    cuts: watch::Sender<u32>,
}

/// Configuration of the cuts of all connections.
#[derive(Default)]
struct Cutting {
    /// After this number of bytes; 0 for never.
    every: u64,
    left: u32,
    since: u64,
}

impl Way {
    /// Counts bytes received from the target, and cuts all connections if due.
    fn count(&self, bytes: u64) {
        let mut cutting = self.cutting.lock().unwrap();
        cutting.since += bytes;
        if cutting.every > 0 && cutting.left > 0 && cutting.since >= cutting.every {
            cutting.since = 0;
            cutting.left -= 1;
            self.cuts.send_modify(|cuts| *cuts += 1);
        }
    }
}

impl Proxy {
    /// A proxy to `address`, a multiaddress of `/ip4/127.0.0.1/tcp/<port>/p2p/<peer>`.
    pub(crate) async fn to(address: &str, rate: Option<u64>) -> Self {
        let parts: Vec<&str> = address.split('/').collect();
        let (port, peer) = (parts[4].to_owned(), parts[6]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap().port();
        let way = Arc::new(Way {
            bytes: AtomicU64::new(0),
            rate,
            free_at: Mutex::new(Instant::now()),
            stops_after: AtomicU64::new(u64::MAX),
            stopped: watch::Sender::new(false),
            cutting: Mutex::default(),
            cuts: watch::Sender::new(0),
        });
        let mut tasks = JoinSet::new();
        let used = Arc::clone(&way);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(format!("127.0.0.1:{port}")).await else { continue };
                let (way, mut cut) = (Arc::clone(&used), used.cuts.subscribe());
                connections.spawn(async move {
                    let (near_read, near_write) = near.into_split();
                    let (far_read, far_write) = far.into_split();
                    let forth = forward(near_read, far_write, None);
                    let back = forward(far_read, near_write, Some(way));
                    tokio::select! {
                        both = async { try_join!(forth, back) } => drop(both),
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { address: format!("/ip4/127.0.0.1/tcp/{here}/p2p/{peer}"), way, _tasks: tasks }
    }

    /// The address to dial.
    pub(crate) fn address(&self) -> String {
        self.address.clone()
    }

    /// Bytes received from the target since the last call.
    pub(crate) fn take_bytes(&self) -> u64 {
        self.way.bytes.swap(0, Ordering::AcqRel)
    }

    /// Stops forwarding after this number of bytes since the last [`Self::take_bytes`].
    pub(crate) fn stop_after(&self, bytes: u64) {
        self.way.stops_after.store(bytes, Ordering::Release);
    }

    /// Cuts all connections whenever this number of bytes was received, this number of times; new connections are
    /// accepted.
    pub(crate) fn cut_every(&self, bytes: u64, times: u32) {
        *self.way.cutting.lock().unwrap() = Cutting { every: bytes, left: times, since: 0 };
    }

    /// Number of times that all connections were cut.
    pub(crate) fn cuts(&self) -> u32 {
        *self.way.cuts.borrow()
    }

    /// Waits until all connections were cut this number of times.
    pub(crate) async fn wait_for_cuts(&self, times: u32) {
        let mut cuts = self.way.cuts.subscribe();
        cuts.wait_for(|cuts| *cuts >= times).await.unwrap();
    }

    /// Returns whether it has stopped.
    pub(crate) fn has_stopped(&self) -> bool {
        *self.way.stopped.borrow()
    }
}

async fn forward(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    way: Option<Arc<Way>>,
) -> io::Result<()> {
    let mut buffer = vec![0; STEP_BYTES];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        if let Some(way) = &way {
            if way.bytes.fetch_add(count as u64, Ordering::AcqRel) > way.stops_after.load(Ordering::Acquire) {
                way.stopped.send_replace(true);
                std::future::pending::<()>().await;
            }
            if let Some(rate) = way.rate {
                let takes = Duration::from_secs_f64(count as f64 / rate as f64);
                let free_at = {
                    let mut free_at = way.free_at.lock().unwrap();
                    *free_at = free_at.max(Instant::now() - Duration::from_millis(20)) + takes;
                    *free_at
                };
                tokio::time::sleep_until(free_at.into()).await;
            }
        }
        to.write_all(&buffer[..count]).await?;
        if let Some(way) = &way {
            way.count(count as u64);
        }
    }
}
