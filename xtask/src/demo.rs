//! `cargo xtask demo`: the server with the isolation lab and the example guests, ready to be tried with a browser and
//! with curl.

use std::fmt::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;

use anyhow::{Context, Result};

use crate::guests;
use crate::run::{cargo, program, root, run, target};

/// Where the lab's file listens.
const ADDRESS: &str = "127.0.0.1:8080";

/// Where the lab's file looks for guests; cargo may build elsewhere.
const LAB_GUESTS: &str = "../../target/guests";

/// What is served beside the lab, as far as it is built.
const GUESTS: [&str; 8] =
    ["echo", "slow", "counter", "transform", "hello-js", "echo-js", "hello-python", "echo-python"];

/// Builds what is needed, says what to try, and becomes the server.
pub fn demo() -> Result<()> {
    let guests = guests::build()?;
    run(cargo().args(["build", "--locked", "--package", "guesthouse", "--bin", "guesthouse"]))?;

    let folder = target()?.join("demo");
    let file = folder.join("guesthouse.toml");
    let text = configuration(&guests)?;
    std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(&file, text))
        .with_context(|| format!("cannot write {}", file.display()))?;

    eprintln!("{}", what_to_try(&file));
    let server = target()?.join("debug/guesthouse");
    // In place of this program, so that Ctrl-C and `kill` reach the server itself.
    let failed = program(&server).arg("serve").arg(&file).exec();
    Err(failed).with_context(|| format!("cannot start {}", server.display()))
}

/// The isolation lab as its own file says, and every guest that is a plain example, under a path of its own name.
fn configuration(guests: &Path) -> Result<String> {
    let lab = root().join("examples/isolation-lab/guesthouse.toml");
    let text = std::fs::read_to_string(&lab).with_context(|| format!("cannot read {}", lab.display()))?;
    let mut text = format!(
        "# Written by `cargo xtask demo`, and written anew each time.\n\n{}",
        text.replace(LAB_GUESTS, &guests.display().to_string())
    );
    for name in GUESTS {
        let path = guests.join(format!("{name}.wasm"));
        if path.exists() {
            let _ = write!(
                text,
                "\n[[module]]\nname = \"{name}\"\npath = \"{}\"\n\n[[route]]\npath = \"/{name}\"\nmodule = \"{name}\"\n",
                path.display()
            );
        }
    }
    Ok(text)
}

fn what_to_try(file: &Path) -> String {
    format!(
        "\nThe configuration is {file}.\n\
         The first start compiles the guests; one in JavaScript or Python takes some seconds.\n\
         When the server says that it is ready, open in a browser:\n\n\
         \x20   http://{ADDRESS}/                 the isolation lab: break a handler, and see that nobody else notices\n\
         \x20   http://{ADDRESS}/server-status    what the server's processes and modules do meanwhile\n\n\
         or try in another terminal:\n\n\
         \x20   curl -i http://{ADDRESS}/hello\n\
         \x20   curl -i http://{ADDRESS}/echo --data 'anybody home?'\n\
         \x20   curl -sT /bin/ls http://{ADDRESS}/echo | cmp - /bin/ls && echo the same\n\
         \x20   curl -i http://{ADDRESS}/lab/fresh/trap\n\
         \x20   curl -i 'http://{ADDRESS}/slow?ms=1000'     WASI 0.3: many of these wait in one instance\n\
         \x20   curl -i http://{ADDRESS}/counter            keeps state, so it is confined to processes of its own\n\
         \x20   curl -T /bin/ls http://{ADDRESS}/transform | gzip -d | cmp - /bin/ls && echo the same\n\n\
         Ctrl-C ends it. Edit the file and send the server SIGUSR1 to change what it serves without a gap.\n",
        file = file.display()
    )
}
