//! What is said of a name that was not found: that no publisher claims it, or that the peers that were asked did not answer.

use std::time::Duration;

use super::Resolver;
use crate::{
    ErrorKind, Failure, Hint, Listing, Operation, Setting,
    error::hint,
    node::Walked,
    ops::{denial::undeny, failure},
    package::PackageId,
};

/// How many of the peers that were asked have answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::ops) enum Hearing {
    /// Some have, or none was asked.
    #[default]
    Heard,
    /// None of so many has.
    Silence(usize),
    /// Some had not yet when the time was over.
    Unfinished(Duration),
}

impl Hearing {
    /// `walked` is who was asked, if all of them have answered or were given up.
    pub(in crate::ops) fn of(walked: Option<Walked>, waited: Duration) -> Self {
        match walked {
            Some(Walked { asked: asked @ 1.., answered: 0 }) => Self::Silence(asked),
            Some(_) => Self::Heard,
            None => Self::Unfinished(waited),
        }
    }

    /// Why what was heard is not all there may be.
    pub(super) fn incomplete(self) -> Option<String> {
        match self {
            Self::Heard => None,
            Self::Silence(1) => Some("the only peer that was asked has not answered".to_owned()),
            Self::Silence(asked) => Some(format!("none of the {asked} peers that were asked has answered")),
            Self::Unfinished(waited) => {
                Some(format!("the peers that were asked have not all answered within {} s", waited.as_secs()))
            }
        }
    }

    /// A version that is not known here may be known to peers that have not answered.
    pub(in crate::ops) fn beside(self, failure: Failure) -> Failure {
        match self.incomplete() {
            Some(why) if failure.kind == ErrorKind::NotFound => {
                let mut causes = failure.causes;
                causes.push(format!("timed out: {why}, and may know of more versions"));
                Failure { kind: ErrorKind::TimedOut, causes, ..failure }
            }
            _ => failure,
        }
    }
}

impl Resolver {
    /// The failure of a name that no publisher claims, as far as could be asked.
    pub(in crate::ops) async fn unclaimed(
        &self,
        package: &PackageId,
        hearing: Hearing,
        offline: bool,
    ) -> Result<Failure, Failure> {
        let asked = match &self.node {
            Some(node) if !offline => {
                let snapshot = node.snapshot().await.map_err(failure::stopped)?;
                Some((snapshot.connected.len(), snapshot.ggen_routing_peers))
            }
            _ => None,
        };
        if let (Some((1.., 1..)), Some(why)) = (asked, hearing.incomplete()) {
            return self.unanswered(package, &why).await;
        }
        let (why, advice) = match asked {
            Some((0, _)) => (
                ": it is not in this home, and no peer is connected that could be asked",
                hint![
                    "connect to a peer with ",
                    Operation::Bootstrap.on("ADDRESS"),
                    " or ",
                    Operation::Fetch.with(Setting::Provider.to("ADDRESS")).mentioned(),
                    "; ",
                    Operation::Doctor,
                    " says why none is connected"
                ],
            ),
            Some((_, 0)) => (
                ": it is not in this home, and none of the connected peers keeps names of this network",
                hint![
                    "connect to a peer that does with ",
                    Operation::Bootstrap.on("ADDRESS"),
                    "; ",
                    Operation::Doctor,
                    " says more"
                ],
            ),
            Some(_) => ("", hint!["connect to more peers with ", Operation::Bootstrap.on("ADDRESS")]),
            None => (" in this home", failure::online_hint()),
        };
        let failure = Failure::new(ErrorKind::NotFound, format!("package `{package}` not found{why}"));
        let denied = self.peers.listed(Listing::Denied).first().copied().filter(|_| matches!(asked, Some((0, _))));
        let advice = denied.map(|peer| hint!["; ", undeny(&peer)]).into_iter().fold(advice, Hint::and);
        Ok(failure.hinted(match self.nearest_known(package).await? {
            Some(near) => hint![format!("did you mean `{near}`? Otherwise "), advice],
            None => hint!["check the name, or ", advice],
        }))
    }

    /// The failure of a name of which those who were asked have not said whether it is claimed.
    async fn unanswered(&self, package: &PackageId, why: &str) -> Result<Failure, Failure> {
        let failure = Failure::new(ErrorKind::TimedOut, format!("timed out: {why}"));
        let failure = failure.while_doing(format!("cannot find out who claims `{package}`: it is not in this home"));
        let advice = hint![
            "run the same command again, with a longer ",
            Setting::Timeout.to("SECS"),
            ", or connect to another peer with ",
            Operation::Bootstrap.on("ADDRESS"),
            "; ",
            Operation::Doctor,
            " says more"
        ];
        Ok(failure.hinted(match self.nearest_known(package).await? {
            Some(near) => hint![format!("did you mean `{near}`? Otherwise "), advice],
            None => advice,
        }))
    }

    /// The known package that a misspelt name was probably meant as.
    pub(in crate::ops) async fn nearest_known(&self, package: &PackageId) -> Result<Option<PackageId>, Failure> {
        let package = package.clone();
        self.storage.with_catalog(move |catalog| catalog.nearest_package(&package)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_asked_and_did_not_answer_has_not_said_that_there_is_nothing() {
        let waited = Duration::from_secs(3);
        let hearing = |asked, answered| Hearing::of(Some(Walked { asked, answered }), waited);
        assert_eq!(hearing(0, 0).incomplete(), None, "there was no peer to ask");
        assert_eq!(hearing(3, 1).incomplete(), None);
        assert_eq!(hearing(1, 0).incomplete().unwrap(), "the only peer that was asked has not answered");
        assert_eq!(hearing(3, 0).incomplete().unwrap(), "none of the 3 peers that were asked has answered");
        assert!(Hearing::of(None, waited).incomplete().unwrap().contains("within 3 s"));
    }

    #[test]
    fn a_version_that_is_not_known_may_be_known_to_peers_that_have_not_answered() {
        let absent = || Failure::new(ErrorKind::NotFound, "there is no version 2.0.0");
        assert_eq!(Hearing::Heard.beside(absent()).kind, ErrorKind::NotFound);
        let beside = Hearing::Silence(1).beside(absent());
        assert_eq!((beside.kind, beside.causes.len()), (ErrorKind::TimedOut, 1));
        let refused = Failure::new(ErrorKind::Verification, "forged");
        assert_eq!(Hearing::Silence(1).beside(refused).kind, ErrorKind::Verification);
    }
}
