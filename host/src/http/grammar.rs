//! The small grammar that the parsers share: byte classes, lists and numbers of RFC 9110 section 5.6.
//!
//! No rule about any particular field lives here.

const TOKEN: u8 = 1;
const REG_NAME: u8 = 2;
const PATH: u8 = 4;
const QUERY: u8 = 8;

/// What each byte may be part of. `%` is in neither URI class: it stands for an escape only with two hexadecimal
/// digits behind it.
static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        let alphanumeric = byte.is_ascii_alphanumeric();
        // RFC 9110 section 5.6.2: tchar.
        if alphanumeric || contains(b"!#$%&'*+-.^_`|~", byte) {
            table[byte as usize] |= TOKEN;
        }
        // RFC 3986 section 3.2.2: unreserved and sub-delims.
        if alphanumeric || contains(b"-._~!$&'()*+,;=", byte) {
            table[byte as usize] |= REG_NAME | PATH | QUERY;
        }
        // RFC 3986 sections 3.3 and 3.4: what pchar and path have besides, and what the WHATWG URL standard leaves
        // unescaped there, so that browsers send it.
        if contains(b":@/[]|", byte) {
            table[byte as usize] |= PATH;
        }
        // The same for a query; "?a[]=1" is everyday PHP.
        if contains(b":@/?[]{}|^\\`", byte) {
            table[byte as usize] |= QUERY;
        }
        byte += 1;
    }
    table
}

const fn contains(set: &[u8], byte: u8) -> bool {
    let mut i = 0;
    while i < set.len() {
        if set[i] == byte {
            return true;
        }
        i += 1;
    }
    false
}

/// RFC 9110 section 5.6.2: tchar.
pub(super) fn is_token_byte(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & TOKEN != 0
}

/// RFC 9110 section 5.6.2: token.
pub(super) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&byte| is_token_byte(byte))
}

/// RFC 3986 section 3.2.2: reg-name, which may be empty.
pub(super) fn is_reg_name(text: &[u8]) -> bool {
    is_escaped_text(text, REG_NAME)
}

/// RFC 3986 sections 3.3 and 3.4: a path, or a path, a "?" and a query; and in each the few bytes more that browsers
/// send as they are. "#", which begins a fragment, is in neither; nor are `"`, `<` and `>`, which all clients escape.
pub(super) fn is_path_and_query(text: &[u8]) -> bool {
    match text.iter().position(|&byte| byte == b'?') {
        None => is_escaped_text(text, PATH),
        Some(end) => is_escaped_text(&text[..end], PATH) && is_escaped_text(&text[end + 1..], QUERY),
    }
}

fn is_escaped_text(text: &[u8], class: u8) -> bool {
    let mut rest = text;
    loop {
        match rest {
            [] => return true,
            [byte, tail @ ..] if CLASSES[usize::from(*byte)] & class != 0 => rest = tail,
            [b'%', high, low, tail @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => rest = tail,
            _ => return false,
        }
    }
}

/// RFC 9110 section 5.6.3: without the optional whitespace at both ends.
pub(super) fn trim_ows(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// The members of a list of tokens (RFC 9110 section 5.6.1), empty ones included: whether they may be ignored is the
/// caller's affair. Not for lists whose members may hold a quoted comma.
pub(super) fn members(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&byte| byte == b',').map(trim_ows)
}

/// 1*DIGIT without sign or space, below 2^64.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |value, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// Where the first LF is. Eight bytes at a time, since every byte of every head passes through here.
pub(super) fn find_lf(text: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    const LFS: u64 = u64::from_ne_bytes([b'\n'; 8]);
    let (words, _) = text.as_chunks::<8>();
    // A byte of `differs` is zero where the text has LF; the expression is non-zero exactly if there is such a byte.
    let clean = words.iter().take_while(|word| {
        let differs = u64::from_ne_bytes(**word) ^ LFS;
        differs.wrapping_sub(ONES) & !differs & HIGHS == 0
    });
    let skipped = 8 * clean.count();
    text[skipped..].iter().position(|&byte| byte == b'\n').map(|at| skipped + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_feed_is_found_wherever_it_is() {
        for length in 0..40 {
            let mut text = vec![0x8a_u8; length];
            assert_eq!(find_lf(&text), None);
            for at in (0..length).rev() {
                text[at] = b'\n';
                assert_eq!(find_lf(&text), Some(at));
            }
        }
    }

    #[test]
    fn a_decimal_has_only_digits_and_fits() {
        assert_eq!(decimal(b"0"), Some(0));
        assert_eq!(decimal(b"0005"), Some(5));
        assert_eq!(decimal(b"18446744073709551615"), Some(u64::MAX));
        for text in [&b""[..], b"18446744073709551616", b"+1", b"-1", b" 1", b"1 ", b"1,1", b"0x1", b"1_0", b"\xb2"] {
            assert_eq!(decimal(text), None, "{text:?}");
        }
    }

    #[test]
    fn an_escape_needs_two_hexadecimal_digits() {
        assert!(is_path_and_query(b"/a%2Fb?c=%zz".split_at(8).0));
        for text in [&b"/%"[..], b"/%2", b"/%zz", b"/%2g"] {
            assert!(!is_path_and_query(text), "{text:?}");
        }
    }

    #[test]
    fn a_target_has_the_bytes_of_rfc_3986_and_those_that_browsers_leave_unescaped() {
        for byte in 0..=255_u8 {
            let both = byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?[]|".contains(&byte);
            assert_eq!(is_path_and_query(&[b'/', byte]), both, "{byte:#04x} in a path");
            let query = both || b"{}^\\`".contains(&byte);
            assert_eq!(is_path_and_query(&[b'/', b'?', byte]), query, "{byte:#04x} in a query");
        }
    }

    #[test]
    fn whitespace_is_trimmed_at_both_ends() {
        assert_eq!(trim_ows(b" \ta b\t "), b"a b");
        assert_eq!(trim_ows(b" \t"), b"");
        assert_eq!(members(b"a, ,b ,").collect::<Vec<_>>(), [&b"a"[..], b"", b"b", b""]);
    }
}
