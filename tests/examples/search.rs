//! Publishes real packages from three of ten nodes on loopback, searches for them on all ten and on one that joins
//! afterwards, and prints how long that took.
//!
//! cargo run --release -p ggen-tests --example search [PACKAGES]

#![allow(clippy::print_stdout, reason = "a program for people at a terminal")]
#![allow(clippy::unwrap_used, reason = "it shares the harness of the tests")]
#![allow(dead_code, reason = "a harness offers more than this program uses")]

use std::time::Duration;

#[path = "../suite/support/crates.rs"]
mod crates;
#[path = "../suite/support/nodes.rs"]
mod nodes;
#[path = "../suite/support/search_network.rs"]
mod search_network;

const NODES: usize = 10;
/// How soon every node must find what was announced last.
const EVERYWHERE: Duration = Duration::from_secs(2);
/// How soon a node that joins must find it.
const AFTER_JOINING: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() {
    let packages = std::env::args().nth(1).map_or(500, |number| number.parse().expect("a number of packages"));
    let crates = crates::gather_described(packages);
    println!("{NODES} nodes, {packages} packages from three of them, all on this machine");
    let figures = search_network::run(NODES, &crates, 20, Duration::from_secs(60)).await;
    println!("published in                     {:>8.2} s", figures.published.as_secs_f64());
    println!("found on every node after        {:>8.2} s", figures.found_everywhere.as_secs_f64());
    println!("found by a node that joins after {:>8.2} s", figures.found_after_joining.as_secs_f64());
    println!(
        "searches                         {:>8}    mean {:.3} s, longest {:.3} s",
        figures.searches,
        figures.mean_search.as_secs_f64(),
        figures.longest_search.as_secs_f64()
    );
    println!("packages known                   {:>8} to {}", figures.known.1, figures.known.0);
    assert!(figures.found_everywhere <= EVERYWHERE, "every node has to find it within {EVERYWHERE:?}");
    assert!(figures.found_after_joining <= AFTER_JOINING, "a node that joins has to find it within {AFTER_JOINING:?}");
}
