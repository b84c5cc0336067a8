use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures::StreamExt as _;
use ggen_blockstore::MemoryBlockstore;
use libp2p::{Swarm, SwarmBuilder, identity::Keypair, kad::store::MemoryStore, noise, swarm::SwarmEvent, tcp, yamux};

use crate::{
    Config,
    node::{RecordValidator, Setup, dht::amino::Draft, exchange::NoPriors, start, swarm::dht::*},
};

/// Accepts every record unchanged, after a delay.
#[derive(Debug)]
struct Slow;

impl RecordValidator for Slow {
    fn admit(&self, _: &[u8], _: Option<&[u8]>, offered: &[u8], _: SystemTime) -> Result<Vec<u8>, Refused> {
        std::thread::sleep(Duration::from_millis(50));
        Ok(offered.to_vec())
    }
}

fn setup() -> Setup {
    Setup {
        key: Keypair::generate_ed25519(),
        config: Config { mdns: false, ..Config::default() },
        listen: Vec::new(),
        follow: false,
        stays: true,
        store: Arc::new(MemoryBlockstore::new()),
        policy: Arc::new(Slow),
        priors: Arc::new(NoPriors),
        access_policies: Vec::new(),
    }
}

#[tokio::test]
async fn what_was_published_is_answered_for_when_that_returns() {
    let node = start(setup()).await.unwrap();
    for value in [b"first".to_vec(), b"second".to_vec()] {
        node.handle.publish(b"/key".to_vec(), value.clone()).await.unwrap();
        let found = node.handle.find_record(b"/key".to_vec()).await.unwrap().recv().await;
        assert_eq!(found.map(|found| found.value), Some(value));
    }
}

/// A server of the IPFS DHT, and a client that is not a ggen node.
struct Amino {
    _server: crate::node::Started,
    peer: PeerId,
    client: Swarm<kad::Behaviour<MemoryStore>>,
}

impl Amino {
    async fn start() -> Self {
        let listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
        let server = start(Setup { listen, ..setup() }).await.unwrap();
        let (peer, address) = (server.handle.peer_id(), server.listening[0].clone());
        let mut client = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|key| {
                let me = key.public().to_peer_id();
                let config = kad::Config::new(Dht::Ipfs.protocol(""));
                kad::Behaviour::with_config(me, MemoryStore::new(me), config)
            })
            .unwrap()
            .build();
        client.behaviour_mut().add_address(&peer, address);
        Self { _server: server, peer, client }
    }

    async fn outcome(&mut self) -> QueryResult {
        loop {
            if let SwarmEvent::Behaviour(kad::Event::OutboundQueryProgressed { result, .. }) =
                self.client.select_next_some().await
                && !matches!(result, QueryResult::Bootstrap(_))
            {
                return result;
            }
        }
    }

    /// Puts a value. Returns whether the server confirmed it.
    async fn puts(&mut self, key: &[u8], value: &[u8]) -> bool {
        let record = own_record(key, value.to_vec());
        self.client.behaviour_mut().put_record_to(record, std::iter::once(self.peer), Quorum::One);
        match self.outcome().await {
            QueryResult::PutRecord(outcome) => outcome.is_ok(),
            other => panic!("{other:?}"),
        }
    }

    async fn gets(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.client.behaviour_mut().get_record(RecordKey::from(key.to_vec()));
        let mut found = None;
        loop {
            match self.outcome().await {
                QueryResult::GetRecord(Ok(GetRecordOk::FoundRecord(record))) => found = Some(record.record.value),
                QueryResult::GetRecord(_) => return found,
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Regression test: the server confirmed every value, and stored none.
#[tokio::test]
async fn a_server_of_the_ipfs_dht_keeps_the_best_record_and_does_not_answer_for_what_it_refuses() {
    let mut amino = Amino::start().await;
    let key = Keypair::generate_ed25519();
    let under = |namespace: &[u8], key: &Keypair| [namespace, &key.public().to_peer_id().to_bytes()].concat();
    let record = |sequence| Draft::new(sequence, "2130-01-01T00:00:00Z").signed(&key);
    let name = under(b"/ipns/", &key);
    assert!(amino.puts(&name, &record(1)).await);
    assert_eq!(amino.gets(&name).await, Some(record(1)));
    assert!(amino.puts(&name, &record(3)).await);
    assert!(!amino.puts(&name, &record(2)).await, "an older one");
    assert!(!amino.puts(&name, b"no record").await);
    assert!(!amino.puts(&name, &Draft::new(9, "2020-01-01T00:00:00Z").signed(&key)).await, "an expired one");
    assert_eq!(amino.gets(&name).await, Some(record(3)));

    let long = Keypair::generate_ecdsa();
    let (pk, public) = (under(b"/pk/", &long), long.public().encode_protobuf());
    assert!(amino.puts(&pk, &public).await);
    assert_eq!(amino.gets(&pk).await, Some(public.clone()));
    let other = under(b"/pk/", &Keypair::generate_ecdsa());
    assert!(!amino.puts(&other, &public).await);
    assert!(!amino.puts(b"/app/key", b"value").await, "another namespace");
    assert_eq!((amino.gets(&other).await, amino.gets(b"/app/key").await), (None, None));
}
