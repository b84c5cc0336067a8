//! Validates values for the node's record store, which does not know their format: they are sets of claims.

use std::{sync::Arc, time::SystemTime};

use super::peers::is_lie;
use crate::{
    identity::{KnownSignatures, Timestamp},
    index::{ClaimError, ClaimSet},
    node::{RecordValidator, Refused},
};

/// Accepts sets of verified claims that belong under their key, and merges them.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClaimValidator {
    /// Signatures verified already, because the same claim arrives under several keys and by gossip.
    pub(crate) signatures: Arc<KnownSignatures>,
}

impl RecordValidator for ClaimValidator {
    fn admit(&self, key: &[u8], stored: Option<&[u8]>, offered: &[u8], now: SystemTime) -> Result<Vec<u8>, Refused> {
        let now = Timestamp::from_system(now);
        let refused = |error: &ClaimError, is_lie| Refused { reason: error.to_string(), is_lie };
        let verify = |value: &[u8]| ClaimSet::verify_with(key, value, now, &*self.signatures);
        let mut set = verify(offered).map_err(|error| refused(&error, is_lie(&error)))?;
        // Errors from here on are not due to the offered value.
        let merged = match stored {
            Some(stored) => verify(stored).and_then(|stored| set.merge(stored)),
            None => Ok(()),
        };
        merged.and_then(|()| set.encode()).map_err(|error| refused(&error, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        index::package_key,
        ops::{
            loopback::{PATIENCE, pair, publish},
            testing::eventually,
        },
    };

    #[tokio::test(flavor = "multi_thread")]
    async fn who_puts_a_record_that_does_not_verify_is_to_blame_and_nobody_else() {
        let (alice, bob) = pair().await;
        let bob_is = bob.listening().peer_id.parse().unwrap();
        let book = &alice.services().peers;
        // A valid record does not change the reputation of its sender.
        publish(&bob, "honest", "1.0.0", 1, 10).await;
        bob.settle(PATIENCE).await.unwrap();
        let package = "tests/forged".parse().unwrap();
        let node = bob.services().node().unwrap();
        node.publish(package_key(&package), b"no set of claims".to_vec()).await.unwrap();
        eventually(&alice, "the record is judged", async || book.reputation(&bob_is) < 1.0).await;
        let history = book.history(&bob_is).unwrap();
        assert_eq!(history.iter().map(|event| event.event.as_str()).collect::<Vec<_>>(), ["invalid_record"]);
        let alice_is = alice.listening().peer_id.parse().unwrap();
        assert_eq!(bob.services().peers.reputation(&alice_is), 1.0);
    }

    #[test]
    fn only_what_was_offered_speaks_against_who_offered_it() {
        let now = SystemTime::now();
        let refused = ClaimValidator::default().admit(b"/ggen/pub/x", None, b"garbage", now).unwrap_err();
        assert!(refused.is_lie, "{refused:?}");
    }
}
