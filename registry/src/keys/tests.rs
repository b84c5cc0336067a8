use super::*;

#[test]
fn a_publisher_is_made_once_and_found_again() {
    let dir = tempfile::tempdir().unwrap();
    made_once_and_found_again(&KeyStore::new(dir.path().to_owned()));
    made_once_and_found_again(&KeyStore::in_memory());
}

fn made_once_and_found_again(keys: &KeyStore) {
    let first = keys.publisher_or_new(DEFAULT_KEY, Timestamp::from_unix(1)).unwrap();
    let again = keys.publisher_or_new(DEFAULT_KEY, Timestamp::from_unix(3)).unwrap();
    assert_eq!(first.chain.publisher(), again.chain.publisher());
    assert_eq!(keys.node().unwrap().public(), keys.node().unwrap().public());
    assert_eq!(keys.list().unwrap().len(), 2);
}

#[test]
fn a_key_that_the_caller_brought_is_the_peers_own_and_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let brought = KeyPair::from_seed(&[7; 32]);
    let keys = KeyStore::new(dir.path().to_owned()).with_node(brought.clone());
    assert_eq!(keys.node().unwrap().public().to_peer_id().to_string(), brought.public().peer_id());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_key_that_was_named_and_is_not_there_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let keys = KeyStore::new(dir.path().to_owned());
    let missing = keys.publisher_or_new("work", Timestamp::from_unix(1));
    assert!(matches!(missing, Err(KeyStoreError::Unknown { name }) if name == "work"));
    let outside = keys.publisher_or_new("../x", Timestamp::from_unix(1));
    assert!(matches!(outside, Err(KeyStoreError::Name { .. })));
}

#[test]
fn a_recovery_key_stays_until_it_is_confirmed() {
    let dir = tempfile::tempdir().unwrap();
    let keys = KeyStore::new(dir.path().to_owned());
    assert!(matches!(keys.recovery(DEFAULT_KEY), Err(KeyStoreError::Unknown { .. })), "there is no key at all");
    assert!(matches!(keys.confirm_recovery(DEFAULT_KEY), Err(KeyStoreError::Unknown { .. })));
    let chain = keys.publisher_or_new(DEFAULT_KEY, Timestamp::from_unix(1)).unwrap().chain;
    let recovery = keys.recovery(DEFAULT_KEY).unwrap();
    assert_eq!(chain.current().record().recovery, [recovery.public()]);
    let file = keys.recovery_file(DEFAULT_KEY).unwrap().unwrap();
    assert_eq!(keys.recovery(DEFAULT_KEY).unwrap().to_seed(), recovery.to_seed(), "showing it changes nothing");
    assert_eq!(keys.confirm_recovery(DEFAULT_KEY).unwrap(), file);
    assert!(!file.exists() && keys.recovery_file(DEFAULT_KEY).unwrap().is_none());
    assert!(matches!(keys.confirm_recovery(DEFAULT_KEY), Err(KeyStoreError::NoRecoveryKey { .. })));
    assert!(matches!(keys.recovery("../node"), Err(KeyStoreError::Name { .. })));
}

#[test]
fn a_damaged_key_is_listed_with_what_is_wrong_and_stops_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let keys = KeyStore::new(dir.path().to_owned());
    let chain = keys.publisher_or_new(DEFAULT_KEY, Timestamp::from_unix(1)).unwrap().chain;
    keys.node().unwrap();
    let sound = keys.list().unwrap();
    assert!(sound.iter().all(|key| key.problem.is_none()), "{sound:?}");
    for (file, name) in [("node.key", "node"), ("default.key", "default"), ("default.identity", "default")] {
        let path = dir.path().join(file);
        let before = std::fs::read(&path).unwrap();
        std::fs::write(&path, vec![9; 20]).unwrap();
        let listed = keys.list().unwrap();
        assert_eq!(listed.len(), 2, "{file}");
        for key in &listed {
            assert_eq!(
                key.problem.as_ref().is_some_and(|problem| problem.contains(file)),
                key.name == name,
                "{listed:?}"
            );
        }
        std::fs::write(&path, before).unwrap();
    }
    std::fs::write(dir.path().join("default.timestamp.key"), "").unwrap();
    let own = keys.publishers().unwrap().remove(0);
    assert_eq!(own.refresher.unwrap().public(), chain.current().record().keys[0], "the signing key does it then");
    assert_eq!(keys.list().unwrap(), sound);
}

#[test]
fn a_lost_identity_of_a_publisher_that_has_signed_is_not_replaced_by_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let keys = KeyStore::new(dir.path().to_owned());
    keys.publisher_or_new(DEFAULT_KEY, Timestamp::from_unix(1)).unwrap();
    let before = std::fs::read(dir.path().join("default.key")).unwrap();
    std::fs::write(dir.path().join("default.head"), "some head").unwrap();
    std::fs::remove_file(dir.path().join("default.identity")).unwrap();
    let refused = keys.publisher_or_new(DEFAULT_KEY, Timestamp::from_unix(2));
    assert!(
        matches!(refused, Err(KeyStoreError::WithoutIdentity { identity, .. }) if identity.ends_with("default.identity"))
    );
    assert_eq!(std::fs::read(dir.path().join("default.key")).unwrap(), before);
}
