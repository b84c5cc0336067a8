//! A connection to a Kubo that neither side uses is closed.

use std::time::Duration;

use crate::support::{
    kubo::{Kubo, Options, wait_at_most},
    nodes::Node,
};

/// Longer than the idle time-out of a connection, and the interval at which go-libp2p closes a ping stream.
const PATIENCE: Duration = Duration::from_secs(150);

#[tokio::test(flavor = "multi_thread")]
async fn a_kubo_that_dials_and_asks_nothing_is_disconnected() {
    let node = Node::start().await;
    let addresses = node.addresses();
    let kubo = tokio::task::spawn_blocking(move || {
        let kubo = Kubo::start(&Options::default());
        kubo.swarm_connect(&addresses[0]);
        assert_eq!(kubo.swarm_peers().len(), 1);
        wait_at_most(PATIENCE, "the connection is open", || kubo.swarm_peers().is_empty());
    });
    kubo.await.unwrap();
    node.stop().await;
}
