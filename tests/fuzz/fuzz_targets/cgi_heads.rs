//! Any output of a program that speaks CGI: its head is found at the same place however it is cut into pieces, within the
//! limit, and what is read of it could not split an answer, or is told in words that do no harm.

#![no_main]

#[path = "../../../host/src/guest/cgi/head.rs"]
#[allow(dead_code)]
mod head;

use libfuzzer_sys::fuzz_target;

use head::{BYTES_MAX, BadHead, FIELDS_MAX, Head, HeadScan};

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, bytes) = input;
    let found = found(bytes, usize::from(piece).max(1));
    assert_eq!(found, HeadScan::default().advance(bytes), "it depends on the pieces");
    let Ok(Some(end)) = found else { return };
    assert!(end <= BYTES_MAX && bytes[..end].ends_with(b"\n"));
    match Head::parse(&bytes[..end]) {
        Ok(Head { status, headers }) => {
            assert!((200..600).contains(&status.as_u16()));
            assert!(headers.len() <= FIELDS_MAX && !headers.contains_key("status"));
            let splits = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
            assert!(!headers.values().any(|value| value.as_bytes().iter().any(splits)));
        }
        Err(bad) => assert!(!bad.to_string().contains(char::is_control)),
    }
});

fn found(bytes: &[u8], piece: usize) -> Result<Option<usize>, BadHead> {
    let mut scan = HeadScan::default();
    let mut end = 0;
    loop {
        end = bytes.len().min(end + piece);
        match scan.advance(&bytes[..end])? {
            None if end < bytes.len() => {}
            found => return Ok(found),
        }
    }
}
