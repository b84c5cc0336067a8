//! Hints: what the user can do, with operations and settings as data.
//!
//! The library does not know how a program offers its operations. A program words each [`Action`] as its users perform
//! it ([`Hint::worded`]). `Display` names the operations of this library.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What the user can do about a failure. It is serialised as a string if it names no action, otherwise as a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Wire", into = "Wire")]
pub struct Hint(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Piece {
    Text(String),
    Action(Action),
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Wire {
    Text(String),
    Pieces(Vec<Piece>),
}

/// An operation with settings, or settings of the operation that failed. A value in capitals, such as `ADDRESS`, stands
/// for one that the user knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// The operation; `None` for the one that failed.
    pub operation: Option<Operation>,
    /// What it is performed on.
    pub on: Option<String>,
    /// Its settings, with the values that the hint gives them.
    pub settings: Vec<(Setting, Option<String>)>,
    /// Whether the hint only mentions the operation, so that its short name is enough.
    pub is_mention: bool,
}

/// An operation that a hint names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each has the name of its operation")]
pub enum Operation {
    Bootstrap,
    Config,
    Doctor,
    Fetch,
    Gc,
    /// The description of `gpack.toml`, which is no operation of the library.
    GpackGuide,
    Info,
    Keys,
    MirrorAdd,
    MirrorLs,
    PeerList,
    PeerReset,
    PinAdd,
    PinLs,
    Publish,
    RecoveryKeyConfirm,
    RecoveryKeyShow,
    Search,
    Start,
    Stop,
    TrustAdd,
    TrustList,
    Verify,
    Yank,
}

/// A setting of an operation that a hint names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each has the name of its field in a request or in the configuration")]
pub enum Setting {
    AllowSecrets,
    Bootstrap,
    Daemon,
    Force,
    Home,
    Key,
    Listen,
    Local,
    MinReputation,
    Namespace,
    Offline,
    Output,
    Provider,
    Repair,
    SkipVerify,
    Tar,
    Timeout,
    TrustClock,
    Update,
    /// The user, by id, that performs the operation.
    User,
    Version,
    Versions,
}

impl Hint {
    /// Appends text, an action, or another hint.
    #[must_use]
    pub fn and(mut self, more: impl Into<Self>) -> Self {
        self.0.extend(more.into().0);
        self
    }

    /// Returns the text, with each action as `word` words it.
    pub fn worded(&self, word: impl Fn(&Action) -> String) -> String {
        let pieces = self.0.iter().map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Action(action) => word(action),
        });
        pieces.collect()
    }

    /// Returns what stands before `suffix`, if the hint ends with it.
    pub(crate) fn strip_suffix(&self, suffix: &Self) -> Option<Self> {
        self.0.strip_suffix(&suffix.0[..]).map(|before| Self(before.to_vec()))
    }

    /// Returns the text that it begins with; empty if it begins with an action.
    pub(crate) fn first_text(&self) -> &str {
        match self.0.first() {
            Some(Piece::Text(text)) => text,
            Some(Piece::Action(_)) | None => "",
        }
    }

    /// Returns the actions that it names, in their order.
    pub fn actions_mut(&mut self) -> impl Iterator<Item = &mut Action> {
        self.0.iter_mut().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Action(action) => Some(action),
        })
    }
}

impl Operation {
    /// The operation on `subject`.
    pub fn on(self, subject: impl Into<String>) -> Action {
        Action { on: Some(subject.into()), ..self.into() }
    }

    /// The operation with settings.
    pub fn with(self, settings: impl Into<Action>) -> Action {
        Action::from(self).with(settings)
    }

    /// The operation, only mentioned.
    pub fn mentioned(self) -> Action {
        Action::from(self).mentioned()
    }
}

impl Setting {
    /// The setting with a value.
    pub fn to(self, value: impl Into<String>) -> Action {
        Action { settings: vec![(self, Some(value.into()))], ..Action::default() }
    }
}

impl Action {
    /// Adds settings.
    #[must_use]
    pub fn with(mut self, settings: impl Into<Self>) -> Self {
        self.settings.extend(settings.into().settings);
        self
    }

    /// Only mentions the operation.
    #[must_use]
    pub fn mentioned(self) -> Self {
        Self { is_mention: true, ..self }
    }
}

impl From<Wire> for Hint {
    fn from(wire: Wire) -> Self {
        match wire {
            Wire::Text(text) => text.into(),
            Wire::Pieces(pieces) => Self(pieces),
        }
    }
}

impl From<Hint> for Wire {
    fn from(Hint(pieces): Hint) -> Self {
        let texts = pieces.iter().map(|piece| match piece {
            Piece::Text(text) => Some(text.as_str()),
            Piece::Action(_) => None,
        });
        texts.collect::<Option<String>>().map_or(Self::Pieces(pieces), Self::Text)
    }
}

impl From<String> for Hint {
    fn from(text: String) -> Self {
        Self(vec![Piece::Text(text)])
    }
}

impl From<&str> for Hint {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl<T: Into<Action>> From<T> for Hint {
    fn from(action: T) -> Self {
        Self(vec![Piece::Action(action.into())])
    }
}

impl From<Operation> for Action {
    fn from(operation: Operation) -> Self {
        Self { operation: Some(operation), ..Self::default() }
    }
}

impl From<Setting> for Action {
    fn from(setting: Setting) -> Self {
        Self { settings: vec![(setting, None)], ..Self::default() }
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.worded(ToString::to_string))
    }
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, on, settings, .. } = self;
        match operation {
            Some(Operation::GpackGuide) => formatter.write_str("the description of gpack.toml")?,
            Some(operation) => {
                formatter.write_str("the operation `")?;
                operation.serialize(&mut *formatter)?;
                formatter.write_str("`")?;
            }
            None => {}
        }
        on.iter().try_for_each(|on| write!(formatter, " on `{on}`"))?;
        for (index, (setting, value)) in settings.iter().enumerate() {
            formatter.write_str(if operation.is_some() || index > 0 {
                " with the setting `"
            } else {
                "the setting `"
            })?;
            setting.serialize(&mut *formatter)?;
            formatter.write_str("`")?;
            value.iter().try_for_each(|value| write!(formatter, " (`{value}`)"))?;
        }
        Ok(())
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(formatter)
    }
}

/// Makes a [`Hint`] of texts, operations and settings.
macro_rules! hint {
    ($($piece:expr),+ $(,)?) => {
        $crate::Hint::default()$(.and($piece))+
    };
}
pub(crate) use hint;

#[cfg(test)]
mod tests {
    use super::*;

    fn connect() -> Hint {
        let fetch = Operation::Fetch.on("acme/http").with(Setting::Provider.to("ADDRESS"));
        hint!["connect with ", Operation::Bootstrap.on("ADDRESS"), ", or ", fetch, ", without ", Setting::Offline]
    }

    #[test]
    fn hint_reads_as_a_sentence_without_a_command_line() {
        assert_eq!(
            connect().to_string(),
            "connect with the operation `bootstrap` on `ADDRESS`, or the operation `fetch` on `acme/http` with the \
             setting `provider` (`ADDRESS`), without the setting `offline`"
        );
    }

    #[test]
    fn program_words_the_actions_as_its_users_perform_them() {
        let worded = connect().worded(|action| format!("[{:?}]", action.operation));
        assert_eq!(worded, "connect with [Some(Bootstrap)], or [Some(Fetch)], without [None]");
    }
}
