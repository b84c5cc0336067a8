//! The signed records, and what is made of them: for programs that read or write what nodes exchange.
//!
//! A publisher's [`IdentityChain`] says which keys sign for it. A signed [`Release`] names the content of one version of a
//! package; its block manifest lists every block. The publisher's log, catalog tree and [`Head`] name all releases, and a
//! [`Claim`] proves the newest one to a peer. The [`Catalog`] keeps what was verified, the [`PeerBook`] what is known of
//! peers. `docs/formats.md` has the encodings.
//!
//! Programs that publish and install packages need none of this: see [`Registry`](crate::Registry) and
//! [`P2PRegistry`](crate::P2PRegistry).

pub use crate::{
    database::DatabaseError,
    identity::{
        ChainError, ChainOrder, Envelope, IDENTITY_ENTROPY_BYTES, IdentityChain, IdentityDocument, MAX_CHAIN_BYTES,
        MAX_CHAIN_DOCUMENTS, MAX_RECOVERY_KEYS, MAX_SIGNATURES, MAX_SIGNING_KEYS, NewIdentity, PublicKey, Record,
        RecordCid, RecordError, RecordKind, SIGNATURE_BYTES, Signature, Signed,
    },
    index::{
        Acceptance, Announcement, CLOCK_TOLERANCE, Catalog, CatalogCounts, CatalogError, CatalogTree, Claim,
        ClaimAcceptance, ClaimEntry, ClaimError, ClaimSet, Equivocation, Found, HEAD_LIFETIME, Head, HeadError,
        HeadOrder, HeadVerdict, Hit, LogAction, LogEntry, MAX_ANNOUNCEMENT_BYTES, MAX_CLAIM_BYTES, MAX_CLAIM_SET_BYTES,
        MAX_CLAIMS, MAX_QUERY_BYTES, MAX_REASON_BYTES, MAX_SEARCH_LIMIT, MAX_TOPIC_BYTES, Matcher, Publication,
        PublicationError, PublishOutcome, PublisherEntry, PublisherState, Refresh, Refusal, ReleaseEntry, Salvaged,
        SearchFilters, StoredRecords, TreeError, TreeListing, VerifiedHead, VersionEntry, WORD_BUCKETS, Walk,
        check_clock, judge_head, list_packages, merge_claims, package_key, publish, publisher_key, qualified_key,
        refresh, rotate, set_yanked, word_bucket, word_key, words_of,
    },
    manifest::{
        MANIFEST_CHUNK_BYTES, MAX_MANIFEST_ENTRIES, ManifestBuilder, ManifestChunk, ManifestEntry, ManifestError,
        ManifestReader, ManifestSummary,
    },
    package::{
        Gpack, GpackError, MAX_DEPENDENCIES, MAX_GPACK_BYTES, MAX_INLINE_EXECUTABLES_BYTES, MAX_NAME_CHARS,
        MAX_VERSION_CHARS, NamedFile, Release, UnknownKey,
    },
    peers::{MAX_HISTORY, MAX_LISTED, MAX_PACKAGES, MAX_PEERS, PeerBook, PeerBookError},
};
