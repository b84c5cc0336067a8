//! The cloneable handle to a running node.

use std::time::Duration;

use ggen_blockstore::Cid;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::{mpsc, oneshot};

use crate::node::{
    StartError,
    behaviour::Dht,
    command::{Command, DialCause, DialFailed, FindingRecord, GossipId, Snapshot, Tried, Verdict},
    discovery::dnsaddr::{Names, Target},
    peer_observation::AccessPolicy,
    rpc::{AskError, Protocol, Reply},
};

/// Capacity of the command queue of the swarm's owner.
pub(crate) const COMMAND_QUEUE: usize = 256;
/// Capacity of the queue of providers or values of one lookup.
const FOUND_QUEUE: usize = 64;

/// Maximum number of peers dialled for one `/dnsaddr`.
const MAX_DIALS_PER_NAME: usize = 16;

/// Pauses before a request is repeated because the connection was lost before the response.
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

    /// Subscribes to the packages topic.
    pub(crate) async fn follow(&self) -> Result<(), StartError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Follow { reply }).await.map_err(|_| StartError::Stopped)?;
        answer.await.map_err(|_| StartError::Stopped)?
    }

    /// Looks up this node's own ID on every DHT, which fills the routing tables of a node that knows only a few peers.
    pub(crate) async fn explore(&self) -> Result<(), Stopped> {
        let (done, mut ended) = mpsc::channel(1);
        self.send(Command::Explore { done }).await?;
        // Nothing is ever sent; the channel closes.
        while ended.recv().await.is_some() {}
        Ok(())
    }

    /// Dials an address, with or without `/p2p/`, and waits until identify with the peer has finished: then the peer is
    /// in the routing tables of the DHTs that it serves. Of a `/dnsaddr` with several peers, one must answer.
    pub(crate) async fn connect(&self, address: Multiaddr) -> Result<PeerId, DialFailed> {
        let peers = self.dial_all(&address, false).await?;
        peers.first().copied().ok_or_else(|| DialFailed::for_reason(Stopped.to_string()))
    }

    /// Dials every peer that an address stands for: one, or for a `/dnsaddr` up to `MAX_DIALS_PER_NAME`; those that are
    /// connected too, because the caller wants to know whether they answer there. Returns the peers that answered.
    ///
    /// # Errors
    /// The reasons of all dials, if no peer answered.
    pub(crate) async fn connect_all(&self, address: &Multiaddr) -> Result<Vec<PeerId>, DialFailed> {
        self.dial_all(address, true).await
    }

    async fn dial_all(&self, address: &Multiaddr, afresh: bool) -> Result<Vec<PeerId>, DialFailed> {
        let targets = self.names.targets(address).await;
        let targets = targets.map_err(|error| DialFailed::for_reason(error.to_string()))?;
        let is_one = targets.len() == 1;
        let dials = targets.into_iter().take(MAX_DIALS_PER_NAME).map(|target| self.dial(target, afresh));
        let (mut reached, mut reasons, mut causes) = (Vec::new(), Vec::new(), Vec::new());
        for (peer, outcome) in futures::future::join_all(dials).await {
            match outcome {
                Ok(peer) => reached.push(peer),
                Err(DialFailed { reason, cause }) => {
                    causes.push(cause);
                    reasons.push(match peer.filter(|_| !is_one) {
                        Some(peer) => format!("{peer}: {reason}"),
                        None => reason,
                    });
                }
            }
        }
        if !reached.is_empty() {
            return Ok(reached);
        }
        let first = causes.first().copied().filter(|first| causes.iter().all(|cause| cause == first));
        Err(DialFailed { reason: reasons.join("; "), cause: first.unwrap_or(DialCause::Other) })
    }

    async fn dial(&self, target: Target, afresh: bool) -> (Option<PeerId>, Result<PeerId, DialFailed>) {
        let peer = target.peer;
        let stopped = || DialFailed::for_reason(Stopped.to_string());
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.send(Command::Connect { target, afresh, reply }).await;
        let outcome = match sent {
            Ok(()) => answer.await.unwrap_or_else(|_| Err(stopped())),
            Err(_) => Err(stopped()),
        };
        (peer, outcome)
    }

    /// Looks up the providers of a multihash on every DHT. The channel closes when all lookups have ended; dropping it
    /// ends them.
    pub(crate) async fn find_providers(&self, key: Vec<u8>) -> Result<mpsc::Receiver<PeerId>, Stopped> {
        let (found, receiver) = mpsc::channel(FOUND_QUEUE);
        self.send(Command::FindProviders { key, found }).await?;
        Ok(receiver)
    }

    /// Looks up the providers of a multihash on every DHT, dials each, and reports the outcomes. The channel closes
    /// when all lookups and dials have ended.
    pub(crate) async fn try_providers(&self, key: Vec<u8>) -> Result<mpsc::Receiver<Tried>, Stopped> {
        let (tried, receiver) = mpsc::channel(FOUND_QUEUE);
        self.send(Command::TryProviders { key, tried }).await?;
        Ok(receiver)
    }

    /// Looks up the providers of a multihash on the ggen DHT only; the channel is that of
    /// [`find_providers`](Self::find_providers).
    pub(crate) async fn find_knowing(&self, key: Vec<u8>) -> Result<mpsc::Receiver<PeerId>, Stopped> {
        let (found, receiver) = mpsc::channel(FOUND_QUEUE);
        self.send(Command::FindProvidersOn { dht: Dht::Ggen, key, found }).await?;
        Ok(receiver)
    }

    /// Looks up a value on the ggen DHT. The channel receives the value of each peer that has one.
    pub(crate) async fn find_record(&self, key: Vec<u8>) -> Result<FindingRecord, Stopped> {
        let (found, values) = mpsc::channel(FOUND_QUEUE);
        let (ended, walked) = oneshot::channel();
        self.send(Command::FindRecord { key, found, ended }).await?;
        Ok(FindingRecord::new(values, walked))
    }

    /// Provides a multihash on every DHT from now on.
    pub(crate) async fn provide(&self, key: Vec<u8>) -> Result<(), Stopped> {
        self.send(Command::Provide { key }).await
    }

    /// Stops providing a multihash. The provider records at other peers expire.
    pub(crate) async fn withdraw(&self, key: Vec<u8>) -> Result<(), Stopped> {
        self.send(Command::Withdraw { key }).await
    }

    /// Stops republishing a value on the ggen DHT. The copies at other peers expire.
    pub(crate) async fn unpublish(&self, key: Vec<u8>) -> Result<(), Stopped> {
        self.send(Command::Unpublish { key }).await
    }

    /// Provides the multihash of a keyword on the ggen DHT from now on, with lower priority than other announcements.
    pub(crate) async fn provide_word(&self, key: Vec<u8>) -> Result<(), Stopped> {
        self.send(Command::ProvideWord { key }).await
    }

    /// Publishes a value on the ggen DHT from now on. Returns once this node serves it; it is put to other peers later.
    pub(crate) async fn publish(&self, key: Vec<u8>, value: Vec<u8>) -> Result<(), Stopped> {
        let (kept, answer) = oneshot::channel();
        self.send(Command::Publish { key, value, kept }).await?;
        answer.await.map_err(|_| Stopped)
    }

    /// Sends `data` to the subscribers of the packages topic and returns their number, or 0 if it could not be sent. Of
    /// many announcements in a row some are delayed, and a later one of the same subject replaces a delayed one.
    pub(crate) async fn announce(&self, subject: Vec<u8>, data: Vec<u8>) -> Result<usize, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Announce { subject, data, reply }).await?;
        answer.await.map_err(|_| Stopped)
    }

    /// Reports the verdict on a gossip message.
    pub(crate) async fn judge(&self, gossip: GossipId, verdict: Verdict) -> Result<(), Stopped> {
        self.send(Command::Judge { gossip, verdict }).await
    }

    /// Sends a request to a peer, dialling it if necessary, and returns the response. Repeats the request if the
    /// connection is lost before the response. Dropping the future discards the response; the request is sent all the
    /// same.
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

    /// Responds to a request of a peer.
    pub(crate) async fn answer(&self, protocol: Protocol, reply: Reply, data: Vec<u8>) -> Result<(), Stopped> {
        self.send(Command::Answer { protocol, reply, data }).await
    }

    /// Returns the connected peers that support `protocol`.
    pub(crate) async fn supporting(&self, protocol: Protocol) -> Result<Vec<PeerId>, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Speakers { protocol, reply }).await?;
        answer.await.map_err(|_| Stopped)
    }

    /// Applies an access policy to a peer from now on. Connections to a refused peer are closed.
    pub(crate) async fn treat(&self, peer: PeerId, access_policy: AccessPolicy) -> Result<(), Stopped> {
        self.send(Command::Treat { peer, access_policy }).await
    }

    /// Queries whether a connected peer has all of these blocks, at most
    /// [`MAX_PRESENCE_QUERY_CIDS`](crate::node::MAX_PRESENCE_QUERY_CIDS). Returns false if the peer is not connected,
    /// and does not return while the peer stays silent.
    pub(crate) async fn has_all(&self, peer: PeerId, cids: Vec<Cid>) -> Result<bool, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Question { peer, cids, reply }).await?;
        answer.await.map_err(|_| Stopped)
    }

    /// Notifies peers that wait for blocks which are now in the store.
    pub(crate) async fn new_blocks(&self, cids: Vec<Cid>) -> Result<(), Stopped> {
        self.send(Command::NewBlocks { cids }).await
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

    /// Returns the state of the node.
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

    /// Sends a command from code that cannot wait: if the queue is full, a task waits in its place. A stopped node
    /// needs no command.
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
