//! `cargo xtask demo`: the server with the example guests, ready to be tried with curl.

use std::fmt::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;

use anyhow::{Context, Result};

use crate::guests;
use crate::run::{cargo, program, run, target};

const ADDRESS: &str = "127.0.0.1:8080";

/// Builds what is needed, says what to try, and becomes the server.
pub fn demo() -> Result<()> {
    let guests = guests::build()?;
    run(cargo().args(["build", "--locked", "--package", "guesthouse", "--bin", "guesthouse"]))?;

    let folder = target()?.join("demo");
    let file = folder.join("guesthouse.toml");
    std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(&file, configuration(&guests)))
        .with_context(|| format!("cannot write {}", file.display()))?;

    eprintln!("{}", what_to_try(&file));
    let server = target()?.join("debug/guesthouse");
    // In place of this program, so that Ctrl-C and `kill` reach the server itself.
    let failed = program(&server).arg("serve").arg(&file).exec();
    Err(failed).with_context(|| format!("cannot start {}", server.display()))
}

/// Every guest that is a plain example, under a path of its own name.
fn configuration(guests: &Path) -> String {
    let mut text = format!(
        "# Written by `cargo xtask demo`, and written anew each time.\n\
         [server]\n\
         listen = [\"{ADDRESS}\"]\n\
         access_log = \"-\"\n\n\
         [[route]]\n\
         path = \"/\"\n\
         text = \"Guesthouse is open. Try /hello and /echo.\\n\"\n"
    );
    for name in ["hello", "echo", "hello-js", "echo-js", "hello-python", "echo-python"] {
        let path = guests.join(format!("{name}.wasm"));
        if path.exists() {
            let _ = write!(
                text,
                "\n[[module]]\nname = \"{name}\"\npath = \"{}\"\n\n[[route]]\npath = \"/{name}\"\nmodule = \"{name}\"\n",
                path.display()
            );
        }
    }
    text
}

fn what_to_try(file: &Path) -> String {
    format!(
        "\nThe configuration is {file}.\n\
         The first start compiles the guests; one in JavaScript or Python takes some seconds.\n\
         When the server says that it is ready, try in another terminal:\n\n\
         \x20   curl -i http://{ADDRESS}/hello\n\
         \x20   curl -i http://{ADDRESS}/echo --data 'anybody home?'\n\
         \x20   curl -sT /bin/ls http://{ADDRESS}/echo | cmp - /bin/ls && echo the same\n\n\
         Ctrl-C ends it. Edit the file and send the server SIGUSR1 to change what it serves without a gap.\n",
        file = file.display()
    )
}
