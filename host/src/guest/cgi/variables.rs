//! What a program is told of its request: the meta-variables of RFC 3875 section 4.1 with those that Apache adds, and
//! the command line of section 4.4. Pure.
//!
//! What the client sends can only become the value of a variable whose name begins with HTTP_, or of one that says so
//! below. WASI has only Unicode: what is none of it is replaced by U+FFFD.

use std::collections::HashSet;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use percent_encoding::percent_decode_str;

use super::super::facts::{CgiFacts, Ends, Scheme, Script};
use super::{Circumstances, DOCUMENT_ROOT};

/// Fields that do not become HTTP_ variables: those that have variables of their own, those that authenticate
/// (RFC 3875 section 9.2), and Proxy, for HTTP_PROXY is where programs look for the proxy that they are to use.
const NOT_PASSED_ON: [HeaderName; 5] = [
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy"),
];

/// The environment: the request's variables, and those of the module whose names are none of these.
pub(super) fn environment(
    granted: &[(String, String)],
    parts: &Parts,
    circumstances: &Circumstances,
) -> Vec<(String, String)> {
    let told = of_request(parts, circumstances);
    let names: HashSet<&str> = told.iter().map(|(name, _)| name.as_str()).collect();
    let own = granted.iter().filter(|(name, _)| !names.contains(name.as_str())).cloned().collect();
    [own, told].concat()
}

fn of_request(parts: &Parts, circumstances: &Circumstances) -> Vec<(String, String)> {
    let Circumstances { scheme, request_id, facts } = circumstances;
    let CgiFacts { ends, script_name, path_info, script } = facts;
    let authority = parts.headers.get(header::HOST).map(text).unwrap_or_default();
    let (name, port) = name_and_port(&authority, *scheme);
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let mut variables: Vec<(String, String)> = Vec::with_capacity(24 + parts.headers.len());
    let mut say = |name: &str, value: String| variables.push((name.to_owned(), value));
    say("GATEWAY_INTERFACE", "CGI/1.1".to_owned());
    say("SERVER_SOFTWARE", concat!("Guesthouse/", env!("CARGO_PKG_VERSION")).to_owned());
    say("SERVER_PROTOCOL", if parts.version == Version::HTTP_10 { "HTTP/1.0" } else { "HTTP/1.1" }.to_owned());
    say("SERVER_NAME", name);
    say("SERVER_PORT", port);
    say("REQUEST_SCHEME", if *scheme == Scheme::Https { "https" } else { "http" }.to_owned());
    if *scheme == Scheme::Https {
        say("HTTPS", "on".to_owned());
    }
    say("REQUEST_METHOD", parts.method.as_str().to_owned());
    say("REQUEST_URI", target.to_owned());
    say("QUERY_STRING", parts.uri.query().unwrap_or_default().to_owned());
    say("SCRIPT_NAME", script_name.clone());
    if !path_info.is_empty() {
        say("PATH_INFO", path_info.clone());
    }
    if let Some(Script { path, .. }) = script {
        say("DOCUMENT_ROOT", DOCUMENT_ROOT.to_owned());
        say("SCRIPT_FILENAME", format!("{DOCUMENT_ROOT}{path}"));
        if !path_info.is_empty() {
            say("PATH_TRANSLATED", format!("{DOCUMENT_ROOT}{path_info}"));
        }
    }
    if let Some(Ends { client, server }) = ends {
        let address = client.ip().to_canonical().to_string();
        say("REMOTE_ADDR", address.clone());
        say("REMOTE_HOST", address);
        say("REMOTE_PORT", client.port().to_string());
        say("SERVER_ADDR", server.to_canonical().to_string());
    }
    // php-cgi wants to hear that a server has found the script.
    say("REDIRECT_STATUS", "200".to_owned());
    say("UNIQUE_ID", request_id.to_string());
    for (variable, field) in [("CONTENT_LENGTH", header::CONTENT_LENGTH), ("CONTENT_TYPE", header::CONTENT_TYPE)] {
        if let Some(value) = parts.headers.get(field) {
            say(variable, text(value));
        }
    }
    variables.extend(of_fields(&parts.headers));
    variables
}

/// HTTP_ and the field's name; several fields of a name are one variable.
fn of_fields(headers: &HeaderMap) -> impl Iterator<Item = (String, String)> {
    headers.keys().filter(|name| !NOT_PASSED_ON.contains(name)).filter_map(|name| {
        let variable = variable_of(name)?;
        let separator = if *name == header::COOKIE { "; " } else { ", " };
        let values: Vec<String> = headers.get_all(name).iter().map(text).collect();
        Some((variable, values.join(separator)))
    })
}

/// `None`: with anything but letters, digits and hyphens, two names could become one.
fn variable_of(name: &HeaderName) -> Option<String> {
    let good = name.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    good.then(|| format!("HTTP_{}", name.as_str().to_ascii_uppercase().replace('-', "_")))
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// As the client named the server.
fn name_and_port(authority: &str, scheme: Scheme) -> (String, String) {
    let (name, port) = match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (name, port),
        _ => (authority, ""),
    };
    let usual = match scheme {
        Scheme::Http => "80",
        Scheme::Https => "443",
    };
    let name = if name.is_empty() { "localhost" } else { name };
    (name.to_owned(), if port.is_empty() { usual } else { port }.to_owned())
}

/// The command line: the module's name, the script of an interpreter, as the kernel has it for a file that begins with
/// "#!", and the words of a query that is a search.
pub(super) fn arguments(name: &str, parts: &Parts, facts: &CgiFacts) -> Vec<String> {
    let script = facts.script.as_ref().map(|script| format!("{DOCUMENT_ROOT}{}", script.path));
    [name.to_owned()].into_iter().chain(script).chain(search_words(parts.uri.query())).collect()
}

/// RFC 3875 section 4.4: a query without "=" is a list of words with "+" between them. All or none are passed on; none
/// if one of them would look like an option (CVE-2012-1823), or cannot be an argument.
fn search_words(query: Option<&str>) -> Vec<String> {
    let Some(query) = query.filter(|query| !query.is_empty() && !query.contains('=')) else { return Vec::new() };
    let words = query.split('+').map(|word| {
        let word = percent_decode_str(word).decode_utf8().ok()?;
        (!word.starts_with('-') && !word.contains('\0')).then(|| word.into_owned())
    });
    words.collect::<Option<_>>().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use http::{Method, Request};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    use super::*;
    use crate::request_id::RequestIds;

    fn ends(client: &str, server: &str) -> Ends {
        Ends { client: client.parse().unwrap(), server: server.parse().unwrap() }
    }

    fn facts() -> CgiFacts {
        CgiFacts {
            ends: Some(ends("192.0.2.7:1234", "192.0.2.1")),
            script_name: "/app".into(),
            path_info: "/x y".into(),
            script: None,
        }
    }

    fn circumstances(facts: CgiFacts) -> Circumstances {
        Circumstances { scheme: Scheme::Http, request_id: RequestIds::new(0).issue(), facts }
    }

    fn parts(target: &str, fields: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(Method::POST).uri(target).header("host", "example.org:8080");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn told(parts: &Parts, facts: CgiFacts) -> BTreeMap<String, String> {
        let variables = environment(&[], parts, &circumstances(facts));
        let count = variables.len();
        let map: BTreeMap<_, _> = variables.into_iter().collect();
        assert_eq!(map.len(), count, "each name once");
        map
    }

    fn words(query: &str) -> Vec<String> {
        arguments("m", &parts(&format!("/?{query}"), &[]), &facts()).split_off(1)
    }

    #[test]
    fn a_request_is_told_in_the_variables_of_rfc_3875() {
        let parts =
            parts("/app/x%20y?a=b", &[("content-length", "3"), ("content-type", "text/plain"), ("accept", "a")]);
        let told = told(&parts, facts());
        for (name, value) in [
            ("GATEWAY_INTERFACE", "CGI/1.1"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("SERVER_NAME", "example.org"),
            ("SERVER_PORT", "8080"),
            ("REQUEST_METHOD", "POST"),
            ("REQUEST_URI", "/app/x%20y?a=b"),
            ("REQUEST_SCHEME", "http"),
            ("QUERY_STRING", "a=b"),
            ("SCRIPT_NAME", "/app"),
            ("PATH_INFO", "/x y"),
            ("REMOTE_ADDR", "192.0.2.7"),
            ("REMOTE_HOST", "192.0.2.7"),
            ("REMOTE_PORT", "1234"),
            ("SERVER_ADDR", "192.0.2.1"),
            ("REDIRECT_STATUS", "200"),
            ("CONTENT_LENGTH", "3"),
            ("CONTENT_TYPE", "text/plain"),
            ("HTTP_ACCEPT", "a"),
            ("HTTP_HOST", "example.org:8080"),
        ] {
            assert_eq!(told.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert!(told["SERVER_SOFTWARE"].starts_with("Guesthouse/"));
        assert_eq!(told["UNIQUE_ID"].len(), 16);
        for absent in ["HTTPS", "DOCUMENT_ROOT", "SCRIPT_FILENAME", "PATH_TRANSLATED", "HTTP_CONTENT_TYPE"] {
            assert!(!told.contains_key(absent), "{absent}");
        }
    }

    #[test]
    fn an_interpreter_is_told_where_its_script_lies() {
        let script = Some(Script { root: 0, path: "/blog/x.php".into() });
        let told = told(&parts("/app/blog/x.php/more", &[]), CgiFacts { script, path_info: "/more".into(), ..facts() });
        assert_eq!(told["DOCUMENT_ROOT"], "/www");
        assert_eq!(told["SCRIPT_FILENAME"], "/www/blog/x.php");
        assert_eq!(told["PATH_TRANSLATED"], "/www/more");
    }

    #[test]
    fn without_a_path_behind_it_there_is_no_path_info() {
        let facts =
            CgiFacts { path_info: String::new(), script: Some(Script { root: 0, path: "/x".into() }), ..facts() };
        let told = told(&parts("/", &[]), facts);
        assert!(!told.contains_key("PATH_INFO") && !told.contains_key("PATH_TRANSLATED"));
    }

    #[test]
    fn no_field_can_name_a_proxy_or_bring_a_password() {
        let fields = [("proxy", "http://evil/"), ("authorization", "Basic x"), ("proxy-authorization", "Basic x")];
        let told = told(&parts("/", &fields), facts());
        assert!(!told.keys().any(|name| name.contains("PROXY") || name.contains("AUTHORIZATION")), "{told:?}");
    }

    #[test]
    fn two_names_of_fields_never_become_one_variable() {
        let told =
            told(&parts("/", &[("x-forwarded-for", "good"), ("x_forwarded_for", "evil"), ("x.y", "z")]), facts());
        assert_eq!(told["HTTP_X_FORWARDED_FOR"], "good");
        assert!(!told.contains_key("HTTP_X.Y") && !told.contains_key("HTTP_X_Y"));
    }

    #[test]
    fn fields_that_come_often_are_one_variable() {
        let told =
            told(&parts("/", &[("accept", "a"), ("accept", "b"), ("cookie", "c=1"), ("cookie", "d=2")]), facts());
        assert_eq!((told["HTTP_ACCEPT"].as_str(), told["HTTP_COOKIE"].as_str()), ("a, b", "c=1; d=2"));
    }

    #[test]
    fn what_the_request_says_wins_over_what_the_module_is_given() {
        let granted = [("REQUEST_METHOD", "GET"), ("GREETING", "hi")].map(|(name, value)| (name.into(), value.into()));
        let variables = environment(&granted, &parts("/", &[]), &circumstances(facts()));
        let values = |name: &str| -> Vec<&str> {
            variables.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str()).collect()
        };
        assert_eq!(values("REQUEST_METHOD"), ["POST"]);
        assert_eq!(values("GREETING"), ["hi"]);
    }

    #[test]
    fn a_client_without_an_address_is_not_given_one() {
        let nowhere = told(&parts("/", &[]), CgiFacts { ends: None, ..facts() });
        for name in ["REMOTE_ADDR", "REMOTE_HOST", "REMOTE_PORT", "SERVER_ADDR"] {
            assert!(!nowhere.contains_key(name), "{name}");
        }
    }

    #[test]
    fn an_address_of_ipv4_is_told_as_such_however_the_server_listens() {
        let ends = Some(ends("[::ffff:192.0.2.7]:1234", "::ffff:192.0.2.1"));
        let told = told(&parts("/", &[]), CgiFacts { ends, ..facts() });
        assert_eq!((told["REMOTE_ADDR"].as_str(), told["SERVER_ADDR"].as_str()), ("192.0.2.7", "192.0.2.1"));
    }

    #[test]
    fn the_server_is_named_as_the_client_named_it() {
        for (authority, name, port) in [
            ("example.org", "example.org", "80"),
            ("[::1]", "[::1]", "80"),
            ("[::1]:81", "[::1]", "81"),
            ("127.0.0.1:8080", "127.0.0.1", "8080"),
            ("a:", "a", "80"),
            ("", "localhost", "80"),
        ] {
            assert_eq!(name_and_port(authority, Scheme::Http), (name.to_owned(), port.to_owned()), "{authority}");
        }
        assert_eq!(name_and_port("a", Scheme::Https).1, "443");
    }

    #[test]
    fn a_query_without_an_equals_sign_is_the_command_line() {
        assert_eq!(words("one+two%20three+%2B"), ["one", "two three", "+"]);
        assert_eq!(words("one"), ["one"]);
        for none in ["", "a=b", "one+a=b"] {
            assert!(words(none).is_empty(), "{none}");
        }
        assert_eq!(words("a%3Db"), ["a=b"], "only an equals sign as it stands makes it a form");
    }

    #[test]
    fn a_query_cannot_bring_options_or_what_is_no_argument() {
        for query in ["-s", "%2ds", "one+-d", "a+%00", "a%ff"] {
            assert!(words(query).is_empty(), "{query}");
        }
    }

    #[test]
    fn an_interpreter_gets_its_script_as_a_file_with_its_name_in_the_first_line_does() {
        let script = Some(Script { root: 0, path: "/x.lua".into() });
        let arguments = arguments("lua", &parts("/?one+two", &[]), &CgiFacts { script, ..facts() });
        assert_eq!(arguments, ["lua", "/www/x.lua", "one", "two"]);
    }

    proptest! {
        #[test]
        fn no_field_reaches_a_variable_that_is_not_for_fields(
            fields in prop::collection::vec(("[a-zA-Z0-9_!#$%&'*+.^`|~-]{1,30}", "[ -~]{0,20}"), 0..20),
        ) {
            let plain = told(&parts("/", &[]), facts());
            let fields: Vec<_> = fields
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .filter(|(name, _)| !["host", "content-length", "content-type"].contains(&name.to_lowercase().as_str()))
                .collect();
            let told = told(&parts("/", &fields), facts());
            for (name, value) in &told {
                prop_assert!(!name.contains('=') && !name.contains('\0') && !value.contains('\0'));
                prop_assert!(name.starts_with("HTTP_") || name == "UNIQUE_ID" || plain.get(name) == Some(value));
            }
            prop_assert!(!told.contains_key("HTTP_PROXY"));
        }
    }
}
