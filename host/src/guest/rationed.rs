//! Functions of WASI that are linked with a bound of ours before them, where Wasmtime's own cost the host more than a guest
//! may take: what is written at once, a file's descriptor, and texts that a request keeps.
//!
//! Each replaces a function by its name; a test sees to it that Wasmtime has one of that name.

use wasmtime::component::{Accessor, Linker, Resource};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::filesystem::types as files;
use wasmtime_wasi::p2::bindings::io::streams;
use wasmtime_wasi::p3::bindings::filesystem::types as files_03;
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::http::types as http;
use wasmtime_wasi_http::p3::bindings::http::types as http_03;

use self::files::HostDescriptor as _;
use self::files_03::HostDescriptorWithStore as _;
use self::streams::{Host as _, HostOutputStream as _};
use super::limits::{CHUNK_BYTES, REQUEST_TEXT_BYTES};
use super::sandbox::Sandbox;
use super::source::Concurrency;

const STREAMS: &str = "wasi:io/streams@0.2.12";
const FILES: &str = "wasi:filesystem/types@0.2.12";
const FILES_03: &str = "wasi:filesystem/types@0.3.0";
const HTTP: &str = "wasi:http/types@0.2.12";
const HTTP_03: &str = "wasi:http/types@0.3.0";

/// Replaces them in a linker that has all of WASI for guests with so many tasks.
pub(super) fn replace_in(linker: &mut Linker<Sandbox>, tasks: Concurrency) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    write_at_once(linker)?;
    open_files(linker)?;
    keep_texts(linker)?;
    if tasks == Concurrency::Many {
        open_files_03(linker)?;
        keep_texts_03(linker)?;
    }
    linker.allow_shadowing(false);
    Ok(())
}

/// No stream permits more than [`CHUNK_BYTES`], but that of a file takes whatever is written.
fn write_at_once(linker: &mut Linker<Sandbox>) -> wasmtime::Result<()> {
    type Params = (Resource<streams::OutputStream>, Vec<u8>);
    let write = "[method]output-stream.write";
    linker.instance(STREAMS)?.func_wrap(write, |mut store, (stream, bytes): Params| {
        if bytes.len() > CHUNK_BYTES {
            wasmtime::bail!("the guest writes more at once than the stream takes");
        }
        // Not by way of what a guest has of WASI, which is made when it is first asked for.
        let table = store.data_mut().http().table;
        Ok((match table.write(stream, bytes) {
            Ok(()) => Ok(()),
            Err(error) => Err(table.convert_stream_error(error)?),
        },))
    })
}

fn open_files(linker: &mut Linker<Sandbox>) -> wasmtime::Result<()> {
    type Params = (Resource<files::Descriptor>, files::PathFlags, String, files::OpenFlags, files::DescriptorFlags);
    let open_at = "[method]descriptor.open-at";
    linker.instance(FILES)?.func_wrap_async(open_at, |mut store, (dir, how, path, open, flags): Params| {
        Box::new(async move {
            let sandbox = store.data_mut();
            // The nearest to "too many open files" that the interface has.
            let Some(_place) = sandbox.place_for_a_file() else {
                return Ok((Err(files::ErrorCode::InsufficientMemory),));
            };
            let opened = sandbox.filesystem().open_at(dir, how, path, open, flags).await;
            Ok((match opened {
                Ok(file) => Ok(file),
                Err(error) => Err(error.downcast()?),
            },))
        })
    })
}

fn open_files_03(linker: &mut Linker<Sandbox>) -> wasmtime::Result<()> {
    type Params =
        (Resource<files_03::Descriptor>, files_03::PathFlags, String, files_03::OpenFlags, files_03::DescriptorFlags);
    let open_at = "[method]descriptor.open-at";
    linker.instance(FILES_03)?.func_wrap_concurrent(
        open_at,
        |store: &Accessor<Sandbox>, (dir, how, path, open, flags): Params| {
            Box::pin(async move {
                let Some(_place) = store.with(|mut store| store.data_mut().place_for_a_file()) else {
                    return Ok((Err(files_03::ErrorCode::InsufficientMemory),));
                };
                let store = store.with_getter::<WasiFilesystem>(Sandbox::filesystem);
                let opened = WasiFilesystem::open_at(&store, dir, how, path, open, flags).await;
                Ok((match opened {
                    Ok(file) => Ok(file),
                    Err(error) => Err(error.downcast()?),
                },))
            })
        },
    )
}

fn keep_texts(linker: &mut Linker<Sandbox>) -> wasmtime::Result<()> {
    use http::HostOutgoingRequest as _;

    type Request = Resource<http::OutgoingRequest>;
    let mut types = linker.instance(HTTP)?;
    types.func_wrap(
        "[method]outgoing-request.set-method",
        |mut store, (request, method): (Request, http::Method)| {
            if matches!(&method, http::Method::Other(name) if is_too_long(name)) {
                return Ok((Err(()),));
            }
            Ok((store.data_mut().http().set_method(request, method)?,))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-authority",
        |mut store, (request, authority): (Request, Option<String>)| {
            if authority.as_deref().is_some_and(is_too_long) {
                return Ok((Err(()),));
            }
            Ok((store.data_mut().http().set_authority(request, authority)?,))
        },
    )
}

fn keep_texts_03(linker: &mut Linker<Sandbox>) -> wasmtime::Result<()> {
    use http_03::HostRequest as _;

    type Request = Resource<http_03::Request>;
    let mut types = linker.instance(HTTP_03)?;
    types.func_wrap("[method]request.set-method", |mut store, (request, method): (Request, http_03::Method)| {
        if matches!(&method, http_03::Method::Other(name) if is_too_long(name)) {
            return Ok((Err(()),));
        }
        Ok((store.data_mut().http().set_method(request, method)?,))
    })?;
    types.func_wrap("[method]request.set-authority", |mut store, (request, authority): (Request, Option<String>)| {
        if authority.as_deref().is_some_and(is_too_long) {
            return Ok((Err(()),));
        }
        Ok((store.data_mut().http().set_authority(request, authority)?,))
    })
}

fn is_too_long(text: &str) -> bool {
    text.len() > REQUEST_TEXT_BYTES
}

#[cfg(test)]
mod tests {
    use super::super::Fault;
    use super::super::engine::for_compiler;
    use super::super::testing::child;
    use super::*;

    #[test]
    fn what_is_replaced_is_there() {
        let mut linker = Linker::<Sandbox>::new(&for_compiler(Concurrency::Many).unwrap());
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker).unwrap();
        wasmtime_wasi::p3::add_to_linker(&mut linker).unwrap();
        wasmtime_wasi_http::p3::add_to_linker(&mut linker).unwrap();
        for (interface, function) in [
            (STREAMS, "[method]output-stream.write"),
            (FILES, "[method]descriptor.open-at"),
            (FILES_03, "[method]descriptor.open-at"),
            (HTTP, "[method]outgoing-request.set-method"),
            (HTTP, "[method]outgoing-request.set-authority"),
            (HTTP_03, "[method]request.set-method"),
            (HTTP_03, "[method]request.set-authority"),
        ] {
            let twice = linker.instance(interface).unwrap().func_wrap(function, |_, (): ()| Ok(()));
            assert!(twice.is_err(), "{interface} has no {function}");
        }
    }

    #[test]
    fn what_a_guest_keeps_in_the_host_is_bounded() {
        // The number of resources times the size of each is what an instance may have of the host's memory.
        let leak = |resources: u32| {
            let child = child(&format!(
                "(loop $more
                    (drop (call $fields))
                    (i32.store (i32.const 1028) (i32.add (i32.load (i32.const 1028)) (i32.const 1)))
                    (br_if $more (i32.lt_u (i32.load (i32.const 1028)) (i32.const {resources}))))
                (call $answer) (call $hello) (call $end)"
            ));
            child.get()
        };
        assert_eq!(leak(900).body, b"hello");
        let many = leak(1100);
        let Some(Fault::Trap { message, .. }) = &many.fault else { panic!("{many:?}") };
        assert!(message.contains("resource table"), "{message}");
    }

    #[test]
    fn a_request_keeps_no_text_of_any_length() {
        // Each traps unless the host takes, or refuses, a method and an authority of so many bytes.
        for (bytes, refused) in [(REQUEST_TEXT_BYTES, 0), (REQUEST_TEXT_BYTES + 1, 1)] {
            let told = child(&format!(
                "(memory.fill (i32.const 8192) (i32.const 97) (i32.const {bytes}))
                (i32.store (i32.const 1028) (call $request (call $fields)))
                (if (i32.ne (i32.const {refused})
                        (call $set-authority (i32.load (i32.const 1028)) (i32.const 1) (i32.const 8192) (i32.const {bytes})))
                    (then unreachable))
                (if (i32.ne (i32.const {refused})
                        (call $set-method (i32.load (i32.const 1028)) (i32.const 9) (i32.const 8192) (i32.const {bytes})))
                    (then unreachable))
                (call $answer) (call $hello) (call $end)"
            ));
            assert_eq!(told.get().body, b"hello", "{bytes}");
        }
    }
}
