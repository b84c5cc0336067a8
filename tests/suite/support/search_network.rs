//! A network that publishes and searches: the right packages are found, an exact name first, on every node and on one
//! that joins afterwards.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use futures::future::join_all;

use super::{
    crates::{CratePackage, CratePackages},
    nodes::Node,
};

/// Nodes that publish; the packages are dealt out among them.
const PUBLISHERS: usize = 3;
/// How often it is said how far publishing has come.
const REPORT_EVERY: usize = 50;
/// How often a node is asked how many packages it knows, and how long a search that found too little is not tried again.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long things took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// The publishing of all packages.
    pub(crate) published: Duration,
    /// From the last announcement until every node has found every package that was announced last; the longest.
    pub(crate) found_everywhere: Duration,
    /// From the last announcement until the catalog of every node has every package; the longest.
    pub(crate) known_everywhere: Duration,
    /// From the start of a node that joins afterwards until it has found the packages that were announced last.
    pub(crate) found_after_joining: Duration,
    /// One search that asks others; the longest, and the mean.
    pub(crate) longest_search: Duration,
    pub(crate) mean_search: Duration,
    /// Searches made, and packages in the catalog of the node that knows most and of the one that knows least.
    pub(crate) searches: u32,
    pub(crate) known: (usize, usize),
}

/// What is waited for, and how long; then it is a failure that says what was waited for.
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

/// Searches on one node until `package` comes first, and says how long each search took; or what came instead.
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
        // Who searches without a pause is no longer answered, also not to what it asks for its catalog.
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// As [`until_first`], one package after the other.
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

/// Searches on all nodes at once; fails with all that was not found.
async fn everywhere(nodes: &[Node], wanted: &[&CratePackage], patience: Patience) -> Vec<Duration> {
    let outcomes = join_all(nodes.iter().enumerate().map(|node| until_all_first(node, wanted, patience))).await;
    let failed: Vec<&str> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err().map(String::as_str)).collect();
    assert!(failed.is_empty(), "not found within {} s:\n{}", patience.0.as_secs(), failed.join("\n"));
    outcomes.into_iter().flatten().flatten().collect()
}

async fn packages_known(node: &Node) -> usize {
    usize::try_from(node.registry.status().await.unwrap().packages_known).unwrap()
}

/// Waits until every node knows so many packages.
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

/// Starts nodes that all met the first of them.
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

/// Publishes all packages, from the nodes that not everybody has met.
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
/// the others on every node, and on one more. Nothing is waited for longer than `patience`.
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
