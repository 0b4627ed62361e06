//! The guests that other toolchains make: JavaScript with jco, Python with componentize-py. The tools come from the
//! package registries into `target/languages/`, in the versions that `xtask/languages/` names.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::guests::copy;
use crate::run::{cargo, exists, output, program, root, run, target};

/// The version of the `wasi:http` definitions in the crate that they are taken from.
const WIT_VERSION: &str = "0.2.12";

/// The only version for which the JavaScript engine exports its `fetch` event as a handler; with any other it says
/// "failed to find export of interface" (ComponentizeJS issue 313).
const WIT_VERSION_JAVASCRIPT: &str = "0.2.10";

/// Builds them into `guests`.
pub fn build(guests: &Path) -> Result<()> {
    require("node", "nodejs")?;
    require("npm", "npm")?;
    require("python3", "python3 and python3-venv")?;
    let tools = target()?.join("languages");

    let jco = install_jco(&tools)?;
    let wit = write_wit(&tools.join("wit-javascript"), WIT_VERSION_JAVASCRIPT)?;
    for name in ["hello-js", "echo-js"] {
        let source = root().join("examples").join(name).join(format!("{name}.js"));
        let made = tools.join(format!("{name}.wasm"));
        let mut command = program(&jco);
        run(command.arg("componentize").arg(source).arg("--wit").arg(&wit).args(["-n", "app", "-o"]).arg(&made))?;
        copy(&made, &guests.join(format!("{name}.wasm")))?;
    }

    let componentize_py = install_componentize_py(&tools)?;
    let wit = write_wit(&tools.join("wit-python"), WIT_VERSION)?;
    for name in ["hello-python", "echo-python"] {
        let made = tools.join(format!("{name}.wasm"));
        let mut command = Command::new(&componentize_py);
        // It reads the handler's modules from the current folder.
        command.current_dir(root().join("examples").join(name));
        run(command.arg("-d").arg(&wit).args(["-w", "app", "componentize", "app", "-o"]).arg(&made))?;
        copy(&made, &guests.join(format!("{name}.wasm")))?;
    }
    Ok(())
}

fn require(name: &str, package: &str) -> Result<()> {
    if !exists(name) {
        bail!("the guests of other languages need {name}, which is not here: install the package {package}");
    }
    Ok(())
}

/// `package.json` overrides jco's preview2-shim: the newest one opens no directories unless it is told to, and jco's
/// own tools then fail with "failed to get path metadata: No such file or directory (os error 44)".
fn install_jco(tools: &Path) -> Result<PathBuf> {
    let folder = tools.join("javascript");
    install(&folder, "package.json", || {
        run(program("npm").args(["install", "--no-audit", "--no-fund", "--no-package-lock", "--prefix"]).arg(&folder))
    })?;
    Ok(folder.join("node_modules/.bin/jco"))
}

fn install_componentize_py(tools: &Path) -> Result<PathBuf> {
    let folder = tools.join("python");
    install(&folder, "requirements.txt", || {
        run(program("python3").args(["-m", "venv", "--clear"]).arg(folder.join("venv")))?;
        let mut pip = program(folder.join("venv/bin/pip"));
        run(pip.args(["install", "--quiet", "--disable-pip-version-check", "-r"]).arg(folder.join("requirements.txt")))
    })?;
    Ok(folder.join("venv/bin/componentize-py"))
}

/// Puts the list of what to install into the folder and installs it, unless the same list was installed before.
fn install(folder: &Path, list: &str, install: impl FnOnce() -> Result<()>) -> Result<()> {
    let wanted = read(&root().join("xtask/languages").join(list))?;
    let installed = folder.join("installed");
    if std::fs::read_to_string(&installed).is_ok_and(|before| before == wanted) {
        return Ok(());
    }
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    write(&folder.join(list), &wanted)?;
    install()?;
    write(&installed, &wanted)
}

/// Writes the definitions of the world that a handler lives in.
fn write_wit(folder: &Path, version: &str) -> Result<PathBuf> {
    let deps = folder.join("deps");
    std::fs::create_dir_all(&deps).with_context(|| format!("cannot make the folder {}", deps.display()))?;
    let source = wit_source()?;
    let entries = source.read_dir().with_context(|| format!("cannot list the folder {}", source.display()))?;
    for entry in entries {
        let path = entry?.path();
        let text = read(&path)?
            .replace(WIT_VERSION, version)
            // The one definition of a feature that is not stable, which the JavaScript toolchain cannot merge.
            .replace("@unstable(feature = network-error-code)", "@since(version = 0.2.0)");
        write(&deps.join(path.file_name().unwrap_or(OsStr::new("unnamed.wit"))), &text)?;
    }
    let world = format!("package guesthouse:examples;\n\nworld app {{\n  include wasi:http/proxy@{version};\n}}\n");
    write(&folder.join("app.wit"), &world)?;
    Ok(folder.to_owned())
}

/// The definitions come with the crate that the Rust guests use.
fn wit_source() -> Result<PathBuf> {
    const KEY: &str = "\"manifest_path\":\"";
    let metadata = output(cargo().args(["metadata", "--locked", "--format-version", "1"]))?;
    let mut manifests = metadata.split(KEY).skip(1).filter_map(|rest| rest.split('"').next().map(Path::new));
    let is_wanted =
        |folder: &Path| folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("wasip2-"));
    manifests
        .find_map(|manifest| manifest.parent().filter(|folder| is_wanted(folder)))
        .map(|folder| folder.join("wit/deps"))
        .context("cannot find the sources of the crate wasip2")
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
