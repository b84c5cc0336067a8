//! dag-json as a stream of tokens (`ipld/specs: codecs/dag-json/spec.md`).
//!
//! `{"/": "<cid>"}` is a link, `{"/": {"bytes": "<base64>"}}` bytes. White space is accepted, because the CID verifies
//! the bytes.

use std::{borrow::Cow, str::FromStr};

use super::tokens::{Token, Tokens};
use crate::Cid;

/// A dag-json block being decoded.
#[derive(Debug)]
pub(super) struct Json<'a> {
    text: &'a [u8],
    at: usize,
    open: Vec<Open>,
    begun: bool,
}

/// An open list or map, with the expected next element.
#[derive(Debug)]
enum Open {
    Entry { is_first: bool },
    Value,
    Element { is_first: bool },
}

impl<'a> Json<'a> {
    pub(super) fn new(block: &'a [u8]) -> Self {
        Self { text: block, at: 0, open: Vec::new(), begun: false }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// Skips white space, and then `byte` if it is next.
    fn eat(&mut self, byte: u8) -> bool {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, byte: u8) -> Result<(), &'static str> {
        if self.eat(byte) { Ok(()) } else { Err("it has a character where another must stand") }
    }

    fn key(&mut self) -> Result<Cow<'a, [u8]>, &'static str> {
        self.expect(b'"')?;
        let key = self.text()?;
        self.expect(b':')?;
        Ok(key)
    }

    fn value(&mut self) -> Result<Token<'a>, &'static str> {
        if self.eat(b'{') {
            let inside = self.at;
            if let Some(token) = self.reserved()? {
                return Ok(token);
            }
            self.at = inside;
            self.open.push(Open::Entry { is_first: true });
            return Ok(Token::Map);
        }
        if self.eat(b'[') {
            self.open.push(Open::Element { is_first: true });
            return Ok(Token::List);
        }
        if self.eat(b'"') {
            self.text()?;
            return Ok(Token::Scalar);
        }
        let rest = &self.text[self.at..];
        let word = [&b"null"[..], b"true", b"false"].into_iter().find(|word| rest.starts_with(word));
        match word {
            Some(word) => self.at += word.len(),
            None => self.number()?,
        }
        Ok(Token::Scalar)
    }

    /// Parses the rest of a link or of bytes after the opening brace; `None` if it is another map.
    fn reserved(&mut self) -> Result<Option<Token<'a>>, &'static str> {
        if !self.eat(b'"') || !self.text[self.at..].starts_with(b"/\"") {
            return Ok(None);
        }
        self.at += 2;
        self.expect(b':')?;
        if self.eat(b'"') {
            let text = self.text()?;
            self.expect(b'}').map_err(|_| "a link has another key beside it")?;
            let cid = std::str::from_utf8(&text).ok().filter(|text| !text.contains('/'));
            let cid = cid.and_then(|text| Cid::from_str(text).ok()).ok_or("a link has an invalid CID")?;
            return Ok(Some(Token::Link(Box::new(cid))));
        }
        if self.eat(b'{') && self.key().is_ok_and(|key| *key == *b"bytes") && self.eat(b'"') {
            self.text()?;
            return Ok((self.eat(b'}') && self.eat(b'}')).then_some(Token::Scalar));
        }
        Ok(None)
    }

    /// Parses a string after its opening quote.
    fn text(&mut self) -> Result<Cow<'a, [u8]>, &'static str> {
        let begin = self.at;
        let mut owned: Option<Vec<u8>> = None;
        loop {
            let byte = self.peek().ok_or("it ends in a string")?;
            self.at += 1;
            match byte {
                b'"' => break,
                b'\\' => {
                    let text = owned.get_or_insert_with(|| self.text[begin..self.at - 1].to_vec());
                    let mut encoded = [0; 4];
                    let escaped = escape(self.text, &mut self.at)?;
                    text.extend_from_slice(escaped.encode_utf8(&mut encoded).as_bytes());
                }
                0..0x20 => return Err("a string has a control character in it"),
                byte => {
                    if let Some(text) = &mut owned {
                        text.push(byte);
                    }
                }
            }
        }
        let text = owned.map_or(Cow::Borrowed(&self.text[begin..self.at - 1]), Cow::Owned);
        if std::str::from_utf8(&text).is_ok() { Ok(text) } else { Err("a string is not UTF-8") }
    }

    fn number(&mut self) -> Result<(), &'static str> {
        self.at += usize::from(self.peek() == Some(b'-'));
        let zero = self.peek() == Some(b'0');
        if self.digits()? > 1 && zero {
            return Err("a number begins with zero");
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<usize, &'static str> {
        let digits = self.text[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += digits;
        if digits > 0 { Ok(digits) } else { Err("it has something that is no value") }
    }
}

impl<'a> Tokens<'a> for Json<'a> {
    fn next(&mut self) -> Result<Option<Token<'a>>, &'static str> {
        match self.open.last_mut() {
            None if self.begun => {
                self.eat(b' ');
                return if self.at == self.text.len() { Ok(None) } else { Err("bytes follow its value") };
            }
            None => self.begun = true,
            Some(open @ Open::Value) => *open = Open::Entry { is_first: false },
            Some(Open::Entry { is_first }) => {
                let is_first = *is_first;
                if self.eat(b'}') {
                    self.open.pop();
                    return Ok(Some(Token::End));
                }
                if !is_first {
                    self.expect(b',')?;
                }
                let key = self.key()?;
                if let Some(open) = self.open.last_mut() {
                    *open = Open::Value;
                }
                return Ok(Some(Token::Key(key)));
            }
            Some(Open::Element { is_first }) => {
                let is_first = std::mem::take(is_first);
                if self.eat(b']') {
                    self.open.pop();
                    return Ok(Some(Token::End));
                }
                if !is_first {
                    self.expect(b',')?;
                }
            }
        }
        self.value().map(Some)
    }
}

/// Parses an escape sequence after its backslash.
fn escape(text: &[u8], at: &mut usize) -> Result<char, &'static str> {
    let byte = *text.get(*at).ok_or("it ends in a string")?;
    *at += 1;
    Ok(match byte {
        b'"' | b'\\' | b'/' => char::from(byte),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let first = unit(text, at)?;
            let units = if (0xd800..0xdc00).contains(&first) && text[*at..].starts_with(b"\\u") {
                *at += 2;
                vec![first, unit(text, at)?]
            } else {
                vec![first]
            };
            let mut decoded = char::decode_utf16(units);
            match (decoded.next(), decoded.next()) {
                (Some(Ok(character)), None) => character,
                _ => return Err("a string has half a character in it"),
            }
        }
        _ => return Err("a string has an unknown escape in it"),
    })
}

fn unit(text: &[u8], at: &mut usize) -> Result<u16, &'static str> {
    let digits = text.get(*at..*at + 4).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    let digits =
        digits.and_then(|digits| std::str::from_utf8(digits).ok()).ok_or("a string has half an escape in it")?;
    *at += 4;
    u16::from_str_radix(digits, 16).map_err(|_| "a string has half an escape in it")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dag::tokens;

    const CID: &str = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";

    fn links(text: &str) -> Result<Vec<Cid>, &'static str> {
        tokens::links(Json::new(text.as_bytes()))
    }

    #[test]
    fn links_are_found_wherever_they_stand() {
        let link = format!("{{\"/\":\"{CID}\"}}");
        let text = format!(
            " {{\"a\": [1, -2.5e+3, {link}, null, true], \"b\":{{\"/\":{{\"bytes\":\"AQ\"}}}}, \"\\u00e9\\n\": {link},\
             \"c\": {{\"/\": 1, \"x\": {{}}}}, \"d\": []}}\n"
        );
        assert_eq!(links(&text).unwrap(), [CID.parse::<Cid>().unwrap(); 2]);
        assert_eq!(links(&link).unwrap().len(), 1);
    }

    #[test]
    fn what_is_no_dag_json_is_refused() {
        let beside = format!("{{\"/\":\"{CID}\",\"x\":1}}");
        let deep = "[".repeat(300);
        for text in [
            "",
            " ",
            "{",
            "[1,]",
            "[1 2]",
            "{\"a\":1,}",
            "{\"a\" 1}",
            "{a:1}",
            "01",
            "1.",
            "--1",
            "nul",
            "\"",
            "\"\n\"",
            "\"\\x\"",
            "\"\\ud800\"",
            "\"\\u12\"",
            "1 2",
            "{\"a\":1,\"a\":2}",
            "{\"a\":1,\"\\u0061\":2}",
            "{\"/\":\"nonsense\"}",
            "{\"/\":\"/ipfs/bafkqaaa\"}",
            &beside,
            &deep,
            "[}",
            "{]",
        ] {
            assert!(links(text).is_err(), "{text}");
        }
        assert!(tokens::links(Json::new(b"\"\xff\"")).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "[\\[\\]{}\",:/0-9a-z\\\\ ]{0,40}") {
            drop(links(&text));
        }
    }
}
