//! Downloads between registries in memory.

use ggen_blockstore::parse_cid;

use super::*;
use crate::{
    identity::Record as _,
    ops::loopback::{PATIENCE, fetch_request, pair, publish, silent},
    package::Release,
};

/// Regression test: a download counted every block that arrived, including those of a round that had ended at its
/// limit. It then assumed that no block was wanted, while its worker waited for blocks forever.
#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_reached_its_limit_goes_on_where_it_stopped() {
    let (alice, bob) = pair().await;
    let content = parse_cid(&publish(&alice, "wide", "1.0.0", 400, 20_000).await.cid).unwrap();
    let request = fetch_request(&content.to_string(), false);
    let mut download = bob.services().downloads().open(&request, silent()).await.unwrap();
    download.search_under(&content);
    let mut limited = 0;
    loop {
        let before = download.so_far().bytes;
        download.limit_bytes(before + 500_000);
        let round = tokio::time::timeout(PATIENCE, download.dag(content)).await;
        match round.unwrap_or_else(|_| panic!("round {limited} hangs at {before} bytes")) {
            Ok(()) => break,
            Err(DownloadError::OverLimit { .. }) => limited += 1,
            Err(error) => panic!("{error}"),
        }
        assert!(download.so_far().bytes > before, "a round brings something");
    }
    assert!(limited > 3, "{limited} rounds ended at the limit");
    let mut offline =
        bob.services().downloads().open(&fetch_request(&content.to_string(), true), silent()).await.unwrap();
    offline.dag(content).await.unwrap();
}

/// Starts a download of a release and fetches its record.
async fn begin(registry: &crate::Registry, published: &crate::Published) -> (Download, Release) {
    let cid = published.release.as_ref().unwrap();
    let mut download = registry.services().downloads().open(&fetch_request(cid, false), silent()).await.unwrap();
    let cid = parse_cid(cid).unwrap();
    download.search_under(&cid);
    let release = Release::from_payload(&download.block(cid).await.unwrap()).unwrap();
    (download, release)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_with_a_list_was_fetched_and_not_here_before() {
    let (alice, bob) = pair().await;
    let published = publish(&alice, "small", "1.0.0", 4, 100).await;
    let (mut download, release) = begin(&bob, &published).await;
    let source = ListSource { list: release.manifest, max_bytes: 1 << 20, whole: true, references: Vec::new() };
    let root = download.list_root(source).await.unwrap();
    let came = download.so_far().blocks;
    let reader = release.read_manifest(&root).unwrap();
    assert_eq!(came, 1 + 1 + reader.chunks().len() as u64 + release.blocks, "all of it, and the release");
    let parts = reader.chunks().iter().map(|chunk| (chunk.link, None).into()).collect();
    download.list_parts(parts).await.unwrap();
    download.list(vec![(release.content, None).into()]).await.unwrap();
    assert_eq!((download.so_far().blocks, download.so_far().reused), (came, 0));
}

/// Regression test: peers answer a want-have for a small block with the block itself. After the root of a list had
/// arrived this way, its blocks were requested one by one, without compression and without reference lists.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_whose_root_came_alone_is_asked_for_as_a_list() {
    let (alice, bob) = pair().await;
    let published = publish(&alice, "wide", "1.0.0", 400, 100).await;
    let (mut download, release) = begin(&bob, &published).await;
    download.block(release.manifest).await.unwrap();
    assert_eq!(download.so_far().blocks, 2);

    let source = ListSource { list: release.manifest, max_bytes: 1 << 20, whole: true, references: Vec::new() };
    let root = download.list_root(source).await.unwrap();
    assert_eq!(download.so_far().blocks, 2, "it is here");
    let reader = release.read_manifest(&root).unwrap();
    let parts: Vec<Want> =
        reader.chunks().iter().map(|chunk| (chunk.link, Some(u64::from(chunk.bytes))).into()).collect();
    assert_eq!(parts.len(), 1);
    download.list_parts(parts.clone()).await.unwrap();
    download.block(release.content).await.unwrap();
    // The response to a bulk request for a list contains all of the list: the root arrives again, before the next
    // block.
    assert_eq!(download.so_far().blocks, 5);
    download.list_parts(parts).await.unwrap();
    assert_eq!(download.so_far().blocks, 5, "all of it is here");
}
