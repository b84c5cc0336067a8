//! Negotiation of Bitswap streams.

use std::{
    convert::Infallible,
    future::{Ready, ready},
};

use libp2p::{
    StreamProtocol,
    core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo},
    swarm::Stream,
};

use crate::node::exchange::bitswap::message::Version;

/// Protocol names, most preferred first.
const PROTOCOLS: [(StreamProtocol, Version); 3] = [
    (StreamProtocol::new("/ipfs/bitswap/1.2.0"), Version::V1_2),
    (StreamProtocol::new("/ipfs/bitswap/1.1.0"), Version::V1_1),
    (StreamProtocol::new("/ipfs/bitswap/1.0.0"), Version::V1_0),
];

/// Upgrades a stream to the best version of Bitswap that both sides support.
#[derive(Clone, Copy, Debug)]
pub struct Protocol;

/// A stream, and its negotiated version.
pub(in crate::node::exchange) type Negotiated = (Stream, Version);

impl UpgradeInfo for Protocol {
    type Info = StreamProtocol;
    type InfoIter = [StreamProtocol; 3];

    fn protocol_info(&self) -> Self::InfoIter {
        PROTOCOLS.map(|(name, _)| name)
    }
}

impl InboundUpgrade<Stream> for Protocol {
    type Output = Negotiated;
    type Error = Infallible;
    type Future = Ready<Result<Negotiated, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, name: StreamProtocol) -> Self::Future {
        ready(Ok((stream, version_of(&name))))
    }
}

impl OutboundUpgrade<Stream> for Protocol {
    type Output = Negotiated;
    type Error = Infallible;
    type Future = Ready<Result<Negotiated, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, name: StreamProtocol) -> Self::Future {
        ready(Ok((stream, version_of(&name))))
    }
}

fn version_of(name: &StreamProtocol) -> Version {
    PROTOCOLS
        .into_iter()
        .find_map(|(known, version)| (known == *name).then_some(version))
        .expect("only a name out of this table is ever negotiated")
}
