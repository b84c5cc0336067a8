use std::{sync::Arc, time::Duration};

use futures::io::Cursor;
use ggen_blockstore::MemoryBlockstore;
use libp2p::identity::Keypair;
use tokio::sync::mpsc;

use crate::{
    Config,
    node::{AccessPolicy, Handle, RecordValidator, Refused, Setup, Started, exchange::NoPriors, rpc::*, start},
};

#[derive(Debug)]
struct NoRecords;

impl RecordValidator for NoRecords {
    fn admit(&self, _: &[u8], _: Option<&[u8]>, _: &[u8], _: std::time::SystemTime) -> Result<Vec<u8>, Refused> {
        Err(Refused { reason: "none are taken".to_owned(), is_lie: false })
    }
}

async fn node() -> Started {
    let listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
    let config = Config { mdns: false, ..Config::default() };
    let (key, store) = (Keypair::generate_ed25519(), Arc::new(MemoryBlockstore::new()));
    let setup = Setup {
        key,
        config,
        listen,
        follow: true,
        stays: true,
        store,
        policy: Arc::new(NoRecords),
        priors: Arc::new(NoPriors),
        access_policies: Vec::new(),
    };
    start(setup).await.unwrap()
}

async fn connect(from: &Handle, to: &Started) {
    let address = to.listening[0].clone().with_p2p(to.handle.peer_id()).unwrap();
    assert_eq!(from.connect(address).await.unwrap(), to.handle.peer_id());
}

/// Responds to every request with `answer`, until the node stops.
fn serve(handle: Handle, mut asked: mpsc::Receiver<Asked>, answer: impl Fn(Vec<u8>) -> Vec<u8> + Send + 'static) {
    tokio::spawn(async move {
        while let Some(Asked { protocol, data, reply, .. }) = asked.recv().await {
            handle.answer(protocol, reply, answer(data)).await.unwrap();
        }
    });
}

#[tokio::test]
async fn a_question_comes_back_with_its_answer_and_each_meets_the_other() {
    let (mut alice, mut bob) = (node().await, node().await);
    connect(&alice.handle, &bob).await;
    let met = alice.met.recv().await.unwrap();
    assert_eq!((met.peer, met.supports), (bob.handle.peer_id(), Protocol::ALL.to_vec()));
    assert_eq!(bob.met.recv().await.unwrap().peer, alice.handle.peer_id());
    assert_eq!(alice.handle.supporting(Protocol::Search).await.unwrap(), [bob.handle.peer_id()]);
    serve(bob.handle.clone(), bob.asked, |data| data.into_iter().rev().collect());
    for protocol in Protocol::ALL {
        let answer = alice.handle.ask(bob.handle.peer_id(), protocol, vec![1, 2, 3]).await;
        assert_eq!(answer, Ok(vec![3, 2, 1]));
    }
}

#[tokio::test]
async fn what_is_too_large_is_refused_both_ways() {
    let (alice, bob) = (node().await, node().await);
    connect(&alice.handle, &bob).await;
    let bob_id = bob.handle.peer_id();
    serve(bob.handle.clone(), bob.asked, |_| vec![0; Protocol::Search.max_answer_bytes() + 1]);
    assert_eq!(alice.handle.ask(bob_id, Protocol::Search, vec![1]).await, Err(AskError::TooLarge));
    let long = vec![0; Protocol::Search.max_request_bytes() + 1];
    assert_eq!(alice.handle.ask(bob_id, Protocol::Search, long).await, Err(AskError::Declined));
}

#[tokio::test]
async fn who_is_not_there_and_who_does_not_answer_is_told_apart() {
    let (alice, mut bob) = (node().await, node().await);
    let nobody = PeerId::random();
    assert_eq!(alice.handle.ask(nobody, Protocol::Search, Vec::new()).await, Err(AskError::Unreachable));
    connect(&alice.handle, &bob).await;
    let question = alice.handle.ask(bob.handle.peer_id(), Protocol::Search, Vec::new());
    let (answer, asked) = tokio::join!(question, async { drop(bob.asked.recv().await) });
    assert_eq!((answer, asked), (Err(AskError::Declined), ()));
}

#[tokio::test]
async fn a_peer_whose_connection_is_lost_before_it_answers_is_asked_again() {
    let (alice, mut bob) = (node().await, node().await);
    connect(&alice.handle, &bob).await;
    let answering = async {
        let unanswered = bob.asked.recv().await.unwrap();
        // The refusal closes the connection; then alice may connect again.
        bob.handle.treat(unanswered.peer, AccessPolicy::Refused).await.unwrap();
        bob.handle.treat(unanswered.peer, AccessPolicy::Usual).await.unwrap();
        let asked = bob.asked.recv().await.unwrap();
        bob.handle.answer(asked.protocol, asked.reply, asked.data).await.unwrap();
    };
    let question = alice.handle.ask(bob.handle.peer_id(), Protocol::Catalog, vec![5]);
    let (answer, ()) = tokio::join!(question, answering);
    assert_eq!(answer, Ok(vec![5]));
}

#[tokio::test]
async fn questions_of_one_peer_are_answered_a_few_at_a_time() {
    let (alice, mut bob) = (node().await, node().await);
    connect(&alice.handle, &bob).await;
    let ask = || alice.handle.ask(bob.handle.peer_id(), Protocol::Search, Vec::new());
    let mut questions: futures::stream::FuturesUnordered<_> = (0..2 * MAX_ANSWERING_PER_PEER).map(|_| ask()).collect();
    // No request is answered: those beyond the limit are declined at once, the others wait.
    for _ in 0..MAX_ANSWERING_PER_PEER {
        let declined = futures::StreamExt::next(&mut questions).await.unwrap();
        assert_eq!(declined, Err(AskError::Declined));
    }
    let mut waiting = 0;
    while let Ok(asked) = bob.asked.try_recv() {
        bob.handle.answer(asked.protocol, asked.reply, vec![7]).await.unwrap();
        waiting += 1;
    }
    assert_eq!(waiting, MAX_ANSWERING_PER_PEER);
    while let Some(answer) = futures::StreamExt::next(&mut questions).await {
        assert_eq!(answer, Ok(vec![7]));
    }
    // The limit allows another request again.
    let (answer, ()) = tokio::join!(ask(), async {
        let asked = bob.asked.recv().await.unwrap();
        bob.handle.answer(asked.protocol, asked.reply, vec![8]).await.unwrap();
    });
    assert_eq!(answer, Ok(vec![8]));
}

#[tokio::test]
async fn a_length_that_nothing_follows_takes_no_memory() {
    let mut stream = Cursor::new([&u32::MAX.to_be_bytes()[..], &[1, 2]].concat());
    assert_eq!(read(&mut stream, 1 << 20).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    let mut stream = Cursor::new([&(1_u32 << 20).to_be_bytes()[..], &[1, 2]].concat());
    assert_eq!(read(&mut stream, 1 << 20).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    let mut written = Cursor::new(Vec::new());
    write(&mut written, b"abc").await.unwrap();
    assert_eq!(written.get_ref(), b"\0\0\0\x03abc");
    assert_eq!(read(&mut Cursor::new(written.into_inner()), 3).await.unwrap(), b"abc");
    assert!(Protocol::ALL.iter().all(|protocol| protocol.deadline() < Duration::from_secs(60)));
}
