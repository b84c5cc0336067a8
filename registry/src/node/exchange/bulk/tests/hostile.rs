//! Misbehaving servers and clients.

use std::time::Duration;

use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use proptest::prelude::*;

use super::*;
use crate::node::exchange::bulk::{
    codec::{LEVEL, compress},
    input::{read_frame, read_varint},
    message::{Asked, Encoding, Header, MAX_PIECES, MAX_REQUEST_BYTES, Part, Piece, Request, Run, Source, Status, put},
};

/// The outcome of a request to a server that sends `answer`.
async fn answered(package: &Package, to: Arc<dyn Blockstore>, references: &[&Package], answer: Vec<u8>) -> Outcome {
    carried_out(&bulk_request(package, 0..package.blocks.len(), references), to, answer).await
}

async fn carried_out(request: &BulkRequest, to: Arc<dyn Blockstore>, answer: Vec<u8>) -> Outcome {
    let (mut asker, mut answerer, _) = pipe::pipe();
    let answering = tokio::spawn(async move {
        read_frame(&mut answerer, MAX_REQUEST_BYTES).await.unwrap();
        // The client may close the stream before it has everything.
        let _cut = answerer.write_all(&answer).await;
        let _cut = answerer.close().await;
    });
    let (outcome, _) = receive(&to, request, &mut asker).await;
    drop(asker);
    pipe::in_time(answering).await.unwrap();
    outcome
}

fn answer(parts: &[(Header, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![Status::Here.to_byte()];
    for (header, payload) in parts {
        let header = header.encode();
        put(&mut bytes, header.len() as u64);
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(payload);
    }
    bytes
}

fn part(blocks: usize, payload: &[u8], encoding: Encoding) -> Header {
    let (blocks, payload_bytes) = (blocks as u32, payload.len() as u32);
    Header::Blocks(Part { blocks, payload_bytes, sizes: Vec::new(), encoding })
}

fn raw(package: &Package) -> Vec<u8> {
    package.blocks.iter().flat_map(|block| block.data().to_vec()).collect()
}

#[tokio::test]
async fn the_stream_is_cut_at_the_first_wrong_block() {
    let package = package(&files(5, 10, "a"));
    let (right, mut wrong) = (raw(&package), raw(&package));
    let at = right.len() - 3;
    wrong[at] ^= 1;
    let first = package.blocks[0].data();
    let rest = &wrong[first.len()..];
    let parts = [(part(1, first, Encoding::Identity), &first[..]), (part(5, rest, Encoding::Identity), rest)];
    let outcome = answered(&package, store(&[]), &[], answer(&parts)).await;
    assert_eq!((outcome.end, cids(&outcome.blocks)), (End::WrongBytes, cids(&package.blocks[..1])));
    let packed = compress(&wrong, &[], LEVEL).unwrap();
    let parts = [(part(6, &packed, Encoding::Zstd(vec![])), &packed[..])];
    let outcome = answered(&package, store(&[]), &[], answer(&parts)).await;
    assert_eq!((outcome.end, outcome.blocks.len()), (End::WrongBytes, 0));
}

#[tokio::test]
async fn a_bomb_is_no_more_than_what_is_due() {
    let package = package(&files(5, 10, "a"));
    let bomb = compress(&vec![0; 64 << 20], &[], LEVEL).unwrap();
    let parts = [(part(6, &bomb, Encoding::Zstd(vec![])), &bomb[..])];
    let outcome = answered(&package, store(&[]), &[], answer(&parts)).await;
    assert_eq!((outcome.end, outcome.blocks.len()), (End::WrongBytes, 0));
}

#[tokio::test]
async fn lengths_that_cannot_be_are_refused_before_anything_is_read() {
    let package = package(&files(5, 10, "a"));
    let right = raw(&package);
    let huge = |encoding| Header::Blocks(Part { blocks: 6, payload_bytes: u32::MAX, sizes: Vec::new(), encoding });
    let cases = [
        answer(&[(huge(Encoding::Identity), &[])]),
        answer(&[(huge(Encoding::Zstd(vec![])), &[])]),
        answer(&[(part(7, &right, Encoding::Identity), &right)]),
        answer(&[(part(6, &right[1..], Encoding::Identity), &right[1..])]),
        answer(&[(Header::Absent(7), &[])]),
        answer(&[(Header::Absent(0), &[])]),
        vec![9],
        vec![Status::Here.to_byte(), 0xff, 0xff, 0xff, 0xff, 0xff],
        vec![Status::Here.to_byte(), 0x81, 0x80, 0x04],
    ];
    for case in cases {
        let outcome = answered(&package, store(&[]), &[], case.clone()).await;
        assert_eq!((outcome.end, outcome.blocks.len()), (End::Malformed, 0), "{case:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_short_is_broken_and_what_came_is_kept() {
    let package = package(&files(5, 10, "a"));
    let right = raw(&package);
    let first = package.blocks[0].data();
    let parts = [
        (part(1, first, Encoding::Identity), &first[..]),
        (part(5, &right[first.len()..], Encoding::Identity), &right[first.len()..right.len() - 1]),
    ];
    let outcome = answered(&package, store(&[]), &[], answer(&parts)).await;
    assert_eq!((outcome.end, outcome.blocks.len()), (End::Broken, 1));
    assert_eq!(answered(&package, store(&[]), &[], vec![]).await.end, End::Broken);
}

/// The manifest may have been deleted there after the status was sent.
#[tokio::test]
async fn a_list_that_turns_out_not_to_be_there_is_nobody_s_fault() {
    let package = package(&files(5, 10, "a"));
    let own = BulkRequest {
        wanted: Wanted::Own { max_bytes: package.list_bytes, whole: false },
        ..bulk_request(&package, [], &[])
    };
    let (mut asker, mut answerer, _) = pipe::pipe();
    answerer.write_all(&answer(&[(Header::Absent(1), &[])])).await.unwrap();
    let (outcome, again) = receive(&store(&[]), &own, &mut asker).await;
    assert_eq!((outcome.end, again), (End::NotHere, false));
}

#[tokio::test]
async fn what_comes_with_a_list_is_what_the_list_names_and_no_more() {
    let package = package(&files(5, 10, "a"));
    let wanted = Wanted::Own { max_bytes: u64::MAX, whole: true };
    let request = BulkRequest { wanted, ..bulk_request(&package, [], &[]) };
    let (root, parts) = package.own.split_last().unwrap();
    let all: Vec<_> = std::iter::once(root).chain(parts).chain(&package.blocks).collect();
    let sized = |blocks: &[&Block]| {
        let bytes: Vec<u8> = blocks.iter().flat_map(|block| block.data().to_vec()).collect();
        let sizes = blocks.iter().map(|block| block.data().len() as u32).collect();
        let (blocks, payload_bytes, encoding) = (blocks.len() as u32, bytes.len() as u32, Encoding::Identity);
        (Header::Blocks(Part { blocks, payload_bytes, sizes, encoding }), bytes)
    };
    let more = Block::raw(b"nobody asked for this".to_vec()).unwrap();
    let outcome_of = async |parts: Vec<(Header, Vec<u8>)>| {
        let parts: Vec<_> = parts.iter().map(|(header, payload)| (header.clone(), &payload[..])).collect();
        let outcome = carried_out(&request, store(&[]), answer(&parts)).await;
        (outcome.end, outcome.blocks.len())
    };
    let end = || (Header::End, Vec::new());
    assert_eq!(outcome_of(vec![sized(&all), end()]).await, (End::Done, all.len()));
    let (rest, last) = all.split_at(all.len() - 1);
    assert_eq!(outcome_of(vec![sized(rest), sized(last), end()]).await, (End::Done, all.len()));
    assert_eq!(outcome_of(vec![sized(&[rest, &[&more]].concat()), end()]).await, (End::WrongBytes, 0));
    assert_eq!(outcome_of(vec![sized(&[&all[..], &[&more]].concat()), end()]).await, (End::Malformed, 0));
    // Without the manifest the client cannot know what follows.
    let without_list = vec![sized(&all[..1]), (Header::Absent(1), Vec::new()), sized(&all[2..]), end()];
    assert_eq!(outcome_of(without_list).await, (End::NotHere, 0));
}

#[tokio::test]
async fn data_without_end_is_not_read_on() {
    let package = package(&files(5, 10, "a"));
    let right = raw(&package);
    let mut endless = answer(&[(part(6, &right, Encoding::Identity), &right)]);
    let more = answer(&[(part(1, &right[..9], Encoding::Identity), &right[..9])]);
    (0..200_000).for_each(|_| endless.extend_from_slice(&more[1..]));
    let outcome = answered(&package, store(&[]), &[], endless).await;
    assert_eq!((outcome.end, outcome.blocks.len()), (End::Malformed, 6));
}

#[tokio::test]
async fn a_dictionary_out_of_range_is_refused() {
    let (old, package) = (package(&files(5, 10, "b")), package(&files(5, 10, "a")));
    let to = store(&[&old]);
    let piece = |source, first, count| vec![Piece { source, first, count }];
    let packed = compress(&raw(&package), &[], LEVEL).unwrap();
    for pieces in [piece(Source::Listed(1), 6, 1), piece(Source::Listed(1), 0, u32::MAX), piece(Source::Own(1), 2, 1)] {
        let parts = [(part(6, &packed, Encoding::Zstd(pieces)), &packed[..])];
        let outcome = answered(&package, Arc::clone(&to), &[&old], answer(&parts)).await;
        assert_eq!((outcome.end, outcome.blocks.len()), (End::Malformed, 0));
    }
    // More blocks than a dictionary may have, however short they are according to the manifest.
    let short = crate::node::exchange::bulk::tests::package(&files(20, 1, "a"));
    let packed_short = compress(&raw(&short), &[], LEVEL).unwrap();
    let all = piece(Source::Listed(0), 0, 21).repeat(MAX_PIECES);
    let parts = [(part(21, &packed_short, Encoding::Zstd(all)), &packed_short[..])];
    let outcome = answered(&short, listing(&short), &[], answer(&parts)).await;
    assert_eq!(outcome.end, End::Malformed);
    // More bytes than a dictionary may have: the same blocks repeated.
    let again = piece(Source::Listed(1), 0, 6).repeat(4000);
    let parts = [(part(6, &packed, Encoding::Zstd(again)), &packed[..])];
    let big = crate::node::exchange::bulk::tests::package(&files(5, 300, "b"));
    let outcome = answered(&package, store(&[&big]), &[&big], answer(&parts)).await;
    assert_eq!(outcome.end, End::Malformed);
}

/// A session gives up a silent peer; if it does not, the request ends by itself.
#[tokio::test]
async fn a_silent_peer_is_given_up() {
    let package = package(&files(5, 10, "a"));
    let (mut asker, answerer, _) = pipe::pipe();
    let silent_for = Duration::from_millis(20);
    let (outcome, again) = receive_within(&store(&[]), &bulk_request(&package, [0], &[]), &mut asker, silent_for).await;
    assert_eq!((outcome.end, again), (End::Broken, false));
    drop(answerer);
}

fn server(held: Arc<dyn Blockstore>) -> Server {
    let patience = Patience { request: Duration::from_millis(20), step: Duration::from_millis(20) };
    Server::new(ResponseContext { store: held, paths: PathCache::default() }, patience)
}

fn wire_request(package: &Package) -> Vec<u8> {
    let request = Request {
        list: package.list,
        asked: Asked::Listed(vec![Run { first: 0, count: package.blocks.len() as u32 }]),
        zstd: true,
        dictionary_bytes: 1 << 20,
        references: Vec::new(),
    };
    let mut bytes = Vec::new();
    put(&mut bytes, request.encode().len() as u64);
    bytes.extend_from_slice(&request.encode());
    bytes
}

#[tokio::test]
async fn an_asker_that_takes_nothing_or_says_nothing_is_let_go() {
    let package = package(&files(300, 300, "a"));
    for said in [wire_request(&package), wire_request(&package)[..5].to_vec(), Vec::new()] {
        let (mut asker, answerer, _) = pipe::pipe();
        let (events, _kept) = mpsc::channel(16);
        let serving =
            tokio::spawn(server(store(&[&package])).serve(PeerId::random(), answerer, PeerLimits::default(), events));
        asker.write_all(&said).await.unwrap();
        pipe::in_time(serving).await.unwrap();
    }
}

#[tokio::test]
async fn an_asker_that_takes_what_was_not_sent_is_cut_off() {
    let package = package(&files(300, 300, "a"));
    let (mut asker, answerer, _) = pipe::pipe();
    let serving = serve(store(&[&package]), answerer);
    asker.write_all(&wire_request(&package)).await.unwrap();
    asker.write_all(&[0; 40]).await.unwrap();
    pipe::in_time(serving).await.unwrap();
}

#[tokio::test]
async fn an_asker_that_asks_for_no_more_is_let_go() {
    let package = package(&files(3, 1, "a"));
    let (mut asker, answerer, _) = pipe::pipe();
    let (events, _kept) = mpsc::channel(16);
    let serving =
        tokio::spawn(server(store(&[&package])).serve(PeerId::random(), answerer, PeerLimits::default(), events));
    let (outcome, again) = receive(&listing(&package), &bulk_request(&package, 0..4, &[]), &mut asker).await;
    assert_eq!((outcome.end, outcome.blocks.len(), again), (End::Done, 4, true));
    pipe::in_time(serving).await.unwrap();
    let (outcome, _) = receive(&listing(&package), &bulk_request(&package, 0..4, &[]), &mut asker).await;
    assert_eq!((outcome.end, outcome.blocks.len()), (End::Broken, 0));
}

#[tokio::test]
async fn a_request_that_is_none_is_answered_so() {
    let (mut asker, answerer, _) = pipe::pipe();
    let (events, _kept) = mpsc::channel(16);
    let serving = tokio::spawn(server(store(&[])).serve(PeerId::random(), answerer, PeerLimits::default(), events));
    asker.write_all(&[3, 0xff, 0, 0]).await.unwrap();
    assert_eq!(pipe::in_time(read_varint(&mut asker)).await.unwrap(), usize::from(Status::NotUnderstood.to_byte()));
    let mut rest = Vec::new();
    pipe::in_time(asker.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty());
    pipe::in_time(serving).await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn nothing_that_a_server_sends_makes_the_receiver_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let package = package(&files(2, 2, "a"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut answer = vec![0];
        answer.extend(bytes);
        let outcome = runtime.block_on(answered(&package, store(&[]), &[], answer));
        prop_assert!(outcome.blocks.iter().all(|block| package.blocks.contains(block)));
    }
}
