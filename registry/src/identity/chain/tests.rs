use super::*;
use crate::identity::{IDENTITY_ENTROPY_BYTES, NewIdentity, PublicKey, RecordKind, Timestamp};

fn publisher(seed: u8) -> NewIdentity {
    let mut entropy = [seed; IDENTITY_ENTROPY_BYTES];
    for (index, byte) in entropy.iter_mut().enumerate() {
        *byte = byte.wrapping_add(17 * (index / 32) as u8);
    }
    NewIdentity::create(&entropy, Timestamp::from_unix(1_700_000_000)).unwrap()
}

fn key(seed: u8) -> KeyPair {
    KeyPair::from_seed(&[seed; 32])
}

fn sorted(mut keys: Vec<PublicKey>) -> Vec<PublicKey> {
    keys.sort_unstable();
    keys
}

/// A copy of the current document with `keys` and `threshold` replaced.
fn with_keys(chain: &IdentityChain, keys: &[&KeyPair], threshold: u8) -> IdentityDocument {
    let keys = sorted(keys.iter().map(|key| key.public()).collect());
    IdentityDocument { keys, threshold, ..chain.current().record().clone() }
}

#[test]
fn a_new_publisher_is_named_by_its_first_document() {
    let alice = publisher(1);
    assert_eq!(alice.chain.publisher().cid(), alice.chain.documents()[0].cid());
    assert_eq!(IdentityChain::decode(&alice.chain.encode().unwrap()).unwrap(), alice.chain);
    assert_eq!(alice.chain.blocks().unwrap()[0].cid(), alice.chain.publisher().cid());
    assert_ne!(publisher(2).chain.publisher(), alice.chain.publisher());
}

#[test]
fn equal_keys_make_no_publisher() {
    assert!(NewIdentity::create(&[0; IDENTITY_ENTROPY_BYTES], Timestamp::default()).is_err());
}

#[test]
fn a_genesis_that_its_own_keys_did_not_sign_is_refused() {
    let alice = publisher(1);
    let document = alice.chain.current().record();
    let forged = Envelope::sign(document, &[&key(99)]).unwrap();
    assert!(matches!(IdentityChain::verify(vec![forged]), Err(ChainError::NotAuthorised { seq: 0, .. })));
    let unsigned = Envelope::sign(document, &[]).unwrap();
    assert!(IdentityChain::verify(vec![unsigned]).is_err());
}

#[test]
fn rotations_need_the_threshold_of_the_document_before() {
    let alice = publisher(1);
    let (second, third) = (key(50), key(51));
    let two_of_two = with_keys(&alice.chain, &[&second, &third], 2);
    let chain = alice.chain.rotate(two_of_two, &[&alice.signing]).unwrap();
    assert_eq!((chain.seq(), chain.publisher()), (1, alice.chain.publisher()));

    let next = with_keys(&chain, &[&key(60)], 1);
    assert!(matches!(chain.rotate(next.clone(), &[&second]), Err(ChainError::NotAuthorised { seq: 1.., needed: 2 })));
    assert!(chain.rotate(next.clone(), &[&alice.signing]).is_err(), "a key rotated away signs nothing");
    assert_eq!(chain.rotate(next, &[&second, &third]).unwrap().seq(), 2);
}

#[test]
fn recovery_keys_change_only_by_recovery() {
    let alice = publisher(1);
    let mut next = alice.chain.current().record().clone();
    next.recovery = vec![key(70).public()];
    assert!(matches!(alice.chain.rotate(next.clone(), &[&alice.signing]), Err(ChainError::Broken { .. })));
    assert!(alice.chain.rotate(next, &[&alice.recovery]).is_ok());
}

#[test]
fn recovery_beats_a_rotation_by_stolen_keys() {
    let alice = publisher(1);
    let stolen = alice.chain.rotate(with_keys(&alice.chain, &[&key(80)], 1), &[&alice.signing]).unwrap();
    let stolen_twice = stolen.rotate(with_keys(&stolen, &[&key(81)], 1), &[&key(80)]).unwrap();
    let recovered = alice.chain.rotate(with_keys(&alice.chain, &[&key(90)], 1), &[&alice.recovery]).unwrap();
    assert_eq!(stolen_twice.compare(&recovered), ChainOrder::OtherWins);
    assert_eq!(recovered.compare(&stolen_twice), ChainOrder::ThisWins);
    assert_eq!(alice.chain.compare(&stolen), ChainOrder::OtherWins);
    assert_eq!(stolen.compare(&alice.chain), ChainOrder::ThisWins);
    assert_eq!(stolen.compare(&stolen), ChainOrder::Same);
    let rival = alice.chain.rotate(with_keys(&alice.chain, &[&key(82)], 1), &[&alice.signing]).unwrap();
    assert_eq!(stolen.compare(&rival), ChainOrder::Conflict);
    assert_eq!(alice.chain.compare(&publisher(2).chain), ChainOrder::Conflict);
}

#[test]
fn a_chain_out_of_order_or_with_a_gap_is_refused() {
    let alice = publisher(1);
    let second = alice.chain.rotate(with_keys(&alice.chain, &[&key(50)], 1), &[&alice.signing]).unwrap();
    let third = second.rotate(with_keys(&second, &[&key(51)], 1), &[&key(50)]).unwrap();
    let envelopes: Vec<_> = third.documents().iter().map(|document| document.envelope().clone()).collect();
    let pick = |order: &[usize]| IdentityChain::verify(order.iter().map(|at| envelopes[*at].clone()).collect());
    assert!(pick(&[0, 1, 2]).is_ok());
    for order in [&[0, 2][..], &[1, 2], &[0, 0], &[0, 2, 1], &[]] {
        assert!(pick(order).is_err(), "{order:?}");
    }
}

#[test]
fn chains_are_bounded() {
    let alice = publisher(1);
    let mut chain = alice.chain.clone();
    let refused = loop {
        match chain.rotate(chain.current().record().clone(), &[&alice.signing]) {
            Ok(next) => chain = next,
            Err(error) => break error,
        }
    };
    assert!(chain.documents().len() >= 40, "only {} documents fit", chain.documents().len());
    assert!(matches!(refused, ChainError::Length { .. } | ChainError::Encoding(RecordError::TooLarge { .. })));
    let oversized = vec![0x80; MAX_CHAIN_BYTES + 1];
    assert!(matches!(
        IdentityChain::decode(&oversized),
        Err(ChainError::Encoding(RecordError::TooLarge { bytes, .. })) if bytes == MAX_CHAIN_BYTES + 1
    ));
}

#[test]
fn a_signature_of_one_kind_is_none_of_another() {
    let alice = publisher(1);
    let document = alice.chain.current().record();
    let mut envelope = Envelope::sign(document, &[]).unwrap();
    envelope.add_signature(RecordKind::Head, &alice.signing).unwrap();
    assert!(matches!(envelope.open::<IdentityDocument>(), Err(RecordError::BadSignature { .. })));
}

#[test]
fn adding_a_signature_keeps_the_cid() {
    let alice = publisher(1);
    let mut envelope = alice.chain.current().envelope().clone();
    let cid = envelope.cid();
    envelope.add_signature(RecordKind::Identity, &alice.recovery).unwrap();
    envelope.add_signature(RecordKind::Identity, &alice.signing).unwrap();
    assert_eq!((envelope.cid(), envelope.signatures().len()), (cid, 2));
    assert_eq!(envelope.open::<IdentityDocument>().unwrap().signers_among(&[alice.recovery.public()]), 1);
}

#[test]
fn flipped_bits_are_refused_wherever_they_are() {
    let alice = publisher(1);
    let bytes = alice.chain.encode().unwrap();
    for at in 0..bytes.len() {
        for bit in [0x01, 0x80] {
            let mut flipped = bytes.clone();
            flipped[at] ^= bit;
            assert!(IdentityChain::decode(&flipped).is_err(), "byte {at}, bit {bit:#x}");
        }
    }
}

#[test]
fn deep_nesting_is_an_error_not_a_crash() {
    let mut nested = vec![0x81; 16 << 10];
    *nested.last_mut().unwrap() = 0x80;
    assert!(IdentityChain::decode(&nested).is_err());
    assert_eq!(RecordKind::of_payload(&nested), None);
}

#[test]
fn payloads_say_what_they_are() {
    let alice = publisher(1);
    let payload = alice.chain.current().envelope().payload();
    assert_eq!(RecordKind::of_payload(payload), Some(RecordKind::Identity));
    assert_eq!(RecordKind::of_payload(b"\xa1dtypepggen/release/v9"), None);
    assert_eq!(RecordKind::of_payload(b"nonsense"), None);
}
