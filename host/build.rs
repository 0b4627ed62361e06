//! How the program is linked. What it is made of is not decided here.

use std::env;
use std::process::Command;

/// The first glibc whose loader reads packed relocations.
const GLIBC_MIN: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // 40 000 relocations take a megabyte, which every start reads, or twenty kilobytes. For another machine than this one it
    // is not known what its loader reads.
    let is_for_here = env::var_os("HOST") == env::var_os("TARGET");
    if is_for_here && glibc().is_some_and(|version| version >= GLIBC_MIN) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// The version of this machine's glibc; `None`: it has another C library.
fn glibc() -> Option<(u32, u32)> {
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?.stdout;
    let (major, minor) = str::from_utf8(&said).ok()?.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
