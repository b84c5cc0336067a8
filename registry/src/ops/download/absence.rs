//! Explains why blocks did not arrive, as far as a download knows: the message of its error, and the hint.

use std::{fmt, time::Duration};

use ggen_blockstore::Cid;
use libp2p::PeerId;

use crate::{Hint, Operation, Setting, error::hint, identity::Timestamp, ops::denial::undeny};

/// What a download fetches, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subject {
    /// `ns/name`, with `@version` once the version is selected.
    pub(crate) name: String,
    /// Its name in the peer book, once its publisher is known.
    pub(crate) provision: Option<String>,
    /// The date of its publisher's newest record that this home knows.
    pub(crate) signed: Option<Timestamp>,
}

/// A peer that had blocks, or that the caller named as a provider, and that is no longer connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LostPeer {
    pub(crate) peer: PeerId,
    /// How long ago the connection was lost.
    pub(crate) ago: Duration,
    /// Why the last attempt to reconnect failed.
    pub(crate) reason: Option<String>,
}

impl fmt::Display for LostPeer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { peer, ago, reason } = self;
        write!(formatter, "the connection to {peer} was lost {} s ago", ago.as_secs())?;
        match reason {
            Some(reason) => write!(formatter, " and cannot be made again: {reason}"),
            None => Ok(()),
        }
    }
}

/// The state of a download that has received no new block until its timeout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Absence {
    /// Time since the last new block.
    pub(crate) waited: Duration,
    /// Wanted blocks that have not arrived.
    pub(crate) missing: usize,
    pub(crate) peers_asked: usize,
    /// Peers that have not responded to a request.
    pub(crate) silent: usize,
    /// Whether some blocks were received from a peer.
    pub(crate) began: bool,
    /// Whether the caller named peers.
    pub(crate) named: bool,
    pub(crate) lost: Vec<LostPeer>,
    /// Peers on the list of those denied that may have it.
    pub(crate) denied: Vec<PeerId>,
    /// Peers that sent bytes which match no block that was requested.
    pub(crate) wrong: Vec<PeerId>,
    pub(crate) subject: Option<Subject>,
    /// The most recently seen of the known but disconnected providers, and when it was seen.
    pub(crate) last_seen: Option<(PeerId, Timestamp)>,
    pub(crate) now: Timestamp,
}

impl Absence {
    /// Returns what cannot be fetched, and why, in one line.
    pub(crate) fn headline(&self, target: &Cid) -> String {
        let what = match &self.subject {
            Some(subject) => subject.name.clone(),
            None => target.to_string(),
        };
        if !self.is_nowhere() {
            return format!("cannot fetch {what}");
        }
        let it = if self.began { "all of it" } else { "it" };
        let since = self.since_when().map(|since| format!("; {since}")).unwrap_or_default();
        format!("cannot fetch {what}: no connected peer and no provider has {it}{since}")
    }

    /// Returns when a provider or a record of the publisher was last seen, if known.
    fn since_when(&self) -> Option<String> {
        if let Some((peer, seen)) = self.last_seen {
            return Some(format!("{peer}, which had it, was last seen {}", at(seen, self.now)));
        }
        let signed = self.subject.as_ref()?.signed?;
        Some(format!("the newest record of its publisher is from {}", at(signed, self.now)))
    }

    /// Returns whether every known peer has responded that it does not have the blocks.
    pub(crate) fn is_nowhere(&self) -> bool {
        self.lost.is_empty() && self.silent == 0
    }

    /// Returns the peers that sent wrong bytes for the missing blocks, if every other known peer has responded that it
    /// does not have them.
    pub(crate) fn liars(&self) -> &[PeerId] {
        if self.is_nowhere() { &self.wrong } else { &[] }
    }

    /// Returns what the user can do. If the caller has named a peer, the hint suggests another one.
    pub(crate) fn hint(&self) -> Hint {
        if let Some(peer) = self.denied.first().filter(|_| self.is_nowhere()) {
            return hint![undeny(peer), "; then it is asked again"];
        }
        self.other_source()
    }

    fn other_source(&self) -> Hint {
        match (self.named, self.lost.is_empty()) {
            (true, false) => {
                hint![
                    "check that the peer named with ",
                    Setting::Provider,
                    " still runs, name another peer that has it, or wait longer with ",
                    Setting::Timeout.to("SECS"),
                    "; what has come so far is kept"
                ]
            }
            (true, true) => {
                hint![
                    "name another peer that has it with ",
                    Operation::Fetch.with(Setting::Provider.to("ADDRESS")).mentioned(),
                    ", or wait longer with ",
                    Setting::Timeout.to("SECS")
                ]
            }
            (false, false) => {
                hint![
                    "run the same command again when that peer can be reached: what has come so far is kept; or name \
                     another peer that has it with ",
                    Operation::Fetch.with(Setting::Provider.to("ADDRESS")).mentioned()
                ]
            }
            (false, true) if self.peers_asked == 0 => {
                hint![
                    "no peer is connected: name one that has it with ",
                    Operation::Fetch.with(Setting::Provider.to("ADDRESS")).mentioned(),
                    ", or see ",
                    Operation::Doctor
                ]
            }
            (false, true) => {
                hint![
                    "name a peer that has it with ",
                    Operation::Fetch.with(Setting::Provider.to("ADDRESS")).mentioned(),
                    ", or wait longer with ",
                    Setting::Timeout.to("SECS")
                ]
            }
        }
    }
}

impl fmt::Display for Absence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        write!(formatter, "timed out: no data for {} s (", self.waited.as_secs())?;
        write!(formatter, "{} block{} missing, ", self.missing, plural(self.missing))?;
        write!(formatter, "{} peer{} asked", self.peers_asked, plural(self.peers_asked))?;
        if self.silent > 0 {
            write!(formatter, ", {} without an answer", self.silent)?;
        }
        write!(formatter, ")")?;
        if let (Some(peer), true) = (self.denied.first(), self.is_nowhere()) {
            write!(formatter, "; {peer}")?;
            match self.denied.len() - 1 {
                0 => write!(formatter, " is denied and not asked")?,
                more => write!(formatter, " and {more} more are denied and not asked")?,
            }
        }
        self.lost.iter().try_for_each(|lost| write!(formatter, "; {lost}"))
    }
}

/// Formats a time and how long ago it is.
fn at(then: Timestamp, now: Timestamp) -> String {
    let ago = match now.as_unix().saturating_sub(then.as_unix()) {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} hours", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    };
    format!("{then}, {ago} ago")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn absence() -> Absence {
        let subject = Subject { name: "acme/http@1.2.0".to_owned(), provision: None, signed: None };
        Absence {
            waited: Duration::from_secs(5),
            missing: 1,
            peers_asked: 2,
            subject: Some(subject),
            ..Absence::default()
        }
    }

    #[test]
    fn a_package_that_nobody_has_is_named() {
        let cid = Cid::default();
        assert_eq!(absence().headline(&cid), "cannot fetch acme/http@1.2.0: no connected peer and no provider has it");
        assert_eq!(absence().to_string(), "timed out: no data for 5 s (1 block missing, 2 peers asked)");
        let unnamed = Absence { subject: None, silent: 1, ..absence() };
        assert_eq!(unnamed.headline(&cid), format!("cannot fetch {cid}"));
        assert!(unnamed.to_string().ends_with("2 peers asked, 1 without an answer)"), "{unnamed}");
    }

    #[test]
    fn it_is_told_since_when_a_package_is_gone() {
        let now = Timestamp::from_unix(1_700_000_000);
        let ago = |seconds: u64| Timestamp::from_unix(1_700_000_000 - seconds);
        let subject = Subject { name: "acme/http@1.2.0".to_owned(), provision: None, signed: Some(ago(7_300)) };
        let signed = Absence { subject: Some(subject), now, ..absence() };
        let told = "; the newest record of its publisher is from 2023-11-14T20:11:40Z, 2 hours ago";
        assert!(signed.headline(&Cid::default()).ends_with(told), "{}", signed.headline(&Cid::default()));
        let peer = PeerId::random();
        let seen = Absence { last_seen: Some((peer, ago(61))), ..signed };
        let told = format!("; {peer}, which had it, was last seen 2023-11-14T22:12:19Z, 61 s ago");
        assert!(seen.headline(&Cid::default()).ends_with(&told), "{}", seen.headline(&Cid::default()));
        assert!(
            at(ago(3 * 86_400), now).ends_with("3 days ago")
                && at(now.plus(Duration::from_secs(9)), now).ends_with("0 s ago")
        );
    }

    #[test]
    fn a_lost_connection_is_told_with_its_reason() {
        let peer = PeerId::random();
        let lost = LostPeer { peer, ago: Duration::from_secs(3), reason: Some("Connection refused".to_owned()) };
        let absence = Absence { lost: vec![lost], ..absence() };
        let told = format!("; the connection to {peer} was lost 3 s ago and cannot be made again: Connection refused");
        assert!(absence.to_string().ends_with(&told), "{absence}");
        assert_eq!(absence.headline(&Cid::default()), "cannot fetch acme/http@1.2.0", "it may have it");
    }

    #[test]
    fn a_denied_peer_is_named_with_the_command_that_allows_it_again() {
        let peer = PeerId::random();
        let denied = Absence { denied: vec![peer], ..absence() };
        assert!(denied.to_string().ends_with(&format!("; {peer} is denied and not asked")), "{denied}");
        assert!(denied.hint().to_string().contains(&format!("`peer_reset` on `{peer}`")), "{}", denied.hint());
        let silent = Absence { silent: 1, ..denied };
        assert!(!silent.hint().to_string().contains("reset"), "another peer may still answer: {}", silent.hint());
    }

    #[test]
    fn wrong_bytes_are_the_reason_only_if_no_other_peer_may_have_the_block() {
        let peer = PeerId::random();
        let wrong = Absence { wrong: vec![peer], ..absence() };
        assert_eq!(wrong.liars(), [peer]);
        assert!(Absence { silent: 1, ..wrong }.liars().is_empty());
    }

    #[test]
    fn who_has_named_a_peer_is_not_advised_to_name_it() {
        let named = |lost| Absence { named: true, lost, ..absence() };
        let lost = LostPeer { peer: PeerId::random(), ago: Duration::ZERO, reason: None };
        for absence in [named(Vec::new()), named(vec![lost])] {
            assert!(absence.hint().to_string().contains("name another"), "{}", absence.hint());
        }
        assert!(absence().hint().to_string().contains("name a peer"));
    }
}
