//! What the operator configures: the variables of the guest's environment.

use std::any::type_name;
use std::fmt::Display;
use std::str::FromStr;

use anyhow::{Context as _, anyhow};

use crate::{Result, host};

/// A variable that must be there.
///
/// ```
/// use guesthouse_sdk::{Request, Response, Result, config, handler, respond};
///
/// #[handler]
/// async fn greet(_request: Request) -> Result<Response> {
///     let greeting: String = config::required("GREETING")?;
///     Ok(respond::text(format!("{greeting}\n")))
/// }
/// # let harness = guesthouse_sdk::testing::Harness::new(greet);
/// # assert!(harness.get("/").log().contains("GREETING is not set"));
/// # assert_eq!(harness.variable("GREETING", "Hello").get("/").text(), "Hello\n");
/// ```
///
/// # Errors
/// It is not there, or cannot be read as a `T`. The error names it; the client sees 500.
pub fn required<T: FromStr>(name: &str) -> Result<T>
where
    T::Err: Display,
{
    optional(name)?.with_context(|| {
        format!("the environment variable {name} is not set: give it to the module, in Guesthouse in [module.env]")
    })
}

/// A variable that may be there.
///
/// ```
/// use guesthouse_sdk::{Request, Response, Result, config, handler, respond};
///
/// #[handler]
/// async fn list(_request: Request) -> Result<Response> {
///     let length = config::optional("LENGTH")?.unwrap_or(20);
///     Ok(respond::text(format!("the first {length} of them\n")))
/// }
/// # let harness = guesthouse_sdk::testing::Harness::new(list);
/// # assert_eq!(harness.get("/").text(), "the first 20 of them\n");
/// # let harness = harness.variable("LENGTH", "long");
/// # assert!(harness.get("/").log().contains("LENGTH"));
/// ```
///
/// # Errors
/// It cannot be read as a `T`. The error names it; the client sees 500.
pub fn optional<T: FromStr>(name: &str) -> Result<Option<T>>
where
    T::Err: Display,
{
    let value = host::variable(name);
    value.map(|value| value.parse().map_err(|error| unreadable::<T>(name, &value, &error))).transpose()
}

fn unreadable<T>(name: &str, value: &str, error: &impl Display) -> anyhow::Error {
    let wanted = type_name::<T>();
    anyhow!("the environment variable {name} is {value:?}, which cannot be read as {wanted}: {error}: correct it")
}
