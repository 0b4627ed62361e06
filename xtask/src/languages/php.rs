//! PHP: php-cgi itself, compiled from its authors' sources without a change to them.
//!
//! What WASI preview 1 lacks is in two files of the example: declarations, which are put before each source file, and
//! functions that fail as they do where a system refuses them.

use std::path::PathBuf;

use anyhow::Result;

use super::lua::LONGJMP;
use super::tools::Tools;
use super::zig::zig;
use super::{Guest, Toolchain};
use crate::run::{program, run};

pub const TOOLCHAIN: Toolchain = Toolchain {
    name: "php",
    guests: &["php"],
    needs: &[("python3", "python3 python3-venv"), ("make", "make"), ("cc", "gcc libc6-dev"), ("xz", "xz-utils")],
    pins: &["zig.txt", "debian.txt"],
    recipe: include_str!("php.rs"),
    build,
};

const EMULATED: [&str; 4] = ["SIGNAL", "PROCESS_CLOCKS", "GETPID", "MMAN"];

/// No more than what a page needs; see docs/guests.md for how to have more.
const EXTENSIONS: [&str; 4] = ["--enable-ctype", "--enable-filter", "--enable-session", "--enable-tokenizer"];

/// Makes PHP call `getrandom`, as on that system.
const HAS_GETRANDOM: &str = "-D__DragonFly__=1 -D__DragonFly_version=500700";

fn build(tools: &Tools, guest: &Guest) -> Result<PathBuf> {
    let sources = tools.debian_sources("php8.2")?;
    let support = guest.source.join("wasi");
    let defines = EMULATED.map(|name| format!("-D_WASI_EMULATED_{name}"));
    let libraries = EMULATED.map(|name| format!("-lwasi-emulated-{}", name.to_lowercase().replace('_', "-")));
    let flags: Vec<&str> = ["-O2"].into_iter().chain(LONGJMP).chain(defines.iter().map(String::as_str)).collect();

    let mut objects = Vec::new();
    for file in ["missing.c", "longjmp.s"] {
        let object = guest.scratch.join(file).with_extension("o");
        let mut cc = zig(tools)?;
        cc.args(["cc", "--target=wasm32-wasi", "-w"]).args(&flags).arg("-c").arg(support.join(file));
        run(cc.arg("-o").arg(&object))?;
        objects.push(object.display().to_string());
    }

    let zig = zig(tools)?;
    let path = zig.get_program().to_string_lossy().into_owned();
    let mut configure = program(sources.join("configure"));
    configure.current_dir(&sources).envs(zig.get_envs().filter_map(|(name, value)| Some((name, value?))));
    configure.env("CC", format!("{path} cc --target=wasm32-wasi")).env("AR", format!("{path} ar"));
    configure.env("RANLIB", format!("{path} ranlib")).env("ac_cv_func_fork", "no");
    // Its checks call functions without declaring them, which clang no longer lets pass.
    configure.env("CFLAGS", format!("{} -Wno-error=implicit-function-declaration", flags.join(" ")));
    configure.env("LDFLAGS", libraries.join(" "));
    configure.arg("--quiet").arg("--host=wasm32-unknown-wasi");
    configure.arg(format!("--build={}-pc-linux-gnu", std::env::consts::ARCH));
    configure.args(["--disable-all", "--disable-cli", "--disable-phpdbg", "--enable-cgi", "--without-pear"]);
    configure.args(["--disable-zts", "--disable-opcache", "--without-pcre-jit", "--without-valgrind"]);
    run(configure.arg("--disable-rpath").args(EXTENSIONS))?;

    let make = |goal: &str, defines: &str| {
        let mut make = program("make");
        make.current_dir(&sources).envs(zig.get_envs().filter_map(|(name, value)| Some((name, value?))));
        make.args(["--quiet", "-j2", goal]);
        make.arg(format!("EXTRA_INCLUDES=-w {defines} -include {}", support.join("missing.h").display()));
        make.arg(format!("EXTRA_LIBS={}", objects.join(" ")));
        make.arg("EXTRA_LDFLAGS_PROGRAM=-s -Wl,-z,stack-size=8388608");
        make
    };
    // Where random numbers come from is known of some systems; of others it is a device, which no guest has.
    run(&mut make("ext/random/random.lo", HAS_GETRANDOM))?;
    run(&mut make("sapi/cgi/php-cgi", ""))?;
    Ok(sources.join("sapi/cgi/php-cgi"))
}
