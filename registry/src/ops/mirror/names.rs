//! Resolves the bare name or namespace in a rule to a publisher.
//!
//! It is the publisher whose releases are already held under the rule. Until there are any, it is the only claimant in
//! the catalog, of the package or of the whole namespace. A publisher that later claims the name, or another name in
//! the namespace, is not mirrored.

use std::{collections::HashMap, sync::Arc};

use crate::{
    Config, ErrorKind, Failure, MirrorRule, MirrorScope, Operation,
    error::hint,
    identity::PublisherId,
    index::Catalog,
    mirror::{
        Book,
        plan::{Candidate, Chosen},
    },
    ops::{catalog_events::News, mirror::mirror_book::MirrorBook, storage::Storage},
};

/// The mirror's rules, and the publishers that their names mean.
#[derive(Clone, Debug)]
pub(crate) struct MirrorRules {
    pub(in crate::ops) storage: Storage,
    pub(in crate::ops) book: MirrorBook,
    pub(in crate::ops) config: Arc<Config>,
}

impl MirrorRules {
    /// Returns all rules with their origins. A rule given by a command overrides a rule of the configuration with the
    /// same scope.
    pub(super) async fn rules(&self) -> Result<Vec<(MirrorRule, &'static str)>, Failure> {
        let given = self.book.with(Book::rules).await?;
        let fixed = self.config.mirror.rules.iter().filter(|rule| !given.iter().any(|other| other.what == rule.what));
        let mut rules: Vec<_> = fixed.map(|rule| (rule.clone(), "config")).collect();
        rules.extend(given.into_iter().map(|rule| (rule, "command")));
        Ok(rules)
    }

    pub(super) async fn bare_rules(&self) -> Result<Vec<MirrorRule>, Failure> {
        Ok(self.rules().await?.into_iter().map(|(rule, _)| rule).collect())
    }

    /// Returns whether a rule may select the publisher of an event. The package of the event does not matter: every
    /// event may move the publisher's head, under which all its mirrored releases are proven.
    pub(in crate::ops) async fn concerns(&self, news: &News) -> bool {
        let rules = self.chosen().await.unwrap_or_default();
        rules.iter().any(|rule| rule.admits(&news.publisher))
    }

    /// Returns all rules, each with the publisher that its name resolves to.
    pub(super) async fn chosen(&self) -> Result<Vec<Chosen>, Failure> {
        let rules = self.bare_rules().await?;
        let meanings = self.book.with(Book::meanings).await?;
        self.storage
            .with_catalog(move |catalog| {
                let chosen = rules.into_iter().map(|rule| {
                    let meant = match meanings.get(&rule.what.to_string()) {
                        Some(publisher) => Some(*publisher),
                        None => only(&claimants(catalog, &rule.what)?),
                    };
                    Ok(Chosen { rule, meant })
                });
                chosen.collect()
            })
            .await
    }

    /// The names that mean no publisher because several claim them, each with these.
    pub(super) async fn contested(&self, rules: &[Chosen]) -> Result<HashMap<MirrorScope, Vec<PublisherId>>, Failure> {
        let open: Vec<_> =
            rules.iter().filter(|rule| rule.meant.is_none()).map(|rule| rule.rule.what.clone()).collect();
        self.storage
            .with_catalog(move |catalog| {
                let mut contested = HashMap::new();
                for what in open {
                    let claimants = claimants(catalog, &what)?;
                    if claimants.len() > 1 {
                        contested.insert(what, claimants);
                    }
                }
                Ok(contested)
            })
            .await
    }

    /// Tells the operator of names that mean no publisher because several claim them.
    pub(super) async fn warn_of_contested(&self, rules: &[Chosen]) -> Result<(), Failure> {
        for (what, claimants) in self.contested(rules).await? {
            let claimants = claimants.len();
            tracing::warn!(
                target: crate::LOG_TARGET, %what, claimants,
                "several publishers claim this name: a rule for `<publisher>/ns/name` selects one of them"
            );
        }
        Ok(())
    }

    /// Refuses a rule that would hold nothing, because several publishers claim what it is about.
    pub(super) async fn refuse_contested(&self, rule: &MirrorRule) -> Result<(), Failure> {
        let meanings = self.book.with(Book::meanings).await?;
        let meant = meanings.get(&rule.what.to_string()).copied();
        let contested = self.contested(&[Chosen { rule: rule.clone(), meant }]).await?;
        let Some(claimants) = contested.get(&rule.what) else { return Ok(()) };
        let what = match &rule.what {
            MirrorScope::Namespace(namespace) => format!("the namespace `{namespace}`"),
            what => format!("`{what}`"),
        };
        let forms = claimants.iter().map(|publisher| choice(&rule.what, publisher)).collect();
        let failure = Failure {
            causes: forms,
            ..Failure::new(
                ErrorKind::Verification,
                format!(
                    "{what} is claimed by {} publishers: a mirror keeps what one of them publishes",
                    claimants.len()
                ),
            )
        };
        Err(failure.hinted(match &rule.what {
            MirrorScope::Namespace(namespace) => hint![
                "name the publisher you mean: ",
                Operation::MirrorAdd.on("<publisher>"),
                ", or one of its packages: ",
                Operation::MirrorAdd.on(format!("<publisher>/{namespace}/name")).mentioned()
            ],
            what => hint!["name the publisher you mean: ", Operation::MirrorAdd.on(format!("<publisher>/{what}"))],
        }))
    }

    /// Keeps whose the names are under which something is held, and forgets those that no rule is about.
    pub(super) async fn keep_meanings(&self, rules: &[Chosen], releases: &[Candidate]) -> Result<(), Failure> {
        let is_held = |rule: &Chosen| releases.iter().any(|c| c.held && rule.covers(&c.publisher, &c.package));
        let kept = rules.iter().filter(|rule| is_held(rule));
        let kept: Vec<_> = kept.filter_map(|rule| Some((rule.rule.what.to_string(), rule.meant?))).collect();
        let names: Vec<_> = rules.iter().map(|rule| rule.rule.what.to_string()).collect();
        self.book
            .with(move |book| {
                let known = book.meanings()?;
                let fresh = kept.iter().filter(|(what, _)| !known.contains_key(what));
                fresh.into_iter().try_for_each(|(what, publisher)| book.set_meaning(what, publisher))?;
                known.keys().filter(|what| !names.contains(what)).try_for_each(|what| book.forget_meaning(what))
            })
            .await
    }
}

/// What a rule is about that means this publisher alone.
pub(super) fn choice(what: &MirrorScope, publisher: &PublisherId) -> String {
    match what {
        MirrorScope::Package(package) => MirrorScope::PackageOf(*publisher, package.clone()).to_string(),
        _ => publisher.to_string(),
    }
}

fn claimants(catalog: &Catalog, what: &MirrorScope) -> Result<Vec<PublisherId>, crate::index::CatalogError> {
    match what {
        MirrorScope::Package(package) => catalog.publishers_of(package),
        MirrorScope::Namespace(namespace) => catalog.publishers_in(namespace),
        MirrorScope::Publisher(_) | MirrorScope::PackageOf(..) | MirrorScope::All => Ok(Vec::new()),
    }
}

fn only(claimants: &[PublisherId]) -> Option<PublisherId> {
    match claimants {
        [claimant] => Some(*claimant),
        _ => None,
    }
}
