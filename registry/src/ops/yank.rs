//! Yank: excludes a version from version selection. An exact version is still resolved. Its content is not removed:
//! what was published cannot be revoked from other peers.

use std::sync::Arc;

use semver::Version;
use tokio::sync::Mutex;

use super::{
    CatalogEvents, LogWriter, LostKeys, OwnHead, Signing, Step, Steps,
    announcer::{Announcer, claim},
    check_signing_clock, clock,
    failure::{self, usage},
    storage::Storage,
};
use crate::{
    ErrorKind, Failure, Interrupt, Operation, Progress, Reporter, Setting, YankRequest, Yanked,
    error::hint,
    identity::{KeyPair, PublisherId},
    index::{Claim, LogAction, MAX_REASON_BYTES, PublicationError, PublisherState, VerifiedHead, VersionEntry, Walk},
    keys::PublisherKeys,
    package::{PackageId, nearest_package},
};

/// Yanks versions.
#[derive(Clone, Debug)]
pub(crate) struct Yanker {
    pub(super) storage: Storage,
    pub(super) lost_keys: LostKeys,
    pub(super) news: CatalogEvents,
    pub(super) announcer: Announcer,
    pub(super) own_head: OwnHead,
    pub(super) writer: LogWriter,
    /// Held while a publish signs.
    pub(super) publishing: Arc<Mutex<Steps>>,
}

impl Yanker {
    /// Yanks a version of a package of this home, or undoes a yank.
    pub(crate) async fn yank(&self, request: YankRequest, interrupt: Interrupt) -> Result<Yanked, Failure> {
        if request.reason.as_ref().is_some_and(|reason| reason.len() > MAX_REASON_BYTES) {
            return Err(usage(format!("a reason has at most {MAX_REASON_BYTES} bytes")));
        }
        let signing = Signing::new(request.key.clone(), request.trust_clock);
        let name = format!("{}@{}", request.package, request.version);
        let _shut = signing.commit.shut_when_dropped();
        let signed = self.sign_yank(request, signing.clone());
        let (mut yanked, claim) = signing.commit.or_shut(&interrupt, signed).await?;
        let Some(claim) = claim else { return Ok(yanked) };
        tokio::select! {
            told = self.announcer.tell_claim(&claim) => match told {
                Ok(to) => yanked.announced_to = to,
                Err(failure) => yanked.warnings.push(failure.while_doing("it is not announced").in_one_line()),
            },
            () = interrupt.wait() => return Err(signed_already(&name)),
        }
        Ok(yanked)
    }

    async fn sign_yank(&self, request: YankRequest, signing: Signing) -> Result<(Yanked, Option<Claim>), Failure> {
        // The blocking work owns the lock, because it continues if the caller drops this future.
        let one_at_a_time = Arc::clone(&self.publishing).lock_owned().await;
        let keys = self.lost_keys.keys.publisher(&signing.name)?;
        let Some(keys) = keys else { return Err(self.lost_keys.no_key(&signing.name)?) };
        self.own_head.log.head_to_follow(&signing, &keys.chain)?;
        self.own_head.hear_own_head(&signing.name).await?;
        let silent: Arc<dyn Reporter> = Arc::new(|_: Progress| {});
        self.own_head.catch_up(&signing, &keys.chain, (&request.package, &request.version), silent).await?;
        let yanker = self.clone();
        self.storage
            .run(move || {
                let mut steps = one_at_a_time;
                yanker.yank_here(&mut steps, &keys, &request, &signing)
            })
            .await
    }

    /// Signs and stores a yank. It needs no network. Returns the claim to announce; `None` if nothing has changed or
    /// the claim could not be built.
    fn yank_here(
        &self,
        steps: &mut Steps,
        keys: &PublisherKeys,
        request: &YankRequest,
        signing: &Signing,
    ) -> Result<(Yanked, Option<Claim>), Failure> {
        let YankRequest { package, version, undo, reason, .. } = request;
        let publisher = keys.chain.publisher();
        let now = clock::now_to_sign()?;
        let head = self.own_head.log.head_to_follow(signing, &keys.chain)?;
        let signers: [&KeyPair; 1] = [&keys.signing];
        let state = PublisherState { chain: &keys.chain, keys: &signers, head: head.as_ref() };
        let flag = (!undo).then(|| reason.clone());
        let step = crate::index::set_yanked(state, (package, version), flag, |cid| self.storage.store.get(cid), now);
        let step = step.map_err(|error| self.yank_failed(error, &publisher))?;
        let unchanged = match step {
            Some(_) => None,
            None => self.own_version(head.as_ref(), package, version)?,
        };
        let signed = step.as_ref().and_then(|step| match &step.log.record().action {
            LogAction::Yank { version, .. } | LogAction::Unyank { version, .. } => Some(version),
            _ => None,
        });
        let version = signed.or(unchanged.as_ref().map(|entry| &entry.version)).unwrap_or(version).clone();
        let mut warnings = Vec::new();
        let claim = match &step {
            None => None,
            Some(publication) => {
                check_signing_clock(signing, head.as_ref(), now)?;
                let step = Step { chain: &keys.chain, former: head.as_ref(), publication, package };
                warnings = self.writer.keep_publication(steps, signing, &step, None)?;
                let claim = claim(&self.storage, &keys.chain, &publication.head, package);
                let unclaimed = |failure: Failure| failure.while_doing("it is not announced").in_one_line();
                claim.map_err(|failure| warnings.push(unclaimed(failure))).ok().map(|(claim, _)| claim)
            }
        };
        let yanked = Yanked {
            package: package.to_string(),
            version: version.to_string(),
            yanked: !undo,
            reason: match step {
                Some(_) => reason.clone().filter(|_| !undo),
                None if *undo => None,
                None => unchanged.and_then(|entry| entry.reason),
            },
            publisher: publisher.to_string(),
            unchanged: step.is_none(),
            announced_to: 0,
            warnings,
        };
        if let Some(claim) = &claim {
            self.news.tell_all(claim);
        }
        Ok((yanked, claim))
    }

    /// A version in the catalog of this home's publisher.
    fn own_version(
        &self,
        head: Option<&VerifiedHead>,
        package: &PackageId,
        version: &Version,
    ) -> Result<Option<VersionEntry>, Failure> {
        let Some(head) = head else { return Ok(None) };
        let walk = Walk::new(&head.head().record().catalog, package);
        let found = walk.run(|cid| self.storage.store.get(cid)).map_err(failure::failed)?;
        let at = VersionEntry::position(&found.entries, version);
        Ok(at.map(|at| found.entries[at].clone()))
    }

    fn yank_failed(&self, error: PublicationError, publisher: &PublisherId) -> Failure {
        let PublicationError::NoSuchVersion { package, .. } = &error else { return failure::failed(error) };
        match self.storage.catalog.packages_of(publisher) {
            Ok(own) if !own.contains(package) => not_published(package, &own),
            _ => Failure::from_error(ErrorKind::NotFound, &error).hinted(hint![
                Operation::Info.on(package.to_string()).with(Setting::Versions),
                " lists the versions there are"
            ]),
        }
    }
}

/// The failure of a yank that was interrupted after its commit point.
pub(crate) fn signed_already(name: &str) -> Failure {
    Failure::new(ErrorKind::Interrupted, format!("interrupted, but what was asked of {name} is signed already"))
        .hinted("a node that runs here announces it")
}

/// Maximum number of packages that an error lists.
const MAX_NAMED: usize = 5;

/// The failure of a yank of a package that this publisher has not published. `own` are the packages that it has
/// published.
fn not_published(package: &PackageId, own: &[PackageId]) -> Failure {
    let failure = Failure::new(ErrorKind::NotFound, format!("you have not published a package `{package}`"));
    if let Some(near) = nearest_package(package, own.iter().cloned()) {
        return failure.hinted(format!("did you mean `{near}`?"));
    }
    let named: Vec<_> = own.iter().take(MAX_NAMED).map(|own| format!("`{own}`")).collect();
    let more = own.len().saturating_sub(MAX_NAMED);
    match (named.is_empty(), more) {
        (true, _) => failure.hinted(hint![
            Operation::Publish,
            " publishes a package; ",
            Setting::Key.to("NAME"),
            " names another key"
        ]),
        (false, 0) => failure.hinted(format!("check the name: you have published {}", named.join(", "))),
        (false, more) => {
            failure.hinted(format!("check the name: you have published {} and {more} more", named.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_that_was_not_published_is_answered_with_those_that_were() {
        let packages = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect::<Vec<PackageId>>();
        let hint =
            |own: &[&str]| not_published(&"acme/htttp".parse().unwrap(), &packages(own)).hint.unwrap().to_string();
        assert_eq!(hint(&["acme/http", "acme/json"]), "did you mean `acme/http`?");
        assert_eq!(hint(&["b/json"]), "check the name: you have published `b/json`");
        assert!(hint(&["b/1", "b/2", "b/3", "b/4", "b/5", "b/6"]).ends_with("`b/5` and 1 more"));
        assert!(hint(&[]).contains("publish"));
    }
}
