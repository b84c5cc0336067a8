//! Announces this node as a provider of keywords in the ggen DHT, so that searching peers find nodes to query.

use std::sync::Arc;

use super::failure;
use crate::{
    Config, Failure,
    index::{word_bucket, word_key, words_of},
    node::Handle,
    package::Release,
};

/// Maximum keywords announced per release: those with the highest weight.
const MAX_WORDS_OF_RELEASE: usize = 16;

/// Announces keywords.
#[derive(Clone, Debug)]
pub(super) struct KeywordProvider {
    /// `None` for a node that does not stay, which announces none.
    pub(super) node: Option<Handle>,
    pub(super) config: Arc<Config>,
}

impl KeywordProvider {
    /// Announces this node under the keywords of a release that it holds and continues to hold. The node limits the
    /// total number of its keywords.
    pub(super) async fn provide_words(&self, release: &Release) -> Result<(), Failure> {
        let Some(node) = &self.node else { return Ok(()) };
        let me = node.peer_id().to_bytes();
        for word in words_of(release, MAX_WORDS_OF_RELEASE) {
            let key = word_key(&self.config.packages_topic, &word, word_bucket(&me, &word));
            node.provide_word(key).await.map_err(failure::stopped)?;
        }
        Ok(())
    }
}
