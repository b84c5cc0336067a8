//! Text cut into what can be searched for: words, runs of scripts that put no space between words, and symbols.
//!
//! | in the text | term | found by |
//! |---|---|---|
//! | letters and digits between anything else | word | its beginning |
//! | Chinese, Japanese, Korean, Thai, Lao, Khmer, Burmese | run | any part of it |
//! | an emoji or another pictograph | symbol | itself |
//!
//! A run is indexed by its bigrams, each pair of neighbouring characters: where words begin and end in it takes a
//! dictionary to say. A query's run is a phrase of bigrams, so it is found wherever its characters stand in this order.
//!
//! Text is brought to one form first (NFKC, lower case): full-width letters, half-width kana and decomposed Hangul are
//! the same words as the usual ones. Skin tones, variation selectors and joiners of emoji are dropped.

use icu_normalizer::ComposingNormalizerBorrowed;

/// A part of a text that can be searched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Term {
    /// Letters and digits.
    Word(String),
    /// Characters of a script without spaces between words.
    Run(String),
    /// A pictograph; two characters for a flag.
    Symbol(String),
}

/// Stands before the hexadecimal form of a symbol in the index: a private-use character is a letter to the tokenizer,
/// and no term of a text has one.
const SYMBOL_MARK: char = '\u{e000}';
/// Shorter words are in too much to be looked up by.
const MIN_WORD_CHARS: usize = 2;

/// The terms of a text, in its order.
pub(crate) fn terms(text: &str) -> Vec<Term> {
    let text = ComposingNormalizerBorrowed::new_nfkc().normalize(text).to_lowercase();
    let mut terms: Vec<Term> = Vec::new();
    let mut open = false;
    for character in text.chars() {
        let kind = Kind::of(character);
        match (kind, terms.last_mut().filter(|_| open)) {
            (Kind::Ignored, _) => continue,
            (Kind::Letter, Some(Term::Word(word))) => word.push(character),
            (Kind::Letter, _) => terms.push(Term::Word(character.into())),
            (Kind::Unspaced, Some(Term::Run(run))) => run.push(character),
            (Kind::Unspaced, _) => terms.push(Term::Run(character.into())),
            (Kind::Flag, Some(Term::Symbol(half))) if is_half_flag(half) => half.push(character),
            (Kind::Flag | Kind::Symbol, _) => terms.push(Term::Symbol(character.into())),
            (Kind::Separator, _) => {}
        }
        open = kind != Kind::Separator;
    }
    terms
}

/// The text as the index's tokenizer is given it.
pub(crate) fn indexed(text: &str) -> String {
    terms(text).iter().map(Term::indexed).collect::<Vec<_>>().join(" ")
}

impl Term {
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Word(text) | Self::Run(text) | Self::Symbol(text) => text,
        }
    }

    /// Tokens separated by spaces. The last character of a run stands alone as well, so that every character of a run
    /// begins a token.
    fn indexed(&self) -> String {
        match self {
            Self::Word(word) => word.clone(),
            Self::Run(run) => {
                let mut tokens = bigrams(run);
                tokens.extend(run.chars().next_back().filter(|_| !tokens.is_empty()).map(String::from));
                if tokens.is_empty() { run.clone() } else { tokens.join(" ") }
            }
            Self::Symbol(symbol) => {
                let codes: String = symbol.chars().map(|character| format!("{:x}", u32::from(character))).collect();
                format!("{SYMBOL_MARK}{codes}")
            }
        }
    }

    /// The FTS5 phrase that finds it.
    pub(crate) fn phrase(&self) -> String {
        match self {
            Self::Word(word) => format!("\"{word}\"*"),
            Self::Run(run) if run.chars().nth(1).is_none() => format!("\"{run}\"*"),
            Self::Run(run) => format!("\"{}\"*", bigrams(run).join(" ")),
            Self::Symbol(_) => format!("\"{}\"", self.indexed()),
        }
    }

    /// The words of the DHT that stand for it: of a run its bigrams. None for a word that is too short.
    pub(crate) fn keys(&self) -> Vec<String> {
        match self {
            Self::Word(word) if word.chars().count() < MIN_WORD_CHARS => Vec::new(),
            Self::Word(text) | Self::Symbol(text) => vec![text.clone()],
            Self::Run(run) if run.chars().nth(1).is_none() => vec![run.clone()],
            Self::Run(run) => bigrams(run),
        }
    }
}

/// The words of the DHT that a query is looked up by, those that say most first: long words, then bigrams from both ends
/// of runs, then symbols.
pub(crate) fn looked_up(query: &str) -> Vec<String> {
    let mut weighed: Vec<(usize, String)> = Vec::new();
    for term in terms(query) {
        let keys = term.keys();
        let (first, last) = (keys.first(), keys.last());
        weighed.extend(first.into_iter().chain(last).map(|key| (weight(&term), key.clone())));
    }
    weighed.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    let mut words: Vec<String> = Vec::new();
    for (_, word) in weighed {
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words
}

/// How much a term says, in letters of a word.
fn weight(term: &Term) -> usize {
    match term {
        Term::Word(word) => word.chars().count(),
        Term::Run(run) if run.chars().nth(1).is_none() => 2,
        Term::Run(_) => 5,
        Term::Symbol(_) => 3,
    }
}

fn bigrams(run: &str) -> Vec<String> {
    let characters: Vec<char> = run.chars().collect();
    characters.windows(2).map(|pair| pair.iter().collect()).collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Letter,
    Unspaced,
    Symbol,
    /// Half of a flag.
    Flag,
    /// Changes the look of the symbol before it.
    Ignored,
    Separator,
}

impl Kind {
    fn of(character: char) -> Self {
        match character {
            '\u{200d}' | '\u{fe0e}' | '\u{fe0f}' | '\u{20e3}' | '\u{1f3fb}'..='\u{1f3ff}' => Self::Ignored,
            '\u{1f1e6}'..='\u{1f1ff}' => Self::Flag,
            _ if character.is_alphanumeric() && is_unspaced(character) => Self::Unspaced,
            _ if character.is_alphanumeric() => Self::Letter,
            _ if is_symbol(character) => Self::Symbol,
            _ => Self::Separator,
        }
    }
}

fn is_half_flag(symbol: &str) -> bool {
    let mut characters = symbol.chars();
    characters.next().is_some_and(|first| Kind::of(first) == Kind::Flag) && characters.next().is_none()
}

/// Whether it is of a script that puts no space between words, or (Hangul) joins them to others.
fn is_unspaced(character: char) -> bool {
    matches!(character,
        '\u{e00}'..='\u{eff}'           // Thai, Lao
        | '\u{1000}'..='\u{109f}'       // Burmese
        | '\u{1100}'..='\u{11ff}'       // Hangul, decomposed
        | '\u{1780}'..='\u{17ff}'       // Khmer
        | '\u{3005}'..='\u{3007}'       // Han: iteration marks, zero
        | '\u{3040}'..='\u{31ff}'       // kana, Bopomofo, Hangul compatibility
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' // Han
        | '\u{a960}'..='\u{a97f}' | '\u{ac00}'..='\u{d7ff}' // Hangul
        | '\u{f900}'..='\u{faff}' | '\u{1b000}'..='\u{1b16f}' | '\u{20000}'..='\u{3ffff}')
}

/// Arrows, technical and miscellaneous symbols, dingbats, pictographs.
fn is_symbol(character: char) -> bool {
    matches!(character,
        '\u{2190}'..='\u{21ff}' | '\u{2300}'..='\u{27bf}' | '\u{2900}'..='\u{297f}' | '\u{2b00}'..='\u{2bff}'
        | '\u{1f000}'..='\u{1faff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> Term {
        Term::Word(text.to_owned())
    }

    fn run(text: &str) -> Term {
        Term::Run(text.to_owned())
    }

    fn symbol(text: &str) -> Term {
        Term::Symbol(text.to_owned())
    }

    #[test]
    fn text_is_cut_at_spaces_scripts_and_symbols() {
        assert_eq!(terms("HTTP-client 2x"), [word("http"), word("client"), word("2x")]);
        assert_eq!(terms("東京Tower、機械学習"), [run("東京"), word("tower"), run("機械学習")]);
        assert_eq!(terms("データベース"), [run("データベース")]);
        assert_eq!(terms("rust🚀web"), [word("rust"), symbol("🚀"), word("web")]);
        assert_eq!(terms("🇯🇵🇩🇪"), [symbol("🇯🇵"), symbol("🇩🇪")]);
        assert_eq!(terms("c++ \u{e000} \"*"), [word("c")]);
    }

    #[test]
    fn forms_of_one_text_are_one() {
        assert_eq!(terms("ＨＴＴＰ"), terms("http"));
        assert_eq!(terms("ﾃﾞｰﾀ"), terms("データ"));
        assert_eq!(terms("か\u{3099}"), terms("が"), "decomposed, as file names of macOS are");
        assert_eq!(terms("\u{1112}\u{1161}\u{11ab}"), terms("한"));
        assert_eq!(terms("👍🏽"), terms("👍"));
        assert_eq!(terms("❤\u{fe0f}"), terms("❤"));
        assert_eq!(terms("👩\u{200d}💻"), [symbol("👩"), symbol("💻")]);
    }

    #[test]
    fn runs_are_indexed_and_looked_up_by_bigrams() {
        assert_eq!(indexed("機械学習 web"), "機械 械学 学習 習 web");
        assert_eq!(run("機械学").phrase(), "\"機械 械学\"*");
        assert_eq!((run("猫").phrase(), indexed("猫")), ("\"猫\"*".to_owned(), "猫".to_owned()));
        assert_eq!(indexed("🚀"), "\u{e000}1f680");
        assert_eq!(looked_up("a 機械学習 databases 🚀"), ["databases", "機械", "学習", "🚀"]);
    }
}
