//! Data model nodes (dag-cbor, dag-json) as a stream of tokens, so that links and paths are found without building the
//! value.

use std::borrow::Cow;

use super::pb::MAX_NODE_LINKS;
use crate::Cid;

/// Deepest nesting accepted.
const MAX_NESTING: usize = 256;

/// A part of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A map begins: its entries follow, each a key and a value, then [`Token::End`].
    Map,
    /// A list begins: its values follow, then [`Token::End`].
    List,
    /// The key of the value that follows.
    Key(Cow<'a, [u8]>),
    /// The map or list that began last ends.
    End,
    /// A link.
    Link(Box<Cid>),
    /// Any other value.
    Scalar,
}

/// Decodes one value, token by token. An error is the end of a sentence that begins with "the block is not ...: ".
pub(super) trait Tokens<'a> {
    /// The next token; `None` after the value, which ends the block.
    fn next(&mut self) -> Result<Option<Token<'a>>, &'static str>;
}

/// The result of resolving a path within one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// A link, and the number of names that lead to it.
    Link(Box<Cid>, usize),
    /// A value that is not a link.
    Value,
    /// A missing name, after this number of names that exist.
    Missing(usize),
}

/// Lists the links of a value, in the order of its bytes, and validates the whole value.
pub(super) fn links<'a>(mut tokens: impl Tokens<'a>) -> Result<Vec<Cid>, &'static str> {
    let mut links = Vec::new();
    let mut open: Vec<Option<Keys<'a>>> = Vec::new();
    while let Some(token) = tokens.next()? {
        match token {
            Token::Map | Token::List if open.len() >= MAX_NESTING => return Err("it is nested too deeply"),
            Token::Map => open.push(Some(Keys::default())),
            Token::List => open.push(None),
            Token::Key(key) => {
                if let Some(Some(keys)) = open.last_mut() {
                    keys.push(key);
                }
            }
            Token::End => {
                if open.pop().flatten().is_some_and(Keys::are_repeated) {
                    return Err("a map has the same key twice");
                }
            }
            Token::Link(_) if links.len() >= MAX_NODE_LINKS => return Err("it has too many links"),
            Token::Link(cid) => links.push(*cid),
            Token::Scalar => {}
        }
    }
    Ok(links)
}

/// The keys of a map.
#[derive(Debug, Default)]
struct Keys<'a> {
    keys: Vec<Cow<'a, [u8]>>,
    /// Whether the keys are not ascending in the canonical order of either codec. Then they must be compared to find
    /// duplicates.
    unsorted: bool,
}

impl<'a> Keys<'a> {
    fn push(&mut self, key: Cow<'a, [u8]>) {
        self.unsorted |= self.keys.last().is_some_and(|last| (last.len(), last) >= (key.len(), &key));
        self.keys.push(key);
    }

    fn are_repeated(mut self) -> bool {
        if self.unsorted {
            self.keys.sort_unstable();
        }
        self.unsorted && self.keys.windows(2).any(|pair| pair[0] == pair[1])
    }
}

/// Resolves names in a value that [`links`] has validated: keys of maps, positions in lists.
pub(super) fn find<'a>(mut tokens: impl Tokens<'a>, names: &[String]) -> Result<Lookup, &'static str> {
    let mut done = 0;
    let mut value = tokens.next()?;
    while let Some(token) = value {
        if let Token::Link(cid) = token {
            return Ok(Lookup::Link(cid, done));
        }
        let Some(name) = names.get(done) else { return Ok(Lookup::Value) };
        value = match token {
            Token::Map => entry(&mut tokens, name.as_bytes())?,
            Token::List if name.bytes().all(|digit| digit.is_ascii_digit()) => match name.parse() {
                Ok(position) => element(&mut tokens, position)?,
                Err(_) => None,
            },
            _ => None,
        };
        done += usize::from(value.is_some());
    }
    Ok(Lookup::Missing(done))
}

/// The first token of the value of `name` in the open map.
fn entry<'a>(tokens: &mut impl Tokens<'a>, name: &[u8]) -> Result<Option<Token<'a>>, &'static str> {
    while let Some(Token::Key(key)) = tokens.next()? {
        let value = tokens.next()?;
        if *key == *name {
            return Ok(value);
        }
        skip(tokens, value)?;
    }
    Ok(None)
}

/// The first token of the value at `position` in the open list.
fn element<'a>(tokens: &mut impl Tokens<'a>, position: usize) -> Result<Option<Token<'a>>, &'static str> {
    for _ in 0..position {
        match tokens.next()? {
            None | Some(Token::End) => return Ok(None),
            value => skip(tokens, value)?,
        }
    }
    Ok(tokens.next()?.filter(|token| *token != Token::End))
}

/// Skips the rest of the value that begins with `token`.
fn skip<'a>(tokens: &mut impl Tokens<'a>, mut token: Option<Token<'a>>) -> Result<(), &'static str> {
    let mut depth = 0_usize;
    loop {
        match token {
            Some(Token::Map | Token::List) => depth += 1,
            Some(Token::End) => depth = depth.saturating_sub(1),
            None => return Ok(()),
            _ => {}
        }
        if depth == 0 {
            return Ok(());
        }
        token = tokens.next()?;
    }
}
