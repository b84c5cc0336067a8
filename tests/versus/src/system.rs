//! The systems that are measured. Each starts a pair of nodes with empty stores, of which one publishes and the other
//! fetches.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::host::Host;
use crate::workload::{Package, Workload};

pub(crate) mod ggen;
pub(crate) mod hash;
pub(crate) mod kubo;
pub(crate) mod mixed;
pub(crate) mod peer;
pub(crate) mod web;

/// A system that can be asked for on the command line.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Kind {
    /// This project's daemon and command line, fetching by name.
    Ggen,
    /// The same, fetching by the CID of the content.
    GgenCid,
    /// Kubo, the reference implementation of IPFS; it fetches with `ipfs get`.
    Kubo,
    /// Kubo again, fetching with `ipfs pin add` and then `ipfs get`, which is faster for trees.
    KuboPin,
    /// What Kubo added, fetched with ggen by its CID.
    KuboToGgen,
    /// A release whose blocks are on Kubo alone, fetched with ggen by the release's CID.
    KuboReleaseToGgen,
    /// What ggen published, fetched with `ipfs get`.
    GgenToKubo,
    /// rust-ipfs with its store on files; files only.
    RustIpfs,
    /// iroh-blobs with its store on files; a tree is a collection.
    Iroh,
    /// curl from nginx over TLS 1.3; a tree is a tarball that is unpacked as it comes.
    Curl,
    /// The same, and the tarball is compressed (gzip, level 6) beforehand.
    CurlGz,
    /// A limit of publishing: `openssl dgst -sha256`, then a copy and its fsync.
    Sha256Copy,
    /// A limit of fetching: bytes over a stream of libp2p over TCP and TLS, neither hashed nor kept.
    StreamTls,
    /// Likewise over TCP and noise.
    StreamNoise,
    /// Likewise over QUIC.
    StreamQuic,
}

/// Where the programs of the systems are; what is not given is built when it is first needed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Programs {
    pub(crate) ggen: Option<PathBuf>,
    pub(crate) peers: Option<PathBuf>,
}

impl Kind {
    /// Finds or builds what the system needs, so that no build falls into a measurement.
    pub(crate) fn prepare(self, programs: &mut Programs) -> Result<System> {
        let starter: Box<dyn Start> = match self {
            Self::Ggen => Box::new(ggen::Starter { program: programs.ggen()?, by: ggen::By::Name }),
            Self::GgenCid => Box::new(ggen::Starter { program: programs.ggen()?, by: ggen::By::Cid }),
            Self::Kubo => Box::new(kubo::Starter { way: kubo::Way::Get }),
            Self::KuboPin => Box::new(kubo::Starter { way: kubo::Way::PinThenGet }),
            Self::KuboToGgen => Box::new(mixed::FromKubo { program: programs.ggen()?, release: false }),
            Self::KuboReleaseToGgen => Box::new(mixed::FromKubo { program: programs.ggen()?, release: true }),
            Self::GgenToKubo => Box::new(mixed::ToKubo { program: programs.ggen()? }),
            Self::RustIpfs => Box::new(peer::Starter::new("rust-ipfs 0.16", programs.peer("rust_ipfs")?, &["{store}"])),
            Self::Iroh => Box::new(peer::Starter::new("iroh-blobs 0.104", programs.peer("iroh")?, &["{store}"])),
            Self::Curl => Box::new(web::Starter { compressed: false }),
            Self::CurlGz => Box::new(web::Starter { compressed: true }),
            Self::Sha256Copy => Box::new(hash::Starter),
            Self::StreamTls => Box::new(peer::Starter::new("libp2p 0.57", programs.peer("stream")?, &["tls"])),
            Self::StreamNoise => Box::new(peer::Starter::new("libp2p 0.57", programs.peer("stream")?, &["noise"])),
            Self::StreamQuic => Box::new(peer::Starter::new("libp2p 0.57", programs.peer("stream")?, &["quic"])),
        };
        Ok(System { kind: self, name: self.name(), starter })
    }

    /// Returns the name that stands for it on the command line and in the table.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Tells whether the system can do this work at all.
    pub(crate) fn handles(self, workload: &Workload) -> bool {
        match self {
            Self::RustIpfs | Self::Sha256Copy | Self::StreamTls | Self::StreamNoise | Self::StreamQuic => {
                matches!(workload, Workload::File { .. })
            }
            // What does not compress is as fast without compression.
            Self::CurlGz => !matches!(workload, Workload::File { .. }),
            Self::KuboToGgen | Self::KuboReleaseToGgen | Self::GgenToKubo => !workload.has_next(),
            _ => true,
        }
    }
}

/// A system ready to be started, any number of times.
pub(crate) struct System {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    starter: Box<dyn Start>,
}

impl System {
    /// Returns the version as the system itself tells it.
    pub(crate) fn version(&self) -> Result<String> {
        self.starter.version()
    }

    /// Starts two connected nodes, the first to publish and the second to fetch, whose stores are new directories below
    /// `directory`.
    pub(crate) fn start(&self, directory: &Path, hosts: &[Host; 2]) -> Result<Box<dyn Pair>> {
        self.starter.start(directory, hosts).with_context(|| format!("cannot start two nodes of {}", self.name))
    }
}

/// How a system comes to life.
trait Start {
    fn version(&self) -> Result<String>;
    fn start(&self, directory: &Path, hosts: &[Host; 2]) -> Result<Box<dyn Pair>>;
}

/// What publishing gave.
pub(crate) struct Published {
    /// What the other node asks for it by.
    pub(crate) id: String,
    /// The CID of the content, where the system makes the one all IPFS systems make.
    pub(crate) cid: Option<String>,
    /// Time of the whole command; `None` where that is nothing to compare.
    pub(crate) time: Option<Duration>,
}

/// Two connected nodes; they end when this is dropped.
pub(crate) trait Pair {
    /// Publishes a package on the first node.
    fn publish(&mut self, package: &Package) -> Result<Published>;

    /// Fetches on the second node into `out`, and returns the time of the whole command; `None` where there is nothing
    /// to fetch. `out` does not exist, or holds the former version if [`Pair::updates_in_place`].
    fn fetch(&mut self, id: &str, out: &Path) -> Result<Option<Duration>>;

    /// Tells whether a new version may be fetched over the former one; else it goes to a new place.
    fn updates_in_place(&self) -> bool {
        false
    }

    /// Returns how often the second node has asked the DHT so far, where it says so.
    fn dht_walks(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    /// Tells whether what is fetched can be compared with what was published.
    fn keeps(&self) -> bool {
        true
    }

    /// Tells whether a package's single file comes alone, without `gpack.toml`.
    fn files_alone(&self) -> bool {
        false
    }
}
