//! JavaScript and TypeScript: with SpiderMonkey for 0.2, with QuickJS for 0.3. Both engines come with jco.

use std::path::PathBuf;

use anyhow::Result;

use super::tools::Tools;
use super::{Guest, Toolchain, WIT_02, WIT_03, WORLD};
use crate::run::{program, root, run};

pub const TOOLCHAIN: Toolchain = Toolchain {
    name: "javascript",
    guests: &["hello-js-p3", "hello-js", "echo-js", "hello-ts", "api-js"],
    needs: &[("node", "nodejs"), ("npm", "npm")],
    pins: &["package.json"],
    recipe: include_str!("javascript.rs"),
    build,
};

fn build(tools: &Tools, guest: &Guest) -> Result<PathBuf> {
    let made = guest.scratch.join("guest.wasm");
    let suffix = if guest.name.ends_with("-ts") { "ts" } else { "js" };
    let source = guest.source.join(format!("handler.{suffix}"));
    let mut jco = program(tools.npm()?.join("jco"));
    jco.arg("componentize").arg(source).args(["--world-name", WORLD, "--out"]).arg(&made);
    match guest.name {
        "hello-js-p3" => jco.args(["--backend", "quickjs", "--wit"]).arg(root().join(WIT_03)),
        // SpiderMonkey exports its `fetch` event for 0.2.10 alone, which is why the definitions are of that version: with
        // any other it says "failed to find export of interface" (ComponentizeJS issue 313).
        _ => jco.arg("--wit").arg(root().join(WIT_02)),
    };
    run(&mut jco)?;
    Ok(made)
}
