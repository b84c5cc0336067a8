//! Announces this node as a provider of keywords in the ggen DHT, so that searching peers find nodes to query.

use super::{Operations, failure};
use crate::{
    Failure,
    index::{word_bucket, word_key, words_of},
    package::Release,
};

/// Maximum keywords announced per release: those with the highest weight.
const MAX_WORDS_OF_RELEASE: usize = 16;

impl Operations {
    /// Announces this node under the keywords of a release that it holds and continues to hold. The node limits the
    /// total number of its keywords. A short-lived node announces none.
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
