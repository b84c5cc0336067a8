//! Real sockets. Only Linux allows to choose the congestion control algorithm of a socket.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use libp2p::{
    core::{
        Negotiated,
        upgrade::{InboundConnectionUpgrade as _, OutboundConnectionUpgrade as _},
    },
    identity::Keypair,
};
use multistream_select::{Version, dialer_select_proto, listener_select_proto};
use rustix::net::sockopt::tcp_congestion;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream as Tcp, tcp},
};

use crate::node::transport::{
    tcp::*,
    tls::{PROTOCOL, Tls},
};

/// One-way delay of a long path.
const DELAY: Duration = Duration::from_millis(20);

async fn pair() -> [Tcp; 2] {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (dialled, accepted) = tokio::join!(Tcp::connect(address), listener.accept());
    [dialled.unwrap(), accepted.unwrap().0]
}

async fn carry(mut from: tcp::OwnedReadHalf, mut to: tcp::OwnedWriteHalf) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        tokio::time::sleep(DELAY).await;
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

/// Two sockets connected by a path with [`DELAY`] in each direction.
async fn far_pair() -> [Tcp; 2] {
    let ([left, near_left], [near_right, right]) = tokio::join!(pair(), pair());
    let ((from_left, to_left), (from_right, to_right)) = (near_left.into_split(), near_right.into_split());
    tokio::spawn(carry(from_left, to_right));
    tokio::spawn(carry(from_right, to_left));
    [left, right]
}

/// Connects the two sockets as nodes do; then each side sends data without waiting for the other.
async fn converse(sockets: [Tcp; 2], paces: [fn(&str) -> bool; 2]) {
    let ([dialled, accepted], [dialler_paces, listener_paces]) = (sockets, paces);
    let tls = || Tls::new(&Keypair::generate_ed25519()).unwrap();
    let dialling = async {
        let socket = Socket::replacing(TcpStream(dialled), dialler_paces);
        let (_, socket): (_, Negotiated<_>) =
            dialer_select_proto(socket, [PROTOCOL, "/noise"], Version::V1Lazy).await.unwrap();
        say_much(tls().upgrade_outbound(socket, PROTOCOL).await.unwrap().1).await;
    };
    let listening = async {
        let socket = Socket::replacing(TcpStream(accepted), listener_paces);
        let (_, socket): (_, Negotiated<_>) = listener_select_proto(socket, [PROTOCOL]).await.unwrap();
        say_much(tls().upgrade_inbound(socket, PROTOCOL).await.unwrap().1).await;
    };
    tokio::join!(dialling, listening);
}

async fn say_much(stream: impl AsyncRead + AsyncWrite) {
    let (mut reader, mut writer) = futures::AsyncReadExt::split(stream);
    let saying = async {
        for _ in 0..2 * ANSWERS {
            writer.write_all(b"word").await.unwrap();
            writer.flush().await.unwrap();
        }
    };
    let hearing = async {
        reader.read_exact(&mut [0; 4 * 2 * ANSWERS as usize]).await.unwrap();
    };
    tokio::join!(saying, hearing);
}

#[tokio::test]
async fn neither_end_of_a_long_way_is_taken_for_near() {
    static TAKEN: AtomicUsize = AtomicUsize::new(0);
    let paces: fn(&str) -> bool = |_| {
        TAKEN.fetch_add(1, Ordering::Relaxed);
        false
    };
    converse(far_pair().await, [paces; 2]).await;
    assert_eq!(TAKEN.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn both_ends_of_a_short_way_are_near() {
    static DIALLERS: AtomicUsize = AtomicUsize::new(0);
    static LISTENERS: AtomicUsize = AtomicUsize::new(0);
    let paces: [fn(&str) -> bool; 2] = [
        |_| {
            DIALLERS.fetch_add(1, Ordering::Relaxed);
            false
        },
        |_| {
            LISTENERS.fetch_add(1, Ordering::Relaxed);
            false
        },
    ];
    // A busy machine may be slow once, but not each time.
    let near = async {
        while [&DIALLERS, &LISTENERS].iter().any(|taken| taken.load(Ordering::Relaxed) == 0) {
            converse(pair().await, paces).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), near).await.unwrap();
}

#[tokio::test]
async fn on_a_short_way_what_paces_is_replaced_and_nothing_else() {
    let [socket, _other] = pair().await;
    let before = tcp_congestion(&socket).unwrap();
    let mut socket = Socket::replacing(TcpStream(socket), |_| false);
    socket.on_near();
    assert_eq!(tcp_congestion(&socket.stream.0).unwrap(), before);

    let mut socket = Socket::replacing(socket.stream, |_| true);
    socket.on_near();
    assert_eq!(tcp_congestion(&socket.stream.0).unwrap(), "reno");
}
