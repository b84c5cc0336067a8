//! The package index: logs, heads and catalogs of publishers, the messages that carry them, and the local database of
//! known publishers.
//!
//! A publisher's *log* is the hash chain of all its actions. Its *catalog* is a Merkle map from package to versions:
//! the state that results from the log. Its *head* signs both. A *claim* carries one package's latest release with the
//! proof that the head's catalog contains it; an *announcement* carries a claim by gossip. The [`Catalog`] database
//! stores the accepted records, and can be rebuilt from the signed records alone.
//!
//! *Invariants*: nothing enters the database unverified; the highest head seen of each publisher only rises; merging
//! claims does not depend on their order.
//!
//! *Non-goals*: no peers and no network. Time is an argument.

#[cfg(test)]
pub(crate) mod actor;
mod announcement;
mod catalog;
mod claim;
mod error;
mod exchange;
mod head;
mod keys;
mod log;
mod publication;
mod replay;
mod terms;
mod tree;

pub use announcement::{Announcement, MAX_ANNOUNCEMENT_BYTES, MAX_TOPIC_BYTES};
pub use catalog::{
    Acceptance, Catalog, CatalogCounts, CatalogError, ClaimAcceptance, Hit, MAX_QUERY_BYTES, MAX_SEARCH_LIMIT, Matcher,
    PublisherEntry, Refusal, ReleaseEntry, Salvaged, SearchFilters, StoredRecords, words_of,
};
pub(crate) use catalog::{Page, Pull, Summary};
pub use claim::{Claim, ClaimEntry, ClaimSet, MAX_CLAIM_BYTES, MAX_CLAIM_SET_BYTES, MAX_CLAIMS, merge_claims};
pub use error::{ClaimError, HeadError, PublicationError, TreeError};
pub(crate) use exchange::{
    CatalogAnswer, CatalogQuestion, ClaimQuestion, MAX_HAVE, MAX_NEWS, MAX_SUMMARIES, OfferedHit, SearchAnswer,
    SearchQuestion, read_page, search_mark,
};
pub use head::{
    CLOCK_TOLERANCE, Equivocation, HEAD_LIFETIME, Head, HeadOrder, HeadVerdict, Refresh, VerifiedHead, judge_head,
};
pub use keys::{WORD_BUCKETS, package_key, publisher_key, qualified_key, word_bucket, word_key};
pub use log::{LogAction, LogEntry, MAX_REASON_BYTES};
pub use publication::{Publication, PublishOutcome, PublisherState, check_clock, publish, refresh, rotate, set_yanked};
pub(crate) use publication::{check_build, check_same_tree};
pub(crate) use replay::replay;
pub(crate) use terms::looked_up;
pub(crate) use tree::write_tree;
pub use tree::{CatalogTree, Found, TreeListing, VersionEntry, Walk, list_packages};
