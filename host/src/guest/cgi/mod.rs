//! The kinds of guest that are programs speaking CGI/1.1 (RFC 3875): commands of WASI preview 1, which are core modules,
//! and components that export `wasi:cli/run@0.2`. The request is in their environment and on their standard input, the
//! answer is what they write to their standard output.
//!
//! ```text
//! variables    the environment and the arguments, from the request; pure
//! stdin        the request's body
//! stdout       the answer: until its head is complete, and the content from then on
//! head         the answer's head as the guest writes it; pure
//! preview_1    what a core module imports, as far as it is not WASI's own
//! ```
//! Here such a guest is begun, and it is said what its end means. Every request has an instance of its own, since a
//! program runs once. Where scripts lie on the disk, and which one a request is for, is not known here.

pub(super) mod head;
mod preview_1;
mod stdin;
mod stdout;
mod variables;

use std::path::Path;
use std::sync::Arc;

use http::Request;
use wasmtime::component::{Component, Linker as ComponentLinker};
use wasmtime::{InstancePre, Linker, Module};
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi::{I32Exit, WasiView as _};

use super::body::RequestBody;
use super::capabilities;
use super::facts::{CallFacts, CgiFacts, Scheme};
use super::grants::{CallName, Grants};
use super::instance::{Instance, Running};
use super::limits::PREVIEW_1_RESOURCES;
use super::link::Link;
use super::sandbox::Sandbox;
use crate::config::{Dir, SCRIPTS_GUEST_PATH as DOCUMENT_ROOT};
use crate::request_id::RequestId;

pub(super) use self::preview_1::add_preview_1;
use self::stdin::Stdin;
use self::stdout::Stdout;

/// All that is known of a request beyond what HTTP says.
struct Circumstances {
    scheme: Scheme,
    request_id: RequestId,
    facts: CgiFacts,
}

/// A program, ready to be instantiated.
pub(super) enum Program {
    Command(InstancePre<Sandbox>),
    Component(CommandPre<Sandbox>),
}

/// A module's directories with a folder of scripts as it is granted: to be read, never to be written.
pub(super) fn with_root(dirs: &[Dir], root: &Path) -> Vec<Dir> {
    let root = Dir { host: root.to_owned(), guest: DOCUMENT_ROOT.to_owned(), write: false };
    dirs.iter().cloned().chain([root]).collect()
}

/// Checks every import of a core module, and that it can be started.
pub(super) fn prepare_command(linker: &Linker<Sandbox>, module: &Module) -> wasmtime::Result<Program> {
    let start = module.get_export("_start").and_then(|export| export.func().cloned());
    if start.is_none_or(|start| start.params().len() + start.results().len() > 0) {
        wasmtime::bail!("its _start is no function without parameters and results");
    }
    Ok(Program::Command(linker.instantiate_pre(module)?))
}

/// Checks every import of a component, and the type of its `wasi:cli/run`.
pub(super) fn prepare_component(linker: &ComponentLinker<Sandbox>, component: &Component) -> wasmtime::Result<Program> {
    Ok(Program::Component(CommandPre::new(linker.instantiate_pre(component)?)?))
}

/// Begins a call. Nothing happens before the future is polled.
pub(super) fn begin(
    program: &Arc<Program>,
    mut instance: Instance,
    grants: &Arc<Grants>,
    link: &Arc<Link>,
    CallFacts { scheme, request_id, cgi, .. }: CallFacts,
    request: Request<RequestBody>,
) -> Running {
    let (program, grants) = (Arc::clone(program), Arc::clone(grants));
    let facts = cgi.map_or_else(|| CgiFacts::of_path(request.uri().path()), |facts| *facts);
    let circumstances = Circumstances { scheme, request_id, facts };
    let stdout = Stdout::new(Arc::clone(link));
    Box::pin(async move {
        let call = CallName { request: Some(request_id) };
        let ended = run(&program, &mut instance, &grants, circumstances, request, stdout.clone()).await;
        (instance, judge(ended, &stdout, &grants, call))
    })
}

/// Runs a program to its end.
async fn run(
    program: &Program,
    instance: &mut Instance,
    grants: &Grants,
    circumstances: Circumstances,
    request: Request<RequestBody>,
    stdout: Stdout,
) -> wasmtime::Result<()> {
    let (parts, body) = request.into_parts();
    let (mut builder, console) = capabilities::builder(grants, CallName { request: Some(circumstances.request_id) });
    builder
        .args(&variables::arguments(&grants.name, &parts, &circumstances.facts))
        .envs(&variables::environment(&grants.env, &parts, &circumstances))
        .stdin(Stdin::new(body))
        .stdout(stdout);
    let files = match &circumstances.facts.script {
        Some(script) => grants.roots.get(script.root),
        None => Some(&grants.files),
    };
    let files = files.cloned().unwrap_or_default();
    let store = &mut instance.store;
    match program {
        Program::Command(command) => {
            let mut wasi = builder.build_p1();
            let view = wasi.ctx();
            *view.ctx.filesystem() = files;
            view.table.set_max_capacity(PREVIEW_1_RESOURCES);
            store.data_mut().give_preview_1(wasi);
            let command = command.instantiate_async(&mut *store).await?;
            command.get_typed_func::<(), ()>(&mut *store, "_start")?.call_async(store, ()).await
        }
        Program::Component(command) => {
            let mut wasi = builder.build();
            *wasi.filesystem() = files;
            store.data_mut().give_wasi(wasi, console);
            let command = command.instantiate_async(&mut *store).await?;
            match command.wasi_cli_run().call_run(store).await? {
                Ok(()) => Ok(()),
                Err(()) => Err(I32Exit(1).into()),
            }
        }
    }
}

/// A program that exits has ended, whatever its status: what it wrote is its answer. One that traps has not.
fn judge(ended: wasmtime::Result<()>, stdout: &Stdout, grants: &Grants, call: CallName) -> wasmtime::Result<()> {
    if let Err(error) = ended {
        let Some(I32Exit(status)) = error.downcast_ref() else { return Err(error) };
        if *status != 0 {
            tracing::warn!(module = %grants.name, request = call.shown(), status, "the guest exited with this status");
        }
    }
    stdout.end();
    Ok(())
}

#[cfg(test)]
mod tests;
