//! The JSON form of answers and errors: one document on one line.

use ggen_marketplace::{ErrorKind, Failure};
use serde::Serialize;
use serde_json::json;

use crate::error::with_commands;

/// Renders an answer.
///
/// # Errors
/// A value that JSON cannot represent, such as a path that is not UTF-8.
pub(super) fn document<T: Serialize>(value: &T) -> Result<String, Failure> {
    serde_json::to_string(value)
        .map(|text| text + "\n")
        .map_err(|cause| Failure::from_error(ErrorKind::Failed, &cause).while_doing("cannot write the answer as JSON"))
}

/// Renders a failure as `{"error": {...}}`. The message contains the causes too, as the text form does; the causes are
/// also listed one by one.
pub(super) fn failure(failure: &Failure) -> String {
    let parts: Vec<_> = std::iter::once(&failure.message).chain(&failure.causes).map(String::as_str).collect();
    let document = json!({
        "error": {
            "kind": failure.kind,
            "message": parts.join(": "),
            "causes": failure.causes,
            "hint": failure.hint.as_ref().map(with_commands),
        }
    });
    format!("{document}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_has_the_fields_of_the_contract_even_when_they_are_empty() {
        let text = super::failure(&Failure::new(ErrorKind::NotFound, "no `x`"));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let expected = json!({"error": {"kind": "not_found", "message": "no `x`", "causes": [], "hint": null}});
        assert_eq!(value, expected);
    }

    #[test]
    fn message_says_what_the_causes_say() {
        let failure = Failure::new(ErrorKind::TimedOut, "0 peers were asked").while_doing("cannot fetch x");
        let value: serde_json::Value = serde_json::from_str(&super::failure(&failure)).unwrap();
        assert_eq!(value["error"]["message"], "cannot fetch x: 0 peers were asked");
        assert_eq!(value["error"]["causes"], json!(["0 peers were asked"]));
    }
}
