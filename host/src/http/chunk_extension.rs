//! The grammar of chunk extensions (RFC 9112 section 7.1.1), byte by byte. They are checked and ignored.
//!
//! How many bytes they may have, and what a chunk is, lives in `decode`.

use super::grammar::is_token_byte;

/// Where in the extensions of one chunk the next byte falls.
///
/// ```text
///  chunk-ext = *( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )
///
///  Before ──";"──► BeforeName ──► Name ──"="──► BeforeValue ──► Token
///    ▲ ▲                           │  │ BWS          │            │
///    │ │ BWS         ┌─────────────┘  ▼              ▼ DQUOTE     │
///    │ └─────────────│───────────  AfterName      Quoted ◄──► QuotedPair
///    │               │ ";"         also "="          │ DQUOTE     │
///    │               ▼                               ▼            │
///    └──────────  (each ";" leads to BeforeName)  AfterValue ◄────┘ BWS
/// ```
///
/// CR ends the extensions after a name or a value, nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extension {
    /// Whitespace before the first ";".
    Before,
    /// After ";".
    BeforeName,
    Name,
    /// Whitespace after a name.
    AfterName,
    /// After "=".
    BeforeValue,
    Token,
    Quoted,
    /// After a backslash in a quoted string.
    QuotedPair,
    /// After a quoted string, or whitespace after any value.
    AfterValue,
}

/// What a byte of an extension leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    On(Extension),
    /// The byte was the CR that ends the line.
    End,
}

impl Extension {
    /// Takes the next byte; `None` if it must not be there.
    pub(super) fn take(self, byte: u8) -> Option<Step> {
        use Extension as E;
        let whitespace = matches!(byte, b' ' | b'\t');
        let next = match self {
            E::Name | E::AfterName | E::Token | E::AfterValue if byte == b'\r' => return Some(Step::End),
            E::Before | E::Name | E::AfterName | E::Token | E::AfterValue if byte == b';' => E::BeforeName,
            E::Name | E::AfterName if byte == b'=' => E::BeforeValue,
            E::Before | E::BeforeName | E::BeforeValue | E::AfterName | E::AfterValue if whitespace => self,
            E::Name if whitespace => E::AfterName,
            E::Token if whitespace => E::AfterValue,
            E::BeforeName | E::Name if is_token_byte(byte) => E::Name,
            E::BeforeValue | E::Token if is_token_byte(byte) => E::Token,
            E::BeforeValue if byte == b'"' => E::Quoted,
            E::Quoted if byte == b'"' => E::AfterValue,
            E::Quoted if byte == b'\\' => E::QuotedPair,
            E::Quoted | E::QuotedPair if whitespace || byte.is_ascii_graphic() || byte >= 0x80 => E::Quoted,
            E::Before
            | E::BeforeName
            | E::Name
            | E::AfterName
            | E::BeforeValue
            | E::Token
            | E::Quoted
            | E::QuotedPair
            | E::AfterValue => return None,
        };
        Some(Step::On(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether `text` is a sequence of extensions with a CR at its end.
    fn is_valid(text: &str) -> bool {
        let mut extension = Extension::Before;
        for (i, byte) in text.bytes().enumerate() {
            match extension.take(byte) {
                Some(Step::On(next)) => extension = next,
                Some(Step::End) => return i + 1 == text.len(),
                None => return false,
            }
        }
        false
    }

    #[test]
    fn extensions_are_as_the_grammar_says() {
        for text in [
            ";a",
            ";a=b",
            ";a=\"b\"",
            ";a;b=c;d",
            " ; a = b ; c",
            "\t;\ta\t=\t\"\"\t",
            ";a=\"\\\"\\;\\\\\"",
            ";a=\"b;c=d\u{e9}\"",
            ";a ",
            ";a=b ",
        ] {
            assert!(is_valid(&format!("{text}\r")), "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_extension() {
        for text in [
            "",
            " ",
            ";",
            ";;a",
            ";a;",
            ";=b",
            ";a=",
            ";a= ",
            ";a=b c",
            ";a b",
            ";a=\"b",
            ";a=\"\\",
            ";a=\"b\"c",
            ";a\n",
            ";a\0",
            ";a=\"\n\"",
            ";a=\"\0\"",
            ";a=\"\u{7f}\"",
            ";a=\"b\rc\"",
            ";a=\"\\\n\"",
            "a",
            ";a\u{e9}",
            ";a=\u{e9}",
        ] {
            assert!(!is_valid(&format!("{text}\r")), "{text:?}");
        }
    }
}
