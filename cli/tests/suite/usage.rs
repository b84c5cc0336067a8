//! Wrong command lines: exit 2, in both formats.

use crate::support::Home;

const WRONG: [&[&str]; 10] = [
    &["marketplace", "p2p", "dance"],
    &["marketplace", "p2p", "start", "--listne", "x"],
    &["marketplace", "p2p", "start", "--dht-server", "--dht-client"],
    &["marketplace", "p2p", "fetch"],
    &["marketplace", "p2p", "fetch", "x", "--timeout", "0"],
    &["marketplace", "p2p", "fetch", "x", "-o", "a", "--tar", "b"],
    &["marketplace", "p2p", "search", "x", "--min-reputation", "2"],
    &["marketplace", "p2p", "bootstrap"],
    &["marketplace", "p2p", "status", "--quiet", "--verbose"],
    &["completions", "tcsh"],
];

#[test]
fn usage_errors_exit_2_and_speak_on_stderr() {
    let home = Home::new();
    for args in WRONG {
        let output = home.run(args).expect_code(2);
        assert_eq!(output.stdout, "", "{args:?}");
        assert!(output.stderr.starts_with("error: "), "{args:?}: {}", output.stderr);
    }
}

#[test]
fn usage_errors_are_json_if_that_was_asked_for_anywhere() {
    let home = Home::new();
    for args in WRONG {
        for line in [[args, &["--format", "json"]].concat(), [&["--format=json"], args].concat()] {
            let output = home.run(&line).expect_code(2);
            let error = &output.json()["error"];
            assert_eq!(error["kind"], "usage", "{line:?}");
            assert!(error["message"].as_str().is_some_and(|message| message.len() > 10), "{line:?}: {error}");
            assert!(error["hint"].is_string(), "{line:?}: {error}");
            assert_eq!(output.stderr, "", "{line:?}");
        }
    }
}

#[test]
fn missing_sub_command_shows_the_help_and_exits_2() {
    let home = Home::new();
    for args in [&[] as &[&str], &["marketplace"], &["marketplace", "p2p"], &["marketplace", "p2p", "key"]] {
        let output = home.run(args).expect_code(2);
        assert!(output.stderr.contains("Usage: ggen"), "{args:?}: {output:?}");
    }
    let error = home.run(&["--format", "json", "marketplace", "p2p"]).expect_code(2).json();
    assert_eq!(error["error"]["message"], "a sub-command is missing");
}

#[test]
fn misspelt_flag_is_answered_with_the_right_one() {
    let output = Home::new().p2p(&["--format", "json", "start", "--bootstrp", "x"]).expect_code(2);
    assert_eq!(output.json()["error"]["hint"], "did you mean `--bootstrap`?");
}

#[test]
fn wrong_address_of_a_flag_is_a_usage_error_that_names_it() {
    let home = Home::new();
    for start in [&["start"] as &[&str], &["start", "--daemon"]] {
        let output = home.p2p(&[start, &["--listen", "localhost:4001"]].concat()).expect_code(2);
        assert!(output.stderr.contains("`localhost:4001`") && output.stderr.contains("`--listen`"), "{output:?}");
    }
}

#[test]
fn file_in_place_of_a_home_is_one_clear_error() {
    let home = Home::new();
    let file = home.work().join("file");
    std::fs::write(&file, "").unwrap();
    let output = home.p2p(&["--home", file.to_str().unwrap(), "key", "list"]).expect_code(2);
    assert_eq!(
        output.stderr,
        format!(
            "error: home `{}` is not a directory\nhint: name a directory that you can write to with `--home DIR`\n",
            file.display()
        )
    );
    assert_eq!(output.stdout, "");
}
