//! Queries whether a peer has all of some blocks.

use tokio::sync::oneshot;

use super::*;

fn two_blocks() -> [Block; 2] {
    [1_u8, 2].map(|byte| Block::raw(vec![byte; 10]).unwrap())
}

struct Asked {
    client: Desk,
    peer: PeerId,
    answer: oneshot::Receiver<bool>,
}

fn ask() -> Asked {
    let (now, peer) = (Instant::now(), PeerId::random());
    let mut client = Desk::new(Arc::new(NoPriors));
    client.on_connected(peer, now);
    let (reply, answer) = oneshot::channel();
    client.question(peer, two_blocks().map(|block| *block.cid()).to_vec(), reply, now);
    let told = client.next_update(&peer).unwrap();
    assert_eq!(told.wants.len(), 2);
    assert!(told.wants.iter().all(|want| want.kind == WantKind::Have && want.send_dont_have));
    client.on_update_sent(peer, true, now);
    Asked { client, peer, answer }
}

#[test]
fn all_is_there_when_every_block_was_confirmed_in_whatever_way() {
    let Asked { mut client, peer, mut answer } = ask();
    let [first, second] = two_blocks();
    client.on_presences(peer, &[(*first.cid(), Presence::Have)], Instant::now());
    assert!(answer.try_recv().is_err() && client.is_busy());
    // A small block arrives in place of a HAVE, and does not count as unrequested.
    let received = client.on_blocks(peer, vec![second], 0, 100, Instant::now());
    assert_eq!(answer.try_recv(), Ok(true));
    assert!(!received.misbehaved && !client.is_busy() && !client.uses(&peer));
}

#[test]
fn one_missing_block_is_enough_to_say_no_and_the_rest_is_taken_back() {
    let Asked { mut client, peer, mut answer } = ask();
    client.on_presences(peer, &[(*two_blocks()[1].cid(), Presence::DontHave)], Instant::now());
    assert_eq!(answer.try_recv(), Ok(false));
    assert!(client.next_update(&peer).unwrap().wants.iter().all(|want| want.cancel));
    assert!(!client.uses(&peer));
}

#[test]
fn a_peer_that_disconnects_an_unknown_peer_and_a_caller_that_goes_leave_nothing_behind() {
    let Asked { mut client, peer, mut answer } = ask();
    client.on_disconnected(peer, Instant::now());
    assert_eq!(answer.try_recv(), Ok(false));
    let (reply, mut answer) = oneshot::channel();
    client.question(PeerId::random(), Vec::new(), reply, Instant::now());
    assert_eq!(answer.try_recv(), Ok(false));
    let Asked { mut client, peer, answer } = ask();
    drop(answer);
    client.tick(Instant::now());
    assert!(!client.is_busy() && !client.uses(&peer));
}
