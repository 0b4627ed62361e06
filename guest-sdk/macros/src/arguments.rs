//! What is written in the parentheses of `#[handler(...)]`.

use syn::meta::ParseNestedMeta;
use syn::parse::{Parse, ParseStream, Parser};
use syn::{Error, LitBool};

/// The interface that the module answers through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interface {
    /// `wasi:http/incoming-handler@0.2`
    P2,
    /// `wasi:http/handler@0.3`
    P3,
}

/// The arguments of the attribute.
#[derive(Debug, PartialEq, Eq)]
pub struct Arguments {
    pub interface: Interface,
    pub thread_safe: bool,
}

impl Parse for Arguments {
    fn parse(input: ParseStream) -> syn::Result<Self> {
        let mut p3 = None;
        let mut thread_safe = None;
        let parser = syn::meta::parser(|argument| {
            if argument.path.is_ident("p3") {
                once(&argument, &mut p3, true)
            } else if argument.path.is_ident("thread_safe") {
                let value = argument.value()?.parse::<LitBool>()?.value;
                once(&argument, &mut thread_safe, value)
            } else {
                Err(argument.error("unknown argument: there are `p3` and `thread_safe = false`"))
            }
        });
        parser.parse2(input.parse()?)?;
        Ok(Self {
            interface: if p3.is_some() { Interface::P3 } else { Interface::P2 },
            thread_safe: thread_safe.unwrap_or(true),
        })
    }
}

fn once<T>(argument: &ParseNestedMeta<'_>, place: &mut Option<T>, value: T) -> Result<(), Error> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(argument.error("it is there twice: remove one")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Arguments, String> {
        syn::parse_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn without_arguments_a_handler_is_thread_safe_and_of_wasi_0_2() {
        assert_eq!(parse(""), Ok(Arguments { interface: Interface::P2, thread_safe: true }));
    }

    #[test]
    fn arguments_may_be_combined() {
        let expected = Arguments { interface: Interface::P3, thread_safe: false };
        assert_eq!(parse("p3, thread_safe = false"), Ok(expected));
    }

    #[test]
    fn what_is_not_an_argument_is_refused() {
        assert!(parse("p4").unwrap_err().contains("there are `p3` and `thread_safe = false`"));
        assert!(parse("thread_safe").is_err());
        assert!(parse("thread_safe = 1").is_err());
        assert!(parse("p3, p3").unwrap_err().contains("twice"));
    }
}
