use ggen_blockstore::protobuf::{put_bytes_field, put_nonzero_field};
use std::time::{Duration, UNIX_EPOCH};

use bytes::BytesMut;
use libp2p::identity::Keypair;
use proptest::prelude::*;

use crate::node::dht::amino::ipns::*;

/// The content of an IPNS record before it is signed.
#[derive(Clone, Debug)]
pub(in crate::node) struct Draft {
    pub(in crate::node) value: Vec<u8>,
    pub(in crate::node) sequence: u64,
    /// RFC 3339.
    pub(in crate::node) validity: String,
    pub(in crate::node) ttl: i64,
    /// The fields of version 1 are written too.
    pub(in crate::node) is_repeated: bool,
}

impl Draft {
    pub(in crate::node) fn new(sequence: u64, validity: &str) -> Self {
        let value = b"/ipfs/bafkqaaa".to_vec();
        Self { value, sequence, validity: validity.to_owned(), ttl: 300_000_000_000, is_repeated: true }
    }

    fn data(&self) -> BTreeMap<&'static str, Ipld> {
        BTreeMap::from([
            ("TTL", Ipld::Integer(self.ttl.into())),
            ("Value", Ipld::Bytes(self.value.clone())),
            ("Sequence", Ipld::Integer(self.sequence.into())),
            ("Validity", Ipld::Bytes(self.validity.clone().into_bytes())),
            ("ValidityType", Ipld::Integer(0)),
        ])
    }

    fn outer(&self) -> Outer {
        if !self.is_repeated {
            return Outer::default();
        }
        Outer {
            value: self.value.clone(),
            signature_v1: b"not looked at".to_vec(),
            validity: self.validity.clone().into_bytes(),
            sequence: self.sequence,
            ttl: self.ttl as u64,
            ..Outer::default()
        }
    }

    pub(in crate::node) fn signed(&self, key: &Keypair) -> Vec<u8> {
        sign(key, self.outer(), serde_ipld_dagcbor::to_vec(&self.data()).unwrap())
    }
}

/// Signs `data` and completes the record, with the public key if the name is only its hash.
fn sign(key: &Keypair, outer: Outer, data: Vec<u8>) -> Vec<u8> {
    let signature_v2 = key.sign(&[SIGNED_PREFIX, &data].concat()).unwrap();
    let encoded = key.public().encode_protobuf();
    let public_key = if encoded.len() > 42 { encoded } else { Vec::new() };
    encode(&Outer { signature_v2, data, public_key, ..outer })
}

fn encode(outer: &Outer) -> Vec<u8> {
    let mut out = BytesMut::new();
    let bytes = |out: &mut BytesMut, field, content: &[u8]| {
        if !content.is_empty() {
            put_bytes_field(out, field, content);
        }
    };
    bytes(&mut out, 1, &outer.value);
    bytes(&mut out, 2, &outer.signature_v1);
    put_nonzero_field(&mut out, 3, outer.validity_type);
    bytes(&mut out, 4, &outer.validity);
    put_nonzero_field(&mut out, 5, outer.sequence);
    put_nonzero_field(&mut out, 6, outer.ttl);
    bytes(&mut out, 7, &outer.public_key);
    bytes(&mut out, 8, &outer.signature_v2);
    bytes(&mut out, 9, &outer.data);
    out.to_vec()
}

const SOON: &str = "2030-01-01T00:00:00.000000001Z";

fn time(unix: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(unix)
}

/// 2023-11-14.
fn now() -> SystemTime {
    time(1_700_000_000)
}

fn check(bytes: &[u8], name: &PeerId) -> Result<IpnsRecord, IpnsError> {
    let record = IpnsRecord::decode(bytes)?;
    record.verify(name, now())?;
    Ok(record)
}

#[test]
fn the_vectors_of_the_gateway_conformance_tests_are_judged_as_they_say() {
    let valid = |bytes: &[u8], name: &str| {
        // A name is a peer id: in base58, or the multihash of a CID.
        let name = name.parse::<PeerId>().unwrap_or_else(|_| {
            let cid: cid::Cid = name.parse().unwrap();
            PeerId::from_bytes(&cid.hash().to_bytes()).unwrap()
        });
        check(bytes, &name).map(|record| String::from_utf8(record.value).unwrap())
    };
    let v2 = valid(
        include_bytes!("../vectors/v2.ipns-record"),
        "k51qzi5uqu5dit2ku9mutlfgwyz8u730on38kd10m97m36bjt66my99hb6103f",
    );
    assert_eq!(v2.unwrap(), "/ipfs/bafkqadtwgiww63tmpeqhezldn5zgi");
    let both = valid(
        include_bytes!("../vectors/v1-v2.ipns-record"),
        "k51qzi5uqu5dlkw8pxuw9qmqayfdeh4kfebhmreauqdc6a7c3y7d5i9fi8mk9w",
    );
    assert_eq!(both.unwrap(), "/ipfs/bafkqaddwgevxmmraojswg33smq");
    let unread = valid(
        include_bytes!("../vectors/v1-v2-broken-signature-v1.ipns-record"),
        "k51qzi5uqu5dilgf7gorsh9vcqqq4myo6jd4zmqkuy9pxyxi5fua3uf7axph4y",
    );
    assert_eq!(unread.unwrap(), "/ipfs/bafkqahtwgevxmmrao5uxi2bamjzg623fnyqhg2lhnzqxi5lsmuqhmmi");
    let old = valid(
        include_bytes!("../vectors/v1.ipns-record"),
        "k51qzi5uqu5dm4tm0wt8srkg9h9suud4wuiwjimndrkydqm81cqtlb5ak6p7ku",
    );
    assert!(matches!(old, Err(IpnsError::Unsigned)), "{old:?}");
    let forged = valid(
        include_bytes!("../vectors/v1-v2-broken-signature-v2.ipns-record"),
        "k51qzi5uqu5diamp7qnnvs1p1gzmku3eijkeijs3418j23j077zrkok63xdm8c",
    );
    assert!(matches!(forged, Err(IpnsError::Signature)), "{forged:?}");
    let differs = valid(
        include_bytes!("../vectors/v1-v2-broken-v1-value.ipns-record"),
        "k51qzi5uqu5dlmit2tuwdvnx4sbnyqgmvbxftl0eo3f33wwtb9gr7yozae9kpw",
    );
    assert!(matches!(differs, Err(IpnsError::Version1)), "{differs:?}");
    let page = "/ipfs/bafkreicysg23kiwv34eg2d7qweipxwosdo2py4ldv42nbauguluen5v6am";
    let ed25519 =
        valid(include_bytes!("../vectors/ed25519.ipns-record"), "12D3KooWLQzUv2FHWGVPXTXSZpdHs7oHbXub2G5WC8Tx4NQhyd2d");
    assert_eq!(ed25519.unwrap(), page);
    let rsa = valid(include_bytes!("../vectors/rsa.ipns-record"), "QmVujd5Vb7moysJj8itnGufN7MEtPRCNHkKpNuA4onsRa3");
    assert_eq!(rsa.unwrap(), page);
}

#[test]
fn records_under_every_kind_of_key_are_verified() {
    for key in [Keypair::generate_ed25519(), Keypair::generate_secp256k1(), Keypair::generate_ecdsa()] {
        let record = Draft::new(7, SOON).signed(&key);
        let name = key.public().to_peer_id();
        assert_eq!(check(&record, &name).unwrap().sequence, 7, "{:?}", key.key_type());
        let other = Keypair::generate_ecdsa().public().to_peer_id();
        let refused = check(&record, &other).unwrap_err();
        assert!(matches!(refused, IpnsError::OtherKey(_) | IpnsError::NoPublicKey), "{refused}");
    }
}

#[test]
fn a_record_is_valid_until_the_very_moment_it_names() {
    let key = Keypair::generate_ed25519();
    let name = key.public().to_peer_id();
    let record = IpnsRecord::decode(&Draft::new(0, "2023-11-14T22:13:20Z").signed(&key)).unwrap();
    record.verify(&name, now()).unwrap();
    let late = record.verify(&name, now() + Duration::from_nanos(1));
    assert!(matches!(late, Err(IpnsError::Expired)), "{late:?}");
    let elsewhere = IpnsRecord::decode(&Draft::new(0, "2023-11-15T00:13:20.5+02:00").signed(&key)).unwrap();
    assert_eq!(elsewhere.valid_until(), now() + Duration::from_millis(500));
}

#[test]
fn a_higher_sequence_wins_and_then_a_later_end() {
    let key = Keypair::generate_ed25519();
    let record = |sequence, validity| IpnsRecord::decode(&Draft::new(sequence, validity).signed(&key)).unwrap();
    let (first, later, second) =
        (record(1, SOON), record(1, "2031-01-01T00:00:00Z"), record(2, "2029-01-01T00:00:00Z"));
    assert_eq!(first.cmp_recency(&later), Ordering::Less);
    assert_eq!(later.cmp_recency(&second), Ordering::Less);
    assert_eq!(first.cmp_recency(&first), Ordering::Equal);
}

#[test]
fn data_that_does_not_say_all_of_it_is_refused() {
    let key = Keypair::generate_ed25519();
    let name = key.public().to_peer_id();
    let draft = Draft { is_repeated: false, ..Draft::new(1, SOON) };
    let with = |change: &dyn Fn(&mut BTreeMap<&'static str, Ipld>)| {
        let mut data = draft.data();
        change(&mut data);
        check(&sign(&key, Outer::default(), serde_ipld_dagcbor::to_vec(&data).unwrap()), &name)
    };
    with(&|_| {}).unwrap();
    with(&|data| drop(data.insert("_note", Ipld::String("more may be said".to_owned())))).unwrap();
    with(&|data| drop(data.remove("TTL"))).unwrap();
    for key in ["Value", "Sequence", "Validity", "ValidityType"] {
        let missing = with(&|data| drop(data.remove(key)));
        assert!(matches!(missing, Err(IpnsError::Field(named)) if named == key), "{missing:?}");
        let other = with(&|data| drop(data.insert(key, Ipld::Null)));
        assert!(matches!(other, Err(IpnsError::Field(named)) if named == key), "{other:?}");
    }
    let negative = with(&|data| drop(data.insert("TTL", Ipld::Integer(-1))));
    assert!(matches!(negative, Err(IpnsError::Field("TTL"))), "{negative:?}");
    let kind = with(&|data| drop(data.insert("ValidityType", Ipld::Integer(1))));
    assert!(matches!(kind, Err(IpnsError::ValidityType)), "{kind:?}");
    let unreadable = with(&|data| drop(data.insert("Validity", Ipld::Bytes(b"tomorrow".to_vec()))));
    assert!(matches!(unreadable, Err(IpnsError::Time(_))), "{unreadable:?}");
}

#[test]
fn a_key_that_stands_twice_in_the_data_is_refused() {
    let key = Keypair::generate_ed25519();
    let mut data = serde_ipld_dagcbor::to_vec(&Draft::new(1, SOON).data()).unwrap();
    // A map of six: the last entry repeats the key `Sequence`.
    data[0] += 1;
    data.extend([0x68].iter().chain(b"Sequence").chain(&[9]));
    let refused = check(&sign(&key, Outer::default(), data), &key.public().to_peer_id());
    assert!(matches!(refused, Err(IpnsError::Data(_))), "{refused:?}");
}

#[test]
fn a_record_of_more_than_10_kib_is_refused_before_it_is_read() {
    let key = Keypair::generate_ed25519();
    let record = |bytes| Draft { value: vec![b'x'; bytes], is_repeated: false, ..Draft::new(1, SOON) }.signed(&key);
    let overhead = record(9_000).len() - 9_000;
    let name = key.public().to_peer_id();
    assert_eq!(record(MAX_RECORD_BYTES - overhead).len(), MAX_RECORD_BYTES);
    check(&record(MAX_RECORD_BYTES - overhead), &name).unwrap();
    let refused = check(&record(MAX_RECORD_BYTES - overhead + 1), &name);
    assert!(matches!(refused, Err(IpnsError::TooLarge(_))), "{refused:?}");
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes: Vec<u8>, data: Vec<u8>) {
        let _any = IpnsRecord::decode(&bytes);
        let signature_v2 = vec![1];
        let _any = IpnsRecord::decode(&encode(&Outer { data, signature_v2, ..Outer::default() }));
    }

    /// Whatever byte of a record changes, the record is refused or keeps its meaning: no unsigned field is trusted.
    #[test]
    fn a_changed_record_never_says_something_else(at: prop::sample::Index, to: u8, is_repeated: bool, sequence: u64) {
        let key = Keypair::ed25519_from_bytes([7; 32]).unwrap();
        let name = key.public().to_peer_id();
        let mut bytes = Draft { is_repeated, ..Draft::new(sequence, SOON) }.signed(&key);
        let before = check(&bytes, &name).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(after) = check(&bytes, &name) {
            prop_assert_eq!(after.value, before.value);
            prop_assert_eq!((after.sequence, after.valid_until, after.ttl), (before.sequence, before.valid_until, before.ttl));
        }
    }

    /// Servers that keep the best record they saw end with the same one, in whatever order records arrive.
    #[test]
    fn what_is_left_does_not_depend_on_the_order(mut drafts in prop::collection::vec((0_u64..4, 0_u8..4), 1..8), seed: u64) {
        let key = Keypair::ed25519_from_bytes([7; 32]).unwrap();
        let routing_key = [b"/ipns/", &key.public().to_peer_id().to_bytes()[..]].concat();
        let left = |drafts: &[(u64, u8)]| {
            drafts.iter().fold(None, |stored: Option<Vec<u8>>, (sequence, month)| {
                let offered = Draft::new(*sequence, &format!("2030-0{}-01T00:00:00Z", month + 1)).signed(&key);
                match crate::node::dht::amino::admit(&routing_key, stored.as_deref(), &offered, now()) {
                    Ok(_) => Some(offered),
                    Err(_) => stored,
                }
            })
        };
        let first = left(&drafts);
        let turns = (seed % drafts.len() as u64) as usize;
        drafts.rotate_left(turns);
        drafts.reverse();
        prop_assert_eq!(first, left(&drafts));
    }
}
