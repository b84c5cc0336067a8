//! Trust: which publisher a name means to this home, and the commands that decide it.

use std::{collections::BTreeMap, sync::Arc};

use super::{clock, failure, storage::Storage};
use crate::{
    ErrorKind, Failure, Operation, TrustAddRequest, TrustRemoveRequest, TrustReport,
    error::hint,
    home::Permission,
    identity::PublisherId,
    index::{Claim, VersionEntry},
    package::PackageId,
    trust::{Claimant, Evidence, KnownBy, TrustError, TrustFile, Trusted, TrustedBy, contenders},
};

/// The publisher that a name means, before any peer is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meaning {
    /// `None` if only the claims on the name can tell.
    pub(super) publisher: Option<PublisherId>,
    pub(super) known_by: KnownBy,
}

impl Meaning {
    /// The claims on the name decide.
    pub(super) const OPEN: Self = Self { publisher: None, known_by: KnownBy::Claim };

    /// Adds to a failure why only this publisher was looked for.
    pub(super) fn explain(self, failure: Failure, package: &PackageId) -> Failure {
        let Some(publisher) = self.publisher else { return failure };
        let namespace = package.namespace();
        let why = match self.known_by {
            KnownBy::File => format!("you trust the publisher {publisher} for `{namespace}`"),
            KnownBy::FirstUse => format!("this home first fetched a package of `{namespace}` from {publisher}"),
            KnownBy::Own => format!("`{package}` is a package of this home, of the publisher {publisher}"),
            KnownBy::Target | KnownBy::Claim => return failure,
        };
        let mut failure = failure;
        failure.causes.push(why);
        match self.known_by {
            KnownBy::File | KnownBy::FirstUse => failure.hinted(hint![
                "if the namespace has another publisher now, ",
                Operation::TrustAdd.on(format!("{namespace} PUBLISHER")),
                format!("; name another one once as `PUBLISHER/{package}`")
            ]),
            _ => failure,
        }
    }
}

/// Decides and remembers which publisher a name means.
#[derive(Clone, Debug)]
pub(crate) struct Trust {
    pub(super) storage: Storage,
    pub(super) file: Arc<TrustFile>,
    /// As in [`Services`](super::Services).
    pub(super) permission: Option<Permission>,
}

impl Trust {
    /// Returns the publisher that a name means to this home; `target` is the publisher in the name.
    ///
    /// # Errors
    /// [`ErrorKind::Verification`] if the trust file is damaged.
    pub(super) async fn meaning(&self, target: Option<PublisherId>, package: &PackageId) -> Result<Meaning, Failure> {
        let evidence = match target {
            Some(_) => Evidence { target, ..Evidence::default() },
            None => {
                let (trust, catalog, package) =
                    (Arc::clone(&self.file), Arc::clone(&self.storage.catalog), package.clone());
                self.storage
                    .run(move || {
                        let own = catalog.own_publishers_of(&package).map_err(failure::catalog)?;
                        let trusted = trust.of(package.namespace()).map_err(refused)?;
                        Ok(Evidence { target, trusted, own })
                    })
                    .await?
            }
        };
        let (publisher, known_by) = evidence.publisher().unzip();
        Ok(Meaning { publisher, known_by: known_by.unwrap_or(KnownBy::Claim) })
    }

    /// Returns the publishers that are trusted for namespaces.
    ///
    /// # Errors
    /// As [`Self::meaning`].
    pub(super) async fn trusted(&self) -> Result<BTreeMap<String, Trusted>, Failure> {
        let trust = Arc::clone(&self.file);
        self.storage.run(move || trust.all().map_err(refused)).await
    }

    /// Returns the publishers that contend for a name, `claimants`, without those that yanked every version.
    pub(super) async fn contenders(
        &self,
        package: &PackageId,
        claimants: Vec<PublisherId>,
        claims: &[Claim],
    ) -> Result<Vec<PublisherId>, Failure> {
        if claimants.len() < 2 {
            return Ok(claimants);
        }
        let versions = |publisher: &PublisherId| {
            let of = claims.iter().filter(|claim| claim.publisher() == *publisher);
            of.flat_map(Claim::versions).map(|entry: &VersionEntry| entry.yanked).collect::<Vec<_>>()
        };
        let claimed: Vec<_> = claimants.iter().map(|publisher| (*publisher, versions(publisher))).collect();
        let package = package.clone();
        self.storage
            .with_catalog(move |catalog| {
                let known = catalog.releases(&package)?;
                let claimant = |(publisher, mut yanked): (PublisherId, Vec<bool>)| {
                    let theirs = known.iter().filter(|entry| entry.release.record().publisher == publisher);
                    yanked.extend(theirs.map(|entry| entry.yanked));
                    Claimant { publisher, is_yanked: !yanked.is_empty() && yanked.iter().all(|yanked| *yanked) }
                };
                let claimants: Vec<_> = claimed.into_iter().map(claimant).collect();
                Ok(contenders(&claimants))
            })
            .await
    }

    /// Trusts the publisher of a package that was fetched by its claim alone for the namespace from now on. Returns false if
    /// the home cannot be written to, or trusts a publisher for the namespace meanwhile.
    pub(super) async fn note_first_use(&self, package: &PackageId, publisher: PublisherId) -> Result<bool, Failure> {
        if self.permission.as_ref().is_some_and(|permission| permission.require().is_err()) {
            return Ok(false);
        }
        let (trust, namespace) = (Arc::clone(&self.file), package.namespace().to_owned());
        let trusted = Trusted { publisher, since: clock::now(), known_by: TrustedBy::FirstUse };
        self.storage.run(move || trust.set_if_new(&namespace, &trusted).map_err(refused)).await
    }

    /// Lists the namespaces of which this home knows the publisher.
    pub(crate) async fn list(&self) -> Result<Vec<TrustReport>, Failure> {
        let (trust, catalog) = (Arc::clone(&self.file), Arc::clone(&self.storage.catalog));
        self.storage
            .run(move || {
                let mut reports: Vec<_> = trust
                    .all()
                    .map_err(refused)?
                    .iter()
                    .map(|(namespace, trusted)| report(namespace, trusted))
                    .collect();
                for publisher in catalog.own_publishers().map_err(failure::catalog)? {
                    let packages = catalog.packages_of(&publisher).map_err(failure::catalog)?;
                    let mut namespaces: Vec<_> = packages.iter().map(PackageId::namespace).collect();
                    namespaces.dedup();
                    reports.extend(namespaces.into_iter().map(|namespace| TrustReport {
                        namespace: namespace.to_owned(),
                        publisher: publisher.to_string(),
                        since: None,
                        known_by: KnownBy::Own,
                        replaced: None,
                    }));
                }
                reports.sort_by(|a, b| (&a.namespace, a.known_by).cmp(&(&b.namespace, b.known_by)));
                Ok(reports)
            })
            .await
    }

    /// Trusts a publisher for a namespace.
    pub(crate) async fn add(&self, request: TrustAddRequest) -> Result<TrustReport, Failure> {
        let TrustAddRequest { namespace, publisher } = request;
        check_namespace(&namespace)?;
        let publisher: PublisherId = publisher.parse().map_err(failure::usage)?;
        let trusted = Trusted { publisher, since: clock::now(), known_by: TrustedBy::User };
        let trust = Arc::clone(&self.file);
        self.storage
            .run(move || {
                let former = trust.set(&namespace, &trusted).map_err(refused)?;
                let replaced = former.filter(|former| former.publisher != publisher);
                let replaced = replaced.map(|former| former.publisher.to_string());
                Ok(TrustReport { replaced, ..report(&namespace, &trusted) })
            })
            .await
    }

    /// Trusts no publisher for a namespace any more.
    pub(crate) async fn remove(&self, request: TrustRemoveRequest) -> Result<TrustReport, Failure> {
        let TrustRemoveRequest { namespace } = request;
        check_namespace(&namespace)?;
        let trust = Arc::clone(&self.file);
        self.storage
            .run(move || match trust.remove(&namespace).map_err(refused)? {
                Some(trusted) => Ok(report(&namespace, &trusted)),
                None => Err(Failure::new(ErrorKind::NotFound, format!("no publisher is trusted for `{namespace}`"))
                    .hinted(hint![Operation::TrustList, " shows the namespaces"])),
            })
            .await
    }
}

fn check_namespace(namespace: &str) -> Result<(), Failure> {
    PackageId::check_namespace(namespace).map_err(failure::usage)
}

fn report(namespace: &str, trusted: &Trusted) -> TrustReport {
    TrustReport {
        namespace: namespace.to_owned(),
        publisher: trusted.publisher.to_string(),
        since: Some(trusted.since.to_string()),
        known_by: trusted.known_by.into(),
        replaced: None,
    }
}

/// The failure for a trust file that cannot be used. No name is resolved without it: it may name the publisher.
fn refused(error: TrustError) -> Failure {
    let kind = match &error {
        TrustError::Damaged { .. } => ErrorKind::Verification,
        TrustError::Io { .. } | TrustError::Home(_) => ErrorKind::Failed,
    };
    let hint = match &error {
        TrustError::Damaged { path, .. } => {
            let path = path.display();
            Some(format!("correct `{path}`, or put a backup in its place; without it no name can be trusted").into())
        }
        _ => None,
    };
    Failure { hint, ..Failure::from_error(kind, &error) }
}
