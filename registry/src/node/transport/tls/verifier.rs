//! Verifies a peer's certificate: a single one, self-signed, and bound to the peer's key by libp2p's extension. The
//! swarm compares the peer ID with the one it dialled.

use libp2p::tls::certificate;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};

/// The schemes that libp2p's own implementation verifies, in its sequence.
const SCHEMES: [SignatureScheme; 9] = [
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ED25519,
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PKCS1_SHA512,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA256,
];

#[derive(Debug)]
pub(super) struct Verifier;

/// Checks the certificate's form, its own signature, and the signature of the peer's key over it.
fn check(certificate: &CertificateDer<'_>, more: &[CertificateDer<'_>]) -> Result<(), Error> {
    if !more.is_empty() {
        return Err(CertificateError::ApplicationVerificationFailure.into());
    }
    certificate::parse(certificate)?;
    Ok(())
}

fn check_handshake(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    certificate::parse(certificate)?.verify_signature(signed.scheme, message, signed.signature())?;
    Ok(HandshakeSignatureValid::assertion())
}

/// TLS 1.2 is never negotiated; its signatures are refused all the same.
fn outdated() -> Error {
    Error::General("TLS 1.2 is not spoken between peers".to_owned())
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        check(certificate, more).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(outdated())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_handshake(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        check(certificate, more).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(outdated())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_handshake(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }
}

#[cfg(test)]
mod tests {
    use libp2p::identity::Keypair;

    use super::*;

    #[test]
    fn only_one_certificate_that_is_bound_to_a_peer_will_do() {
        let (certificate, _) = certificate::generate(&Keypair::generate_ed25519()).unwrap();
        check(&certificate, &[]).unwrap();
        check(&certificate, std::slice::from_ref(&certificate)).unwrap_err();
        check(&CertificateDer::from(b"no certificate".to_vec()), &[]).unwrap_err();
    }

    /// The test vectors of libp2p's TLS specification (`libp2p/specs`, `tls/tls.md`), in its order.
    #[test]
    fn certificates_of_all_key_types_are_read_as_the_specification_says() {
        for (certificate, peer) in [
            (&include_bytes!("vectors/ed25519.der")[..], "12D3KooWM6CgA9iBFZmcYAHA6A2qvbAxqfkmrYiRQuz3XEsk4Ksv"),
            (include_bytes!("vectors/ecdsa.der"), "QmfXbAwNjJLXfesgztEHe8HwgVDCMMpZ9Eax1HYq6hn9uE"),
            (include_bytes!("vectors/secp256k1.der"), "16Uiu2HAkutTMoTzDw1tCvSRtu6YoixJwS46S1ZFxW8hSx9fWHiPs"),
        ] {
            let certificate = CertificateDer::from(certificate);
            check(&certificate, &[]).unwrap_or_else(|error| panic!("{peer}: {error}"));
            assert_eq!(certificate::parse(&certificate).unwrap().peer_id().to_string(), peer);
        }
        // The key that it names has not signed it.
        check(&CertificateDer::from(&include_bytes!("vectors/mismatch.der")[..]), &[]).unwrap_err();
    }

    #[test]
    fn a_certificate_of_every_key_type_that_this_node_can_make_is_taken() {
        for key in [Keypair::generate_ed25519(), Keypair::generate_secp256k1(), Keypair::generate_ecdsa()] {
            let (certificate, _) = certificate::generate(&key).unwrap();
            check(&certificate, &[]).unwrap();
        }
    }

    /// Unsigned bits may change; the peer ID may not.
    #[test]
    fn a_certificate_that_was_changed_names_nobody_else() {
        let peer = Keypair::generate_ed25519();
        let (certificate, _) = certificate::generate(&peer).unwrap();
        let mut refused = 0;
        for at in 0..certificate.len() {
            let mut changed = certificate.to_vec();
            changed[at] ^= 1;
            match certificate::parse(&CertificateDer::from(changed)) {
                Ok(parsed) => assert_eq!(parsed.peer_id(), peer.public().to_peer_id()),
                Err(_) => refused += 1,
            }
        }
        assert!(refused > certificate.len() * 9 / 10, "{refused} of {}", certificate.len());
    }
}
