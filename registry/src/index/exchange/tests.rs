use super::*;
use crate::index::SearchFilters;

fn question(query: &str, limit: usize) -> SearchQuestion {
    let filters = SearchFilters { tags: vec!["web".to_owned()], ..SearchFilters::default() };
    SearchQuestion::new("/ggen/test", query, &filters, limit, &[7, u64::MAX])
}

#[test]
fn questions_read_back_and_stay_within_bounds() {
    let asked = question("http server", 5);
    assert_eq!(SearchQuestion::decode(&asked.encode().unwrap()).unwrap(), asked);
    assert_eq!(question("x", 5000).limit, MAX_HITS as u64);
    assert_eq!(asked.have(), HashSet::from([7, u64::MAX]));
    for wrong in [
        question(&"x".repeat(MAX_QUERY_BYTES + 1), 5),
        question("x", 0),
        SearchQuestion { tags: vec!["x".repeat(MAX_FILTER_BYTES + 1)], ..question("x", 5) },
        SearchQuestion { have: ByteBuf::from(vec![0; 8 * MAX_HITS + 8]), ..question("x", 5) },
        SearchQuestion { have: ByteBuf::from(vec![0; 9]), ..question("x", 5) },
        SearchQuestion { r#type: "ggen/claim/v1".to_owned(), ..question("x", 5) },
    ] {
        assert!(SearchQuestion::decode(&wrong.encode().unwrap()).is_err());
    }
}

#[test]
fn what_is_no_message_is_refused_and_never_panics() {
    let answer = SearchAnswer::new(vec![OfferedHit(ByteBuf::from(vec![1, 2, 3]), true); 3], &[1, 2]);
    let bytes = answer.encode().unwrap();
    assert_eq!(SearchAnswer::decode(&bytes, 3).unwrap(), answer);
    assert_eq!(SearchAnswer::decode(&bytes, 3).unwrap().held(), [1, 2]);
    assert!(SearchAnswer::decode(&bytes, 2).is_err(), "more than were asked for");
    let marks = SearchAnswer::new(Vec::new(), &[0; MAX_HITS + 1]).encode().unwrap();
    assert!(SearchAnswer::decode(&marks, 3).is_err(), "more than can have been named");
    let summary = Summary {
        publisher: crate::index::actor::Actor::new(1).chain.publisher(),
        order: HeadOrder { identity_seq: 1, log_seq: 2 },
        marks: u64::MAX,
    };
    let known = CatalogAnswer::known(&[summary]).unwrap();
    assert_eq!(CatalogAnswer::decode(known.clone()).unwrap(), CatalogAnswer::Known(vec![summary]));
    for whole in [bytes, known, question("x", 3).encode().unwrap()] {
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] ^= 0xff;
            for bytes in [&broken[..], &whole[..at]] {
                // Changing a byte of the query can yield a valid question; the test requires only that nothing panics.
                let _read = (SearchAnswer::decode(bytes, 3).is_ok(), SearchQuestion::decode(bytes).is_ok());
                let _read =
                    (CatalogAnswer::decode(bytes.to_vec()).is_ok(), CatalogQuestion::decode(bytes, "x").is_ok());
            }
        }
    }
}
