//! Projects of those who write handlers: `guesthouse new` makes one, `guesthouse build` builds it. Nothing of a running
//! server is here, and a server knows nothing of a project: it gets a module and a configuration.

mod build;
mod manifest;
mod name;
mod template;

pub use self::build::{BuildError, Built, build};
pub use self::manifest::{FILE, Manifest, ManifestError};
pub use self::name::{Name, NameError};
pub use self::template::{CreateError, Language, create};
