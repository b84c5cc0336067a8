//! The cloneable handle to a running node.

use std::time::Duration;

use ggen_blockstore::Cid;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::{mpsc, oneshot};

use crate::node::{
    StartError,
    behaviour::Dht,
    command::{Command, DialFailed, FindingRecord, GossipId, Snapshot, Tried, Verdict},
    discovery::dnsaddr::{Names, Target},
    peer_observation::AccessPolicy,
    rpc::{AskError, Protocol, Reply},
};

/// Commands waiting for the swarm's owner.
pub(crate) const COMMAND_QUEUE: usize = 256;
/// Providers or values waiting for whoever looks them up.
const FOUND_QUEUE: usize = 64;

/// Peers of one name that are dialled.
const MAX_DIALS_PER_NAME: usize = 16;

/// Pauses before a question is asked again of a peer whose connection was lost before it had answered.
const ASK_AGAIN_AFTER: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(400)];

/// The node has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node has stopped")]
pub(crate) struct Stopped;

/// A running node, as the operations see it: connect, find, provide, announce, fetch blocks.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    commands: mpsc::Sender<Command>,
    peer_id: PeerId,
    names: Names,
}

impl Handle {
    pub(crate) fn new(commands: mpsc::Sender<Command>, peer_id: PeerId, names: Names) -> Self {
        Self { commands, peer_id, names }
    }

    pub(crate) fn peer_id(&self) -> PeerId {
        self.peer_id
    }

    /// Listens on `addresses`, and returns everything the node listens on (ports chosen, interfaces named).
    pub(crate) async fn listen(&self, addresses: Vec<Multiaddr>) -> Result<Vec<Multiaddr>, StartError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Listen { addresses, reply }).await.map_err(|_| StartError::Stopped)?;
        answer.await.map_err(|_| StartError::Stopped)?
    }

    /// Follows the packages topic from now on.
    pub(crate) async fn follow(&self) -> Result<(), StartError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Follow { reply }).await.map_err(|_| StartError::Stopped)?;
        answer.await.map_err(|_| StartError::Stopped)?
    }

    /// Looks for the peers nearest to this one, on both DHTs: what fills the routing tables of a node that knows only
    /// a few.
    pub(crate) async fn explore(&self) -> Result<(), Stopped> {
        let (done, mut ended) = mpsc::channel(1);
        self.send(Command::Explore { done }).await?;
        // Nothing is ever sent; the channel closes.
        while ended.recv().await.is_some() {}
        Ok(())
    }

    /// Dials an address, with or without `/p2p/`, and waits until the peer has said what it supports: then it is in the
    /// routing tables of the DHTs it serves. Of a `/dnsaddr` that stands for several peers, one has to answer.
    pub(crate) async fn connect(&self, address: Multiaddr) -> Result<PeerId, DialFailed> {
        let peers = self.connect_all(&address).await?;
        peers.first().copied().ok_or_else(|| DialFailed(Stopped.to_string()))
    }

    /// Dials everybody an address stands for, which is one peer unless it is a `/dnsaddr`. Those that answered; if
    /// nobody did, why not.
    pub(crate) async fn connect_all(&self, address: &Multiaddr) -> Result<Vec<PeerId>, DialFailed> {
        let targets = self.names.targets(address).await.map_err(|error| DialFailed(error.to_string()))?;
        let is_one = targets.len() == 1;
        let dials = targets.into_iter().take(MAX_DIALS_PER_NAME).map(|target| self.dial(target));
        let (mut reached, mut reasons) = (Vec::new(), Vec::new());
        for (peer, outcome) in futures::future::join_all(dials).await {
            match (outcome, peer) {
                (Ok(peer), _) => reached.push(peer),
                (Err(DialFailed(reason)), Some(peer)) if !is_one => reasons.push(format!("{peer}: {reason}")),
                (Err(DialFailed(reason)), _) => reasons.push(reason),
            }
        }
        match reached.is_empty() {
            true => Err(DialFailed(reasons.join("; "))),
            false => Ok(reached),
        }
    }

    async fn dial(&self, target: Target) -> (Option<PeerId>, Result<PeerId, DialFailed>) {
        let peer = target.peer;
        let stopped = || DialFailed(Stopped.to_string());
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.send(Command::Connect { target, reply }).await;
        let outcome = match sent {
            Ok(()) => answer.await.unwrap_or_else(|_| Err(stopped())),
            Err(_) => Err(stopped()),
        };
        (peer, outcome)
    }

    /// Looks for providers of a multihash on both DHTs. The channel closes when both lookups have ended; dropping it
    /// ends them.
    pub(crate) async fn find_providers(&self, key: Vec<u8>) -> Result<mpsc::Receiver<PeerId>, Stopped> {
        let (found, receiver) = mpsc::channel(FOUND_QUEUE);
        self.send(Command::FindProviders { key, found }).await?;
        Ok(receiver)
    }

    /// Looks for providers of a multihash on both DHTs, dials each, and tells what came of it. The channel closes when
    /// both lookups and all dials have ended.
    pub(crate) async fn try_providers(&self, key: Vec<u8>) -> Result<mpsc::Receiver<Tried>, Stopped> {
        let (tried, receiver) = mpsc::channel(FOUND_QUEUE);
        self.send(Command::TryProviders { key, tried }).await?;
        Ok(receiver)
    }

    /// Looks for peers that stand under a multihash on the ggen DHT; the channel as above.
    pub(crate) async fn find_knowing(&self, key: Vec<u8>) -> Result<mpsc::Receiver<PeerId>, Stopped> {
        let (found, receiver) = mpsc::channel(FOUND_QUEUE);
        self.send(Command::FindProvidersOn { dht: Dht::Ggen, key, found }).await?;
        Ok(receiver)
    }

    /// Looks a value up on the ggen DHT: each peer that has one contributes its own.
    pub(crate) async fn find_record(&self, key: Vec<u8>) -> Result<FindingRecord, Stopped> {
        let (found, values) = mpsc::channel(FOUND_QUEUE);
        let (ended, walked) = oneshot::channel();
        self.send(Command::FindRecord { key, found, ended }).await?;
        Ok(FindingRecord::new(values, walked))
    }

    /// Provides a multihash on both DHTs from now on.
    pub(crate) async fn provide(&self, key: Vec<u8>) -> Result<(), Stopped> {
        self.send(Command::Provide { key }).await
    }

    /// Provides a multihash no longer. Others forget it when its time is up.
    pub(crate) async fn withdraw(&self, key: Vec<u8>) -> Result<(), Stopped> {
        self.send(Command::Withdraw { key }).await
    }

    /// Keeps a value in the ggen DHT no longer. Others forget it when its time is up.
    pub(crate) async fn unpublish(&self, key: Vec<u8>) -> Result<(), Stopped> {
        self.send(Command::Unpublish { key }).await
    }

    /// Stands under a multihash on the ggen DHT from now on, told when there is nothing more urgent to tell.
    pub(crate) async fn provide_word(&self, key: Vec<u8>) -> Result<(), Stopped> {
        self.send(Command::ProvideWord { key }).await
    }

    /// Keeps a value in the ggen DHT from now on. Returns when this node gives it to whoever asks; others are told later.
    pub(crate) async fn publish(&self, key: Vec<u8>, value: Vec<u8>) -> Result<(), Stopped> {
        let (kept, answer) = oneshot::channel();
        self.send(Command::Publish { key, value, kept }).await?;
        answer.await.map_err(|_| Stopped)
    }

    /// Sends `data` to all who follow the packages topic and returns how many peers that are. Where many come in a row,
    /// some wait for their turn, and give way to later ones of the same subject.
    pub(crate) async fn announce(&self, subject: Vec<u8>, data: Vec<u8>) -> Result<usize, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Announce { subject, data, reply }).await?;
        answer.await.map_err(|_| Stopped)
    }

    /// Says what a gossip message was worth.
    pub(crate) async fn judge(&self, gossip: GossipId, verdict: Verdict) -> Result<(), Stopped> {
        self.send(Command::Judge { gossip, verdict }).await
    }

    /// Asks a peer, dialling it if need be, and asks it again when the connection is lost before it has answered. Dropping
    /// the future gives the answer up; the question was sent all the same.
    pub(crate) async fn ask(&self, peer: PeerId, protocol: Protocol, data: Vec<u8>) -> Result<Vec<u8>, AskError> {
        for pause in ASK_AGAIN_AFTER {
            match self.ask_once(peer, protocol, data.clone()).await {
                Err(AskError::Lost) => tokio::time::sleep(pause).await,
                answered => return answered,
            }
        }
        self.ask_once(peer, protocol, data).await
    }

    async fn ask_once(&self, peer: PeerId, protocol: Protocol, data: Vec<u8>) -> Result<Vec<u8>, AskError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Ask { peer, protocol, data, reply };
        self.send(command).await.map_err(|_| AskError::Stopped)?;
        answer.await.map_err(|_| AskError::Stopped)?
    }

    /// Answers a peer that asked.
    pub(crate) async fn answer(&self, protocol: Protocol, reply: Reply, data: Vec<u8>) -> Result<(), Stopped> {
        self.send(Command::Answer { protocol, reply, data }).await
    }

    /// The connected peers that can be asked by `protocol`.
    pub(crate) async fn supporting(&self, protocol: Protocol) -> Result<Vec<PeerId>, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Speakers { protocol, reply }).await?;
        answer.await.map_err(|_| Stopped)
    }

    /// Treats a peer so from now on; connections with one that is refused are closed.
    pub(crate) async fn treat(&self, peer: PeerId, access_policy: AccessPolicy) -> Result<(), Stopped> {
        self.send(Command::Treat { peer, access_policy }).await
    }

    /// Asks a connected peer whether it has all of these blocks, at most
    /// [`MAX_PRESENCE_QUERY_CIDS`](crate::node::MAX_PRESENCE_QUERY_CIDS). A silent peer never answers; one that is not connected does not have them.
    pub(crate) async fn has_all(&self, peer: PeerId, cids: Vec<Cid>) -> Result<bool, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Question { peer, cids, reply }).await?;
        answer.await.map_err(|_| Stopped)
    }

    /// Wakes peers that wait for blocks which have come into the store.
    pub(crate) async fn new_blocks(&self, cids: Vec<Cid>) -> Result<(), Stopped> {
        self.send(Command::NewBlocks { cids }).await
    }

    /// As [`new_blocks`](Self::new_blocks), from a thread that may block. A stopped node has nobody to wake.
    pub(crate) fn new_blocks_blocking(&self, cids: Vec<Cid>) {
        if self.commands.blocking_send(Command::NewBlocks { cids }).is_err() {
            tracing::trace!(target: crate::LOG_TARGET, "new blocks, and the node has stopped");
        }
    }

    /// Waits until everything published so far was announced, with success or without.
    pub(crate) async fn settle(&self) -> Result<(), Stopped> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Settle { reply }).await?;
        answer.await.map_err(|_| Stopped)
    }

    /// Waits until a peer is connected.
    pub(crate) async fn meet(&self) -> Result<(), Stopped> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Meet { reply }).await?;
        answer.await.map_err(|_| Stopped)
    }

    /// Waits until a peer of the ggen DHT is known.
    pub(crate) async fn acquainted(&self) -> Result<(), Stopped> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Acquaint { reply }).await?;
        answer.await.map_err(|_| Stopped)
    }

    /// Describes the node.
    pub(crate) async fn snapshot(&self) -> Result<Snapshot, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Snapshot { reply }).await?;
        answer.await.map_err(|_| Stopped)
    }

    /// Returns once the node has stopped.
    pub(crate) async fn stopped(&self) {
        self.commands.closed().await;
    }

    /// Stops the node. Returns at once; the owner's task ends.
    pub(crate) async fn shutdown(&self) -> Result<(), Stopped> {
        self.send(Command::Shutdown).await
    }

    /// Sends from where nobody can wait; a stopped node needs no command.
    pub(super) fn send_when_possible(&self, command: Command) {
        let commands = self.commands.clone();
        if let Err(mpsc::error::TrySendError::Full(command)) = commands.try_send(command)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { commands.send(command).await });
        }
    }

    pub(super) async fn send(&self, command: Command) -> Result<(), Stopped> {
        self.commands.send(command).await.map_err(|_| Stopped)
    }
}
