//! Downloads between registries in memory.

use ggen_blockstore::parse_cid;

use super::*;
use crate::ops::loopback::{PATIENCE, fetch_request, pair, publish, silent};

/// A download used to count every block that came, those of a round that had ended at its limit among them; then it
/// believed that nothing was wanted while its worker waited for blocks, without a deadline, for good.
#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_reached_its_limit_goes_on_where_it_stopped() {
    let (alice, bob) = pair().await;
    let content = parse_cid(&publish(&alice, "wide", "1.0.0", 400, 20_000).await.cid).unwrap();
    let request = fetch_request(&content.to_string(), false);
    let mut download = bob.operations().download(&request, silent()).await.unwrap();
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
    let mut offline = bob.operations().download(&fetch_request(&content.to_string(), true), silent()).await.unwrap();
    offline.dag(content).await.unwrap();
}
