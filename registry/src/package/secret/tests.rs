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
        ".env~",
        "#.env#",
        ".env.~2~",
        ".env_prod",
        ".env-production",
        ".env.swp",
        ".netrc~",
        ".pypirc.bak",
        ".git-credentials.bak",
        "id_rsa.old",
        ".id_rsa.swp",
        ".config/gcloud/credentials.db",
        ".config/gcloud/legacy_credentials/me@example.org/adc.json",
        ".azure/msal_token_cache.json",
        ".terraform.d/credentials.tfrc.json",
        "backup/.gnupg/private-keys-v1.d/0123.key",
        ".env copy",
        ".env copy 2",
        ".env - Copy",
        ".env - Copy (2)",
        "Copy of .env",
        ".env (1)",
        ".env.production (another copy)",
        "id_rsa (1)",
        "id_rsa 2",
        "deploy/credentials copy.toml",
        "credentials (1).toml~",
    ] {
        is_secret(path, b"x");
    }
    for path in [
        ".env.example",
        ".env.sample",
        ".env.template",
        ".env.local.example",
        ".env.example~",
        ".env-sample",
        ".env.d.ts",
        ".env.example copy",
        "example (1).env",
        "id_rsa (1).pub",
        "copy of ",
        " (1)",
        " copy",
        ".env.ts",
        ".env.vault",
        ".env.production.gpg",
        ".environment",
        "env",
        "example.env",
        "#",
        "~",
        ".bak",
        ".config/gcloud/configurations/config_default",
        ".gnupg/pubring.kbx",
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
    is_secret(".npmrc~", b"//r.example/:_authToken=npm_abc\n");
    is_secret(".npmrc", b"//r.example/:_authToken[]=npm_abc\n");
    is_secret(".npmrc", b"//r.example/:_authToken=${TOKEN:-npm_abc}\n");
    is_no_secret(".npmrc", b"//r.example/:_authToken=${TOKEN:-}\n");
    is_no_secret(".npmrc", b"//r.example/:_authToken=${TOKEN?}\n");
    is_secret(".yarnrc.yml", b"npmScopes: { a: { npmAuthToken: \"abc\" } }\n");
    is_secret(".yarnrc.yml", b"npmScopes:\n  a:\n    \"npmAuthToken\": abc\n");
    is_no_secret(".yarnrc.yml", b"npmScopes: { a: { npmAuthToken: ${TOKEN}, npmAlwaysAuth: true } }\n");
    is_no_secret(".yarnrc.yml", b"npmAuthToken: \"${TOKEN}\"\nnodeLinker: node-modules\n");
}

#[test]
fn a_token_beside_a_reference_in_a_url_in_utf16_and_of_yarn_1_is_a_secret() {
    let token = "registry=https://r.example\n//r.example/:_authToken=npm_abc\n";
    let wide = |bytes: fn(u16) -> [u8; 2]| token.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
    is_secret(".npmrc", &wide(u16::to_le_bytes));
    is_secret(".npmrc", &wide(u16::to_be_bytes));
    is_secret(".npmrc", &[b"\xff\xfe".to_vec(), wide(u16::to_le_bytes)].concat());
    is_secret(".npmrc", format!("# a comment\n{token}").replace('\n', "\r").as_bytes());
    let secret = [
        (".npmrc", "//r.example/:_authToken=${NPM_TOKEN}npm_realtoken\n"),
        (".npmrc", "registry=https://ada:pw@r.example/\n"),
        (".yarnrc", "\"//r.example/:_authToken\" \"npm_abc\"\n"),
        (".yarnrc", "registry \"https://ada:pw@r.example/\"\n"),
        (".gitmodules", "[submodule \"x\"]\n\turl = https://ada:pw@git.example/x\n"),
        ("pip.conf", "[global]\nindex-url = https://ada:pw@pypi.example/simple\n"),
        (".docker/config.json", "{\"auths\": {\"r\": {\"username\": \"ada\", \"password\": \"pw\"}}}"),
    ];
    for (path, content) in secret {
        is_secret(path, content.as_bytes());
        is_no_secret("docs.md", content.as_bytes());
    }
    let no_secret = [
        (".npmrc", "//r.example/:_authToken=${PREFIX}${TOKEN}\n"),
        (".npmrc", "_auth=${USER}:${PASSWORD}\n"),
        (".npmrc", "registry=https://${USER}:${PASSWORD}@r.example/\n# https://ada:pw@r.example\n"),
        (".npmrc", "registry=https://ada@r.example/a:b@c\n"),
        (".yarnrc", "# \"//r.example/:_authToken\" \"npm_abc\"\n\"//r.example/:_authToken\" \"${TOKEN}\"\n"),
        (".gitmodules", "url = ssh://git@git.example/x\nurl = git@git.example:x\n"),
    ];
    for (path, content) in no_secret {
        is_no_secret(path, content.as_bytes());
    }
}

/// Names in use, and URLs with a password under whatever name.
#[test]
fn variables_that_hold_secrets_are_told_by_their_names_and_values() {
    let url = "DATABASE_URL=postgres://ada:pw@db.example/x";
    for line in [
        "DB_PASS=abc",
        "DB_PWD=abc",
        "PASS=abc",
        "SECRET_KEY_BASE=abc",
        "GITHUB_PAT=ghp_abc",
        "MNEMONIC=\"a b c\"",
        "APP_KEY=base64:abc",
        url,
        "export URL='https://ada:pw@x.example'",
    ] {
        is_secret("prod.env", format!("PORT=1\n{line}\n").as_bytes());
        is_secret(".envrc", line.as_bytes());
        is_no_secret("example.env", line.as_bytes());
    }
    for line in [
        "BYPASS=abc",
        "COMPAT=abc",
        "PWD=/home/ada",
        "OLDPWD=/home/ada",
        "DB_PASS=${DB_PASS}",
        "DATABASE_URL=postgres://ada:${DB_PASS}@db.example/x",
        "DATABASE_URL=postgres://ada:$DB_PASS@db.example/x",
        "DATABASE_URL=postgres://ada@db.example/x",
        "DATABASE_URL=postgres://ada:<password>@db.example/x",
        "URL=https://x.example:8080/a@b",
    ] {
        is_no_secret("prod.env", line.as_bytes());
    }
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
}

#[test]
fn a_key_of_libp2p_is_found_in_a_text() {
    let key = KeyPair::from_seed(&[7; 32]);
    let secp256k1 = Keypair::generate_secp256k1();
    let mut keys = vec![base64(key.to_protobuf()), base64(secp256k1.to_protobuf_encoding().unwrap())];
    keys.push(Base::Base16Lower.encode(key.to_protobuf()));
    for key in &keys {
        for text in [
            format!("{{\n  \"Identity\": {{ \"PeerID\": \"12D3\", \"PrivKey\": \"{key}\" }}\n}}"),
            format!("{{\"id\":\"12D3\",\"privKey\":\"{key}\",\"pubKey\":\"CAESIAcH\"}}"),
            format!("export LIBP2P_KEY={key} # mine\n"),
            format!("node:\n  key: {key}\n"),
            format!("# a key\n{key}\n"),
            format!("key: |\n  {}", lines_of(key, 64).replace('\n', "\n  ")),
        ] {
            is_secret("x", text.as_bytes());
            assert!(secret_in("x", Inspected::Part(text.as_bytes())).is_some(), "{text}");
        }
    }
    let (secret, public) = (key.to_protobuf(), key.public().to_protobuf());
    let secp256k1 = base64(secp256k1.public().encode_protobuf());
    let wrong_half = [&secret[..67], &[secret[67] ^ 1]].concat();
    let texts = [base64(&public), base64(&secret[..60]), secp256k1, base64(&wrong_half), "CAESQ".to_owned()];
    for text in texts.into_iter().chain(["CAESAR", "CAAS", "CAISI...", "8011240", "08011240"].map(str::to_owned)) {
        is_no_secret("x", format!("key: {text}\n").as_bytes());
        is_no_secret("x", text.as_bytes());
    }
    is_no_secret("config", b"{ \"PrivKey\": \"...\" }");
}

/// Files of openssl and ssh-keygen: private keys are secrets; public keys and certificates are not.
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
    run("openssl", "pkcs8 -topk8 -in @rsa -passout pass:x -outform DER -out @encrypted.der");
    run("openssl", "pkcs8 -topk8 -in @rsa -v1 PBE-SHA1-3DES -passout pass:x -outform DER -out @encrypted.3des.der");
    run("openssl", "ecparam -name prime256v1 -genkey -out @ec");
    run("openssl", "ec -in @ec -outform DER -out @ec.der");
    run("openssl", "req -x509 -key @rsa -subj /CN=x -out @certificate");
    run("openssl", "x509 -in @certificate -outform DER -out @certificate.der");
    run("openssl", "req -new -key @rsa -subj /CN=x -out @request");
    run("openssl", "pkcs12 -export -inkey @rsa -in @certificate -passout pass:x -out @store.p12");
    run("openssl", "pkcs12 -export -nokeys -in @certificate -passout pass:x -out @trust.p12");
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
        "encrypted.der",
        "encrypted.3des.der",
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
            if text.starts_with("-----") {
                in_other_forms(name, &text);
            }
            let json = format!("{{\"private_key\": {:?}}}", text);
            is_secret("service-account.json", json.as_bytes());
            is_secret("values.yaml", format!("tls:\n  key: |\n{}", text.replace('\n', "\n    ")).as_bytes());
        }
    }
    for name in
        ["certificate", "certificate.der", "trust.p12", "request", "public", "public.der", "ssh.pub", "ssh-rsa.pub"]
    {
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

/// As vim keeps it while the file is open: a page of 4096 bytes for the tree, and others with the lines, from their ends.
#[test]
fn a_key_in_a_swap_file_of_vim_is_found() {
    let swap = |text: &str| {
        let mut head = b"b0VIM 9.0".to_vec();
        head.resize(12, 0);
        head.extend(4096_u32.to_le_bytes());
        head.resize(4096, 0);
        for lines in text.lines().collect::<Vec<_>>().chunks(20) {
            let lines: String = lines.iter().rev().map(|line| format!("{line}\0")).collect();
            let begin = 4096 - lines.len() as u32;
            let mut page = [&b"ad\0\0AAA\0"[..], &begin.to_le_bytes(), b"AAAAAAAA"].concat();
            page.resize(begin as usize, 0);
            head.extend([page, lines.into_bytes()].concat());
        }
        head
    };
    let place = tempfile::tempdir().unwrap();
    let key = place.path().join("key");
    let made = Command::new("openssl").args(["genpkey", "-algorithm", "RSA", "-out"]).arg(&key).output().unwrap();
    assert!(made.status.success());
    is_secret(".server.key.swp", &swap(&std::fs::read_to_string(key).unwrap()));
    is_secret(".npmrc.swp", &swap("registry=https://r.example\n//r.example/:_authToken=npm_abc\n"));
    is_no_secret(".readme.swp", &swap("-----BEGIN PRIVATE KEY-----\nMII...\n-----END PRIVATE KEY-----\n"));
}

#[test]
fn the_words_of_a_key_are_no_key() {
    for content in [
        "const BEGIN: &str = \"-----BEGIN PRIVATE KEY-----\";\nconst END: &str = \"-----END PRIVATE KEY-----\";\n",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA...\n-----END RSA PRIVATE KEY-----\n",
        "-----BEGIN PRIVATE KEY-----\nc2VjcmV0IHdvcmRzIHRoYXQgYXJlIG5vIGtleSBhdCBhbGw=\n-----END PRIVATE KEY-----\n",
        "-----BEGIN OPENSSH PRIVATE KEY-----\n<your key here>\n-----END OPENSSH PRIVATE KEY-----\n",
        "-----BEGIN PRIVATE KEY-----\n",
        "-----BEGIN PRIVATE KEY-----\nComment: a key\n\nits body here\n-----END PRIVATE KEY-----\n",
        "-----BEGIN PRIVATE KEY-----\nX: 1\n-----END PRIVATE KEY-----\n",
        "-----BEGIN PRIVATE KEY----------END PRIVATE KEY-----",
        "a PRIVATE KEY, PRIVATE KEY-----",
        "AGE-SECRET-KEY-1...",
    ] {
        is_no_secret("README.md", content.as_bytes());
    }
    is_no_secret("key.txt", ["AGE-SECRET-KEY-1", &"Q".repeat(58), "\n"].concat().as_bytes());
    is_secret("key.ppk", b"PuTTY-User-Key-File-3: ssh-ed25519\n");
    is_no_secret("x", b"");
    is_no_secret("x", &[0x30]);
    is_no_secret("x", &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]);
}

/// A PEM key in the forms that editors, diffs, comments, programs and other encodings produce.
fn in_other_forms(name: &str, pem: &str) {
    let each_line =
        |begin: &str, end: &str| pem.lines().map(|line| format!("{begin}{line}{end}\n")).collect::<String>();
    let wide = |bytes: fn(u16) -> [u8; 2]| pem.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
    let forms = [
        ("carriage returns", pem.replace('\n', "\r").into_bytes()),
        ("a diff", format!("+++ b/key\n@@ -0,0 +1,9 @@\n{}", each_line("+", "")).into_bytes()),
        ("a comment of C", each_line("// ", "").into_bytes()),
        ("one without spaces", each_line("//", "").into_bytes()),
        ("a comment of a script", each_line("# ", "").into_bytes()),
        ("a block comment", each_line(" * ", "").into_bytes()),
        ("strings that are added", format!("key =\n{}  \"\";", each_line("    \"", "\\n\" +")).into_bytes()),
        ("a list of strings", each_line("  '", "',").into_bytes()),
        ("spaces for line breaks", pem.trim_end().replace('\n', " ").into_bytes()),
        ("JSON with escapes", pem.replace('/', "\\/").replace('=', "\\u003d").replace('\n', "\\n").into_bytes()),
        ("UTF-16", wide(u16::to_le_bytes)),
        ("UTF-16 with a mark", [b"\xff\xfe".to_vec(), wide(u16::to_le_bytes)].concat()),
        ("UTF-16, big endian", wide(u16::to_be_bytes)),
        ("Kubernetes", format!("data:\n  tls.crt: bm8=\n  tls.key: {}\nkind: Secret\n", base64(pem)).into_bytes()),
        ("base64 in lines", lines_of(&base64(pem), 76).into_bytes()),
    ];
    let lines: Vec<&str> = pem.lines().collect();
    let headers = [
        "Created: 2020",
        "Key-Id:abc",
        "X:",
        "Comment: a key, of\n  a test",
        "Proc-Type: 4,MIC-CLEAR\nX: 1",
        "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00",
    ];
    let headers = headers.map(|headers| {
        // What openssl encrypts has headers of its own.
        let end = if name == "rsa.legacy" { "" } else { "\n" };
        (headers, format!("{}\n{headers}\n{end}{}\n", lines[0], lines[1..].join("\n")).into_bytes())
    });
    let commands = |end: &str| lines.iter().map(|line| format!("echo '{line}' >> key{end}")).collect::<String>();
    let more = [
        ("commands", commands("\n").into_bytes()),
        ("XML", pem.replace('\n', "&#10;").into_bytes()),
        ("an address", pem.replace('\n', "%0A").replace('+', "%2B").replace('=', "%3D").into_bytes()),
        ("headers and carriage returns", String::from_utf8_lossy(&headers[3].1).replace('\n', "\r\n").into_bytes()),
    ];
    // Headers of its own have no place in these.
    let more = more.into_iter().filter(|_| name != "rsa.legacy");
    for (form, content) in forms.into_iter().chain(headers).chain(more) {
        assert!(found("x", &content).is_some(), "{name} as {form}: {}", String::from_utf8_lossy(&content));
    }
    let half = &pem[..pem.len() / 2];
    for (form, content) in [
        ("half", half.to_owned()),
        ("half in base64", base64(half)),
        ("words", pem.replace(['A', 'a', '0', 'x', 'M', 'b'], "?")),
    ] {
        assert_eq!(found("x", content.as_bytes()), None, "{name} as {form}");
    }
    let part = format!("{}\n{}\n", "x".repeat(1000), base64(pem));
    assert!(secret_in("x", Inspected::Part(part.as_bytes())).is_some(), "{name} in a part");
    for filler in ["x", "xy"] {
        let part = [filler.as_bytes(), &wide(u16::to_le_bytes), filler.as_bytes()].concat();
        assert!(secret_in("x", Inspected::Part(&part)).is_some(), "{name} in UTF-16 in a part");
    }
}

fn base64(bytes: impl AsRef<[u8]>) -> String {
    Base::Base64Pad.encode(bytes)
}

fn lines_of(text: &str, length: usize) -> String {
    text.as_bytes().chunks(length).map(|line| format!("{}\n", std::str::from_utf8(line).unwrap())).collect()
}

#[test]
fn a_key_written_in_letters_or_with_a_line_feed_is_one() {
    let key = KeyPair::from_seed(&[7; 32]);
    let (secret, public) = (key.to_protobuf(), key.public().to_protobuf());
    let hexadecimal = |bytes: &[u8]| Base::Base16Lower.encode(bytes);
    is_secret("x", &[&secret[..], b"\n"].concat());
    is_secret("x", &[&secret[..], b"\r\n"].concat());
    is_secret("x", base64(&secret).as_bytes());
    is_secret("x", lines_of(&base64(&secret), 64).as_bytes());
    is_secret("x", hexadecimal(&secret).to_uppercase().as_bytes());
    is_secret("x", format!("{}\n", hexadecimal(&secret)).as_bytes());
    for written in [base64(&public), hexadecimal(&public), base64(&secret[..60])] {
        is_no_secret("x", written.as_bytes());
    }
}

/// A packet with a header in the old or in the new form.
fn packet(tag: u8, body: &[u8], old: bool) -> Vec<u8> {
    let length = body.len() as u32;
    match old {
        true => [&[0x80 | tag << 2 | 2][..], &length.to_be_bytes(), body].concat(),
        false => [&[0xc0 | tag, 255][..], &length.to_be_bytes(), body].concat(),
    }
}

#[test]
fn openpgp_keys_are_told_by_their_packets() {
    let ed25519 = [&[4, 0x65, 0, 0, 0, 27][..], &[7; 32], &[0], &[9; 32]].concat();
    let user = packet(13, b"x@example.org", true);
    for old in [true, false] {
        let secret = [packet(5, &ed25519, old), user.clone()].concat();
        is_secret("secret.gpg", &secret);
        is_secret("subkey.gpg", &packet(7, &ed25519, old));
        is_no_secret("public.gpg", &[packet(6, &ed25519, old), user.clone()].concat());
        is_no_secret("signature.sig", &packet(2, &ed25519, old));
        is_no_secret("x", &secret[..30]);
        is_no_secret("x", &[packet(5, &ed25519, old), b"text".to_vec()].concat());
        let armor = |body: &[u8]| {
            let body = lines_of(&base64(body), 64);
            format!(
                "-----BEGIN PGP PRIVATE KEY BLOCK-----\nComment: of a test\n\n{body}=abcd\n-----END PGP PRIVATE KEY BLOCK-----\n"
            )
        };
        is_secret("key.asc", armor(&secret).as_bytes());
        is_no_secret("key.asc", armor(&packet(6, &ed25519, old)).as_bytes());
    }
    is_secret("x", b"(21:protected-private-key(3:ecc");
    is_secret("x", b"Created: 20240101T000000\nKey: (protected-private-key (ecc (curve Ed25519)\n");
    is_no_secret("x", b"(20:shadowed-private-key(3:ecc");
}

#[test]
fn a_java_key_store_is_a_secret_unless_it_has_certificates_alone() {
    let text = |text: &str| [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat();
    let bytes = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat();
    let certificate = [&2_u32.to_be_bytes()[..], &text("root"), &[0; 8], &text("X.509"), &bytes(&[0x30; 300])].concat();
    let key = [&1_u32.to_be_bytes()[..], &text("server"), &[0; 8], &bytes(&[0x30; 40])].concat();
    for magic in [0xfeed_feed_u32, 0xcece_cece] {
        let store = |entries: &[&[u8]]| {
            let head = [magic, 2, entries.len() as u32].map(u32::to_be_bytes).concat();
            [head, entries.concat(), vec![0; 20]].concat()
        };
        is_secret("x", &store(&[&key]));
        is_secret("x", &store(&[&certificate, &certificate, &key]));
        is_no_secret("trust.jks", &store(&[&certificate, &certificate]));
        // A truncated store may contain a key.
        is_secret("x", &store(&[&certificate, &certificate])[..400]);
    }
}

/// Examples from the documentation of the programs that write them, and from RFC 7517 and 8037.
#[test]
fn keys_in_other_text_are_told_from_what_stands_for_them() {
    const AGE: &str = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";
    is_secret("key.txt", format!("# created: now\n{AGE}\n").as_bytes());
    is_secret("key.txt", format!("{}{AGE}\n", "# a long comment\n".repeat(1000)).as_bytes());
    assert!(secret_in("x", Inspected::Part(format!("x = {AGE}").as_bytes())).is_some());
    is_no_secret("key.txt", AGE.replace("GQ97", "GQ98").as_bytes());

    let secret = Base::Base64Url.encode([7; 32]);
    let okp = |members: &str| {
        format!("{{ \"keys\": [{{\"kty\":\"OKP\", \"crv\":\"Ed25519\",\n \"x\": \"{secret}\"{members}}}]}}")
    };
    is_secret("jwks.json", okp(&format!(",\"d\": \"{secret}\"")).as_bytes());
    is_secret("key.js", format!("const key = {{ kty: 'EC', d: '{secret}' }};").as_bytes());
    is_secret("key.json", format!("{{\"kty\":\"oct\",\"k\":\"{secret}\"}}").as_bytes());
    is_no_secret("jwks.json", okp("").as_bytes());
    is_no_secret("jwks.json", okp(",\"d\": \"...\"").as_bytes());
    is_no_secret("jwks.json", okp(&format!("}}, {{\"d\": \"{secret}\"")).as_bytes());

    let key = base64([7; 32]);
    is_secret("wg0.conf", format!("[Interface]\nPrivateKey = {key}\nListenPort = 1\n").as_bytes());
    is_secret("wg0.netdev", format!("[NetDev]\nName=wg0\n[WireGuard]\nPrivateKey={key}\n").as_bytes());
    is_no_secret("wg0.conf", format!("[Interface]\nPrivateKey = <key>\n[Peer]\nPublicKey = {key}\n").as_bytes());
    is_no_secret("wg0.conf", format!("[Interface]\n#PrivateKey = {key}\n").as_bytes());

    let signify =
        |bytes: usize| format!("untrusted comment: a key\n{}\n", base64([b"Ed".to_vec(), vec![7; bytes - 2]].concat()));
    for (bytes, is_key) in [(104, true), (158, true), (42, false), (74, false)] {
        assert_eq!(found("key.sec", signify(bytes).as_bytes()).is_some(), is_key, "{bytes}");
    }

    let ssh2 = |magic: &[u8]| {
        let body = lines_of(&base64([magic, &[7; 200]].concat()), 70);
        let words = "SSH2 ENCRYPTED PRIVATE KEY ----";
        format!("---- BEGIN {words}\nComment: \"a key\"\n{body}---- END {words}\n")
    };
    is_secret("id", ssh2(b"\x3f\x6f\xf9\xeb").as_bytes());
    is_no_secret("id", ssh2(b"\x00\x00\x00\x00").as_bytes());
}

#[test]
fn settings_of_tools_are_secrets_where_they_have_a_value() {
    let secret = [
        (".docker/config.json", "{\"auths\": {\"r.example\": {\"auth\": \"dTpw\"}}}"),
        ("kubeconfig", "users:\n- name: x\n  user:\n    token: abc\n"),
        ("prod.kubeconfig", "client-key-data: YWJj\n"),
        ("etc/admin.conf", "client-key-data: YWJj\n"),
        (".config/gh/hosts.yml", "github.com:\n  oauth_token: gho_abc\n"),
        (".m2/settings.xml", "<server><id>x</id><password>abc</password></server>"),
        (".terraformrc", "credentials \"app.example\" {\n  token = \"abc\"\n}\n"),
        (".envrc", "use nix\nexport AWS_SECRET_ACCESS_KEY=abc\n"),
        ("prod.env", "PORT=1\nDB_PASSWORD=\"abc\"\n"),
    ];
    for (path, content) in secret {
        is_secret(path, content.as_bytes());
        is_no_secret("docs.md", content.as_bytes());
    }
    let no_secret = [
        (".docker/config.json", "{\"auths\": {\"r.example\": {}}, \"credsStore\": \"pass\"}"),
        ("kubeconfig", "# token: abc\nusers:\n- user:\n    token: {{ .Token }}\n    exec: {command: get-token}\n"),
        (".config/gh/hosts.yml", "github.com:\n  user: ada\n"),
        (".m2/settings.xml", "<server><password>${env.PASSWORD}</password></server>"),
        (".envrc", "use flake\nexport TOKEN=$(pass show token)\nexport PATH_TO_TOKEN_FILE=x\n"),
        ("prod.env", "PORT=8080\nDB_PASSWORD=\nAPI_KEY=<your key>\nTOKEN=xxxx\nTOKEN_URL=https://x.example\n"),
        ("example.env", "DB_PASSWORD=postgres\n"),
    ];
    for (path, content) in no_secret {
        is_no_secret(path, content.as_bytes());
    }
}
