//! The Chromium that the browser test drives: where it is, or how it gets there.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result, bail};

use crate::run::{exists, program, run};

/// Names it where none of the usual names leads to it; the test reads it too.
pub const VARIABLE: &str = "CHROMIUM";

/// What it is called, most often first.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// A Chromium that starts. If there is none, and if that is possible without asking anybody, installs it.
pub fn find_or_install() -> Result<OsString> {
    if let Some(named) = std::env::var_os(VARIABLE) {
        if !exists(&named) {
            bail!("{VARIABLE} is {}, which does not start: correct it or unset it", named.display());
        }
        return Ok(named);
    }
    if let Some(name) = NAMES.into_iter().find(|name| exists(name)) {
        return Ok(name.into());
    }
    if !is_root()? || !exists("apt-get") {
        bail!(
            "the browser test needs Chromium, and there is no {}: install it (on Debian and Ubuntu as root: apt-get \
             install chromium), name it in the variable {VARIABLE}, or leave this test out with --no-browser",
            NAMES.join(", no ")
        );
    }
    install()
}

fn install() -> Result<OsString> {
    let [name, ..] = NAMES;
    eprintln!("the browser test needs Chromium, and there is none: installing the package {name}");
    run(apt_get().arg("update"))?;
    run(apt_get().args(["install", "--yes", "--no-install-recommends", name]))?;
    if !exists(name) {
        bail!("the package {name} was installed, but {name} does not start: leave the test out with --no-browser");
    }
    Ok(name.into())
}

fn apt_get() -> std::process::Command {
    let mut apt_get = program("apt-get");
    apt_get.arg("--quiet").env("DEBIAN_FRONTEND", "noninteractive");
    apt_get
}

fn is_root() -> Result<bool> {
    let own = std::fs::metadata("/proc/self").context("cannot tell who runs this: /proc is not there")?;
    Ok(own.uid() == 0)
}
