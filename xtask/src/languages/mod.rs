//! The guests that other toolchains make, a file for each toolchain: which there are, and which of them are to be built.
//!
//! Every tool comes from a package registry into `target/languages/`, in the version that `xtask/languages/` names. How
//! it gets there is in `tools`; what a guest is built from, and whether that has changed, in `stamp`.

mod c;
mod go;
mod javascript;
mod lua;
mod php;
mod python;
mod rust;
mod stamp;
mod tools;
mod zig;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use self::tools::Tools;
use crate::run::{exists, root, target};
use crate::wasm::copy;

/// The definitions that handlers of 0.2 and 0.3 are built against, and the world of a handler in both.
const WIT_02: &str = "templates/wit/handler-0.2.wit";
const WIT_03: &str = "templates/wit/handler-0.3.wit";
const WORLD: &str = "handler";

/// The order in which they are built: the quick ones first.
const TOOLCHAINS: [&Toolchain; 8] = [
    &rust::TOOLCHAIN,
    &zig::TOOLCHAIN,
    &c::TOOLCHAIN,
    &lua::TOOLCHAIN,
    &go::TOOLCHAIN,
    &python::TOOLCHAIN,
    &javascript::TOOLCHAIN,
    &php::TOOLCHAIN,
];

/// What makes guests of some folders below `examples/`.
struct Toolchain {
    /// As `--languages` has it.
    name: &'static str,
    /// The folders, and what is made of each: `target/guests/NAME.wasm`.
    guests: &'static [&'static str],
    /// Programs that are not fetched, but have to be there, each with the Debian package that has it.
    needs: &'static [(&'static str, &'static str)],
    /// The files in `xtask/languages/` that say which versions of which tools are used.
    pins: &'static [&'static str],
    /// Its own source: a guest is built again when that changes.
    recipe: &'static str,
    /// Builds the guest, and says where.
    build: fn(&Tools, &Guest) -> Result<PathBuf>,
}

/// A guest that is to be built.
struct Guest {
    name: &'static str,
    /// Its folder below `examples/`.
    source: PathBuf,
    /// An empty folder to build in.
    scratch: PathBuf,
}

/// Which of the toolchains are asked for.
#[derive(Debug, Clone, Default)]
pub struct Selection(Vec<String>);

impl Selection {
    /// All of them.
    pub fn all() -> Self {
        Self(TOOLCHAINS.iter().map(|toolchain| toolchain.name.to_owned()).collect())
    }

    /// Those that are named, with commas between them.
    pub fn parse(names: &str) -> Result<Self> {
        let names: Vec<String> = names.split(',').map(|name| name.trim().to_owned()).collect();
        let known = Self::all().0;
        match names.iter().find(|name| !known.contains(name)) {
            Some(unknown) => bail!("there is no toolchain {unknown:?}: write one of {}", known.join(", ")),
            None => Ok(Self(names)),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    fn toolchains(&self) -> impl Iterator<Item = &'static Toolchain> {
        TOOLCHAINS.into_iter().filter(|toolchain| self.0.iter().any(|name| name == toolchain.name))
    }
}

/// Builds the guests of the toolchains into the folder `guests`, but for those that are up to date.
pub fn build(guests: &Path, selection: &Selection) -> Result<()> {
    // All that is missing at once, and before the first minute of building.
    let needed = selection.toolchains().flat_map(|toolchain| toolchain.needs.iter().copied());
    let mut missing: Vec<(&str, &str)> = needed.filter(|(program, _)| !exists(program)).collect();
    missing.sort_unstable();
    missing.dedup();
    if !missing.is_empty() {
        let (programs, packages): (Vec<&str>, Vec<&str>) = missing.into_iter().unzip();
        let (programs, packages) = (programs.join(", "), packages.join(" "));
        bail!("the guests of other languages need {programs}, not found here: apt-get install {packages}");
    }
    let tools = Tools::new(target()?.join("languages"));
    for toolchain in selection.toolchains() {
        for name in toolchain.guests {
            build_one(&tools, toolchain, name, &guests.join(format!("{name}.wasm")))?;
        }
    }
    Ok(())
}

fn build_one(tools: &Tools, toolchain: &Toolchain, name: &'static str, made: &Path) -> Result<()> {
    let source = root().join("examples").join(name);
    let stamp = stamp::of(toolchain, &source)?;
    let stamped = tools.folder().join("stamps").join(name);
    if made.exists() && std::fs::read_to_string(&stamped).is_ok_and(|before| before == stamp) {
        return Ok(());
    }
    eprintln!("building {name} ({})", toolchain.name);
    let guest = Guest { name, source, scratch: tools.empty_folder(&format!("build/{name}"))? };
    copy(&(toolchain.build)(tools, &guest)?, made)?;
    tools::write(&stamped, &stamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toolchains_are_built_in_their_own_order_and_once() {
        let selection = Selection::parse("javascript, zig,zig").unwrap();
        let names: Vec<&str> = selection.toolchains().map(|toolchain| toolchain.name).collect();
        assert_eq!(names, ["zig", "javascript"]);
    }

    #[test]
    fn an_unknown_toolchain_is_answered_with_those_that_there_are() {
        let error = Selection::parse("zig,cobol").unwrap_err().to_string();
        assert!(error.contains("\"cobol\"") && error.contains("javascript"), "{error}");
    }

    #[test]
    fn what_is_built_from_is_there() {
        for toolchain in TOOLCHAINS {
            for guest in toolchain.guests {
                assert!(stamp::of(toolchain, &root().join("examples").join(guest)).is_ok(), "{guest}");
            }
        }
    }
}
