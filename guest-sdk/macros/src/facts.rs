//! The text of the section `guesthouse`: TOML, as Guesthouse reads it.

use std::env;

/// What the author's `Cargo.toml` says, and whether the handler is thread-safe.
pub fn text(thread_safe: bool) -> String {
    let of_package = |name: &str| env::var(format!("CARGO_PKG_{name}")).unwrap_or_default();
    written(thread_safe, &of_package("VERSION"), &of_package("DESCRIPTION"))
}

fn written(thread_safe: bool, version: &str, description: &str) -> String {
    let mut text = format!("thread_safe = {thread_safe}\n");
    for (key, value) in [("version", version), ("description", description)] {
        let value = one_line(value);
        if !value.is_empty() {
            text += &format!("{key} = \"{}\"\n", value.replace('\\', "\\\\").replace('"', "\\\""));
        }
    }
    text
}

/// In a manifest a description may have several lines; a line of a log cannot.
fn one_line(value: &str) -> String {
    let printable: String = value.chars().filter(|letter| !letter.is_control() || letter.is_whitespace()).collect();
    printable.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_facts_are_written() {
        let expected = "thread_safe = false\nversion = \"1.2.0\"\ndescription = \"counts visits\"\n";
        assert_eq!(written(false, "1.2.0", "counts visits"), expected);
    }

    #[test]
    fn what_the_package_does_not_say_is_left_out() {
        assert_eq!(written(true, "", ""), "thread_safe = true\n");
    }

    #[test]
    fn a_description_is_one_line_and_quoted() {
        let text = written(true, "1", "says \"hi\"\n  and C:\\\u{7}");
        assert_eq!(text, "thread_safe = true\nversion = \"1\"\ndescription = \"says \\\"hi\\\" and C:\\\\\"\n");
    }
}
