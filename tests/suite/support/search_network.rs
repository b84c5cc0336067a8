//! A network that publishes and searches: the right packages are found, an exact name first, on every node and on one
//! that joins afterwards.

use std::time::{Duration, Instant};

use super::{
    crates::{CratePackage, CratePackages},
    nodes::Node,
};

/// Nodes that publish; the packages are dealt out among them.
const PUBLISHERS: usize = 3;

/// How long things took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// The publishing of all packages.
    pub(crate) published: Duration,
    /// From the last announcement until every node has found every package that it looked for; the longest.
    pub(crate) found_everywhere: Duration,
    /// From the start of a node that joins afterwards until it has found them.
    pub(crate) found_after_joining: Duration,
    /// One search that asks others; the longest, and the mean.
    pub(crate) longest_search: Duration,
    pub(crate) mean_search: Duration,
    /// Searches made, and packages in the catalog of the node that knows most and of the one that knows least.
    pub(crate) searches: u32,
    pub(crate) known: (usize, usize),
}

/// Searches on one node until `package` comes first, and says how long each search took.
async fn until_first(node: &Node, package: &CratePackage, patience: Duration) -> Vec<Duration> {
    let (expected, started) = (format!("tests/{}", package.name), Instant::now());
    let mut took = Vec::new();
    loop {
        let began = Instant::now();
        let hits = node.search(&package.name, false).await;
        took.push(began.elapsed());
        if hits.first() == Some(&expected) {
            return took;
        }
        assert!(started.elapsed() < patience, "`{}` did not come first: {hits:?}", package.name);
    }
}

/// Starts `count` nodes that met one of them, publishes all of `packages` from three, and searches for every `step`th of
/// them and the last ones on every node, and on one more.
pub(crate) async fn run(count: usize, packages: &CratePackages, step: usize, patience: Duration) -> Figures {
    let hub = Node::start().await;
    let entrance = hub.addresses();
    let mut nodes = vec![hub];
    for _ in 1..count {
        let node = Node::start_with(&entrance).await;
        node.connect(&entrance).await;
        nodes.push(node);
    }
    let packages = &packages.packages;
    let began = Instant::now();
    let publish = |publisher: usize| {
        // Not the node that all others know.
        let node = &nodes[nodes.len() - 1 - publisher];
        async move {
            for package in packages.iter().skip(publisher).step_by(PUBLISHERS) {
                node.publish(&package.path).await;
            }
        }
    };
    futures::future::join_all((0..PUBLISHERS).map(publish)).await;
    let published = began.elapsed();

    let last = packages.len() - PUBLISHERS;
    // What was announced last comes first: the rest only takes the time of the searches.
    let wanted: Vec<&CratePackage> = packages[last..].iter().chain(packages[..last].iter().step_by(step)).collect();
    let (mut searches, announced, mut found_everywhere) = (Vec::new(), Instant::now(), Duration::ZERO);
    for (number, package) in wanted.iter().enumerate() {
        let everywhere = nodes.iter().map(|node| until_first(node, package, patience));
        searches.extend(futures::future::join_all(everywhere).await.into_iter().flatten());
        if number < PUBLISHERS {
            found_everywhere = announced.elapsed();
        }
    }

    let joined = Instant::now();
    let late = Node::start_with(&entrance).await;
    let mut found_after_joining = Duration::ZERO;
    for (number, package) in wanted.iter().enumerate() {
        searches.extend(until_first(&late, package, patience).await);
        if number < PUBLISHERS {
            found_after_joining = joined.elapsed();
        }
    }
    let mut known = Vec::new();
    for node in &nodes {
        known.push(usize::try_from(node.registry.status().await.unwrap().packages_known).unwrap());
    }
    let known = (known.iter().copied().max().unwrap(), known.iter().copied().min().unwrap());
    late.stop().await;
    for node in nodes {
        node.stop().await;
    }
    let number = u32::try_from(searches.len()).unwrap();
    Figures {
        published,
        found_everywhere,
        found_after_joining,
        longest_search: searches.iter().copied().max().unwrap(),
        mean_search: searches.iter().sum::<Duration>() / number,
        searches: number,
        known,
    }
}
