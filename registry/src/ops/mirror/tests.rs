//! Mirrors without a network: each test decides which blocks are available.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use ggen_blockstore::{Block, Cid};
use tempfile::TempDir;

use crate::{
    Config, GcRequest, Mode, Progress, PublishRequest, Published, Registry,
    identity::Timestamp,
    index::Claim,
    mirror::plan::Candidate,
    ops::{catalog_events::News, clock, mirror::*},
    package::PackageId,
};

/// A registry in a home of its own, without a node.
struct Home {
    registry: Registry,
    home: TempDir,
}

impl Home {
    async fn open() -> Self {
        let home = tempfile::tempdir().unwrap();
        let registry = Registry::open(home.path(), Config::default(), Mode::Offline).await.unwrap();
        Self { registry, home }
    }

    fn services(&self) -> &crate::ops::Services {
        self.registry.services()
    }

    async fn publish(&self, name: &str, version: &str) -> Published {
        self.publish_of(name, version, 10_000).await
    }

    /// Publishes `acme/name` with a file of at least `bytes` bytes.
    async fn publish_of(&self, name: &str, version: &str, bytes: usize) -> Published {
        let root = self.home.path().join(format!("{name}-{version}"));
        std::fs::create_dir_all(&root).unwrap();
        let gpack = format!("[package]\nname = \"{name}\"\nversion = \"{version}\"\ndescription = \"for a test\"\n");
        std::fs::write(root.join("gpack.toml"), gpack).unwrap();
        let text = format!("{name} {version} ");
        std::fs::write(root.join("data"), text.repeat(bytes / text.len() + 1)).unwrap();
        let request = PublishRequest {
            path: root,
            version: None,
            namespace: Some("acme".to_owned()),
            key: None,
            trust_clock: false,
            allow_secrets: false,
            user_ignore_file: None,
            skip_verify: false,
            dry_run: false,
            min_replicas: 0,
            timeout: Duration::from_secs(60),
        };
        self.registry.publish(request, Arc::new(|_: Progress| {})).await.unwrap()
    }

    /// Builds the claim on a package published by this registry.
    fn claim(&self, name: &str) -> Claim {
        let package: PackageId = format!("acme/{name}").parse().unwrap();
        let publisher = self.services().storage.catalog.own_publishers_of(&package).unwrap()[0];
        let entry = self.services().storage.catalog.publisher(&publisher).unwrap().unwrap();
        crate::ops::announcer::claim(&self.services().storage, &entry.chain, &entry.head.unwrap(), &package).unwrap().0
    }

    /// Adds the claim of another registry on a package to the catalog.
    fn hear(&self, other: &Self, name: &str) -> PublisherId {
        let claim = other.claim(name);
        self.services().storage.catalog.accept_claim(&claim, "test", clock::now()).unwrap();
        claim.publisher()
    }

    /// Copies all blocks of another registry except one.
    fn take_blocks(&self, other: &Self, but: Option<&str>) {
        let but: Option<Cid> = but.map(|cid| cid.parse().unwrap());
        for cid in other.services().storage.store.cids() {
            let cid = cid.unwrap();
            if Some(cid) != but {
                let data = other.services().storage.store.get(&cid).unwrap().unwrap();
                self.services().storage.store.put(&Block::verify(cid, data).unwrap()).unwrap();
            }
        }
    }

    async fn add(&self, what: &str, versions: Option<u32>, max_bytes: Option<u64>) {
        let rule = MirrorRule { what: what.parse().unwrap(), versions, max_bytes };
        self.registry.mirror_add(MirrorRequest { rule }).await.unwrap();
    }

    async fn rm(&self, what: &str) {
        let rule = MirrorRule { what: what.parse().unwrap(), versions: None, max_bytes: None };
        self.registry.mirror_rm(MirrorRequest { rule }).await.unwrap();
    }

    async fn follow(&self, publisher: PublisherId) -> Result<(), Failure> {
        self.services().mirror().follower.follow_publisher(publisher).await
    }

    /// Returns the held releases. Database and pins must agree on them.
    fn held(&self) -> Vec<String> {
        let releases = self.services().mirror.book.releases().unwrap();
        let held = releases.iter().filter(|release| release.held);
        let held: BTreeSet<_> = held.map(|held| format!("{}@{}", held.package, held.version)).collect();
        let pins = self.services().storage.store.pins();
        let labels = pins.iter().filter_map(|pin| pin.label.strip_prefix("mirror/")?.split_once('/'));
        let pinned: BTreeSet<_> = labels.map(|(_, name)| name.to_owned()).filter(|name| name.contains('@')).collect();
        assert_eq!(held, pinned);
        held.into_iter().collect()
    }

    /// Makes the held releases older than anything published within the same second.
    fn backdate(&self, package: &str) {
        let book = &self.services().mirror.book;
        for held in book.releases().unwrap().into_iter().filter(|held| held.package.as_str() == package) {
            let old = Candidate { created: Timestamp::from_unix(1), ..held.clone() };
            book.offer(&held.publisher, &held.package, &[]).unwrap();
            book.set_held(&held, false).unwrap();
            book.offer(&held.publisher, &held.package, std::slice::from_ref(&old)).unwrap();
            book.set_held(&old, true).unwrap();
        }
    }

    fn mirror_pins(&self) -> usize {
        self.services().storage.store.pins().iter().filter(|pin| pin.label.starts_with("mirror/")).count()
    }
}

#[tokio::test]
async fn what_is_held_stays_until_what_replaces_it_is_here() {
    let (alice, mirror) = (Home::open().await, Home::open().await);
    alice.publish("http", "1.0.0").await;
    mirror.add("acme/http", Some(1), None).await;
    let publisher = mirror.hear(&alice, "http");
    mirror.take_blocks(&alice, None);
    mirror.follow(publisher).await.unwrap();
    assert_eq!(mirror.held(), ["acme/http@1.0.0"]);

    // Alice announces 1.1.0 and closes her laptop before its content could be fetched.
    let newer = alice.publish("http", "1.1.0").await;
    mirror.hear(&alice, "http");
    mirror.take_blocks(&alice, Some(&newer.cid));
    mirror.follow(publisher).await.unwrap_err();
    mirror.services().mirror().follower.keeper.settle().await.unwrap();
    mirror.registry.gc(GcRequest::default()).await.unwrap();
    assert_eq!(mirror.held(), ["acme/http@1.0.0"]);

    // The same if not even its records are available.
    mirror.follow(publisher).await.unwrap_err();
    assert_eq!(mirror.held(), ["acme/http@1.0.0"]);

    mirror.take_blocks(&alice, None);
    mirror.follow(publisher).await.unwrap();
    assert_eq!(mirror.held(), ["acme/http@1.1.0"]);
}

#[tokio::test]
async fn what_cannot_be_fetched_pushes_nothing_out_of_a_budget() {
    let (alice, mallory, mirror) = (Home::open().await, Home::open().await, Home::open().await);
    mirror.add("all", None, Some(50_000)).await;
    alice.publish("a", "1.0.0").await;
    let publisher = mirror.hear(&alice, "a");
    mirror.take_blocks(&alice, None);
    mirror.follow(publisher).await.unwrap();
    mirror.backdate("acme/a");
    let bait = mallory.publish_of("bait", "9.0.0", 45_000).await;
    let stranger = mirror.hear(&mallory, "bait");
    mirror.take_blocks(&mallory, Some(&bait.cid));
    mirror.follow(stranger).await.unwrap_err();
    assert_eq!(mirror.held(), ["acme/a@1.0.0"]);
    alice.publish("b", "1.0.0").await;
    mirror.hear(&alice, "b");
    mirror.take_blocks(&alice, None);
    mirror.follow(publisher).await.unwrap();
    assert_eq!(mirror.held(), ["acme/a@1.0.0", "acme/b@1.0.0"]);
}

#[tokio::test]
async fn a_budget_counts_blocks_and_not_what_the_release_says_of_its_files() {
    let (alice, mirror) = (Home::open().await, Home::open().await);
    let published = alice.publish("http", "1.0.0").await;
    let publisher = mirror.hear(&alice, "http");
    mirror.take_blocks(&alice, None);
    mirror.add("acme/http", None, Some(published.size_bytes)).await;
    mirror.follow(publisher).await.unwrap();
    assert_eq!(mirror.held(), [""; 0]);
    mirror.add("acme/http", None, Some(published.size_bytes + 10_000)).await;
    mirror.follow(publisher).await.unwrap();
    assert_eq!(mirror.held(), ["acme/http@1.0.0"]);
}

#[tokio::test]
async fn a_namespace_is_its_first_publishers_with_all_that_was_there_before() {
    let (alice, mallory, mirror) = (Home::open().await, Home::open().await, Home::open().await);
    mirror.add("acme/*", None, None).await;
    alice.publish("before", "1.0.0").await;
    alice.publish("http", "1.0.0").await;
    // The mirror has received no claim on the package `before`.
    let publisher = mirror.hear(&alice, "http");
    mirror.take_blocks(&alice, None);
    mirror.follow(publisher).await.unwrap();
    assert_eq!(mirror.held(), ["acme/before@1.0.0", "acme/http@1.0.0"]);

    // Another publisher in the namespace is not mirrored, even as the only claimant of a new name.
    mallory.publish("fresh", "1.0.0").await;
    let stranger = mirror.hear(&mallory, "fresh");
    mirror.take_blocks(&mallory, None);
    mirror.follow(stranger).await.unwrap();
    mirror.services().mirror().follower.keeper.settle().await.unwrap();
    assert_eq!(mirror.held(), ["acme/before@1.0.0", "acme/http@1.0.0"]);
    let news = |publisher, name: Option<&str>| News { publisher, package: name.map(|name| name.parse().unwrap()) };
    assert!(!mirror.services().mirror_rules().concerns(&news(stranger, Some("acme/fresh"))).await);
    assert!(!mirror.services().mirror_rules().concerns(&news(stranger, None)).await);
    // Any event of a mirrored publisher may move its head.
    assert!(mirror.services().mirror_rules().concerns(&news(publisher, Some("other/thing"))).await);
    assert!(mirror.services().mirror_rules().concerns(&news(publisher, None)).await);
}

#[tokio::test]
async fn a_namespace_of_two_claimants_is_nobodys_until_one_is_named() {
    let (alice, mallory, mirror) = (Home::open().await, Home::open().await, Home::open().await);
    alice.publish("http", "1.0.0").await;
    mallory.publish("fresh", "1.0.0").await;
    mirror.add("acme/*", None, None).await;
    let (publisher, stranger) = (mirror.hear(&alice, "http"), mirror.hear(&mallory, "fresh"));
    mirror.take_blocks(&alice, None);
    mirror.take_blocks(&mallory, None);
    for publisher in [publisher, stranger] {
        mirror.follow(publisher).await.unwrap();
    }
    assert_eq!(mirror.held(), [""; 0]);
    mirror.add(&publisher.to_string(), None, None).await;
    for publisher in [publisher, stranger] {
        mirror.follow(publisher).await.unwrap();
    }
    assert_eq!(mirror.held(), ["acme/http@1.0.0"]);
}

#[tokio::test]
async fn a_rule_dropped_while_a_release_is_fetched_leaves_no_pin() {
    let (alice, mirror) = (Home::open().await, Home::open().await);
    alice.publish("http", "1.0.0").await;
    let publisher = mirror.hear(&alice, "http");
    mirror.take_blocks(&alice, None);
    mirror.add("acme/http", None, None).await;
    mirror.follow(publisher).await.unwrap();
    let release = mirror.services().mirror.book.releases().unwrap().remove(0);
    mirror.rm("acme/http").await;
    assert_eq!(mirror.mirror_pins(), 0);
    // The last step of a fetch that ends only now.
    let signed = mirror.services().storage.catalog.release(&release.release).unwrap().unwrap().release;
    mirror.services().mirror().follower.keeper.take_in(&release, &signed).await.unwrap();
    assert_eq!((mirror.held(), mirror.mirror_pins()), (vec![], 0));
}

#[tokio::test]
async fn what_a_crash_has_left_of_pins_and_book_is_brought_in_line() {
    let (alice, mirror) = (Home::open().await, Home::open().await);
    alice.publish("http", "1.0.0").await;
    let publisher = mirror.hear(&alice, "http");
    mirror.take_blocks(&alice, None);
    mirror.add("acme/http", None, None).await;
    mirror.follow(publisher).await.unwrap();
    let operations = mirror.services();
    let release = operations.mirror.book.releases().unwrap().remove(0);
    // Unpinned, but held in the database: it is fetched and pinned again.
    for pin in operations.storage.store.pins() {
        operations.storage.store.unpin(&pin.label, &pin.cid).unwrap();
    }
    operations.mirror().follower.keeper.settle().await.unwrap();
    assert_eq!(mirror.held(), [""; 0]);
    mirror.follow(publisher).await.unwrap();
    assert_eq!(mirror.held(), ["acme/http@1.0.0"]);
    // Pinned, but not held in the database: it becomes held.
    operations.mirror.book.set_held(&release, false).unwrap();
    operations.mirror().follower.keeper.settle().await.unwrap();
    assert_eq!(mirror.held(), ["acme/http@1.0.0"]);
    // Pinned, and no rule selects it.
    operations.mirror.book.set_held(&release, false).unwrap();
    mirror.rm("acme/http").await;
    assert_eq!((mirror.held(), mirror.mirror_pins()), (vec![], 0));
}

#[tokio::test]
async fn under_a_bare_name_the_homes_own_claim_stands_beside_the_mirrored_one() {
    let (alice, mirror) = (Home::open().await, Home::open().await);
    let package: PackageId = "acme/http".parse().unwrap();
    alice.publish("http", "1.0.0").await;
    mirror.publish("http", "2.0.0").await;
    let own = mirror.claim("http").publisher();
    let publisher = mirror.hear(&alice, "http");
    mirror.take_blocks(&alice, None);
    mirror.add(&publisher.to_string(), None, None).await;
    mirror.follow(publisher).await.unwrap();
    let told = async || {
        let claims = mirror.services().announcer().claims_to_tell(&package).await.unwrap();
        claims.iter().map(Claim::publisher).collect::<BTreeSet<_>>()
    };
    assert_eq!(told().await, BTreeSet::from([own, publisher]));
    mirror.rm(&publisher.to_string()).await;
    assert_eq!(told().await, BTreeSet::from([own]));
}

/// A rule for such a name was taken, and held nothing, without a word.
#[tokio::test]
async fn a_name_of_two_claimants_is_refused_with_the_forms_that_choose_one_and_such_a_form_holds() {
    let (alice, mallory, mirror) = (Home::open().await, Home::open().await, Home::open().await);
    alice.publish("http", "1.0.0").await;
    alice.publish("other", "1.0.0").await;
    mallory.publish("http", "6.6.6").await;
    let (publisher, stranger) = (mirror.hear(&alice, "http"), mirror.hear(&mallory, "http"));
    mirror.take_blocks(&alice, None);
    mirror.take_blocks(&mallory, None);
    let add = async |what: &str, versions| {
        let rule = MirrorRule { what: what.parse().unwrap(), versions, max_bytes: None };
        mirror.registry.mirror_add(MirrorRequest { rule }).await
    };
    let refused = add("acme/http", None).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Verification);
    assert!(refused.message.starts_with("`acme/http` is claimed by 2 publishers"), "{refused}");
    let forms = BTreeSet::from([publisher, stranger].map(|publisher| format!("{publisher}/acme/http")));
    assert_eq!(refused.causes.iter().cloned().collect::<BTreeSet<_>>(), forms);
    assert!(refused.hint.unwrap().to_string().contains("`mirror_add` on `<publisher>/acme/http`"));
    let refused = add("acme/*", None).await.unwrap_err();
    assert!(refused.message.starts_with("the namespace `acme` is claimed by 2 publishers"), "{refused}");
    assert_eq!(mirror.registry.mirror_ls().await.unwrap(), []);

    mirror.add(&format!("{publisher}/acme/http"), None, None).await;
    for publisher in [publisher, stranger] {
        mirror.follow(publisher).await.unwrap();
    }
    assert_eq!(mirror.held(), ["acme/http@1.0.0"]);
    mirror.rm(&format!("{publisher}/acme/http")).await;
    assert_eq!(mirror.held(), [""; 0]);
}

#[tokio::test]
async fn a_rule_whose_name_comes_to_have_two_claimants_says_so_and_can_still_be_changed() {
    let (alice, mallory, mirror) = (Home::open().await, Home::open().await, Home::open().await);
    alice.publish("http", "1.0.0").await;
    mallory.publish("http", "6.6.6").await;
    mirror.add("acme/http", None, None).await;
    let contested = async || mirror.registry.mirror_ls().await.unwrap().remove(0).contested_by;
    let publisher = mirror.hear(&alice, "http");
    assert_eq!(contested().await, [""; 0]);
    let stranger = mirror.hear(&mallory, "http");
    let forms = BTreeSet::from([publisher, stranger].map(|publisher| format!("{publisher}/acme/http")));
    assert_eq!(contested().await.into_iter().collect::<BTreeSet<_>>(), forms);
    mirror.add("acme/http", Some(1), None).await;
}
