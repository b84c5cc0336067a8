//! Yank: a version is no longer to be chosen, except by those who name it or have locked it. Its content stays where it
//! is: nothing that was published can be taken out of the hands of others.

use std::sync::Arc;

use super::{
    Operations, Step, Steps, clock,
    failure::{self, usage},
};
use crate::{
    ErrorKind, Failure, YankRequest, Yanked,
    identity::KeyPair,
    index::{Claim, MAX_REASON_BYTES, PublicationError, PublisherState},
    keys::{DEFAULT_KEY, KeyStoreError},
};

impl Operations {
    /// Yanks a version of a package of one's own, or takes a yank back.
    pub(crate) async fn yank(self: &Arc<Self>, request: YankRequest) -> Result<Yanked, Failure> {
        if request.reason.as_ref().is_some_and(|reason| reason.len() > MAX_REASON_BYTES) {
            return Err(usage(format!("a reason has at most {MAX_REASON_BYTES} bytes")));
        }
        // Held by the work itself: whoever asked for it may go away while it goes on.
        let one_at_a_time = Arc::clone(&self.publishing).lock_owned().await;
        let operations = Arc::clone(self);
        let signed = failure::blocking(move || {
            let mut steps = one_at_a_time;
            operations.yank_here(&mut steps, &request)
        });
        let (mut yanked, claim) = signed.await?;
        if let Some(claim) = claim {
            yanked.announced_to = self.tell_claim(&claim).await?;
        }
        Ok(yanked)
    }

    /// Everything that needs no network. The claim is to be told to others; none if nothing has changed.
    fn yank_here(&self, steps: &mut Steps, request: &YankRequest) -> Result<(Yanked, Option<Claim>), Failure> {
        let YankRequest { package, version, undo, reason, key } = request;
        let name = key.as_deref().unwrap_or(DEFAULT_KEY);
        let keys = self.keys.publisher(name)?.ok_or_else(|| KeyStoreError::Unknown { name: name.to_owned() })?;
        let publisher = keys.chain.publisher();
        let known = self.catalog.publisher(&publisher).map_err(failure::failed)?;
        let head = known.and_then(|known| known.head);
        let signers: [&KeyPair; 1] = [&keys.signing];
        let state = PublisherState { chain: &keys.chain, keys: &signers, head: head.as_ref() };
        let flag = (!undo).then(|| reason.clone());
        let now = clock::now();
        let step = crate::index::set_yanked(state, (package, version), flag, |cid| self.store.get(cid), now);
        let step = step.map_err(yank_failed)?;
        let claim = match &step {
            None => None,
            Some(publication) => {
                let step = Step { chain: &keys.chain, former: head.as_ref(), publication, package };
                self.keep_publication(steps, name, &step, None)?;
                Some(self.claim(&keys.chain, &publication.head, package)?.0)
            }
        };
        let yanked = Yanked {
            package: package.to_string(),
            version: version.to_string(),
            yanked: !undo,
            reason: reason.clone().filter(|_| !undo && step.is_some()),
            publisher: publisher.to_string(),
            unchanged: step.is_none(),
            announced_to: 0,
        };
        if let Some(claim) = &claim {
            self.news.tell_all(claim);
        }
        Ok((yanked, claim))
    }
}

fn yank_failed(error: PublicationError) -> Failure {
    match &error {
        PublicationError::NoSuchVersion { package, .. } => Failure::from_error(ErrorKind::NotFound, &error)
            .hinted(format!("`ggen marketplace p2p info {package} --versions` lists the versions there are")),
        _ => failure::failed(error),
    }
}
