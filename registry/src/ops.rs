//! The services of the registry, and its operations, one file each: an operation names the services that it needs. Only
//! this module uses index, node and store together.

mod announcer;
pub(crate) mod blocking_thread;
mod catalog_events;
mod claim_lookup;
pub(crate) mod clock;
mod denial;
mod doctor;
mod download;
mod downloads;
mod exchange;
mod failure;
mod fetch;
mod gossip_intake;
mod info;
mod keyword_provider;
mod limiter;
#[cfg(test)]
mod loopback;
mod losses;
mod manifest_parts;
mod mirror;
pub(crate) mod node;
mod own_records;
mod peers;
mod pins;
mod publish;
mod publisher_id;
mod recent_sources;
mod record_validator;
mod references;
mod remembered;
mod resolve;
mod retrieval;
mod search;
mod storage;
mod store_quota;
#[cfg(test)]
mod testing;
mod trust;
mod verify;
mod yank;

use std::sync::{Arc, atomic::AtomicBool};

pub(crate) use catalog_events::CatalogEvents;
pub(crate) use exchange::Heard;
pub(crate) use failure::{book as book_failed, catalog as catalog_failed, failed};
pub(crate) use fetch::Destinations;
pub(crate) use losses::Losses;
pub(crate) use mirror::{Mirror, MirrorRules, MirrorState};
pub(crate) use own_records::{OwnRecords, records};
pub(crate) use peers::{KnownPeers, access_policies};
pub(crate) use pins::KeptPins;
pub(crate) use publish::{
    DryRun, Importer, Imports, Journal, LogWriter, LostKeys, OwnHead, OwnLog, Publisher, RECORD, STEP_ADDED, Signing,
    Step, Steps, check_signing_clock, published_already, recovery_key,
};
pub(crate) use recent_sources::Sources;
pub(crate) use record_validator::ClaimValidator;
pub(crate) use storage::Storage;
pub(crate) use verify::restore_own_records;
pub(crate) use yank::{Yanker, signed_already};

use self::{
    announcer::Announcer,
    blocking_thread::Blocking,
    claim_lookup::ClaimLookup,
    doctor::{Doctor, TargetCheck},
    downloads::Downloads,
    exchange::{CatalogExchange, answer::Answerer},
    fetch::Fetch,
    gossip_intake::GossipIntake,
    info::Info,
    keyword_provider::KeywordProvider,
    mirror::{Follower, Keeper, Publishers, Teller},
    peers::PeerReports,
    pins::Pins,
    resolve::Resolver,
    retrieval::Retriever,
    search::{PeerSearch, Search},
    store_quota::StoreQuota,
    trust::Trust,
    verify::Verify,
};
use crate::{Config, Failure, home::Permission, keys::KeyStore, node::Handle, peers::PeerBook, trust::TrustFile};

/// Composes services from the parts of a registry. Cheap to clone. Its methods only hand each service what it names.
#[derive(Clone, Debug)]
pub(crate) struct Services {
    pub(crate) config: Arc<Config>,
    /// Whether the home can be written to; `None` for a registry in memory.
    pub(crate) permission: Option<Permission>,
    pub(crate) storage: Storage,
    pub(crate) keys: KeyStore,
    pub(crate) peers: Arc<PeerBook>,
    /// `None` in offline mode.
    pub(crate) node: Option<Handle>,
    /// Whether the node is long-lived (`Daemon` or `Embedded`), so that it may announce itself as a provider of
    /// keywords.
    pub(crate) stays: bool,
    /// Whether catalog exchanges also request records of publishers that this home does not follow.
    pub(crate) follows: Arc<AtomicBool>,
    /// Notifies the catalog exchange of what gossip brought.
    pub(crate) heard: tokio::sync::mpsc::Sender<Heard>,
    /// Serializes publishes, because each signs a log entry on top of the one before.
    pub(crate) publishing: Arc<tokio::sync::Mutex<Steps>>,
    /// Remembers the files of imported directories.
    pub(crate) imports: Arc<Imports>,
    /// Remembers the trees written to destinations.
    pub(crate) destinations: Arc<Destinations>,
    /// Notified of every claim that was new to the catalog.
    pub(crate) news: CatalogEvents,
    /// A copy of the user's pins outside the store.
    pub(crate) kept_pins: Arc<KeptPins>,
    /// Serializes garbage collections and evictions.
    pub(crate) collecting: Arc<tokio::sync::Mutex<store_quota::Evictions>>,
    /// What the store has lost, until a repair acknowledges it.
    pub(crate) losses: Arc<Losses>,
    pub(crate) mirror: MirrorState,
    /// The publishers that this home trusts for namespaces.
    pub(crate) trust_file: Arc<TrustFile>,
    /// Recent claims of publishers, and the peers that sent them.
    pub(crate) sources: Arc<Sources>,
}

impl Services {
    /// Returns the services of an operation whose blocking steps run where `blocking` says.
    pub(crate) fn on(&self, blocking: Blocking) -> Self {
        Self { storage: Storage { blocking, ..self.storage.clone() }, ..self.clone() }
    }

    pub(crate) fn lost_keys(&self) -> LostKeys {
        LostKeys { storage: self.storage.clone(), keys: self.keys.clone() }
    }

    pub(crate) fn mirror_rules(&self) -> MirrorRules {
        MirrorRules { storage: self.storage.clone(), book: self.mirror.book.clone(), config: Arc::clone(&self.config) }
    }

    fn own_head(&self) -> OwnHead {
        let log = OwnLog {
            storage: self.storage.clone(),
            keys: self.keys.clone(),
            node: self.node.clone(),
            lookup: self.claim_lookup(),
            downloads: self.downloads(),
        };
        OwnHead {
            storage: self.storage.clone(),
            keys: self.keys.clone(),
            node: self.node.clone(),
            lookup: self.claim_lookup(),
            downloads: self.downloads(),
            log,
        }
    }

    pub(crate) fn journal(&self) -> Journal {
        Journal { storage: self.storage.clone() }
    }

    fn log_writer(&self) -> LogWriter {
        LogWriter { keys: self.keys.clone(), journal: self.journal() }
    }

    pub(crate) fn publisher(&self) -> Publisher {
        let importer = Importer {
            storage: self.storage.clone(),
            imports: Arc::clone(&self.imports),
            package_bytes: self.config.limits.package_bytes,
        };
        let dry_run =
            DryRun { storage: self.storage.clone(), lost_keys: self.lost_keys(), config: Arc::clone(&self.config) };
        Publisher {
            storage: self.storage.clone(),
            keys: self.keys.clone(),
            node: self.node.clone(),
            config: Arc::clone(&self.config),
            news: self.news.clone(),
            publishing: Arc::clone(&self.publishing),
            quota: self.store_quota(),
            downloads: self.downloads(),
            announcer: self.announcer(),
            importer,
            dry_run,
            own_head: self.own_head(),
            writer: self.log_writer(),
        }
    }

    pub(crate) fn yanker(&self) -> Yanker {
        Yanker {
            storage: self.storage.clone(),
            lost_keys: self.lost_keys(),
            news: self.news.clone(),
            announcer: self.announcer(),
            own_head: self.own_head(),
            writer: self.log_writer(),
            publishing: Arc::clone(&self.publishing),
        }
    }

    pub(crate) fn mirror(&self) -> Mirror {
        let publishers =
            Publishers { storage: self.storage.clone(), keys: self.keys.clone(), downloads: self.downloads() };
        let keeper = Keeper {
            mirror: self.mirror.clone(),
            storage: self.storage.clone(),
            rules: self.mirror_rules(),
            publishers: publishers.clone(),
            retriever: self.retriever(),
            announcer: self.announcer(),
            node: self.node.clone(),
        };
        let teller = Teller {
            mirror: self.mirror.clone(),
            storage: self.storage.clone(),
            publishers: publishers.clone(),
            announcer: self.announcer(),
            node: self.node.clone(),
        };
        let follower = Follower {
            mirror: self.mirror.clone(),
            storage: self.storage.clone(),
            publishers,
            keeper,
            teller,
            package_bytes: self.config.limits.package_bytes,
        };
        Mirror {
            mirror: self.mirror.clone(),
            storage: self.storage.clone(),
            lookup: self.claim_lookup(),
            news: self.news.clone(),
            changes: self.peers.bell().clone(),
            follower,
        }
    }

    pub(crate) fn gossip_intake(&self) -> GossipIntake {
        GossipIntake {
            storage: self.storage.clone(),
            peers: Arc::clone(&self.peers),
            news: self.news.clone(),
            sources: Arc::clone(&self.sources),
            rules: self.mirror_rules(),
            config: Arc::clone(&self.config),
            heard: self.heard.clone(),
        }
    }

    pub(crate) fn catalog_exchange(&self) -> CatalogExchange {
        CatalogExchange {
            storage: self.storage.clone(),
            peers: Arc::clone(&self.peers),
            news: self.news.clone(),
            config: Arc::clone(&self.config),
            follows: Arc::clone(&self.follows),
        }
    }

    pub(crate) fn answerer(&self) -> Answerer {
        Answerer { storage: self.storage.clone(), peers: Arc::clone(&self.peers), config: Arc::clone(&self.config) }
    }

    pub(crate) fn peer_reports(&self) -> PeerReports {
        PeerReports { peers: Arc::clone(&self.peers), node: self.node.clone() }
    }

    pub(crate) fn search(&self) -> Search {
        let network = self.node.as_ref().map(|node| PeerSearch {
            storage: self.storage.clone(),
            node: node.clone(),
            lookup: self.claim_lookup(),
            peers: Arc::clone(&self.peers),
            news: self.news.clone(),
            config: Arc::clone(&self.config),
        });
        Search { storage: self.storage.clone(), trust: self.trust(), peers: Arc::clone(&self.peers), network }
    }

    pub(crate) fn info(&self) -> Info {
        Info {
            storage: self.storage.clone(),
            downloads: self.downloads(),
            resolver: self.resolver(),
            node: self.node.clone(),
        }
    }

    pub(crate) fn pins(&self) -> Pins {
        Pins {
            storage: self.storage.clone(),
            downloads: self.downloads(),
            retriever: self.retriever(),
            kept: Arc::clone(&self.kept_pins),
        }
    }

    pub(crate) fn verify(&self) -> Verify {
        Verify {
            storage: self.storage.clone(),
            keys: self.keys.clone(),
            downloads: self.downloads(),
            resolver: self.resolver(),
            losses: Arc::clone(&self.losses),
            publishing: Arc::clone(&self.publishing),
        }
    }

    /// # Errors
    /// As [`node`](Self::node).
    pub(crate) fn doctor(&self) -> Result<Doctor, Failure> {
        let target = TargetCheck {
            storage: self.storage.clone(),
            downloads: self.downloads(),
            resolver: self.resolver(),
            retriever: self.retriever(),
        };
        Ok(Doctor {
            storage: self.storage.clone(),
            node: self.node()?.clone(),
            permission: self.permission.clone(),
            keys: self.keys.clone(),
            peers: Arc::clone(&self.peers),
            config: Arc::clone(&self.config),
            lost_keys: self.lost_keys(),
            target,
        })
    }

    pub(crate) fn claim_lookup(&self) -> ClaimLookup {
        ClaimLookup {
            storage: self.storage.clone(),
            node: self.node.clone(),
            config: Arc::clone(&self.config),
            news: self.news.clone(),
        }
    }

    pub(crate) fn resolver(&self) -> Resolver {
        Resolver {
            storage: self.storage.clone(),
            lookup: self.claim_lookup(),
            node: self.node.clone(),
            peers: Arc::clone(&self.peers),
            sources: Arc::clone(&self.sources),
            config: Arc::clone(&self.config),
            trust: self.trust(),
        }
    }

    pub(crate) fn retriever(&self) -> Retriever {
        Retriever { storage: self.storage.clone(), resolver: self.resolver(), quota: self.store_quota() }
    }

    pub(crate) fn fetch(&self) -> Fetch {
        Fetch {
            storage: self.storage.clone(),
            downloads: self.downloads(),
            retriever: self.retriever(),
            quota: self.store_quota(),
            destinations: Arc::clone(&self.destinations),
            sources: Arc::clone(&self.sources),
        }
    }

    pub(crate) fn downloads(&self) -> Downloads {
        Downloads {
            storage: self.storage.clone(),
            node: self.node.clone(),
            peers: Arc::clone(&self.peers),
            config: Arc::clone(&self.config),
        }
    }

    pub(crate) fn trust(&self) -> Trust {
        let (file, permission) = (Arc::clone(&self.trust_file), self.permission.clone());
        Trust { storage: self.storage.clone(), file, permission }
    }

    pub(crate) fn store_quota(&self) -> StoreQuota {
        StoreQuota {
            storage: self.storage.clone(),
            losses: Arc::clone(&self.losses),
            evictions: Arc::clone(&self.collecting),
            store_bytes: self.config.limits.store_bytes,
            package_bytes: self.config.limits.package_bytes,
        }
    }

    pub(crate) fn announcer(&self) -> Announcer {
        let keyword_node = self.node.clone().filter(|_| self.stays);
        Announcer {
            storage: self.storage.clone(),
            keys: self.keys.clone(),
            node: self.node.clone(),
            config: Arc::clone(&self.config),
            keywords: KeywordProvider { node: keyword_node, config: Arc::clone(&self.config) },
            mirrored: self.mirror.book.clone(),
            publishing: Arc::clone(&self.publishing),
            naming: Arc::clone(&self.mirror.naming),
        }
    }

    /// Returns the node.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`](crate::ErrorKind::Usage) if the registry runs offline.
    pub(crate) fn node(&self) -> Result<&Handle, Failure> {
        self.node.as_ref().ok_or_else(|| failure::usage("this registry runs offline"))
    }

    /// Fails if the home cannot be written to.
    pub(crate) fn require_writable(&self) -> Result<(), Failure> {
        Ok(self.permission.as_ref().map_or(Ok(()), Permission::require)?)
    }
}
