use std::collections::HashSet;

use super::*;
use crate::{
    identity::Afresh,
    index::{CatalogAnswer, CatalogQuestion, MAX_HAVE, Page, Pull, Summary, catalog::exchange::Place, read_page},
};

const TOPIC: &str = "/ggen/test";

/// One page, as the wire carries it.
fn travel(from: &Catalog, pull: &Pull, bytes: usize) -> Page {
    let question = CatalogQuestion::Pull(Box::new(pull.clone())).encode(TOPIC).unwrap();
    let Ok(CatalogQuestion::Pull(read)) = CatalogQuestion::decode(&question, TOPIC) else { panic!("not a pull") };
    assert_eq!(*read, *pull);
    let page = from.page(&read, bytes).unwrap().unwrap();
    let answer = CatalogAnswer::page(Some(&page)).unwrap();
    let Ok(CatalogAnswer::Page(bytes)) = CatalogAnswer::decode(answer) else { panic!("not a page") };
    let read = read_page(&bytes, pull, now(), &Afresh).unwrap();
    assert_eq!(read, page);
    read
}

/// Transfers everything that `from` has of a publisher, `bytes` per page; returns the number of pages and of new
/// records.
fn catch_up(from: &Catalog, to: &Catalog, actor: &Actor, bytes: usize, have: usize) -> (usize, u64) {
    let (mut after, mut pages, mut new): (Place, _, _) = (Default::default(), 0, 0);
    loop {
        let pull = to.pull(&actor.chain.publisher(), after.clone(), have).unwrap();
        let page = travel(from, &pull, bytes);
        let news = to.accept_page(&page, "peer", now()).unwrap();
        (pages, new) = (pages + 1, new + news.releases + u64::from(news.head));
        match page.next.or(pull.until) {
            Some(place) => {
                assert!(place > after, "it goes on");
                after = place;
            }
            None => return (pages, new),
        }
    }
}

fn summary(catalog: &Catalog, actor: &Actor) -> Summary {
    catalog.summary(&actor.chain.publisher()).unwrap().unwrap()
}

/// A catalog that contains everything that was published, each accepted from its own announcement.
fn knowing(actor: &mut Actor, packages: usize) -> Catalog {
    let catalog = Catalog::in_memory().unwrap();
    for number in 0..packages {
        let package = format!("acme/package-{number}");
        actor.publish(&package, "1.0.0");
        accept(&catalog, &actor.claim(&package));
    }
    catalog
}

#[test]
fn a_catalog_catches_up_page_by_page_and_then_agrees() {
    let (mut alice, late) = (Actor::new(1), Catalog::in_memory().unwrap());
    let early = knowing(&mut alice, 60);
    let (pages, new) = catch_up(&early, &late, &alice, 8 << 10, MAX_HAVE);
    assert!(pages > 3, "{pages} pages");
    assert_eq!(new, 61, "60 releases and a head");
    assert_eq!(summary(&late, &alice), summary(&early, &alice));
    assert_eq!(late.counts().unwrap(), early.counts().unwrap());
    assert_eq!(found(&late, "package-17"), ["acme/package-17"]);
    // Releases that both have are not sent again, even if the marks need several requests.
    alice.publish("acme/another", "1.0.0");
    accept(&early, &alice.claim("acme/another"));
    assert_ne!(summary(&late, &alice), summary(&early, &alice));
    let pull = late.pull(&alice.chain.publisher(), Default::default(), MAX_HAVE).unwrap();
    assert_eq!(travel(&early, &pull, 1 << 20).releases.len(), 1);
    let (questions, new) = catch_up(&early, &late, &alice, 1 << 20, 7);
    assert!((8..=10).contains(&questions), "{questions} questions");
    assert_eq!((new, summary(&late, &alice)), (2, summary(&early, &alice)));
}

#[test]
fn yanks_travel_with_their_proof() {
    let (mut alice, late) = (Actor::new(1), Catalog::in_memory().unwrap());
    let early = knowing(&mut alice, 3);
    catch_up(&early, &late, &alice, 1 << 20, MAX_HAVE);
    alice.yank("acme/package-1", "1.0.0", true);
    accept(&early, &alice.claim("acme/package-1"));
    alice.publish("acme/later", "1.0.0");
    accept(&early, &alice.claim("acme/later"));
    // The same holds for a catalog that has already seen the later head.
    accept(&late, &alice.claim("acme/later"));
    catch_up(&early, &late, &alice, 1 << 20, MAX_HAVE);
    assert_eq!(versions(&late, "acme/package-1"), [("1.0.0".to_owned(), true)]);
    assert_eq!(summary(&late, &alice), summary(&early, &alice));
    let fresh = Catalog::in_memory().unwrap();
    catch_up(&early, &fresh, &alice, 1 << 20, MAX_HAVE);
    assert_eq!(summary(&fresh, &alice), summary(&early, &alice));
    // An older proof of the same package does not restore it.
    alice.yank("acme/package-1", "1.0.0", false);
    let unyanked = alice.claim("acme/package-1");
    alice.yank("acme/package-1", "1.0.0", true);
    accept(&late, &alice.claim("acme/package-1"));
    accept(&late, &unyanked);
    assert_eq!(versions(&late, "acme/package-1"), [("1.0.0".to_owned(), true)]);
}

#[test]
fn a_page_that_was_not_asked_for_is_refused() {
    let (mut alice, mut bob) = (Actor::new(1), Actor::new(2));
    let (of_alice, of_bob) = (knowing(&mut alice, 5), knowing(&mut bob, 1));
    let everything = |actor: &Actor| Pull {
        publisher: actor.chain.publisher(),
        after: Default::default(),
        until: None,
        have: HashSet::new(),
    };
    let (ask_alice, ask_bob) = (everything(&alice), everything(&bob));
    let page = of_alice.page(&ask_alice, 1 << 20).unwrap().unwrap();
    let wire = |page: &Page| CatalogAnswer::page(Some(page)).unwrap();
    assert!(read_page(&wire(&page), &ask_alice, now(), &Afresh).is_ok());
    let refused = |page: &Page, pull: &Pull| read_page(&wire(page), pull, now(), &Afresh).unwrap_err().to_string();
    assert!(refused(&page, &ask_bob).contains("another publisher"));
    let narrow = Pull { after: ("acme/package-1".to_owned(), "1.0.0".to_owned()), ..ask_alice.clone() };
    assert!(refused(&page, &narrow).contains("not asked for"));
    let foreign = of_bob.page(&ask_bob, 1 << 20).unwrap().unwrap();
    let mixed = Page { releases: foreign.releases.clone(), ..page.clone() };
    assert!(refused(&mixed, &ask_alice).contains("not asked for"));
    let forged = Signed::sign(alice.release("acme/evil", "6.6.6", "x"), &[&bob.key]).unwrap();
    let unsigned = Page { releases: vec![forged], ..page.clone() };
    assert!(refused(&unsigned, &ask_alice).contains("has 0 of the 1 signatures"));
    let endless = Page { next: Some(Default::default()), ..page.clone() };
    assert!(refused(&endless, &ask_alice).contains("outside the range"));
    let claims = vec![bob.claim("acme/package-0")];
    assert!(refused(&Page { claims, ..page.clone() }, &ask_alice).contains("another publisher"));
    for cut in [0, 1, 100] {
        assert!(read_page(&wire(&page)[..cut], &ask_alice, now(), &Afresh).is_err());
    }
}

#[test]
fn summaries_say_who_is_followed_and_who_was_heard_of_last() {
    let catalog = Catalog::in_memory().unwrap();
    let mut actors: Vec<Actor> = (1..=4).map(Actor::new).collect();
    for (seconds, actor) in (0..).zip(&mut actors) {
        actor.publish("acme/http", "1.0.0");
        let later = now().plus(std::time::Duration::from_secs(seconds));
        catalog.accept_claim(&actor.claim("acme/http"), "peer", later).unwrap();
    }
    let ids: Vec<_> = actors.iter().map(|actor| actor.chain.publisher()).collect();
    catalog.follow(&ids[1], now()).unwrap();
    catalog.follow(&ids[2], now()).unwrap();
    let of = |summaries: Vec<Summary>| summaries.iter().map(|summary| summary.publisher).collect::<Vec<_>>();
    let mut followed = vec![ids[1], ids[2]];
    followed.sort();
    assert_eq!(of(catalog.followed(None, 10).unwrap()), followed);
    assert_eq!(of(catalog.followed(Some(&followed[0]), 10).unwrap()), followed[1..]);
    assert_eq!(of(catalog.lately_seen(2).unwrap()), [ids[3], ids[2]]);
    assert_eq!(catalog.summary(&Actor::new(9).chain.publisher()).unwrap(), None);
    let known = CatalogQuestion::Known { known: catalog.lately_seen(10).unwrap(), news: 5 };
    let wire = known.encode(TOPIC).unwrap();
    assert_eq!(CatalogQuestion::decode(&wire, TOPIC).unwrap(), known);
    assert!(CatalogQuestion::decode(&wire, "/other").is_err(), "another network's");
}
