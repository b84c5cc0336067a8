//! The imports that most programs need: `use ggen_marketplace::prelude::*;`.
//!
//! `Registry` is the trait, and `Result` the alias whose error is a [`Failure`].

pub use libp2p::{Multiaddr, PeerId};
pub use semver::Version;

pub use crate::{
    ErrorKind, Failure, PackageId,
    backend::p2p::{P2PConfig, P2PRegistry},
    traits::{ContentId, HashAlgorithm, Package, Query, Registry, RegistryMetadata, Result},
};
