//! Transfers between our server and receiver over a pipe, and with misbehaving peers.

mod direct;
mod hostile;
mod pipe;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use ggen_blockstore::{Block, Blockstore, Cid, MemoryBlockstore, PbLink, PbNode};
use libp2p::PeerId;
use tokio::sync::mpsc;

use crate::{
    manifest::{ManifestBuilder, ManifestEntry},
    node::exchange::bulk::{
        compression_policy::{InFlight, Pace},
        event::{Event, TaskEvent},
        limits::PeerLimits,
        message::{Asked, MAX_WANTED, Request},
        paths::PathCache,
        receive::{Over, Receiver, SILENT_FOR},
        request::{BulkRequest, BulkRequestId, End, Wanted},
        response::{ResponseBuilder, ResponseContext},
        serve::{Patience, Server},
        stream_pool::Connections,
    },
};

/// Files in one directory, with their manifest.
struct Package {
    list: Cid,
    list_bytes: u64,
    blocks: Vec<Block>,
    own: Vec<Block>,
}

/// Makes a package of these files: name and content.
fn package(files: &[(String, Vec<u8>)]) -> Package {
    let leaves: Vec<_> = files.iter().map(|(_, content)| Block::raw(content.clone()).unwrap()).collect();
    let link = |((name, _), leaf): (&(String, Vec<u8>), &Block)| {
        PbLink::new(*leaf.cid(), name.clone(), leaf.data().len() as u64)
    };
    let node = PbNode { links: files.iter().zip(&leaves).map(link).collect(), data: Some("\x08\x01".into()) };
    let mut blocks = vec![Block::dag_pb(node.encode()).unwrap()];
    leaves.into_iter().filter(|leaf| !leaf.data().is_empty()).for_each(|leaf| blocks.push(leaf));
    let mut builder = ManifestBuilder::new();
    let mut own = Vec::new();
    for block in &blocks {
        own.extend(builder.push(block.cid(), block.data().len() as u32).unwrap());
    }
    let (last, summary) = builder.finish().unwrap();
    own.extend(last);
    Package { list: summary.root, list_bytes: summary.manifest_bytes, blocks, own }
}

/// Files with different text, which shrinks to about a third.
fn files(count: usize, lines: usize, salt: &str) -> Vec<(String, Vec<u8>)> {
    let line = |file: usize, line: usize| {
        let digest = Block::raw(format!("{salt} {file} {line}").into_bytes()).unwrap();
        format!("the line {line} of a file about {}\n", &digest.cid().to_string()[10..26])
    };
    let file = |file: usize| (0..lines).map(|index| line(file, index)).collect::<String>().into_bytes();
    (0..count).map(|index| (format!("file-{index:04}"), file(index))).collect()
}

fn store(packages: &[&Package]) -> Arc<dyn Blockstore> {
    let store = MemoryBlockstore::new();
    for package in packages {
        store.put_many(&package.blocks).unwrap();
        store.put_many(&package.own).unwrap();
    }
    Arc::new(store)
}

/// A store with the manifest only.
fn listing(package: &Package) -> Arc<dyn Blockstore> {
    let store = MemoryBlockstore::new();
    store.put_many(&package.own).unwrap();
    Arc::new(store)
}

fn bulk_request(package: &Package, indices: impl IntoIterator<Item = usize>, references: &[&Package]) -> BulkRequest {
    let listed = |index: usize| {
        let block = &package.blocks[index];
        (index as u32, ManifestEntry { cid: *block.cid(), size: block.data().len() as u32 })
    };
    BulkRequest {
        id: BulkRequestId(7),
        peer: PeerId::random(),
        list: package.list,
        references: references.iter().map(|package| package.list).collect(),
        wanted: Wanted::Listed(indices.into_iter().map(listed).collect()),
    }
}

/// The outcome of a request.
#[derive(Debug)]
struct Outcome {
    blocks: Vec<Block>,
    absent: Vec<Cid>,
    end: End,
}

/// Carries out a request on a stream. Also returns whether the stream can be reused.
async fn receive(to: &Arc<dyn Blockstore>, request: &BulkRequest, stream: &mut pipe::End) -> (Outcome, bool) {
    receive_within(to, request, stream, SILENT_FOR).await
}

async fn receive_within(
    to: &Arc<dyn Blockstore>,
    request: &BulkRequest,
    stream: &mut pipe::End,
    silent_for: Duration,
) -> (Outcome, bool) {
    let (sender, mut events) = mpsc::channel(16);
    let receiver = Receiver::new(Arc::clone(to), sender, silent_for);
    let (mut arrived, mut absent) = (Vec::new(), Vec::new());
    let collecting = async {
        while let Some(told) = events.recv().await {
            match told {
                TaskEvent::Event(Event::Arrived { blocks, .. }) => arrived.extend(blocks),
                TaskEvent::Event(Event::Absent { cids, .. }) => absent.extend(cids),
                TaskEvent::Event(Event::Progress { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    let (over, ()) = pipe::in_time(futures::future::join(receiver.receive(request, stream), collecting)).await;
    let (end, again) = match over {
        Over::Unanswered => (End::Broken, false),
        Over::Ended { end, again } => (end, again),
    };
    (Outcome { blocks: arrived, absent, end }, again)
}

fn serve(from: Arc<dyn Blockstore>, stream: pipe::End) -> tokio::task::JoinHandle<()> {
    let context = ResponseContext { store: from, paths: PathCache::default() };
    // The reports of served blocks are discarded.
    let (served, mut told) = mpsc::channel(1);
    tokio::spawn(async move { while told.recv().await.is_some() {} });
    let server = Server::new(context, Patience::default());
    tokio::spawn(server.serve(PeerId::random(), stream, PeerLimits::default(), served))
}

/// Carries out a request between two stores. Also returns the size of the response in bytes.
async fn transfer(from: Arc<dyn Blockstore>, to: Arc<dyn Blockstore>, request: BulkRequest) -> (Outcome, usize) {
    let (mut asker, answerer, counted) = pipe::pipe();
    let serving = serve(from, answerer);
    let (outcome, _) = receive(&to, &request, &mut asker).await;
    drop(asker);
    pipe::in_time(serving).await.unwrap();
    (outcome, counted.bytes())
}

fn cids(blocks: &[Block]) -> Vec<Cid> {
    blocks.iter().map(|block| *block.cid()).collect()
}

#[tokio::test]
async fn a_tree_of_small_files_comes_whole_in_order_and_small() {
    let package = package(&files(300, 60, "a"));
    let raw: usize = package.blocks.iter().map(|block| block.data().len()).sum();
    let all = bulk_request(&package, 0..package.blocks.len(), &[]);
    let (outcome, bytes) = transfer(store(&[&package]), listing(&package), all).await;
    assert_eq!((outcome.end, cids(&outcome.blocks)), (End::Done, cids(&package.blocks)));
    assert!(bytes * 2 < raw, "{bytes} of {raw}");
}

#[tokio::test]
async fn a_stream_serves_one_order_after_another() {
    let package = package(&files(300, 60, "a"));
    let (mut asker, answerer, _) = pipe::pipe();
    let serving = serve(store(&[&package]), answerer);
    let to = listing(&package);
    let own = BulkRequest {
        wanted: Wanted::Own { max_bytes: package.list_bytes, whole: false },
        ..bulk_request(&package, [], &[])
    };
    let (outcome, again) = receive(&to, &own, &mut asker).await;
    assert_eq!((cids(&outcome.blocks), again), (cids(&package.own), true));
    let unknown = BulkRequest { list: *package.blocks[0].cid(), ..bulk_request(&package, [0], &[]) };
    let (outcome, again) = receive(&to, &unknown, &mut asker).await;
    assert_eq!((outcome.end, again), (End::NotHere, true));
    for indices in [0..100, 100..101, 101..package.blocks.len()] {
        let (outcome, again) = receive(&to, &bulk_request(&package, indices.clone(), &[]), &mut asker).await;
        assert_eq!((outcome.end, again), (End::Done, true));
        assert_eq!(cids(&outcome.blocks), cids(&package.blocks[indices]));
    }
    drop(asker);
    pipe::in_time(serving).await.unwrap();
}

#[tokio::test]
async fn a_stream_that_was_closed_while_it_was_idle_has_answered_nothing() {
    let package = package(&files(3, 1, "a"));
    let (mut asker, answerer, _) = pipe::pipe();
    drop(answerer);
    let (events, _kept) = mpsc::channel(16);
    let receiver = Receiver::new(store(&[]), events, SILENT_FOR);
    assert_eq!(receiver.receive(&bulk_request(&package, 0..3, &[]), &mut asker).await, Over::Unanswered);
}

/// The manifest contains the CIDs already: a directory costs little more than its file names.
#[tokio::test]
async fn a_directory_costs_no_digests() {
    let package = package(&files(1000, 1, "a"));
    let (outcome, bytes) = transfer(store(&[&package]), listing(&package), bulk_request(&package, [0], &[])).await;
    assert_eq!(cids(&outcome.blocks), cids(&package.blocks[..1]));
    assert!(bytes < 1000 * 12, "{bytes} bytes for 1000 links");
}

#[tokio::test]
async fn bytes_that_do_not_shrink_travel_as_they_are() {
    let noise = |seed: u64| {
        let block = |index: u64| Block::raw(format!("{seed} {index}").into_bytes()).unwrap();
        (0..8000).flat_map(|index| block(index).cid().hash().digest().to_vec()).collect::<Vec<u8>>()
    };
    let package = package(&(0..40).map(|file| (format!("{file}"), noise(file))).collect::<Vec<_>>());
    let raw: usize = package.blocks.iter().map(|block| block.data().len()).sum();
    let (outcome, bytes) =
        transfer(store(&[&package]), store(&[]), bulk_request(&package, 1..package.blocks.len(), &[])).await;
    assert_eq!((outcome.end, outcome.blocks.len()), (End::Done, 40));
    assert!(bytes < raw + raw / 100, "{bytes} of {raw}");
}

#[tokio::test]
async fn a_new_version_costs_what_is_new_in_it() {
    let old = files(100, 200, "a");
    let mut new = old.clone();
    for (name, content) in new.iter_mut().step_by(10) {
        content.splice(3000..3000, format!("what is new in {name}\n").into_bytes());
    }
    new.push(("moved".to_owned(), new[51].1[1..].to_vec()));
    new.remove(51);
    let (old, new) = (package(&old), package(&new));
    let known = cids(&old.blocks);
    let wanted: Vec<_> = (0..new.blocks.len()).filter(|index| !known.contains(new.blocks[*index].cid())).collect();
    assert_eq!(wanted.len(), 12, "a directory, ten files, and one that moved");
    let to = MemoryBlockstore::new();
    to.put_many(&old.blocks).unwrap();
    to.put_many(&old.own).unwrap();
    to.put_many(&new.own).unwrap();
    let (outcome, bytes) =
        transfer(store(&[&old, &new]), Arc::new(to), bulk_request(&new, wanted.iter().copied(), &[&old])).await;
    assert_eq!(outcome.end, End::Done);
    assert_eq!(cids(&outcome.blocks), wanted.iter().map(|index| *new.blocks[*index].cid()).collect::<Vec<_>>());
    let raw: usize = outcome.blocks.iter().map(|block| block.data().len()).sum();
    assert!(bytes < 2500, "{bytes} of {raw}");
}

#[tokio::test]
async fn a_list_comes_with_its_root_last_and_costs_what_is_new_in_it() {
    let old = files(2000, 1, "a");
    let mut new = old.clone();
    new[1000].1.push(b'!');
    let (old, new) = (package(&old), package(&new));
    let own = |references: &[&Package]| BulkRequest {
        wanted: Wanted::Own { max_bytes: new.list_bytes, whole: false },
        ..bulk_request(&new, [], references)
    };
    let (outcome, whole) = transfer(store(&[&new]), store(&[]), own(&[])).await;
    assert_eq!((outcome.end, cids(&outcome.blocks)), (End::Done, cids(&new.own)));
    let (outcome, bytes) = transfer(store(&[&old, &new]), store(&[&old]), own(&[&old])).await;
    assert_eq!((outcome.end, cids(&outcome.blocks)), (End::Done, cids(&new.own)));
    assert!(bytes < 1000 && whole > 60_000, "{bytes}, {whole}");
    // A server that lacks the reference sends the manifest without a dictionary.
    let (outcome, bytes) = transfer(store(&[&new]), store(&[&old]), own(&[&old])).await;
    assert_eq!((outcome.end, outcome.blocks.len()), (End::Done, new.own.len()));
    assert!(bytes > 60_000);
}

#[tokio::test]
async fn a_list_larger_than_it_may_be_is_not_sent() {
    let package = package(&files(10, 1, "a"));
    let wanted = Wanted::Own { max_bytes: package.list_bytes - 1, whole: false };
    let (outcome, _) =
        transfer(store(&[&package]), store(&[]), BulkRequest { wanted, ..bulk_request(&package, [], &[]) }).await;
    assert_eq!((outcome.end, outcome.blocks.len()), (End::NotHere, 0));
}

#[tokio::test]
async fn a_list_comes_with_all_that_it_names_if_that_is_wanted_and_not_too_much() {
    for files in [files(0, 0, "a"), files(5, 10, "a"), files(2000, 1, "a")] {
        let package = package(&files);
        let content: u64 = package.blocks.iter().map(|block| block.data().len() as u64).sum();
        let whole = |max_bytes| BulkRequest {
            wanted: Wanted::Own { max_bytes, whole: true },
            ..bulk_request(&package, [], &[])
        };
        let (root, parts) = package.own.split_last().unwrap();
        let all = [parts, &package.blocks, std::slice::from_ref(root)].concat();
        let (outcome, _) = transfer(store(&[&package]), store(&[]), whole(package.list_bytes + content)).await;
        assert_eq!((outcome.end, cids(&outcome.blocks)), (End::Done, cids(&all)));
        let (outcome, _) = transfer(store(&[&package]), store(&[]), whole(package.list_bytes + content - 1)).await;
        assert_eq!((outcome.end, cids(&outcome.blocks)), (End::Done, cids(&package.own)));

        let (held, gone) = (store(&[&package]), *package.blocks[0].cid());
        held.delete_many(&[gone]).unwrap();
        let (outcome, _) = transfer(held, store(&[]), whole(u64::MAX)).await;
        assert_eq!((outcome.end, outcome.absent), (End::Done, vec![gone]));
        assert_eq!(outcome.blocks.len(), all.len() - 1);
    }
}

#[test]
fn what_comes_with_a_list_goes_as_it_is_where_the_way_is_known_to_be_short() {
    let package = package(&files(5, 40, "a"));
    let context = Arc::new(ResponseContext { store: store(&[&package]), paths: PathCache::default() });
    let pace = Arc::new(Mutex::new(Pace::default()));
    let is_packed = |whole| {
        let asked = Asked::Own { max_bytes: u64::MAX, whole };
        let request = Request { list: package.list, asked, zstd: true, dictionary_bytes: 0, references: Vec::new() };
        let mut job = ResponseBuilder::open(Arc::clone(&context), request, Arc::clone(&pace), false).unwrap();
        let made = job.next().unwrap().unwrap();
        assert!(job.is_done());
        made.packed.is_some()
    };
    assert!(is_packed(true));
    let (mut untaken, now) = (InFlight::default(), Instant::now());
    untaken.on_sending(None, 1, 1, now);
    pace.lock().unwrap().on_taken(&mut untaken, now);
    assert!(!is_packed(true));
}

#[tokio::test]
async fn what_is_not_there_is_said_and_the_rest_comes() {
    let package = package(&files(30, 20, "a"));
    let held = store(&[&package]);
    let gone = [0, 5, 6, 30].map(|index: usize| *package.blocks[index].cid());
    held.delete_many(&gone).unwrap();
    let (outcome, _) = transfer(held, listing(&package), bulk_request(&package, 0..31, &[])).await;
    assert_eq!((outcome.end, outcome.blocks.len()), (End::Done, 27));
    assert_eq!(outcome.absent, gone);
    let (outcome, _) = transfer(store(&[]), store(&[]), bulk_request(&package, 0..31, &[])).await;
    assert_eq!((outcome.end, outcome.blocks.len()), (End::NotHere, 0));
}

#[tokio::test]
async fn indices_out_of_range_are_not_understood() {
    let package = package(&files(3, 1, "a"));
    let mut wanted = bulk_request(&package, [0], &[]);
    let Wanted::Listed(listed) = &mut wanted.wanted else { panic!() };
    listed[0].0 = 4;
    let (outcome, _) = transfer(store(&[&package]), store(&[]), wanted.clone()).await;
    assert_eq!(outcome.end, End::Unsupported);
    let Wanted::Listed(listed) = &mut wanted.wanted else { panic!() };
    *listed = (0..=MAX_WANTED).map(|index| (index, listed[0].1)).collect();
    let (outcome, _) = transfer(store(&[&package]), store(&[]), wanted).await;
    assert_eq!(outcome.end, End::Unsupported);
}

/// A reference may be evicted from the local store while the response is under way. No peer is at fault.
#[tokio::test]
async fn a_reference_that_is_gone_here_is_held_against_nobody() {
    let old = files(20, 100, "a");
    let mut new = old.clone();
    new.iter_mut().for_each(|(_, content)| content.push(b'!'));
    let (old, new) = (package(&old), package(&new));
    let to = MemoryBlockstore::new();
    to.put_many(&old.own).unwrap();
    to.put_many(&new.own).unwrap();
    let (outcome, _) = transfer(store(&[&old, &new]), Arc::new(to), bulk_request(&new, 1..21, &[&old])).await;
    assert_eq!((outcome.end, outcome.blocks.len()), (End::Unreferenced, 0));
}
