//! What a project may be called: what every toolchain, and the server's configuration, takes as a name. No I/O.

use std::fmt;
use std::str::FromStr;

/// Bytes of a name: what a module may have in the configuration.
const LENGTH_MAX: usize = 64;

/// Names that the configuration, cargo or Go keep for themselves.
#[rustfmt::skip]
const RESERVED: [&str; 51] = [
    "abstract", "alloc", "as", "async", "await", "become", "box", "break", "const", "continue", "core", "crate", "do",
    "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro",
    "match", "mod", "move", "mut", "override", "priv", "proc-macro", "pub", "ref", "return", "self", "server", "static",
    "std", "struct", "super", "test", "trait", "true", "try", "type", "use", "while",
];

/// The name of a project: of its folder, its module, and its package where the language has packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It would be no name in one of the languages, or a path.
    #[error(
        "a project cannot be called {0:?}: use up to {LENGTH_MAX} lower-case letters, digits and single hyphens, a letter \
         first and no hyphen last"
    )]
    NotAName(String),
    /// A word that means something else.
    #[error("a project cannot be called {0:?}, which means something else where names are used: choose another name")]
    Reserved(String),
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let is_part = |part: &str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        let begins_well = text.starts_with(|first: char| first.is_ascii_lowercase());
        if text.len() > LENGTH_MAX || !begins_well || !text.split('-').all(is_part) {
            return Err(NameError::NotAName(text.to_owned()));
        }
        if RESERVED.contains(&text) {
            return Err(NameError::Reserved(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl Name {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_letters_digits_and_single_hyphens() {
        for name in ["a", "shop", "shop2", "my-shop-2", &"x".repeat(64)] {
            assert_eq!(name.parse::<Name>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn what_leads_elsewhere_or_no_language_takes_is_no_name() {
        for text in
            ["", ".", "..", "../a", "a/b", "/a", "a.b", "A", "2a", "-a", "a-", "a--b", "a_b", "a b", "ä", "a\0", "a\n"]
        {
            assert_eq!(text.parse::<Name>(), Err(NameError::NotAName(text.to_owned())));
        }
        assert!("x".repeat(65).parse::<Name>().is_err());
    }

    #[test]
    fn a_word_with_a_meaning_is_no_name() {
        assert!(RESERVED.is_sorted());
        for word in ["server", "test", "fn"] {
            assert_eq!(word.parse::<Name>(), Err(NameError::Reserved(word.to_owned())));
        }
    }
}
