//! Patterns with wildcards, matched as git matches them: byte by byte, regardless of the encoding.
//!
//! A pattern becomes a list of tokens, and matching tracks the set of tokens that may match next. The cost is bounded
//! by the product of both lengths: a pattern such as `*a*a*a*a*b` costs no more than any other of its length.

/// Bytes with a special meaning.
const SPECIAL: &[u8] = b"*?[\\";

/// A set of bytes.
type Set = [u64; 4];

/// A token of a compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// This byte.
    Byte(u8),
    /// One byte of the set, which never contains a slash.
    One(Box<Set>),
    /// Any number of bytes other than the slash.
    Name,
    /// Any number of bytes.
    Path,
    /// Matches nothing; the given number of tokens after it are optional.
    Optional(usize),
    /// Matches nothing at all: the pattern is malformed.
    Never,
}

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Glob {
    /// The literal prefix of a match.
    prefix: Vec<u8>,
    rest: Rest,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rest {
    /// Nothing more: the prefix is the whole pattern.
    Nothing,
    /// Any number of bytes other than the slash, followed by these.
    EndsWith(Vec<u8>),
    Tokens(Vec<Token>),
}

impl Glob {
    /// Compiles a pattern for single names, or (`paths`) for paths, in which `**` matches slashes.
    pub(super) fn new(pattern: &[u8], paths: bool) -> Self {
        let literal = pattern.iter().position(|byte| SPECIAL.contains(byte)).unwrap_or(pattern.len());
        let (prefix, rest) = pattern.split_at(literal);
        let prefix = prefix.to_vec();
        let rest = match rest {
            [] => Rest::Nothing,
            [b'*', suffix @ ..] if !suffix.iter().any(|byte| SPECIAL.contains(byte)) => Rest::EndsWith(suffix.to_vec()),
            // Git compares the prefix separately, and treats the rest as a pattern of its own. So `foo**/bar`, in which
            // `**` is beside a name, means `foo` followed by the meaning of `**/bar`.
            rest => Rest::Tokens(tokens(rest, paths)),
        };
        Self { prefix, rest }
    }

    /// Returns whether the whole text matches.
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        let Some(text) = text.strip_prefix(self.prefix.as_slice()) else { return false };
        match &self.rest {
            Rest::Nothing => text.is_empty(),
            Rest::EndsWith(suffix) => text.strip_suffix(suffix.as_slice()).is_some_and(|name| !name.contains(&b'/')),
            Rest::Tokens(tokens) => run(tokens, text),
        }
    }
}

/// Returns whether the tokens match the text completely.
fn run(tokens: &[Token], text: &[u8]) -> bool {
    let mut now = vec![false; tokens.len() + 1];
    now[0] = true;
    leave_out(tokens, &mut now);
    let mut next = vec![false; tokens.len() + 1];
    for &byte in text {
        next.fill(false);
        let mut alive = false;
        for (at, token) in tokens.iter().enumerate().filter(|(at, _)| now[*at]) {
            let to = match token {
                Token::Byte(wanted) if *wanted == byte => at + 1,
                Token::One(set) if contains(set, byte) => at + 1,
                Token::Name if byte != b'/' => at,
                Token::Path => at,
                _ => continue,
            };
            next[to] = true;
            alive = true;
        }
        if !alive {
            return false;
        }
        leave_out(tokens, &mut next);
        std::mem::swap(&mut now, &mut next);
    }
    now[tokens.len()]
}

/// Adds the tokens that may match next because the tokens before them may match nothing.
fn leave_out(tokens: &[Token], states: &mut [bool]) {
    for (at, token) in tokens.iter().enumerate() {
        if !states[at] {
            continue;
        }
        match token {
            Token::Name | Token::Path => states[at + 1] = true,
            Token::Optional(length) => {
                states[at + 1] = true;
                states[at + 1 + length] = true;
            }
            Token::Byte(_) | Token::One(_) | Token::Never => {}
        }
    }
}

fn tokens(pattern: &[u8], paths: bool) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&byte) = pattern.get(at) {
        match byte {
            b'*' => at = stars(pattern, at, paths, &mut tokens),
            b'?' => {
                tokens.push(Token::One(Box::new(without_slash([u64::MAX; 4]))));
                at += 1;
            }
            b'[' => match set(pattern, at + 1) {
                Some((set, end)) => {
                    tokens.push(Token::One(Box::new(without_slash(set))));
                    at = end;
                }
                None => return vec![Token::Never],
            },
            b'\\' => match pattern.get(at + 1) {
                Some(&escaped) => {
                    tokens.push(Token::Byte(escaped));
                    at += 2;
                }
                None => return vec![Token::Never],
            },
            byte => {
                tokens.push(Token::Byte(byte));
                at += 1;
            }
        }
    }
    tokens
}

/// Parses a run of stars from `begin`; returns the position after it.
fn stars(pattern: &[u8], begin: usize, paths: bool, tokens: &mut Vec<Token>) -> usize {
    let length = pattern[begin..].iter().take_while(|byte| **byte == b'*').count();
    let end = begin + length;
    let after = &pattern[end..];
    // Two stars match slashes only as a whole component of a path; otherwise they act as one.
    let stands_alone = (begin == 0 || pattern[begin - 1] == b'/')
        && (after.is_empty() || after.starts_with(b"/") || after.starts_with(b"\\/"));
    if length == 1 || !paths || !stands_alone {
        tokens.push(Token::Name);
        return end;
    }
    if after.starts_with(b"/") {
        tokens.extend([Token::Optional(2), Token::Path, Token::Byte(b'/')]);
        return end + 1;
    }
    tokens.push(Token::Path);
    end
}

/// Parses a bracket expression after its opening bracket; returns its bytes, and the position after it. `None` if it
/// has no end, or names an unknown class.
fn set(pattern: &[u8], begin: usize) -> Option<(Set, usize)> {
    let mut at = begin;
    let negated = matches!(pattern.get(at)?, b'!' | b'^');
    at += usize::from(negated);
    let mut set = Set::default();
    // The possible start of a range: the byte before the hyphen, if it is a literal.
    let mut former = None;
    let first = at;
    loop {
        match *pattern.get(at)? {
            b']' if at > first => break,
            b'\\' => {
                at += 1;
                let byte = *pattern.get(at)?;
                insert(&mut set, byte);
                former = Some(byte);
            }
            b'-' if former.is_some() && !matches!(pattern.get(at + 1), None | Some(b']')) => {
                at += 1;
                if pattern[at] == b'\\' {
                    at += 1;
                }
                let last = *pattern.get(at)?;
                (former.take()?..=last).for_each(|byte| insert(&mut set, byte));
            }
            b'[' if pattern.get(at + 1) == Some(&b':') => {
                let name = at + 2;
                let end = name + pattern[name..].iter().position(|byte| *byte == b']')?;
                if end > name && pattern[end - 1] == b':' {
                    let class = class(&pattern[name..end - 1])?;
                    (0..=u8::MAX).filter(|byte| class(*byte)).for_each(|byte| insert(&mut set, byte));
                    former = None;
                    at = end;
                } else {
                    insert(&mut set, b'[');
                    former = Some(b'[');
                }
            }
            byte => {
                insert(&mut set, byte);
                former = Some(byte);
            }
        }
        at += 1;
    }
    if negated {
        set.iter_mut().for_each(|word| *word = !*word);
    }
    Some((set, at + 1))
}

/// A class such as `[:digit:]`, by its name. Git's classes contain only ASCII.
fn class(name: &[u8]) -> Option<fn(u8) -> bool> {
    Some(match name {
        b"alnum" => |byte| byte.is_ascii_alphanumeric(),
        b"alpha" => |byte| byte.is_ascii_alphabetic(),
        b"blank" => |byte| matches!(byte, b' ' | b'\t'),
        b"cntrl" => |byte| byte.is_ascii_control(),
        b"digit" => |byte| byte.is_ascii_digit(),
        b"graph" => |byte| byte.is_ascii_graphic(),
        b"lower" => |byte| byte.is_ascii_lowercase(),
        b"print" => |byte| byte.is_ascii_graphic() || byte == b' ',
        b"punct" => |byte| byte.is_ascii_punctuation(),
        b"space" => |byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'),
        b"upper" => |byte| byte.is_ascii_uppercase(),
        b"xdigit" => |byte| byte.is_ascii_hexdigit(),
        _ => return None,
    })
}

fn insert(set: &mut Set, byte: u8) {
    set[usize::from(byte >> 6)] |= 1 << (byte & 63);
}

fn contains(set: &Set, byte: u8) -> bool {
    set[usize::from(byte >> 6)] & (1 << (byte & 63)) != 0
}

/// A wildcard for one byte never matches a slash.
fn without_slash(mut set: Set) -> Set {
    set[usize::from(b'/' >> 6)] &= !(1 << (b'/' & 63));
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_stars_pass_slashes_as_a_part_of_a_path_alone() {
        for (pattern, text, expected) in [
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("a/**/b", "ax/b", false),
            ("**/b", "b", true),
            ("**/b", "ab", false),
            ("a/**", "a/x/y", true),
            ("[a]**/b", "ax/b", true),
            ("[a]**/b", "ax/y/b", false),
            ("a/*/b", "a/x/b", true),
            ("a/*/b", "a/x/y/b", false),
        ] {
            assert_eq!(Glob::new(pattern.as_bytes(), true).matches(text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_takes_no_longer_than_its_length() {
        let (pattern, text) = ("*a".repeat(200) + "b", "a".repeat(4000));
        assert!(!Glob::new(pattern.as_bytes(), true).matches(text.as_bytes()));
    }

    #[test]
    fn a_malformed_pattern_matches_nothing() {
        for pattern in ["a[", "[[:none:]]", "a\\", "[a-\\", "[[:digit:]"] {
            for text in ["a", "a[", "1", pattern] {
                assert!(!Glob::new(pattern.as_bytes(), false).matches(text.as_bytes()), "{pattern} {text}");
            }
        }
    }
}
