// A node for the examples to meet: in this process, on loopback, with one package to be found. A real program needs
// none of this; it names nodes that run elsewhere.

use std::{sync::LazyLock, thread};

use ggen_marketplace::prelude::*;
use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::EnvFilter;

/// Where the sample package lies.
pub const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/packages/greeter");
/// What the hub has published.
pub const PUBLISHED: (&str, &str) = ("examples", "web-framework");

static HUB: LazyLock<(P2PRegistry, Runtime)> = LazyLock::new(|| {
    // A runtime of its own, for it outlives that of the first who asks.
    let start = || {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let registry = runtime.block_on(run()).unwrap();
        (registry, runtime)
    };
    thread::spawn(start).join().unwrap()
});

/// The hub.
pub fn hub() -> &'static P2PRegistry {
    &HUB.0
}

/// Its address, with its peer id.
pub fn address() -> String {
    hub().listen_addresses().unwrap()[0].to_string()
}

async fn run() -> Result<P2PRegistry> {
    // What RUST_LOG asks for goes to stderr; it fails only where the program has a log already.
    drop(
        tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::from_default_env())
            .with_writer(std::io::stderr)
            .try_init(),
    );
    let loopback = "/ip4/127.0.0.1/tcp/0".parse().unwrap();
    let hub = P2PRegistry::new(P2PConfig { listen_addresses: vec![loopback], ..Default::default() }).await?;
    hub.start_listening().await?;
    hub.subscribe_to_packages().await?;
    let package = Package::builder(PackageId::new(PUBLISHED.0, PUBLISHED.1), Version::new(1, 2, 0))
        .description("A rust web framework, or so it says")
        .content_id(hub.import(SAMPLE).await?)
        .build()?;
    hub.publish(package).await?;
    Ok(hub)
}
