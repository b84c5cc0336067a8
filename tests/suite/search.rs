//! Search over a network of nodes.

use std::time::Duration;

use crate::support::{
    crates::gather_described,
    search_network::{self, Patience},
};

/// Far longer than it takes, because test machines are busy. `cargo run --release -p ggen-tests --example search`
/// prints the relevant figures and enforces their limits.
const PATIENCE: Patience = Patience(Duration::from_secs(120));

#[tokio::test(flavor = "multi_thread")]
async fn every_node_finds_what_three_of_ten_have_published_and_so_does_one_that_joins_later() {
    let crates = gather_described(60);
    let figures = search_network::run(10, &crates, 12, PATIENCE, |line| println!("{line}")).await;
    assert_eq!(figures.known, (60, 60), "every node knows all: {figures:?}");
}
