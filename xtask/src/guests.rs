//! The guests that are written in Rust: which there are, and how they get to `target/guests/`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::languages::{self, Selection};
use crate::run::{cargo, root, run, target};
use crate::wasm::{copy, ensure_target};

/// What the guests are compiled to.
const TARGET: &str = "wasm32-wasip2";

/// What those are compiled to as well that are programs.
const PROGRAM_TARGET: &str = "wasm32-wasip1";

/// The folders whose folders are guests, each a package of the workspace that is named as its folder.
const FOLDERS: [&str; 2] = ["examples", "tests/guests"];

/// Builds every guest that is written in Rust, and those of the other toolchains that are asked for.
pub fn build_all(languages: &Selection) -> Result<()> {
    let folder = build()?;
    languages::build(&folder, languages)?;
    eprintln!("the guests are in {}", folder.display());
    Ok(())
}

/// Builds the guests that are written in Rust, and says where they are.
pub fn build() -> Result<PathBuf> {
    ensure_target(TARGET)?;
    let packages = packages()?;
    run(on_packages(cargo().arg("build"), &packages, TARGET))?;

    let folder = target()?.join("guests");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let (programs, libraries): (Vec<_>, Vec<_>) = packages.into_iter().partition(|package| is_program(package));
    for package in libraries {
        copy(&built(&package.replace('-', "_"), TARGET)?, &folder.join(format!("{package}.wasm")))?;
    }
    if !programs.is_empty() {
        ensure_target(PROGRAM_TARGET)?;
        run(on_packages(cargo().arg("build"), &programs, PROGRAM_TARGET))?;
    }
    for package in programs {
        copy(&built(&package, PROGRAM_TARGET)?, &folder.join(format!("{package}.wasm")))?;
        copy(&built(&package, TARGET)?, &folder.join(format!("{package}-p2.wasm")))?;
    }
    Ok(folder)
}

fn built(name: &str, compiled_to: &str) -> Result<PathBuf> {
    Ok(target()?.join(compiled_to).join("guest").join(format!("{name}.wasm")))
}

/// Whether a guest is a program that speaks CGI: it has a main function.
fn is_program(package: &str) -> bool {
    FOLDERS.iter().any(|folder| root().join(folder).join(package).join("src/main.rs").exists())
}

/// Lints the guests, for the target that they are for.
pub fn clippy() -> Result<()> {
    ensure_target(TARGET)?;
    run(on_packages(cargo().arg("clippy"), &packages()?, TARGET).args(["--", "-D", "warnings"]))
}

/// The names of the packages that are guests, sorted.
pub fn packages() -> Result<Vec<String>> {
    let mut packages = Vec::new();
    for folder in FOLDERS.map(|folder| root().join(folder)) {
        let entries = folder.read_dir().with_context(|| format!("cannot list the folder {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.join("Cargo.toml").exists() && !stands_alone(&path)? {
                packages.extend(path.file_name().map(|name| name.to_string_lossy().into_owned()));
            }
        }
    }
    packages.sort();
    Ok(packages)
}

/// Runs the guests' own tests, on this machine: those of guests that are written against the SDK, whose harness takes a
/// server's place. The others cannot run here.
pub fn test() -> Result<()> {
    let mut command = cargo();
    command.args(["test", "--locked", "--lib"]);
    for package in packages()? {
        if is_on_sdk(&package)? {
            command.args(["-p", &package]);
        }
    }
    run(&mut command)
}

fn is_on_sdk(package: &str) -> Result<bool> {
    let manifests = FOLDERS.map(|folder| root().join(folder).join(package).join("Cargo.toml"));
    let manifest = manifests.into_iter().find(|manifest| manifest.exists()).context("the package was listed before")?;
    let text = std::fs::read_to_string(&manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
    Ok(text.lines().any(|line| line.starts_with("guesthouse-sdk")))
}

/// Whether a package is a workspace of its own: a program for another target, which is built as one of `languages`.
fn stands_alone(folder: &Path) -> Result<bool> {
    let manifest = folder.join("Cargo.toml");
    let text = std::fs::read_to_string(&manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
    Ok(text.lines().any(|line| line == "[workspace]"))
}

fn on_packages<'a>(command: &'a mut Command, packages: &[String], compile_to: &str) -> &'a mut Command {
    command.args(["--locked", "--profile", "guest", "--target", compile_to]);
    command.args(packages.iter().flat_map(|package| ["-p", package]))
}
