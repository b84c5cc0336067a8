//! Publishes real packages from three of ten nodes on loopback, searches for them on all ten and on one that joins
//! afterwards, and prints how long that took.
//!
//! cargo run --release -p ggen-tests --example search [PACKAGES]

#![allow(clippy::print_stdout, reason = "a program for people at a terminal")]
#![allow(clippy::unwrap_used, reason = "it shares the harness of the tests")]
#![allow(dead_code, reason = "a harness offers more than this program uses")]

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use search_network::Patience;

#[path = "../suite/support/crates.rs"]
mod crates;
#[path = "../suite/support/nodes.rs"]
mod nodes;
#[path = "../suite/support/search_network.rs"]
mod search_network;

const NODES: usize = 10;
/// Time within which every node must find the last announced packages.
const EVERYWHERE: Duration = Duration::from_secs(2);
/// Time within which a node that joins must find them.
const AFTER_JOINING: Duration = Duration::from_secs(5);
/// Longest time of one step before it counts as failed.
const PATIENCE: Patience = Patience(Duration::from_secs(60));
/// Longest time of the whole run.
const DEADLINE: Duration = Duration::from_secs(600);

#[tokio::main]
async fn main() {
    let packages = std::env::args().nth(1).map_or(500, |number| number.parse().expect("a number of packages"));
    let (began, last) = (Instant::now(), Mutex::new(String::new()));
    let say = |what: String| {
        println!("{:>7.2} s  {what}", began.elapsed().as_secs_f64());
        *last.lock().unwrap() = what;
    };
    let crates = crates::gather_described(packages);
    say(format!("{NODES} nodes, {packages} packages from three of them, all on this machine"));
    let running = search_network::run(NODES, &crates, 20, PATIENCE, say);
    let figures = match tokio::time::timeout(DEADLINE, running).await {
        Ok(figures) => figures,
        Err(_) => panic!("given up after {} s; the last that was done: {}", DEADLINE.as_secs(), last.lock().unwrap()),
    };
    let seconds = |what: &str, time: Duration| println!("{what:<34}{:>8.2} s", time.as_secs_f64());
    seconds("published in", figures.published);
    seconds("found on every node after", figures.found_everywhere);
    seconds("all known to every node after", figures.known_everywhere);
    seconds("found by a node that joins after", figures.found_after_joining);
    println!(
        "searches                          {:>8}    mean {:.3} s, longest {:.3} s",
        figures.searches,
        figures.mean_search.as_secs_f64(),
        figures.longest_search.as_secs_f64()
    );
    println!("packages known                    {:>8} to {}", figures.known.1, figures.known.0);
    assert!(figures.found_everywhere <= EVERYWHERE, "every node has to find it within {EVERYWHERE:?}");
    assert!(figures.found_after_joining <= AFTER_JOINING, "a node that joins has to find it within {AFTER_JOINING:?}");
}
