//! Messages between nodes about packages: questions and their answers, in canonical dag-cbor with bounded size and
//! counts.
//!
//! | message | form |
//! |---|---|
//! | search question | `{type: "ggen/search-question/v1", topic, query, category, tags, limit, have}`: `have` are marks of releases that the requester has found already |
//! | search answer | `{type: "ggen/search-answer/v1", hits: [[claim, holds], ...], held}`: each hit a claim on one package that the requester lacks, and whether the responder has its content; `held` are the marks of `have` whose content the responder has |
//! | catalog question | `{"known": {topic, known: [[publisher, identity seq, log seq, marks], ...], news}}`, or `{"pull": {topic, publisher, after, until, have}}` |
//! | catalog answer | `{"known": [summary, ...]}`, or `{"page": {chain, head, refresh, releases, claims, next}}`, or `{"nothing": null}` |
//! | claim question | `{type: "ggen/claim-question/v1", topic, publisher, package}` |
//! | claim answer | the responder's newest claim of that publisher on that package, or 0 bytes |
//!
//! Marks are 8 bytes, big endian, concatenated: the last bytes of a release's CID. Nothing of an answer is used before
//! it is verified. An answer that contains unrequested records is refused as a whole.

use std::collections::HashSet;

use ggen_blockstore::Cid;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::{
    identity::{
        Checks, Envelope, IdentityChain, PublisherId, RecordError, Signed, Timestamp, decode_canonical,
        encode_canonical,
    },
    index::{
        Claim, ClaimError, HeadOrder, MAX_QUERY_BYTES, MAX_TOPIC_BYTES, Page, Pull, SearchFilters, Summary,
        VerifiedHead,
    },
    package::{MAX_NAME_CHARS, MAX_VERSION_CHARS, PackageId},
};

/// Most summaries of one message.
pub(crate) const MAX_SUMMARIES: usize = 512;
/// Most publishers that an answer may name in addition to the requested ones.
pub(crate) const MAX_NEWS: usize = 64;
/// Most marks of one question.
pub(crate) const MAX_HAVE: usize = 4096;
/// Most hits of one answer.
const MAX_HITS: usize = 64;
/// Most tags of one question.
const MAX_TAGS: usize = 16;
/// Longest category or tag, in bytes.
const MAX_FILTER_BYTES: usize = 512;
/// Largest messages in bytes; the limits of the protocols that carry them are not lower.
const MAX_QUESTION_BYTES: usize = 64 << 10;
const MAX_ANSWER_BYTES: usize = 512 << 10;

const SEARCH_QUESTION: &str = "ggen/search-question/v1";
const SEARCH_ANSWER: &str = "ggen/search-answer/v1";
const CLAIM_QUESTION: &str = "ggen/claim-question/v1";
/// Largest claim question in bytes; the limit of the protocol is not lower.
const MAX_CLAIM_QUESTION_BYTES: usize = 1 << 10;

/// Asks which packages match a search query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SearchQuestion {
    r#type: String,
    /// The network's gossip topic.
    pub(crate) topic: String,
    pub(crate) query: String,
    pub(crate) category: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) limit: u64,
    have: ByteBuf,
}

impl SearchQuestion {
    /// Creates a question; values beyond the limits are omitted.
    pub(crate) fn new(topic: &str, query: &str, filters: &SearchFilters, limit: usize, have: &[u64]) -> Self {
        Self {
            r#type: SEARCH_QUESTION.to_owned(),
            topic: topic.to_owned(),
            query: query.to_owned(),
            category: filters.category.clone(),
            tags: filters.tags.iter().take(MAX_TAGS).cloned().collect(),
            limit: limit.min(MAX_HITS) as u64,
            have: write_marks(have.iter().take(MAX_HITS).copied()),
        }
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>, RecordError> {
        encode_canonical("search question", self, MAX_QUESTION_BYTES)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, ClaimError> {
        let question: Self = decode_canonical("search question", bytes, MAX_QUESTION_BYTES)?;
        match question.r#type == SEARCH_QUESTION && question.is_bounded() {
            true => Ok(question),
            false => Err(form("its fields are out of bounds")),
        }
    }

    /// Returns whether the question is within the limits that responders enforce.
    pub(crate) fn is_bounded(&self) -> bool {
        self.topic.len() <= MAX_TOPIC_BYTES
            && self.query.len() <= MAX_QUERY_BYTES
            && self.tags.len() <= MAX_TAGS
            && self.tags.iter().chain(&self.category).all(|text| text.len() <= MAX_FILTER_BYTES)
            && (1..=MAX_HITS as u64).contains(&self.limit)
            && read_marks(&self.have, MAX_HITS).is_some()
    }

    /// Marks of the releases that the requester has found already.
    pub(crate) fn have(&self) -> HashSet<u64> {
        read_marks(&self.have, MAX_HITS).into_iter().flatten().collect()
    }

    pub(crate) fn filters(&self) -> SearchFilters {
        SearchFilters { category: self.category.clone(), tags: self.tags.clone(), known_before: None }
    }
}

/// One hit of an answer, not yet verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OfferedHit(pub(crate) ByteBuf, pub(crate) bool);

/// The matching packages that the responder knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SearchAnswer {
    r#type: String,
    pub(crate) hits: Vec<OfferedHit>,
    held: ByteBuf,
}

impl SearchAnswer {
    pub(crate) fn new(hits: Vec<OfferedHit>, held: &[u64]) -> Self {
        Self { r#type: SEARCH_ANSWER.to_owned(), hits, held: write_marks(held.iter().copied()) }
    }

    /// Marks of the releases that the requester has found already and whose content the responder has.
    pub(crate) fn held(&self) -> Vec<u64> {
        read_marks(&self.held, MAX_HITS).unwrap_or_default()
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>, RecordError> {
        encode_canonical("search answer", self, MAX_ANSWER_BYTES)
    }

    /// Decodes an answer of at most `limit` hits.
    pub(crate) fn decode(bytes: &[u8], limit: u64) -> Result<Self, ClaimError> {
        let answer: Self = decode_canonical("search answer", bytes, MAX_ANSWER_BYTES)?;
        if answer.r#type != SEARCH_ANSWER {
            return Err(form("its type is another"));
        }
        if read_marks(&answer.held, MAX_HITS).is_none() {
            return Err(form("its marks are out of bounds"));
        }
        match answer.hits.len() as u64 <= limit {
            true => Ok(answer),
            false => Err(form("it has more hits than were asked for")),
        }
    }
}

/// Asks for the newest claim of a publisher on one package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClaimQuestion {
    r#type: String,
    /// The network's gossip topic.
    pub(crate) topic: String,
    pub(crate) publisher: PublisherId,
    pub(crate) package: PackageId,
}

impl ClaimQuestion {
    pub(crate) fn new(topic: &str, publisher: PublisherId, package: PackageId) -> Self {
        Self { r#type: CLAIM_QUESTION.to_owned(), topic: topic.to_owned(), publisher, package }
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>, RecordError> {
        encode_canonical("claim question", self, MAX_CLAIM_QUESTION_BYTES)
    }

    /// Decodes a question that was received in the network of `topic`.
    pub(crate) fn decode(bytes: &[u8], topic: &str) -> Result<Self, ClaimError> {
        let question: Self = decode_canonical("claim question", bytes, MAX_CLAIM_QUESTION_BYTES)?;
        match (question.r#type == CLAIM_QUESTION, question.topic == topic) {
            (false, _) => Err(form("its type is another")),
            (true, false) => Err(ClaimError::OtherTopic { actual: question.topic }),
            (true, true) => Ok(question),
        }
    }
}

/// Asks for catalog records that the requester lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CatalogQuestion {
    /// About these publishers, and about up to `news` further ones.
    Known { known: Vec<Summary>, news: u64 },
    /// About the releases of one publisher.
    Pull(Box<Pull>),
}

/// The responder's answer to a [`CatalogQuestion`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CatalogAnswer {
    /// Publishers of which the responder may have more records.
    Known(Vec<Summary>),
    /// Some of one publisher's releases, not yet verified.
    Page(Vec<u8>),
    /// The responder has nothing to offer.
    Nothing,
}

#[derive(Serialize, Deserialize)]
struct WireSummary(ByteBuf, u64, u64, u64);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum WireQuestion {
    Known {
        topic: String,
        known: Vec<WireSummary>,
        news: u64,
    },
    Pull {
        topic: String,
        publisher: Box<PublisherId>,
        after: (String, String),
        until: Option<(String, String)>,
        have: ByteBuf,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum WireAnswer {
    Known(Vec<WireSummary>),
    Page(WirePage),
    Nothing,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WirePage {
    chain: Vec<Envelope>,
    head: Option<Envelope>,
    refresh: Option<Envelope>,
    releases: Vec<Envelope>,
    claims: Vec<ByteBuf>,
    next: Option<(String, String)>,
}

impl CatalogQuestion {
    pub(crate) fn encode(&self, topic: &str) -> Result<Vec<u8>, RecordError> {
        let topic = topic.to_owned();
        let wire = match self {
            Self::Known { known, news } => {
                WireQuestion::Known { topic, known: known.iter().map(write_summary).collect(), news: *news }
            }
            Self::Pull(pull) => {
                let mut marks: Vec<u64> = pull.have.iter().copied().collect();
                marks.sort_unstable();
                let have = write_marks(marks.into_iter());
                let (after, until) = (pull.after.clone(), pull.until.clone());
                WireQuestion::Pull { topic, publisher: Box::new(pull.publisher), after, until, have }
            }
        };
        encode_canonical("catalog question", &wire, MAX_QUESTION_BYTES)
    }

    /// Decodes a question that was received in the network of `topic`.
    pub(crate) fn decode(bytes: &[u8], topic: &str) -> Result<Self, ClaimError> {
        let wire: WireQuestion = decode_canonical("catalog question", bytes, MAX_QUESTION_BYTES)?;
        let check = |theirs: &str| match theirs == topic {
            true => Ok(()),
            false => Err(ClaimError::OtherTopic { actual: theirs.chars().take(MAX_TOPIC_BYTES).collect() }),
        };
        match wire {
            WireQuestion::Known { topic, known, news } => {
                check(&topic)?;
                Ok(Self::Known { known: read_summaries(known, MAX_SUMMARIES)?, news: news.min(MAX_NEWS as u64) })
            }
            WireQuestion::Pull { topic, publisher, after, until, have } => {
                check(&topic)?;
                let marks = read_marks(&have, MAX_HAVE).filter(|_| is_place(&after) && until.iter().all(is_place));
                let marks = marks.ok_or_else(|| form("its range or its marks are out of bounds"))?;
                let have = marks.into_iter().collect();
                Ok(Self::Pull(Box::new(Pull { publisher: *publisher, after, until, have })))
            }
        }
    }
}

impl CatalogAnswer {
    /// Encodes an answer that lists publishers of which the responder may have more records.
    pub(crate) fn known(summaries: &[Summary]) -> Result<Vec<u8>, RecordError> {
        let wire = WireAnswer::Known(summaries.iter().map(write_summary).collect());
        encode_canonical("catalog answer", &wire, MAX_ANSWER_BYTES)
    }

    pub(crate) fn page(page: Option<&Page>) -> Result<Vec<u8>, RecordError> {
        let wire = match page {
            None => WireAnswer::Nothing,
            Some(page) => WireAnswer::Page(WirePage {
                chain: page.chain.documents().iter().map(|document| document.envelope().clone()).collect(),
                head: page.head.as_ref().map(|head| head.head().envelope().clone()),
                refresh: page.head.as_ref().and_then(|head| Some(head.refresh()?.envelope().clone())),
                releases: page.releases.iter().map(|release| release.envelope().clone()).collect(),
                claims: page.claims.iter().map(|claim| ByteBuf::from(claim.encoded())).collect(),
                next: page.next.clone(),
            }),
        };
        encode_canonical("catalog answer", &wire, MAX_ANSWER_BYTES)
    }

    /// Decodes an answer; [`read_page`] checks the contents of a page.
    pub(crate) fn decode(bytes: Vec<u8>) -> Result<Self, ClaimError> {
        let wire: WireAnswer = decode_canonical("catalog answer", &bytes, MAX_ANSWER_BYTES)?;
        Ok(match wire {
            WireAnswer::Known(known) => Self::Known(read_summaries(known, MAX_SUMMARIES + MAX_NEWS)?),
            WireAnswer::Page(_) => Self::Page(bytes),
            WireAnswer::Nothing => Self::Nothing,
        })
    }
}

/// Decodes a page and checks everything that can be checked without the catalog: it belongs to the publisher and lies
/// within the range, and the current keys have signed every release.
pub(crate) fn read_page(bytes: &[u8], pull: &Pull, now: Timestamp, checks: &dyn Checks) -> Result<Page, ClaimError> {
    let wire: WireAnswer = decode_canonical("catalog answer", bytes, MAX_ANSWER_BYTES)?;
    let WireAnswer::Page(wire) = wire else { return Err(form("it is no page")) };
    let chain = IdentityChain::verify_with(wire.chain, checks)?;
    if chain.publisher() != pull.publisher {
        return Err(form("it is of another publisher"));
    }
    let head = wire.head.map(|head| VerifiedHead::verify_with(head, wire.refresh, &chain, now, checks)).transpose()?;
    let within =
        |place: &(String, String)| *place > pull.after && pull.until.as_ref().is_none_or(|until| place <= until);
    let mut releases = Vec::with_capacity(wire.releases.len());
    for envelope in wire.releases {
        let release: Signed<crate::package::Release> = envelope.open_with(checks)?;
        let record = release.record();
        if record.publisher != pull.publisher || !within(&(record.package.to_string(), record.version.to_string())) {
            return Err(form("a release in it was not asked for"));
        }
        chain.authorise(&release)?;
        releases.push(release);
    }
    let claims =
        wire.claims.iter().map(|claim| Claim::verify_with(claim, now, checks)).collect::<Result<Vec<_>, _>>()?;
    if claims.iter().any(|claim| claim.publisher() != pull.publisher) {
        return Err(form("a claim in it is of another publisher"));
    }
    if wire.next.as_ref().is_some_and(|next| !within(next) || !is_place(next)) {
        return Err(form("it goes on outside the range"));
    }
    Ok(Page { chain, head, releases, claims, next: wire.next })
}

fn form(reason: &str) -> ClaimError {
    ClaimError::Message { reason: reason.to_owned() }
}

/// The mark of a release in questions and answers of a search.
pub(crate) fn search_mark(release: &Cid) -> u64 {
    let digest = release.hash().digest();
    let last = digest.last_chunk().copied().unwrap_or_default();
    u64::from_be_bytes(last)
}

fn write_marks(marks: impl Iterator<Item = u64>) -> ByteBuf {
    ByteBuf::from(marks.flat_map(u64::to_be_bytes).collect::<Vec<_>>())
}

/// Decodes marks; `None` if they are malformed or more than `limit`.
fn read_marks(bytes: &[u8], limit: usize) -> Option<Vec<u64>> {
    let (marks, rest) = bytes.as_chunks();
    (rest.is_empty() && marks.len() <= limit).then(|| marks.iter().copied().map(u64::from_be_bytes).collect())
}

/// Returns whether package and version are within their maximum lengths.
fn is_place(place: &(String, String)) -> bool {
    place.0.len() <= 2 * MAX_NAME_CHARS + 1 && place.1.len() <= MAX_VERSION_CHARS
}

fn write_summary(summary: &Summary) -> WireSummary {
    let HeadOrder { identity_seq, log_seq } = summary.order;
    WireSummary(ByteBuf::from(summary.publisher.to_bytes()), identity_seq, log_seq, summary.marks)
}

fn read_summaries(wire: Vec<WireSummary>, limit: usize) -> Result<Vec<Summary>, ClaimError> {
    if wire.len() > limit {
        return Err(form("it names too many publishers"));
    }
    let read = |WireSummary(publisher, identity_seq, log_seq, marks): WireSummary| {
        let publisher = PublisherId::from_bytes(&publisher).ok_or_else(|| form("it names what is no publisher"))?;
        Ok(Summary { publisher, order: HeadOrder { identity_seq, log_seq }, marks })
    };
    wire.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests;
