//! Splits text into searchable terms: words, runs of scripts without spaces between words, and symbols.
//!
//! | in the text | term | found by |
//! |---|---|---|
//! | letters and digits between anything else | word | its beginning |
//! | Chinese, Japanese, Korean, Thai, Lao, Khmer, Burmese | run | any part of it |
//! | an emoji or another pictograph | symbol | itself |
//!
//! A run is indexed by its bigrams, each pair of neighbouring characters, because finding the word boundaries within it
//! would take a dictionary. A query's run is a phrase of bigrams, so it matches wherever its characters appear in this
//! order.
//!
//! Text is normalised first (NFKC, lower case): full-width letters, half-width kana and decomposed Hangul match their
//! usual forms. Skin tones, variation selectors and joiners of emoji are dropped.

use icu_normalizer::ComposingNormalizerBorrowed;

/// A searchable part of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Term {
    /// Letters and digits.
    Word(String),
    /// Characters of a script without spaces between words.
    Run(String),
    /// A pictograph; two characters for a flag.
    Symbol(String),
}

/// Precedes the hexadecimal form of a symbol in the index. The tokenizer treats a private-use character as a letter,
/// and no term of a text contains one.
const SYMBOL_MARK: char = '\u{e000}';
/// Shorter words occur in too many packages to be DHT keywords.
const MIN_WORD_CHARS: usize = 2;

/// The terms of a text, in the order of the text.
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

/// The text in the form that the index's tokenizer receives.
pub(crate) fn indexed(text: &str) -> String {
    terms(text).iter().map(Term::indexed).collect::<Vec<_>>().join(" ")
}

impl Term {
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Word(text) | Self::Run(text) | Self::Symbol(text) => text,
        }
    }

    /// Tokens separated by spaces. The last character of a run is also a token of its own, so that every character of a
    /// run begins a token.
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

    /// The FTS5 phrase that matches it.
    pub(crate) fn phrase(&self) -> String {
        match self {
            Self::Word(word) => format!("\"{word}\"*"),
            Self::Run(run) if run.chars().nth(1).is_none() => format!("\"{run}\"*"),
            Self::Run(run) => format!("\"{}\"*", bigrams(run).join(" ")),
            Self::Symbol(_) => format!("\"{}\"", self.indexed()),
        }
    }

    /// The DHT keywords of the term: the bigrams of a run. None for a word that is too short.
    pub(crate) fn keys(&self) -> Vec<String> {
        match self {
            Self::Word(word) if word.chars().count() < MIN_WORD_CHARS => Vec::new(),
            Self::Word(text) | Self::Symbol(text) => vec![text.clone()],
            Self::Run(run) if run.chars().nth(1).is_none() => vec![run.clone()],
            Self::Run(run) => bigrams(run),
        }
    }
}

/// The DHT keywords under which a query is looked up, the most selective first: long words, then bigrams from both ends
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

/// Selectivity of a term, in letters of a word.
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

/// Returns whether the character belongs to a script without spaces between words or, for Hangul, a script that
/// attaches particles to words.
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
