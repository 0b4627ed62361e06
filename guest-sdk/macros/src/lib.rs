//! The attribute `handler`. What it puts around a handler is here; what that calls is in `guesthouse-sdk`, which
//! re-exports the attribute and documents it.

mod arguments;
mod facts;

use proc_macro::TokenStream;
use proc_macro_crate::{FoundCrate, crate_name};
use proc_macro2::{Span, TokenStream as Tokens};
use quote::{quote, quote_spanned};
use syn::{Error, Ident, ItemFn, Signature, parse_macro_input};

use arguments::{Arguments, Interface};

/// Makes an `async fn(Request) -> Result<Response>` what the module answers requests with.
#[proc_macro_attribute]
pub fn handler(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = parse_macro_input!(arguments as Arguments);
    let handler = parse_macro_input!(item as ItemFn);
    let exported = sdk().and_then(|sdk| Ok(exported(&sdk, &arguments, check(&handler.sig)?)));
    let exported = exported.unwrap_or_else(Error::into_compile_error);
    quote!(#handler #exported).into()
}

/// What stands beside the handler: on WASI the export and the section, elsewhere a look at the handler's type, so that
/// `cargo check` and `cargo test` say the same as the build of the module.
fn exported(sdk: &Tokens, arguments: &Arguments, name: &Ident) -> Tokens {
    let facts = facts::text(arguments.thread_safe);
    let section = proc_macro2::Literal::byte_string(facts.as_bytes());
    let length = facts.len();
    let export = match arguments.interface {
        Interface::P2 => quote!(#sdk::__export_p2!(#name);),
        Interface::P3 => quote!(#sdk::__export_p3!(#name);),
    };
    let is_handler = quote_spanned!(name.span()=> #sdk::__private::is_handler(#name););
    quote! {
        #[cfg(target_os = "wasi")]
        const _: () = {
            #export

            #[used]
            #[unsafe(link_section = "guesthouse")]
            static FACTS: [u8; #length] = *#section;
        };

        #[cfg(not(target_os = "wasi"))]
        const _: () = {
            #[allow(dead_code)]
            fn check() {
                #is_handler
            }
        };
    }
}

/// The name of a function that can be a handler. Its types are the compiler's to check.
fn check(signature: &Signature) -> syn::Result<&Ident> {
    if signature.asyncness.is_none() {
        return Err(Error::new_spanned(signature.fn_token, "a handler is an `async fn`: write `async` before `fn`"));
    }
    if !signature.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &signature.generics,
            "a handler is one function: remove its generic parameters",
        ));
    }
    if signature.inputs.len() != 1 || signature.receiver().is_some() {
        return Err(Error::new_spanned(signature, "a handler takes one argument, the `Request`"));
    }
    Ok(&signature.ident)
}

/// The path of `guesthouse-sdk` by the name that the author's `Cargo.toml` gives it.
fn sdk() -> syn::Result<Tokens> {
    let found = crate_name("guesthouse-sdk").map_err(|error| {
        Error::new(Span::call_site(), format!("cannot tell how this crate calls guesthouse-sdk: {error}"))
    })?;
    let name = match found {
        // Its own examples and tests, where the crate has its own name.
        FoundCrate::Itself => "guesthouse_sdk".to_owned(),
        FoundCrate::Name(name) => name,
    };
    let name = Ident::new(&name, Span::call_site());
    Ok(quote!(::#name))
}
