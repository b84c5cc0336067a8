//! A publisher of a package that sends wrong bytes for its blocks.

use std::{fs, sync::Arc};

use ggen_blockstore::{ImportOptions, MemoryBlockstore, import_directory};
use ggen_marketplace::prelude::*;
use tokio::runtime::Runtime;

use self::liar::Liar;

#[allow(dead_code, reason = "shared with the tests of the registry inside a program")]
#[path = "../../../../tests/backend_p2p/support/liar.rs"]
mod liar;

/// Files of the package: enough that some wrong blocks arrive while others are still requested.
const FILES: usize = 20;

/// A node in this process, on loopback.
pub(crate) struct Mallory {
    registry: P2PRegistry,
    honest: MemoryBlockstore,
    store: Liar,
    runtime: Runtime,
}

impl Mallory {
    /// Connects to the node at this address.
    pub(crate) fn enter_by(address: &str) -> Self {
        let runtime = Runtime::new().unwrap();
        let honest = MemoryBlockstore::new();
        let store = Liar::new(honest.clone());
        let config = P2PConfig {
            bootstrap_nodes: vec![address.parse().unwrap()],
            listen_addresses: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
            ..Default::default()
        };
        let registry = runtime.block_on(async {
            let registry = P2PRegistry::builder(config).store(Arc::new(store.clone())).build().await.unwrap();
            registry.start_listening().await.unwrap();
            registry.subscribe_to_packages().await.unwrap();
            registry.bootstrap().await.unwrap();
            registry
        });
        Self { registry, honest, store, runtime }
    }

    /// Publishes a package, and sends wrong bytes for all of its files from then on.
    pub(crate) fn publish(&self, namespace: &str, name: &str, description: &str) {
        let place = tempfile::tempdir().unwrap();
        (0..FILES).for_each(|number| fs::write(place.path().join(number.to_string()), format!("{number}")).unwrap());
        let content = import_directory(&self.honest, place.path(), &ImportOptions::default()).unwrap().root;
        let package = Package::builder(PackageId::new(namespace, name), Version::new(1, 0, 0))
            .description(description)
            .content_id(content.into())
            .build()
            .unwrap();
        self.runtime.block_on(async {
            // A subscriber must exist before the announcement is sent.
            let mut changes = self.registry.registry().changes();
            while self.registry.metadata().await.unwrap().followers == 0 {
                changes.next().await;
            }
            self.registry.publish(package).await.unwrap();
            self.registry.settle().await.unwrap();
        });
        self.store.lie_about(content);
    }

    /// Stops the node, and returns its peer id.
    pub(crate) fn leave(self) -> String {
        let peer = self.registry.peer_id().to_string();
        self.runtime.block_on(self.registry.shutdown()).unwrap();
        peer
    }
}
