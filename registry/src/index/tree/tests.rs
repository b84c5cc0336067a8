use std::collections::HashMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::identity::{KeyPair, Signature};

/// Blocks by CID.
type Blocks = HashMap<Cid, Bytes>;

fn entry(version: &str, content: u64) -> VersionEntry {
    let release = Block::dag_cbor(content.to_be_bytes().to_vec()).unwrap();
    VersionEntry {
        version: version.parse().unwrap(),
        release: RecordCid::new(*release.cid()).unwrap(),
        yanked: false,
        reason: None,
        signatures: Vec::new(),
    }
}

fn package(number: usize) -> PackageId {
    format!("acme/package-{number}").parse().unwrap()
}

fn get(blocks: &Blocks) -> impl Fn(&Cid) -> ggen_blockstore::Result<Option<Bytes>> {
    |cid| Ok(blocks.get(cid).cloned())
}

/// Inserts one version and returns how many blocks that wrote.
fn insert(root: &mut Option<RecordCid>, blocks: &mut Blocks, package: &PackageId, entry: VersionEntry) -> usize {
    let mut tree = CatalogTree::new(*root, get(blocks));
    tree.insert(package, entry).unwrap();
    let (changed, written) = tree.finish();
    *root = changed;
    let count = written.len();
    blocks.extend(written.into_iter().map(Block::into_parts));
    count
}

fn tree_of(count: usize) -> (RecordCid, Blocks) {
    let (mut root, mut blocks) = (None, Blocks::new());
    for number in 0..count {
        insert(&mut root, &mut blocks, &package(number), entry("1.0.0", number as u64));
    }
    (root.unwrap(), blocks)
}

#[test]
fn lookups_and_inserts_touch_a_path_and_not_the_tree() {
    let (root, mut blocks) = tree_of(2000);
    let found = Walk::new(&root, &package(77)).run(get(&blocks)).unwrap();
    assert_eq!(found.entries, [entry("1.0.0", 77)]);
    assert!(found.complete && found.proof.len() <= 6, "{} blocks", found.proof.len());
    let mut root = Some(root);
    let written: Vec<usize> = (5000..5100)
        .map(|number| insert(&mut root, &mut blocks, &package(number), entry("1.0.0", number as u64)))
        .collect();
    // A leaf that splits can become sixteen, but few do.
    assert!(written.iter().all(|count| *count <= 6 + FANOUT), "{written:?}");
    assert!(written.iter().sum::<usize>() <= 7 * written.len(), "{written:?}");
}

#[test]
fn a_proof_shows_what_the_root_stands_for_and_what_not() {
    let (root, blocks) = tree_of(200);
    let found = Walk::new(&root, &package(7)).run(get(&blocks)).unwrap();
    assert_eq!(Walk::verify(&root, &package(7), &found.proof).unwrap(), found);

    let absent = Walk::new(&root, &package(9999)).run(get(&blocks)).unwrap();
    assert!(absent.entries.is_empty() && absent.complete);
    assert!(Walk::verify(&root, &package(9999), &absent.proof).unwrap().entries.is_empty());

    let (other, _) = tree_of(201);
    assert!(matches!(Walk::verify(&other, &package(7), &found.proof), Err(TreeError::Unexpected { .. })));
    assert!(matches!(Walk::verify(&root, &package(7), &found.proof[..1]), Err(TreeError::Missing { .. })));
    let mut longer = found.proof.clone();
    longer.push(longer[0].clone());
    assert!(matches!(Walk::verify(&root, &package(7), &longer), Err(TreeError::Unexpected { .. })));
}

#[test]
fn a_tree_lists_its_packages_each_once() {
    let (root, blocks) = tree_of(100);
    let mut listed = list_packages(&root, usize::MAX, get(&blocks)).unwrap();
    assert_eq!(list_packages(&root, 30, get(&blocks)).unwrap(), listed[..30]);
    listed.sort();
    let mut expected: Vec<PackageId> = (0..100).map(package).collect();
    expected.sort();
    assert_eq!(listed, expected);
}

#[test]
fn many_versions_are_split_and_a_proof_of_the_newest_will_do() {
    let (mut root, mut blocks) = (None, Blocks::new());
    for number in 0..300 {
        insert(&mut root, &mut blocks, &package(0), entry(&format!("1.{number}.0"), number));
    }
    let root = root.unwrap();
    let found = Walk::new(&root, &package(0)).run(get(&blocks)).unwrap();
    assert_eq!(found.entries.len(), 300);
    assert!(found.entries.is_sorted_by(|a, b| a.version < b.version));

    let newest = Walk::verify(&root, &package(0), &found.proof[..3]).unwrap();
    assert!(!newest.complete);
    assert_eq!(newest.entries.last(), found.entries.last());
    // Chunks out of order are refused: a prover cannot leave out the newest.
    let skipped: Vec<Bytes> =
        found.proof.iter().enumerate().filter(|(at, _)| *at != 2).map(|(_, block)| block.clone()).collect();
    assert!(Walk::verify(&root, &package(0), &skipped).is_err());
}

#[test]
fn replacing_a_version_changes_it_alone() {
    let (root, mut blocks) = tree_of(40);
    let mut root = Some(root);
    let yanked = VersionEntry { yanked: true, ..entry("1.0.0", 3) };
    insert(&mut root, &mut blocks, &package(3), yanked.clone());
    insert(&mut root, &mut blocks, &package(3), entry("0.9.0", 99));
    let root = root.unwrap();
    let found = Walk::new(&root, &package(3)).run(get(&blocks)).unwrap();
    assert_eq!(found.entries, [entry("0.9.0", 99), yanked]);
    assert_eq!(Walk::new(&root, &package(4)).run(get(&blocks)).unwrap().entries, [entry("1.0.0", 4)]);
}

#[test]
fn signatures_stay_with_their_version() {
    let key = KeyPair::from_seed(&[5; 32]);
    let mut envelope = crate::identity::Envelope::from_parts(b"payload".to_vec(), Vec::new());
    envelope.add_signature(crate::identity::RecordKind::Release, &key).unwrap();
    let signatures: Vec<Signature> = envelope.signatures().to_vec();
    let (mut root, mut blocks) = (None, Blocks::new());
    let signed = VersionEntry { signatures: signatures.clone(), ..entry("1.0.0", 1) };
    insert(&mut root, &mut blocks, &package(0), signed);
    let found = Walk::new(&root.unwrap(), &package(0)).run(get(&blocks)).unwrap();
    assert_eq!(found.entries[0].signatures, signatures);
}

#[test]
fn a_missing_or_broken_node_is_an_error() {
    let (root, mut blocks) = tree_of(100);
    let path = Walk::new(&root, &package(1)).run(get(&blocks)).unwrap().proof;
    let second = *Block::dag_cbor(path[1].clone()).unwrap().cid();
    blocks.remove(&second);
    let missing = Walk::new(&root, &package(1)).run(get(&blocks));
    assert!(matches!(missing, Err(TreeError::Missing { cid }) if *cid == second));

    // Two children for one bit.
    let child = entry("1.0.0", 1).release;
    let forged = Node::Branch(Branch { mask: 1, children: vec![child, child] });
    let (forged, block) = write_block(&forged).unwrap();
    assert!(matches!(Walk::verify(&forged, &package(1), &[block.data().clone()]), Err(TreeError::Broken { .. })));
}

#[test]
fn a_branch_below_the_last_bit_of_the_key_is_refused() {
    let package = package(1);
    let key = Key::of(&package);
    let mut child = entry("1.0.0", 1).release;
    let mut proof = Vec::new();
    for depth in (0..=MAX_DEPTH).rev() {
        let slot = if depth == MAX_DEPTH { 0 } else { key.slot(depth) };
        let (cid, block) = write_block(&Node::Branch(Branch { mask: 1 << slot, children: vec![child] })).unwrap();
        proof.insert(0, block.data().clone());
        child = cid;
    }
    assert!(matches!(Walk::verify(&child, &package, &proof), Err(TreeError::Broken { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_root_does_not_depend_on_the_order(
        (numbers, shuffled) in proptest::collection::vec((0_usize..60, 0_u64..4), 1..80)
            .prop_flat_map(|numbers| (Just(numbers.clone()), Just(numbers).prop_shuffle()))
    ) {
        let build = |numbers: &[(usize, u64)]| {
            let (mut root, mut blocks) = (None, Blocks::new());
            for (number, minor) in numbers {
                let version = format!("1.{minor}.0");
                insert(&mut root, &mut blocks, &package(*number), entry(&version, *number as u64 * 10 + minor));
            }
            root
        };
        prop_assert_eq!(build(&numbers), build(&shuffled));
    }

    #[test]
    fn tampered_proofs_fail(number in 0_usize..150, block in 0_usize..8, at in 0_usize..4000, flip in 1_u8..=255) {
        let (root, blocks) = tree_of(150);
        let mut proof = Walk::new(&root, &package(number)).run(get(&blocks)).unwrap().proof;
        let block = block % proof.len();
        let mut bytes = proof[block].to_vec();
        let at = at % bytes.len();
        bytes[at] ^= flip;
        proof[block] = Bytes::from(bytes);
        prop_assert!(Walk::verify(&root, &package(number), &proof).is_err());
    }
}
