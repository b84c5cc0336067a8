//! Standing under words in the ggen DHT, so that those who search find whom to ask.

use super::{Operations, failure};
use crate::{
    Failure,
    index::{word_bucket, word_key, words_of},
    package::Release,
};

/// Words of one release that a node stands under: the weightiest.
const MAX_WORDS_OF_RELEASE: usize = 16;

impl Operations {
    /// From now on this node can be found by the words of a release: one that it holds, and goes on holding. The number
    /// of words of a node is bounded by the node itself. A node that is about to leave stands under none.
    pub(super) async fn provide_words(&self, release: &Release) -> Result<(), Failure> {
        let Some(node) = self.node.as_ref().filter(|_| self.stays) else { return Ok(()) };
        let me = node.peer_id().to_bytes();
        for word in words_of(release, MAX_WORDS_OF_RELEASE) {
            let key = word_key(&self.config.packages_topic, &word, word_bucket(&me, &word));
            node.provide_word(key).await.map_err(failure::stopped)?;
        }
        Ok(())
    }
}
