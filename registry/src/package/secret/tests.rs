use std::process::Command;

use cid::multibase::Base;
use libp2p::identity::Keypair;

use super::*;
use crate::identity::KeyPair;

fn found(path: &str, content: &[u8]) -> Option<&'static str> {
    secret_in(path, Inspected::Path).or_else(|| secret_in(path, Inspected::Content(content)))
}

#[track_caller]
fn is_secret(path: &str, content: &[u8]) {
    assert!(found(path, content).is_some(), "{path}: {}", String::from_utf8_lossy(content));
}

#[track_caller]
fn is_no_secret(path: &str, content: &[u8]) {
    assert_eq!(found(path, content), None, "{path}: {}", String::from_utf8_lossy(content));
}

#[test]
fn credentials_are_told_by_name_and_their_templates_are_not() {
    for path in [
        ".env",
        "deploy/.env",
        ".ENV",
        ".env.production",
        ".env.local",
        "home/.netrc",
        "_netrc",
        ".pypirc",
        "credentials.toml",
        ".cargo/credentials",
        "id_rsa",
        "ssh/id_ed25519",
        "id_ecdsa_sk",
        ".git-credentials",
        ".aws/credentials",
        ".kube/config",
        ".pgpass",
        ".htpasswd",
    ] {
        is_secret(path, b"x");
    }
    for path in [
        ".env.example",
        ".env.sample",
        ".env.template",
        ".env.local.example",
        ".environment",
        "env",
        "src/.envrc.md",
        "id_rsa.pub",
        "id_ed25519.pub",
        "credentials",
        "docs/credentials.toml.md",
        "kube/config",
        "netrc.md",
    ] {
        is_no_secret(path, b"x");
    }
}

#[test]
fn a_token_in_npmrc_is_a_secret_and_a_variable_is_none() {
    is_secret(".npmrc", b"registry=https://r.example\n//r.example/:_authToken=npm_abc\n");
    is_secret("sub/.npmrc", b"_auth = \"dXNlcjpwYXNz\"\n");
    is_secret(".yarnrc.yml", b"npmScopes:\n  a:\n    npmAuthToken: abc\n");
    for content in [
        &b"registry=https://r.example/\nsave-exact=true\n"[..],
        b"//r.example/:_authToken=${NPM_TOKEN}\n",
        b"# //r.example/:_authToken=npm_abc\n",
        b"//r.example/:_authToken=\n",
    ] {
        is_no_secret(".npmrc", content);
    }
    is_no_secret("README.md", b"//r.example/:_authToken=npm_abc\n");
    is_no_secret(".yarnrc.yml", b"npmAuthToken: \"${TOKEN}\"\nnodeLinker: node-modules\n");
}

#[test]
fn our_own_keys_and_those_of_libp2p_are_told_by_content() {
    let key = KeyPair::from_seed(&[7; 32]);
    is_secret("keys/default.key", &key.to_protobuf());
    is_secret("recovery.txt", key.to_pem().as_bytes());
    is_no_secret("public", &key.public().to_protobuf());
    for generate in [Keypair::generate_secp256k1, Keypair::generate_ecdsa] {
        let key = generate();
        is_secret("x", &key.to_protobuf_encoding().unwrap());
        is_no_secret("x", &key.public().encode_protobuf());
    }
    let base64 = Base::Base64Pad.encode(key.to_protobuf());
    is_secret(
        "config",
        format!("{{\n  \"Identity\": {{ \"PeerID\": \"12D3\", \"PrivKey\": \"{base64}\" }}\n}}").as_bytes(),
    );
    is_no_secret("config", b"{ \"PrivKey\": \"...\" }");
}

/// What openssl and ssh-keygen write: the keys are secrets, their public halves and certificates are none.
#[test]
fn keys_of_openssl_and_ssh_are_told_by_content_and_their_public_halves_are_none() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    let run = |program: &str, args: &str| {
        let args = args.split(' ').map(|word| word.replace('@', &format!("{}/", place.path().display())));
        let output = Command::new(program).args(args).output().unwrap_or_else(|error| panic!("{program}: {error}"));
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    };
    run("openssl", "genpkey -algorithm ED25519 -out @ed25519");
    run("openssl", "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out @rsa");
    run("openssl", "rsa -in @rsa -traditional -out @rsa.pkcs1");
    run("openssl", "rsa -in @rsa -traditional -aes128 -passout pass:x -out @rsa.legacy");
    run("openssl", "pkcs8 -topk8 -in @rsa -passout pass:x -out @rsa.encrypted");
    run("openssl", "rsa -in @rsa -outform DER -out @rsa.der");
    run("openssl", "ecparam -name prime256v1 -genkey -out @ec");
    run("openssl", "ec -in @ec -outform DER -out @ec.der");
    run("openssl", "req -x509 -key @rsa -subj /CN=x -out @certificate");
    run("openssl", "x509 -in @certificate -outform DER -out @certificate.der");
    run("openssl", "req -new -key @rsa -subj /CN=x -out @request");
    run("openssl", "pkcs12 -export -inkey @rsa -in @certificate -passout pass:x -out @store.p12");
    run("openssl", "rsa -in @rsa -pubout -out @public");
    run("openssl", "rsa -in @rsa -pubout -outform DER -out @public.der");
    run("ssh-keygen", "-q -t ed25519 -N x -f @ssh");
    run("ssh-keygen", "-q -t rsa -b 2048 -m PEM -N  -f @ssh-rsa");
    let secret = [
        "ed25519",
        "rsa",
        "rsa.pkcs1",
        "rsa.legacy",
        "rsa.encrypted",
        "rsa.der",
        "ec",
        "ec.der",
        "store.p12",
        "ssh",
        "ssh-rsa",
    ];
    for name in secret {
        let content = std::fs::read(path(name)).unwrap();
        assert!(found("x", &content).is_some(), "{name}");
        if let Ok(text) = String::from_utf8(content) {
            let json = format!("{{\"private_key\": {:?}}}", text);
            is_secret("service-account.json", json.as_bytes());
            is_secret("values.yaml", format!("tls:\n  key: |\n{}", text.replace('\n', "\n    ")).as_bytes());
        }
    }
    for name in ["certificate", "certificate.der", "request", "public", "public.der", "ssh.pub", "ssh-rsa.pub"] {
        is_no_secret(name, &std::fs::read(path(name)).unwrap());
    }
}

#[test]
fn a_key_is_found_in_a_part_of_a_file_and_after_a_block_without_an_end() {
    let key = KeyPair::from_seed(&[7; 32]).to_pem();
    let half = &key[..60];
    let content = format!("{half}\n{half}\n-----BEGIN PRIVATE KEY-----\n{key}{half}");
    assert!(secret_in("x.sql", Inspected::Part(content.as_bytes())).is_some());
    assert_eq!(secret_in("x.sql", Inspected::Part(format!("{half}\n{half}").as_bytes())), None);
    assert!(secret_in(".npmrc", Inspected::Part(b"...\n_auth = abc\n")).is_some());
}

#[test]
fn the_words_of_a_key_are_no_key() {
    for content in [
        "const BEGIN: &str = \"-----BEGIN PRIVATE KEY-----\";\nconst END: &str = \"-----END PRIVATE KEY-----\";\n",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA...\n-----END RSA PRIVATE KEY-----\n",
        "-----BEGIN PRIVATE KEY-----\nc2VjcmV0IHdvcmRzIHRoYXQgYXJlIG5vIGtleSBhdCBhbGw=\n-----END PRIVATE KEY-----\n",
        "-----BEGIN OPENSSH PRIVATE KEY-----\n<your key here>\n-----END OPENSSH PRIVATE KEY-----\n",
        "-----BEGIN PRIVATE KEY-----\n",
        "-----BEGIN PRIVATE KEY----------END PRIVATE KEY-----",
        "a PRIVATE KEY, PRIVATE KEY-----",
        "AGE-SECRET-KEY-1...",
    ] {
        is_no_secret("README.md", content.as_bytes());
    }
    is_secret("key.txt", ["# created: now\n", "AGE-SECRET-KEY-1", &"Q".repeat(58), "\n"].concat().as_bytes());
    is_secret("key.ppk", b"PuTTY-User-Key-File-3: ssh-ed25519\n");
    is_no_secret("x", b"");
    is_no_secret("x", &[0x30]);
    is_no_secret("x", &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]);
}
