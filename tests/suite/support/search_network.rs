//! A network for publishing and searching: the right packages are found, an exact name first, on every node and on a
//! node that joins later.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use futures::future::join_all;

use super::{
    crates::{CratePackage, CratePackages},
    nodes::Node,
};

/// Number of publishing nodes, among which the packages are distributed.
const PUBLISHERS: usize = 3;
/// Number of publications between two progress reports.
const REPORT_EVERY: usize = 50;
/// Interval between two queries of a node's package count, and between two searches after an incomplete result.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Measured durations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// Publishing all packages.
    pub(crate) published: Duration,
    /// From the last announcement until every node has found every package announced last; the maximum over nodes.
    pub(crate) found_everywhere: Duration,
    /// From the last announcement until the catalog of every node contains every package; the maximum over nodes.
    pub(crate) known_everywhere: Duration,
    /// From the start of a node that joins later until it has found the packages announced last.
    pub(crate) found_after_joining: Duration,
    /// One search that queries other nodes; the maximum, and the mean.
    pub(crate) longest_search: Duration,
    pub(crate) mean_search: Duration,
    /// Number of searches, and the largest and smallest number of packages in the catalogs of the nodes.
    pub(crate) searches: u32,
    pub(crate) known: (usize, usize),
}

/// The time limit of a wait; exceeding it is a failure that names the awaited event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience(pub(crate) Duration);

impl Patience {
    async fn with<T>(self, what: &str, work: impl Future<Output = T>) -> T {
        match tokio::time::timeout(self.0, work).await {
            Ok(done) => done,
            Err(_) => panic!("still not done after {} s: {what}", self.0.as_secs()),
        }
    }
}

/// Searches on one node until `package` is the first hit. Returns the duration of each search, or an error with the
/// actual hits.
async fn until_first(number: usize, node: &Node, package: &str, patience: Patience) -> Result<Vec<Duration>, String> {
    let (expected, started) = (format!("tests/{package}"), Instant::now());
    let mut took = Vec::new();
    loop {
        let began = Instant::now();
        let hits = node.search(package, false).await;
        took.push(began.elapsed());
        if hits.first() == Some(&expected) {
            return Ok(took);
        }
        if started.elapsed() > patience.0 {
            return Err(format!("node {number}: `{package}` does not come first, but {hits:?}"));
        }
        // Nodes stop responding to a peer that searches without a pause, including to its catalog requests.
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// As [`until_first`], for one package after the other.
async fn until_all_first(
    (number, node): (usize, &Node),
    wanted: &[&CratePackage],
    patience: Patience,
) -> Result<Vec<Duration>, String> {
    let mut took = Vec::new();
    for package in wanted {
        took.extend(until_first(number, node, &package.name, patience).await?);
    }
    Ok(took)
}

/// Searches on all nodes at once; the failure lists everything that was not found.
async fn everywhere(nodes: &[Node], wanted: &[&CratePackage], patience: Patience) -> Vec<Duration> {
    let outcomes = join_all(nodes.iter().enumerate().map(|node| until_all_first(node, wanted, patience))).await;
    let failed: Vec<&str> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err().map(String::as_str)).collect();
    assert!(failed.is_empty(), "not found within {} s:\n{}", patience.0.as_secs(), failed.join("\n"));
    outcomes.into_iter().flatten().flatten().collect()
}

async fn packages_known(node: &Node) -> usize {
    usize::try_from(node.registry.status().await.unwrap().packages_known).unwrap()
}

/// Waits until every node knows this number of packages.
async fn until_known(nodes: &[Node], packages: usize, patience: Patience) -> Duration {
    let started = Instant::now();
    let knowing = nodes.iter().enumerate().map(async |(number, node)| {
        loop {
            let known = packages_known(node).await;
            if known >= packages {
                return;
            }
            assert!(started.elapsed() < patience.0, "node {number} knows {known} of {packages} packages");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    });
    join_all(knowing).await;
    started.elapsed()
}

/// Starts nodes that are all connected to the first one.
async fn start(count: usize, patience: Patience) -> Vec<Node> {
    let hub = Node::start().await;
    let entrance = hub.addresses();
    let mut nodes = vec![hub];
    for number in 1..count {
        let starting = async {
            let node = Node::start_with(&entrance).await;
            node.connect(&entrance).await;
            node
        };
        nodes.push(patience.with(&format!("starting node {number}"), starting).await);
    }
    nodes
}

/// Publishes all packages, from nodes to which not every node is connected.
async fn publish(nodes: &[Node], packages: &[CratePackage], patience: Patience, say: &impl Fn(String)) -> Duration {
    let (began, done) = (Instant::now(), &AtomicUsize::new(0));
    let publishing = nodes.iter().rev().take(PUBLISHERS).enumerate().map(async |(publisher, node)| {
        for package in packages.iter().skip(publisher).step_by(PUBLISHERS) {
            patience.with(&format!("publishing {}", package.name), node.publish(&package.path)).await;
            let number = done.fetch_add(1, Ordering::Relaxed) + 1;
            if number.is_multiple_of(REPORT_EVERY) {
                say(format!("{number} packages published after {:.1} s", began.elapsed().as_secs_f64()));
            }
        }
    });
    join_all(publishing).await;
    began.elapsed()
}

/// Starts `count` nodes, publishes all of `packages` from three, and searches for the last ones and every `step`th of
/// the others on every node, and on one more. No wait exceeds `patience`.
pub(crate) async fn run(
    count: usize,
    packages: &CratePackages,
    step: usize,
    patience: Patience,
    say: impl Fn(String),
) -> Figures {
    let nodes = start(count, patience).await;
    say(format!("{count} nodes have met"));
    let packages = &packages.packages;
    let published = publish(&nodes, packages, patience, &say).await;

    let (others, last) = packages.split_at(packages.len() - PUBLISHERS);
    let last: Vec<&CratePackage> = last.iter().collect();
    let others: Vec<&CratePackage> = others.iter().step_by(step).collect();
    let announced = Instant::now();
    let finding = async {
        let searches = everywhere(&nodes, &last, patience).await;
        (searches, announced.elapsed())
    };
    let ((mut searches, found_everywhere), known_everywhere) =
        tokio::join!(finding, until_known(&nodes, packages.len(), patience));
    say(format!("all nodes have found what was announced last after {:.2} s", found_everywhere.as_secs_f64()));
    say(format!("all nodes know all packages after {:.2} s", known_everywhere.as_secs_f64()));
    searches.extend(everywhere(&nodes, &others, patience).await);
    say(format!("all nodes have found {} others", others.len()));

    let joined = Instant::now();
    let late = patience.with("starting a node that joins", Node::start_with(&nodes[0].addresses())).await;
    let late = [late];
    searches.extend(everywhere(&late, &last, patience).await);
    let found_after_joining = joined.elapsed();
    say(format!("a node that joined has found them after {:.2} s", found_after_joining.as_secs_f64()));
    searches.extend(everywhere(&late, &others, patience).await);
    let known = join_all(nodes.iter().map(packages_known)).await;
    let known = (known.iter().copied().max().unwrap(), known.iter().copied().min().unwrap());
    for (number, node) in late.into_iter().chain(nodes).enumerate() {
        patience.with(&format!("stopping node {number}"), node.stop()).await;
    }
    let number = u32::try_from(searches.len()).unwrap();
    Figures {
        published,
        found_everywhere,
        known_everywhere,
        found_after_joining,
        longest_search: searches.iter().copied().max().unwrap(),
        mean_search: searches.iter().sum::<Duration>() / number,
        searches: number,
        known,
    }
}
