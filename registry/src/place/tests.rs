//! A home with data in every file is copied and damaged in one bit repeatedly: it opens, or the error names the file.

use std::{fs, path::Path, time::Duration};

use tempfile::TempDir;

use crate::{
    Config, Failure, InfoRequest, Listing, MirrorRequest, MirrorRule, Mode, PinReport, PinRequest, Progress,
    PublishRequest, Registry, SearchRequest, VerifyRequest, identity::Timestamp,
};

/// Bit flips per file.
const FLIPS: u64 = 16;
const PATIENCE: Duration = Duration::from_secs(60);

fn silent() -> std::sync::Arc<dyn crate::Reporter> {
    std::sync::Arc::new(|_: Progress| {})
}

async fn open(home: &Path) -> Result<Registry, Failure> {
    Registry::open(home, Config { mdns: false, ..Config::default() }, Mode::Offline).await
}

async fn publish(registry: &Registry, work: &Path, name: &str, version: &str) {
    let path = work.join(format!("{name}-{version}"));
    fs::create_dir_all(&path).unwrap();
    let gpack = format!("[package]\nname = \"{name}\"\nversion = \"{version}\"\ndescription = \"What {name} does\"\n");
    fs::write(path.join("gpack.toml"), gpack).unwrap();
    let request = PublishRequest {
        path,
        version: None,
        namespace: Some("tests".to_owned()),
        key: None,
        user_ignore_file: None,
        skip_verify: false,
        allow_secrets: false,
        trust_clock: false,
        dry_run: false,
        min_replicas: 0,
        timeout: PATIENCE,
    };
    registry.publish(request, silent()).await.unwrap();
}

/// A closed home with releases, a pin, a mirror rule and a denied peer.
async fn sample(work: &Path) -> TempDir {
    let home = TempDir::new().unwrap();
    let registry = open(home.path()).await.unwrap();
    for version in ["1.0.0", "1.1.0"] {
        publish(&registry, work, "lamp", version).await;
    }
    publish(&registry, work, "bottle", "1.0.0").await;
    let pin = PinRequest { target: "tests/lamp".to_owned(), timeout: PATIENCE, offline: true };
    registry.pin_add(pin, silent()).await.unwrap();
    let rule = MirrorRule { what: "acme/*".parse().unwrap(), versions: Some(2), max_bytes: None };
    registry.mirror_add(MirrorRequest { rule }).await.unwrap();
    let peer = libp2p::identity::Keypair::generate_ed25519().public().to_peer_id();
    registry.services().peers.put_on(&peer, Listing::Denied, Timestamp::from_unix(1)).unwrap();
    registry.shutdown().await.unwrap();
    home
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn info() -> InfoRequest {
    InfoRequest { target: "tests/lamp".to_owned(), versions: true, providers: false, timeout: PATIENCE, offline: true }
}

/// Typical operations on a home; returns the failures.
async fn use_it(registry: &Registry) -> Vec<Failure> {
    let search = SearchRequest {
        query: "lamp".to_owned(),
        category: None,
        tags: Vec::new(),
        limit: 20,
        min_reputation: None,
        local: true,
    };
    let verify = VerifyRequest { target: None, repair: false, timeout: PATIENCE };
    let outcomes = [
        registry.search(search).await.err(),
        registry.info(info(), silent()).await.err(),
        registry.verify(verify, silent()).await.err(),
        registry.mirror_ls().await.err(),
        registry.keys().await.err(),
    ];
    outcomes.into_iter().flatten().collect()
}

fn names(failure: &Failure, file: &str) -> bool {
    let hint = failure.hint.as_ref().map(ToString::to_string);
    let all = [std::slice::from_ref(&failure.message), &failure.causes, hint.as_slice()].concat().join("\n");
    all.contains(file)
}

fn users_pins(registry: &Registry) -> Vec<PinReport> {
    registry.pin_ls().into_iter().filter(|pin| pin.label.starts_with("user")).collect()
}

/// Flips one bit of a file.
fn flip(path: &Path, bit: u64) {
    let mut bytes = fs::read(path).unwrap();
    let bit = (bit % (bytes.len() as u64 * 8)) as usize;
    bytes[bit / 8] ^= 1 << (bit % 8);
    fs::write(path, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_flipped_bit_in_what_a_killed_process_left_costs_nothing_that_this_home_has_decided() {
    let work = TempDir::new().unwrap();
    let home = sample(work.path()).await;
    let registry = open(home.path()).await.unwrap();
    publish(&registry, work.path(), "lamp", "1.2.0").await;
    registry
        .mirror_add(MirrorRequest {
            rule: MirrorRule { what: "other/*".parse().unwrap(), versions: None, max_bytes: None },
        })
        .await
        .unwrap();
    let peer = libp2p::identity::Keypair::generate_ed25519().public().to_peer_id();
    registry.services().peers.put_on(&peer, Listing::Denied, Timestamp::from_unix(2)).unwrap();
    registry.services().peers.flush().unwrap();
    let left = TempDir::new().unwrap();
    copy(home.path(), left.path());
    registry.shutdown().await.unwrap();
    for file in ["catalog.db-wal", "peers.db-wal", "mirror.db-wal", "catalog.db-shm", "lock", "store/LOCK"] {
        for number in 0..FLIPS / 2 {
            let damaged = TempDir::new().unwrap();
            copy(left.path(), damaged.path());
            let path = damaged.path().join(file);
            if fs::metadata(&path).unwrap().len() == 0 {
                fs::write(&path, "x").unwrap();
            }
            flip(&path, number.wrapping_mul(6_364_136_223_846_793_005) >> 17);
            let what = format!("flip {number} of {file}");
            let registry = open(damaged.path()).await.unwrap_or_else(|failure| panic!("{what}: {failure:?}"));
            assert_eq!(use_it(&registry).await, [], "{what}");
            let info = registry.info(info(), silent()).await.unwrap();
            assert_eq!(info.version.as_deref(), Some("1.2.0"), "{what}");
            assert_eq!(registry.mirror_ls().await.unwrap().len(), 2, "{what}");
            assert_eq!(registry.services().peers.listed(Listing::Denied).len(), 2, "{what}");
            publish(&registry, work.path(), "lamp", "1.3.0").await;
            registry.shutdown().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_flipped_bit_in_any_database_is_mended_or_named() {
    let work = TempDir::new().unwrap();
    let home = sample(work.path()).await;
    let imports = fs::read_dir(home.path().join("imports")).unwrap().next().unwrap().unwrap().file_name();
    let import = format!("imports/{}", imports.to_str().unwrap());
    let mut state = 5_u64;
    let mut below = |limit: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % limit
    };
    let mut mended = 0;
    let pins = users_pins(&open(home.path()).await.unwrap());
    for file in ["catalog.db", "peers.db", "peers.lists", "mirror.db", "mirror.rules", "pins.copy", &import] {
        for number in 0..FLIPS {
            let damaged = TempDir::new().unwrap();
            copy(home.path(), damaged.path());
            let path = damaged.path().join(file);
            let mut bytes = fs::read(&path).unwrap();
            // The first pages contain the roots of the file's structures.
            let limit = if number % 2 == 0 { bytes.len().min(4096) } else { bytes.len() };
            let bit = below(limit as u64 * 8) as usize;
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, bytes).unwrap();
            let what = format!("bit {bit} of {file}");
            let named = Path::new(file).file_stem().unwrap().to_str().unwrap();
            let registry = match open(damaged.path()).await {
                Ok(registry) => registry,
                // The flip made the file look like one of a newer program: the error names the file to move away.
                Err(failure) => {
                    assert!(names(&failure, named) && failure.hint.is_some(), "{what}: {failure:?}");
                    continue;
                }
            };
            for failure in use_it(&registry).await {
                assert!(names(&failure, file), "{what}: {failure:?}");
            }
            registry.shutdown().await.unwrap();
            // Unreadable files have been rebuilt by now.
            let registry = open(damaged.path()).await.unwrap_or_else(|failure| panic!("{what}: {failure:?}"));
            let failures = use_it(&registry).await;
            assert!(failures.is_empty(), "{what}: {failures:?}");
            let rules = registry.mirror_ls().await.unwrap();
            assert_eq!((rules.len(), rules[0].rule.as_str()), (1, "acme/*"), "{what}");
            assert_eq!(registry.services().storage.catalog.counts().unwrap().published, 2, "{what}");
            assert_eq!(registry.services().peers.listed(Listing::Denied).len(), 1, "{what}");
            assert_eq!(users_pins(&registry), pins, "{what}");
            publish(&registry, work.path(), "bottle", "1.1.0").await;
            registry.shutdown().await.unwrap();
            mended += 1;
        }
    }
    assert!(mended > 6 * FLIPS, "{mended}");
}
