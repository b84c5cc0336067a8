//! Runs the examples. The text of each is compiled into a module of this program, and its output is captured. The tests
//! also check that the examples match the API guide.

#![allow(clippy::duplicate_mod, reason = "each example is a program of its own, with the hub that it meets")]
#![cfg(test)] // clippy.toml allows `unwrap` in what is marked so, helpers beside the test functions included

mod commands;
mod guide;

use std::cell::RefCell;

thread_local! {
    /// The output of the example in this test.
    static PRINTED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Replaces the standard macro in the examples.
macro_rules! println {
    ($($text:tt)*) => {{
        let line = format!($($text)*);
        crate::PRINTED.with_borrow_mut(|lines| lines.push(line));
    }};
}

fn printed() -> Vec<String> {
    PRINTED.take()
}

/// The log of a program under the documented target, on the thread that starts it.
fn logged(program: impl FnOnce()) -> String {
    let lines = tempfile::NamedTempFile::new().unwrap();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter("ggen_marketplace::backend::p2p=debug")
        .with_ansi(false)
        .with_writer(std::sync::Mutex::new(lines.reopen().unwrap()))
        .finish();
    tracing::subscriber::with_default(subscriber, program);
    std::fs::read_to_string(lines.path()).unwrap()
}

mod basic_setup {
    include!("../../examples/basic_setup.rs");

    #[test]
    fn finds_what_another_node_has_published() {
        main().unwrap();
        assert_eq!(crate::printed(), ["Found: examples/web-framework v1.2.0"]);
    }
}

mod publish_package {
    include!("../../examples/publish_package.rs");

    #[test]
    fn leaves_a_release_that_others_find_after_the_program_has_ended() {
        main().unwrap();
        assert_eq!(crate::printed(), ["Package published to P2P network!"]);
        let found = tokio::runtime::Runtime::new().unwrap().block_on(async {
            let bootstrap_nodes = vec![hub::address().parse().unwrap()];
            let other = P2PRegistry::new(P2PConfig { bootstrap_nodes, ..Default::default() }).await?;
            other.bootstrap().await?;
            other.get_package(&PackageId::new("myorg", "awesome-lib")).await
        });
        let found = found.unwrap();
        assert_eq!(found.version, Version::new(1, 0, 0));
        assert_eq!(found.metadata.title.as_deref(), Some("Awesome Library"));
        assert_eq!(found.metadata.tags, ["rust", "library"]);
    }
}

mod peer_reputation {
    include!("../../examples/peer_reputation.rs");

    #[test]
    fn says_that_a_peer_which_served_well_is_worth_it() {
        main().unwrap();
        let expected = format!("Peer {} reputation: 1.00", hub::hub().peer_id());
        assert_eq!(crate::printed(), ["8 files from 1 peer(s)".to_owned(), expected]);
    }
}

mod programmatic {
    include!("../../examples/programmatic.rs");

    #[test]
    fn publishes_and_finds_its_own() {
        let log = crate::logged(|| main().unwrap());
        let says = |words: &[&str]| log.lines().any(|line| words.iter().all(|word| line.contains(word)));
        assert!(says(&["published", "myorg/greeter", "1.2.0"]), "{log}");
        assert!(says(&["searched", "greets people", "hits=1"]), "{log}");
    }
}

mod optimized_config {
    include!("../../examples/optimized_config.rs");

    #[test]
    fn enters_by_the_nodes_it_was_given_and_serves_where_it_stays() {
        main().unwrap();
        let mode = if is_stable_node() { "server" } else { "client" };
        assert_eq!(crate::printed(), [format!("connected to {}", hub::hub().peer_id()), format!("{mode} of the DHT")]);
    }
}
