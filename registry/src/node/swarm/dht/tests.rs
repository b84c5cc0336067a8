use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use ggen_blockstore::MemoryBlockstore;
use libp2p::identity::Keypair;

use crate::{
    Config,
    node::{RecordPolicy, Refused, Setup, bitswap::NoPriors, start},
};

/// Takes every record as it is, and takes its time.
#[derive(Debug)]
struct Slow;

impl RecordPolicy for Slow {
    fn admit(&self, _: &[u8], _: Option<&[u8]>, offered: &[u8], _: SystemTime) -> Result<Vec<u8>, Refused> {
        std::thread::sleep(Duration::from_millis(50));
        Ok(offered.to_vec())
    }
}

#[tokio::test]
async fn what_was_published_is_answered_for_when_that_returns() {
    let setup = Setup {
        key: Keypair::generate_ed25519(),
        config: Config { mdns: false, ..Config::default() },
        listen: Vec::new(),
        follow: false,
        stays: true,
        store: Arc::new(MemoryBlockstore::new()),
        policy: Arc::new(Slow),
        priors: Arc::new(NoPriors),
        lists: Arc::new(crate::ops::Manifests),
        treatments: Vec::new(),
    };
    let node = start(setup).await.unwrap();
    for value in [b"first".to_vec(), b"second".to_vec()] {
        node.handle.publish(b"/key".to_vec(), value.clone()).await.unwrap();
        let found = node.handle.find_record(b"/key".to_vec()).await.unwrap().recv().await;
        assert_eq!(found.map(|found| found.value), Some(value));
    }
}
