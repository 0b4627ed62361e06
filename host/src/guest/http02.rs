//! The kind of guest that exports `wasi:http/incoming-handler@0.2`: one request at a time, in a fresh instance or in one
//! that has served before.
//!
//! How such a guest is begun, and what it hands back when it has ended. What its answer means, and whether it may serve
//! again, is `call`'s.

use std::sync::Arc;

use http::Request;
use wasmtime::component::{Component, Linker};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme as WasiScheme;

use super::body::RequestBody;
use super::facts::Scheme;
use super::fault::Fault;
use super::instance::{Instance, Running};
use super::link::Link;
use super::sandbox::Sandbox;

/// Checks all that can be checked before a request comes: every import and the handler's type.
pub(super) fn prepare(linker: &Linker<Sandbox>, component: &Component) -> wasmtime::Result<ProxyPre<Sandbox>> {
    ProxyPre::new(linker.instantiate_pre(component)?)
}

/// Begins a call. Nothing happens before the future is polled.
pub(super) fn begin(
    pre: Arc<ProxyPre<Sandbox>>,
    mut instance: Instance,
    link: Arc<Link>,
    scheme: Scheme,
    request: Request<RequestBody>,
) -> Running {
    Box::pin(async move {
        let result = handle(&mut instance, &pre, link, scheme, request).await;
        (instance, result)
    })
}

/// Hands the request to the guest, which is instantiated for its first one.
async fn handle(
    instance: &mut Instance,
    pre: &ProxyPre<Sandbox>,
    link: Arc<Link>,
    scheme: Scheme,
    request: Request<RequestBody>,
) -> wasmtime::Result<()> {
    let scheme = match scheme {
        Scheme::Http => WasiScheme::Http,
        Scheme::Https => WasiScheme::Https,
    };
    let sandbox = instance.store.data_mut();
    let mut http = sandbox.http();
    let request = http.new_incoming_request(scheme, request)?;
    let answer = http.new_response_outparam_from_callback(move |answer| {
        link.answer(answer.map_err(|code| Fault::from_error_code(&code)));
    })?;
    let proxy = match &mut instance.proxy {
        Some(proxy) => proxy,
        none => none.insert(pre.instantiate_async(&mut instance.store).await?),
    };
    proxy.wasi_http_incoming_handler().call_handle(&mut instance.store, request, answer).await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Capacity;
    use super::super::testing::{HELLO, guest, of_kind, settings};
    use crate::module::Kind;

    #[test]
    fn every_version_of_the_definitions_is_served() {
        let capacity = Capacity { calls_max: 1, threads: 1, spare: 0, time_slice: Duration::from_millis(250) };
        for version in (0..=12).map(|patch| format!("0.2.{patch}")) {
            let text = guest("(call $answer) (call $hello) (call $end)").replace("@0.2.0\"", &format!("@{version}\""));
            assert!(text.contains(&format!("wasi:http/incoming-handler@{version}")), "{text}");
            let told = of_kind(Kind::HttpIncomingHandler, &[(text, 1)], &settings(), capacity).get();
            assert_eq!((told.status, told.body.as_slice()), (Some(200), &HELLO[..]), "{version}: {told:?}");
        }
    }
}
