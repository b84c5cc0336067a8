//! The mutations, and the tests that must detect each.

/// A mutation of one place in the source.
pub(crate) struct Mutation {
    /// The property that it breaks.
    pub(crate) name: &'static str,
    pub(crate) file: &'static str,
    /// Text that occurs exactly once in the file.
    pub(crate) find: &'static str,
    pub(crate) replace: &'static str,
    /// Tests of `backend_p2p` that must fail; other tests may fail too.
    pub(crate) noticed_by: &'static [&'static str],
}

pub(crate) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "initialisation",
        file: "registry/src/backend/p2p.rs",
        find: "addresses(&self.registry.listen().await?)",
        replace: "addresses(&self.registry.listening())",
        noticed_by: &["network::a_registry_needs_nothing_but_a_configuration_and_listens_when_it_is_told_to"],
    },
    Mutation {
        name: "discovery by the DHT",
        file: "registry/src/node/behaviour.rs",
        find: "if dht != Dht::Ipfs && config.dht_server_mode { kad::Mode::Server }",
        replace: "if dht != Dht::Ipfs && config.dht_server_mode { kad::Mode::Client }",
        noticed_by: &["network::test_discover_peers_via_dht"],
    },
    Mutation {
        name: "announcement",
        file: "registry/src/ops/announcer.rs",
        find: "node.announce(subject, data)",
        replace: "node.announce(subject, data[..0].to_vec())",
        noticed_by: &["announcements::a_package_is_announced_to_all_who_follow_also_through_others"],
    },
    Mutation {
        name: "search",
        file: "registry/src/index/catalog/search.rs",
        find: "for tag in self.filters.tags.iter().take(MAX_FILTER_TAGS)",
        replace: "for tag in self.filters.tags.iter().take(0 * MAX_FILTER_TAGS)",
        noticed_by: &["announcements::a_search_finds_what_others_published_by_words_tags_and_category"],
    },
    Mutation {
        name: "search across peers",
        file: "registry/src/ops/search.rs",
        find: "if let (Some(network), false) = (&self.network, request.local)",
        replace: "if let (Some(network), None) = (&self.network, Some(request.local))",
        noticed_by: &["announcements::a_search_asks_peers_for_what_was_never_announced_here"],
    },
    Mutation {
        name: "retrieval",
        file: "registry/src/node/swarm.rs",
        find: "self.exchange().want(session, wants)",
        replace: "drop((session, wants))",
        noticed_by: &["content::a_package_is_retrieved_from_the_peer_that_has_it"],
    },
    Mutation {
        name: "content that is elsewhere",
        file: "registry/src/ops/publish/content.rs",
        find: "self.quota.bring_dag(&mut download, content)",
        replace: "std::future::ready(Ok::<(), Failure>(()))",
        noticed_by: &["content::content_that_is_elsewhere_is_fetched_before_it_is_published"],
    },
    Mutation {
        name: "discovery among many",
        file: "registry/src/node/swarm/peers.rs",
        find: "protocol_names().iter().any(|name| info.protocols.contains(name))",
        replace: "protocol_names().is_empty()",
        noticed_by: &["network::many_peers_find_each_other_and_all_of_their_packages"],
    },
    Mutation {
        name: "republishing",
        file: "registry/src/index/publication.rs",
        find: "find(|entry| entry.version == release.version) {",
        replace: "find(|entry| entry.version == release.version && entry.yanked) {",
        noticed_by: &["packages::what_is_published_twice_is_there_once"],
    },
    Mutation {
        name: "reputation",
        file: "registry/src/peers/record.rs",
        find: "self.successful as f64 / all as f64",
        replace: "1.0",
        noticed_by: &["peers::a_peer_that_serves_well_keeps_its_reputation_and_one_that_lies_loses_it"],
    },
    Mutation {
        name: "put and get on the DHT",
        file: "registry/src/ops/record_validator.rs",
        find: "merged.and_then(|()| set.encode()).map_err(|error| refused(&error, false))",
        replace: "Err(Refused { reason: format!(\"refused {merged:?}\"), is_lie: false })",
        noticed_by: &["dht::what_a_publisher_put_into_the_dht_is_got_from_it_after_the_publisher_has_gone"],
    },
    Mutation {
        name: "topics",
        file: "registry/src/node.rs",
        find: "IdentTopic::new(&setup.config.packages_topic)",
        replace: "IdentTopic::new(\"/ggen/packages/v1\")",
        noticed_by: &["announcements::announcements_reach_those_who_follow_that_topic_and_nobody_else"],
    },
    Mutation {
        name: "versions",
        file: "registry/src/package/requirement.rs",
        find: "matching.max_by(",
        replace: "matching.min_by(",
        noticed_by: &["packages::a_new_version_is_announced_found_and_fetched_and_the_old_ones_stay"],
    },
    Mutation {
        name: "yanks",
        file: "registry/src/ops/resolve/choose.rs",
        find: "newest(false).or_else(named)",
        replace: "newest(true).or_else(named)",
        noticed_by: &["packages::deleting_is_yanking"],
    },
];
