//! TLS 1.3 between peers (`/tls/1.0.0`, <https://github.com/libp2p/specs/blob/master/tls/tls.md>), tuned for
//! throughput. Certificates and checks are those of libp2p's own implementation, with three differences:
//!
//! * AES-GCM is preferred where the processor has instructions for it; libp2p's own always prefers ChaCha20.
//! * The frames that the multiplexer writes are gathered into full records and long writes ([`Gathered`]).
//! * The socket is read in large pieces; rustls alone reads 4 KiB at a time.

mod gathered;
mod verifier;

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::SystemTime,
};

use futures::{AsyncRead, AsyncWrite, FutureExt, future::BoxFuture, io::BufReader};
use futures_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use libp2p::{
    PeerId,
    core::{
        UpgradeInfo,
        upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade},
    },
    identity::Keypair,
    noise,
    tls::certificate::{self, GenError, ParseError},
};
use rustls::{
    ClientConfig, CommonState, ServerConfig, SupportedCipherSuite,
    client::Resumption,
    crypto::{
        CryptoProvider,
        aws_lc_rs::{
            self,
            cipher_suite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256},
            sign::any_ecdsa_type,
        },
    },
    pki_types::ServerName,
    server::NoServerSessionStorage,
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};

use self::{gathered::Gathered, verifier::Verifier};
use crate::node::transport::clock_guard::{Clock, Since1970};

pub(in crate::node) const PROTOCOL: &str = "/tls/1.0.0";
const ALPN: &[u8] = b"libp2p";
/// Default size of one read from a socket, in bytes.
const READ_BYTES: usize = 64 << 10;

/// Why a connection cannot be secured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Insecure {
    #[error("no certificate can be made")]
    Certificate(#[from] GenError),
    #[error("TLS cannot be set up")]
    Setup(#[from] rustls::Error),
    #[error("the handshake failed")]
    Handshake(#[from] io::Error),
    #[error("the peer has shown no certificate")]
    Nameless,
    #[error("the peer's certificate is not valid")]
    Invalid(#[from] ParseError),
    #[error("Noise failed")]
    Noise(#[from] noise::Error),
    #[error("the connection is used for blocks alone")]
    HandedOver,
}

/// Secures connections, with the identity of the key it was created with.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    read_bytes: usize,
}

impl Tls {
    pub(in crate::node) fn new(identity: &Keypair) -> Result<Self, Insecure> {
        Self::with_clock(identity, SystemTime::now)
    }

    /// As `new`, with a clock. Handshakes fail while the clock is before 1970.
    fn with_clock(identity: &Keypair, clock: Clock) -> Result<Self, Insecure> {
        let (certificate, key) = certificate::generate(identity)?;
        let certified = CertifiedKey::new(vec![certificate], any_ecdsa_type(&key)?);
        let certified = Arc::new(SingleCertAndKey::from(certified));
        let provider = Arc::new(CryptoProvider {
            cipher_suites: cipher_suites(has_aes()).to_vec(),
            ..aws_lc_rs::default_provider()
        });
        let time = Arc::new(Since1970(clock));
        let mut server = ServerConfig::builder_with_details(Arc::clone(&provider), time.clone())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(Arc::new(Verifier))
            .with_cert_resolver(Arc::clone(&certified) as _);
        server.alpn_protocols = vec![ALPN.to_vec()];
        // All peers share one server name, so a client would present the ticket of one peer to another.
        server.send_tls13_tickets = 0;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        let mut client = ClientConfig::builder_with_details(provider, time)
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier))
            .with_client_cert_resolver(certified);
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.resumption = Resumption::disabled();
        // The server name is an IP address, for which a client may send no SNI.
        client.enable_sni = false;
        Ok(Self { server: Arc::new(server), client: Arc::new(client), read_bytes: READ_BYTES })
    }

    /// Returns the same identity with another read size, in bytes.
    pub(in crate::node) fn reading(self, read_bytes: usize) -> Self {
        Self { read_bytes, ..self }
    }
}

/// Cipher suites, most preferred first. A server takes the first of these that the client supports.
fn cipher_suites(has_aes: bool) -> [SupportedCipherSuite; 3] {
    let (aes, chacha) = ([TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384], TLS13_CHACHA20_POLY1305_SHA256);
    if has_aes { [aes[0], aes[1], chacha] } else { [chacha, aes[0], aes[1]] }
}

/// Whether the processor has instructions for AES-GCM.
fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

/// A secured connection.
pub(crate) type Secured<C> = Gathered<TlsStream<BufReader<C>>>;

impl UpgradeInfo for Tls {
    type Info = &'static str;
    type InfoIter = std::iter::Once<Self::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once(PROTOCOL)
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> InboundConnectionUpgrade<C> for Tls {
    type Output = (PeerId, Secured<C>);
    type Error = Insecure;
    type Future = BoxFuture<'static, Result<Self::Output, Self::Error>>;

    fn upgrade_inbound(self, socket: C, _: Self::Info) -> Self::Future {
        async move {
            let socket = BufReader::with_capacity(self.read_bytes, socket);
            secured(TlsAcceptor::from(self.server).accept(socket).await?.into())
        }
        .boxed()
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> OutboundConnectionUpgrade<C> for Tls {
    type Output = (PeerId, Secured<C>);
    type Error = Insecure;
    type Future = BoxFuture<'static, Result<Self::Output, Self::Error>>;

    fn upgrade_outbound(self, socket: C, _: Self::Info) -> Self::Future {
        async move {
            let nobody = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::UNSPECIFIED).into());
            let socket = BufReader::with_capacity(self.read_bytes, socket);
            secured(TlsConnector::from(self.client).connect(nobody, socket).await?.into())
        }
        .boxed()
    }
}

fn secured<C>(stream: TlsStream<BufReader<C>>) -> Result<(PeerId, Secured<C>), Insecure> {
    let peer = peer_of(stream.get_ref().1)?;
    Ok((peer, Gathered::new(stream)))
}

fn peer_of(state: &CommonState) -> Result<PeerId, Insecure> {
    let Some([certificate]) = state.peer_certificates() else { return Err(Insecure::Nameless) };
    Ok(certificate::parse(certificate)?.peer_id())
}

#[cfg(test)]
mod tests;
