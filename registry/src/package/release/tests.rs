use ggen_blockstore::{Block, MemoryBlockstore};
use ipld_core::ipld::Ipld;
use proptest::prelude::*;

use super::*;
use crate::identity::{Envelope, KeyPair, Signed};

fn release() -> Release {
    Release {
        package: "acme/http".parse().unwrap(),
        version: "1.2.3".parse().unwrap(),
        content: *Block::dag_pb(&b"content"[..]).unwrap().cid(),
        manifest: *Block::dag_cbor(&b"manifest"[..]).unwrap().cid(),
        manifest_bytes: 100,
        blocks: 7,
        size: 1000,
        files: 3,
        executables: Vec::new(),
        executables_block: None,
        metadata: Metadata { description: "A web framework".to_owned(), ..Metadata::default() },
        dependencies: vec![Dependency {
            package: "acme/json".parse().unwrap(),
            requirement: "^1".to_owned(),
            publisher: None,
        }],
        publisher: PublisherId::new(*Block::dag_cbor(&b"genesis"[..]).unwrap().cid()).unwrap(),
        predecessor: RecordCid::new(*Block::dag_cbor(&b"predecessor"[..]).unwrap().cid()),
        created: Timestamp::from_unix(1_700_000_000),
    }
}

#[test]
fn a_release_reads_back_from_its_envelope() {
    let signed = Signed::sign(release(), &[&KeyPair::from_seed(&[1; 32])]).unwrap();
    let read = Signed::<Release>::decode(&signed.encode().unwrap()).unwrap();
    assert_eq!(read, signed);
    assert_eq!(read.record(), &release());
    assert_eq!(signed.envelope().block().unwrap().cid(), signed.cid());
}

#[test]
fn content_and_manifest_are_the_only_links() {
    let payload = release().to_payload().unwrap();
    let ipld: Ipld = serde_ipld_dagcbor::from_slice(&payload).unwrap();
    let mut links = Vec::new();
    ipld.references(&mut links);
    let links: Vec<String> = links.iter().map(ToString::to_string).collect();
    assert_eq!(links, [release().content.to_string(), release().manifest.to_string()]);
    let tag_42 = payload.windows(2).filter(|window| window == b"\xd8\x2a").count();
    assert_eq!(tag_42, 2);
    let Ipld::Map(fields) = ipld else { panic!("a release is a map") };
    assert!(matches!(&fields["predecessor"], Ipld::Bytes(_)));
    assert!(matches!(&fields["publisher"], Ipld::Bytes(_)));
    assert_eq!(fields["type"], Ipld::String("ggen/release/v1".to_owned()));
}

#[test]
fn fields_of_a_later_minor_version_are_ignored_and_stay_signed() {
    let key = KeyPair::from_seed(&[1; 32]);
    let Ipld::Map(mut fields) = serde_ipld_dagcbor::from_slice(&release().to_payload().unwrap()).unwrap() else {
        panic!("a release is a map")
    };
    fields.insert("later".to_owned(), Ipld::Integer(1));
    let payload = serde_ipld_dagcbor::to_vec(&Ipld::Map(fields.clone())).unwrap();
    let mut envelope = Envelope::from_parts(payload, Vec::new());
    envelope.add_signature(RecordKind::Release, &key).unwrap();
    let cid = envelope.cid();
    let opened = envelope.open::<Release>().unwrap();
    assert_eq!((opened.record(), *opened.cid()), (&release(), cid));

    fields.insert("type".to_owned(), Ipld::String("ggen/release/v2".to_owned()));
    let other = serde_ipld_dagcbor::to_vec(&Ipld::Map(fields)).unwrap();
    assert!(matches!(Release::from_payload(&other), Err(RecordError::WrongKind { .. })));
}

#[test]
fn a_payload_in_another_form_is_refused() {
    let payload = release().to_payload().unwrap();
    // The last field is an integer slightly above one thousand: encoded in eight bytes instead of two.
    let mut longer = payload.clone();
    let at = payload.windows(3).position(|window| window == [0x19, 0x03, 0xe8]).unwrap();
    longer.splice(at..at + 3, [0x1a, 0x00, 0x00, 0x03, 0xe8]);
    assert!(Release::from_payload(&longer).is_err());
    let mut trailing = payload.clone();
    trailing.push(0);
    assert!(Release::from_payload(&trailing).is_err());
    assert!(matches!(Release::from_payload(&vec![0; 20_000]), Err(RecordError::TooLarge { limit: 16_384, .. })));
}

#[test]
fn executables_go_into_a_block_when_they_are_many() {
    let mut few = release();
    assert_eq!(few.set_executables(vec!["b".into(), "a/run".into(), "b".into()]).unwrap(), None);
    assert_eq!(few.executables, ["a/run", "b"]);

    let mut many = release();
    let paths: Vec<String> = (0..500).map(|number| format!("scripts/tool-{number:04}.sh")).collect();
    let block = many.set_executables(paths.clone()).unwrap().expect("500 paths do not fit in the release");
    assert_eq!(many.executables_block.unwrap().cid(), block.cid());
    assert_eq!(Release::read_executables(block.data()).unwrap(), paths);
    assert!(many.to_payload().is_ok());
}

#[test]
fn executables_outside_the_package_are_refused() {
    for path in ["/bin/sh", "../x", "a/../b", "a//b", "", "a\0b"] {
        assert!(release().set_executables(vec![path.to_owned()]).is_err(), "{path:?}");
        let mut forged = release();
        forged.executables = vec![path.to_owned()];
        assert!(forged.to_payload().is_err(), "{path:?}");
    }
    assert!(Release::read_executables(b"a").is_err());
    assert!(Release::read_executables(b"b\0a\0").is_err());
    assert!(Release::read_executables(b"a\0../x\0").is_err());
}

#[test]
fn releases_out_of_bounds_are_refused() {
    let broken: [fn(&mut Release); 6] = [
        |release| release.metadata.description = "d".repeat(5000),
        |release| release.metadata.tags = vec!["t".to_owned(); 65],
        |release| release.version = format!("1.0.0-{}", "a".repeat(80)).parse().unwrap(),
        |release| release.blocks = 0,
        |release| release.content = *Block::dag_cbor(&b"x"[..]).unwrap().cid(),
        |release| release.dependencies[0].requirement = "nonsense".to_owned(),
    ];
    for (index, change) in broken.into_iter().enumerate() {
        let mut release = release();
        change(&mut release);
        assert!(release.to_payload().is_err(), "case {index}");
    }
    let mut large = release();
    large.metadata.authors = vec!["a".repeat(500); 40];
    assert!(matches!(large.to_payload(), Err(RecordError::TooLarge { limit: 16_384, .. })));
}

#[test]
fn a_release_is_a_block_like_any_other() {
    use ggen_blockstore::Blockstore as _;
    let signed = Signed::sign(release(), &[]).unwrap();
    let store = MemoryBlockstore::new();
    store.put(&signed.envelope().block().unwrap()).unwrap();
    let payload = store.get(signed.cid()).unwrap().unwrap();
    assert_eq!(Release::from_payload(&payload).unwrap(), release());
}

proptest! {
    #[test]
    fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _any = Release::from_payload(&bytes);
        let _any = Signed::<Release>::decode(&bytes);
        let _any = Release::read_executables(&bytes);
    }

    #[test]
    fn damaged_releases_are_errors(at in 0_usize..400, value in any::<u8>()) {
        let signed = Signed::sign(release(), &[&KeyPair::from_seed(&[1; 32])]).unwrap();
        let mut bytes = signed.encode().unwrap();
        let at = at % bytes.len();
        prop_assume!(bytes[at] != value);
        bytes[at] = value;
        prop_assert!(Signed::<Release>::decode(&bytes).is_err());
    }
}
