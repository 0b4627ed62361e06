//! `[server]`: where the server listens and writes, how long clients may take, and what a request may be at most.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use guesthouse_mpm::settings::ListenAddress;

use super::report::{Report, Wrong, cause};
use super::surroundings::{Kind, Surroundings};
use super::table::{Field, Origin, Table};
use super::value::Value;
use super::{LogTarget, RequestLimits, Server, Timing};
use crate::runtime_dir;

/// Longer than any client is waited for; keeps a deadline computable.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
pub(super) const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(1)..=DAY;

/// Beside the file.
pub(super) const RUNTIME_DIR: &str = "run";
pub(super) const CACHE_DIR: &str = "cache";
pub(super) const ACCESS_LOG: &str = "logs/access.log";
/// Versions of each module.
const VERSIONS: RangeInclusive<u64> = 1..=100;
/// Bytes of native code; the upper end is there to stay clear of overflow.
const CACHE: RangeInclusive<u64> = 0..=1 << 60;
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);

/// The MPM's name in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MpmName {
    Prefork,
    Worker,
    Event,
}

/// What `[server]` says to the MPM.
pub(super) struct ForMpm {
    pub(super) listen: Vec<ListenAddress>,
    pub(super) mpm: MpmName,
}

pub(super) fn read(mut table: Table<'_>, surroundings: Surroundings<'_>) -> (Server, ForMpm) {
    let listen = table.field("listen", vec![ListenAddress::Tcp(LISTEN)], read_listen).value;
    let mpm = table.field("mpm", MpmName::Event, read_mpm).value;
    let runtime_dir = read_runtime_dir(&mut table, surroundings);
    let cache_dir = surroundings.absolute(CACHE_DIR);
    let cache_dir = table.field("cache_dir", cache_dir, |value| surroundings.directory_to_be(value)).value;
    let modules_dir = table.field("modules_dir", None, |value| read_modules_dir(value, surroundings).map(Some)).value;
    let watch = table.field("watch", modules_dir.is_some(), |value| value.boolean()).value;
    let keep_versions = table.number("keep_versions", &VERSIONS, 3);
    let cache_limit = table.size("cache_limit", &CACHE, 1 << 30);
    let error_log = table.field("error_log", LogTarget::StandardError, |value| read_log(value, surroundings)).value;
    let access_log = read_access_log(&mut table, surroundings);
    let timing = read_timing(&mut table);
    let request_limits = read_request_limits(&mut table);
    table.finish();
    let server = Server {
        runtime_dir,
        cache_dir,
        modules_dir,
        watch,
        keep_versions,
        cache_limit,
        error_log,
        access_log,
        timing,
        request_limits,
    };
    (server, ForMpm { listen, mpm })
}

fn read_mpm(value: Value<'_>) -> Result<MpmName, Wrong> {
    const WHAT: &str = "\"prefork\", \"worker\" or \"event\"";
    match value.text(WHAT)? {
        "prefork" => Ok(MpmName::Prefork),
        "worker" => Ok(MpmName::Worker),
        "event" => Ok(MpmName::Event),
        other => Err(value.wrong(format_args!("expected {WHAT}, found {other:?}"))),
    }
}

fn read_listen(value: Value<'_>) -> Result<Vec<ListenAddress>, Wrong> {
    let elements = value.array("addresses such as [\"127.0.0.1:8080\"]")?;
    if elements.is_empty() {
        return Err(value.wrong("no address: write one, such as \"127.0.0.1:8080\""));
    }
    let mut listen: Vec<(SocketAddr, usize)> = Vec::with_capacity(elements.len());
    let mut all_are_right = Ok(());
    for element in elements {
        match read_address(element) {
            Err(Wrong) => all_are_right = Err(Wrong),
            // Port 0 asks the kernel for a free port, each time another.
            Ok(address) => match listen.iter().find(|(earlier, _)| *earlier == address && address.port() != 0) {
                None => listen.push((address, element.line)),
                Some((_, line)) => {
                    let text = format_args!("{address} stands already on line {line}: remove one of them");
                    all_are_right = Err(element.wrong(text));
                }
            },
        }
    }
    all_are_right.map(|()| listen.into_iter().map(|(address, _)| ListenAddress::Tcp(address)).collect())
}

fn read_address(value: Value<'_>) -> Result<SocketAddr, Wrong> {
    const WHAT: &str = "an address and a port such as \"127.0.0.1:8080\" or \"[::1]:8080\"";
    let text = value.text(WHAT)?;
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let port = text.strip_prefix("*:").unwrap_or(text);
    Err(match port.parse::<u16>() {
        // Apache's "Listen 80" and "Listen *:80".
        Ok(port) => {
            value.wrong(format_args!("expected {WHAT}, found {text:?}: for every address write \"0.0.0.0:{port}\""))
        }
        Err(_) => value.wrong(format_args!("expected {WHAT}, found {text:?}")),
    })
}

fn read_runtime_dir(table: &mut Table<'_>, surroundings: Surroundings<'_>) -> PathBuf {
    let path = surroundings.absolute(RUNTIME_DIR);
    let field = table.field("runtime_dir", path.clone(), |value| {
        let path = surroundings.directory_to_be(value)?;
        runtime_dir_problem(&path, surroundings).map_err(|problem| value.wrong(problem))?;
        Ok(path)
    });
    if field.origin == Origin::Default
        && let Err(problem) = runtime_dir_problem(&path, surroundings)
    {
        table.wrong(format_args!("runtime_dir is {RUNTIME_DIR:?} by default: {problem}"));
    }
    field.value
}

/// Why nothing of the server's may stand in the directory at `path`, as far as looking can tell.
fn runtime_dir_problem(path: &Path, surroundings: Surroundings<'_>) -> Result<(), String> {
    let machine = surroundings.machine;
    let unknown = |error| format!("cannot look at {}: {}", path.display(), cause(&error));
    match machine.kind(path).map_err(unknown)? {
        Kind::Nothing => Ok(()),
        Kind::File | Kind::Other => Err(format!("{} is not a directory", path.display())),
        Kind::Directory => {
            match runtime_dir::open_to_others(runtime_dir::KEY, path, machine.mode(path).map_err(unknown)?) {
                Some(problem) => Err(problem),
                None => Ok(()),
            }
        }
    }
}

/// Who may write there decides what serves. That is for the operator to know: the modules of a whole group may be wanted.
fn read_modules_dir(value: Value<'_>, surroundings: Surroundings<'_>) -> Result<PathBuf, Wrong> {
    let path = surroundings.directory_to_be(value)?;
    let mode = surroundings.machine.mode(&path).ok();
    if let Some(problem) = mode.and_then(|mode| runtime_dir::open_to_others(value.key, &path, mode)) {
        value.report.warning(value.line, format_args!("modules_dir: {problem}"));
    }
    Ok(path)
}

fn read_access_log(table: &mut Table<'_>, surroundings: Surroundings<'_>) -> Option<LogTarget> {
    let path = surroundings.absolute(ACCESS_LOG);
    let field = table.field("access_log", Some(LogTarget::File(path.clone())), |value| match value.text("a path")? {
        "off" => Ok(None),
        _ => read_log(value, surroundings).map(Some),
    });
    if field.origin == Origin::Default
        && let Err(problem) = log_problem(&path, surroundings)
    {
        table.wrong(format_args!("access_log is {ACCESS_LOG:?} by default: {problem}, or write access_log = \"off\""));
    }
    field.value
}

fn read_log(value: Value<'_>, surroundings: Surroundings<'_>) -> Result<LogTarget, Wrong> {
    match value.text("a path, or \"-\" for standard error")? {
        "-" => Ok(LogTarget::StandardError),
        "" => Err(value.wrong("the path is empty")),
        written => {
            let path = surroundings.absolute(written);
            log_problem(&path, surroundings).map_err(|problem| value.wrong(problem))?;
            Ok(LogTarget::File(path))
        }
    }
}

/// Why no log can be written to `path`, as far as looking can tell.
fn log_problem(path: &Path, surroundings: Surroundings<'_>) -> Result<(), String> {
    let kind = |path: &Path| {
        let unknown = |error| format!("cannot look at {}: {}", path.display(), cause(&error));
        surroundings.machine.kind(path).map_err(unknown)
    };
    match kind(path)? {
        Kind::File | Kind::Other => return Ok(()),
        Kind::Directory => return Err(format!("{} is a directory: name a file", path.display())),
        Kind::Nothing => {}
    }
    let folder = path.parent().unwrap_or(path);
    match kind(folder)? {
        Kind::Directory => Ok(()),
        Kind::File | Kind::Other => Err(format!("{} is not a directory", folder.display())),
        // The server creates one level, as for a `logs/` beside the file; more is more likely a typing mistake.
        Kind::Nothing => match kind(folder.parent().unwrap_or(folder))? {
            Kind::Directory => Ok(()),
            Kind::File | Kind::Other | Kind::Nothing => {
                Err(format!("neither the directory {} nor the one above exists: create it", folder.display()))
            }
        },
    }
}

fn read_timing(table: &mut Table<'_>) -> Timing {
    let seconds = Duration::from_secs;
    let header_timeout = table.duration("header_timeout", &TIMEOUTS, seconds(20));
    let header_timeout_max = table.duration("header_timeout_max", &TIMEOUTS, seconds(40));
    check_header_timeouts(table.report(), header_timeout, header_timeout_max);
    Timing {
        keep_alive_timeout: table.duration("keep_alive_timeout", &TIMEOUTS, seconds(5)).value,
        max_keep_alive_requests: table.number("max_keep_alive_requests", &(0..=u64::from(u32::MAX)), 100),
        header_timeout: header_timeout.value,
        header_timeout_max: header_timeout_max.value,
        body_timeout: table.duration("body_timeout", &TIMEOUTS, seconds(20)).value,
        min_rate: table.number("min_rate", &(0..=u64::from(u32::MAX)), 500),
        write_timeout: table.duration("write_timeout", &TIMEOUTS, seconds(60)).value,
        linger_timeout: table.duration("linger_timeout", &TIMEOUTS, seconds(2)).value,
    }
}

fn check_header_timeouts(report: &Report<'_>, first: Field<Duration>, max: Field<Duration>) {
    let line = match (first.origin, max.origin) {
        (Origin::Wrong, _) | (_, Origin::Wrong) | (Origin::Default, Origin::Default) => return,
        (Origin::Line(line), _) | (Origin::Default, Origin::Line(line)) => line,
    };
    if first.value > max.value {
        let (first, max) = (humantime::format_duration(first.value), humantime::format_duration(max.value));
        report.mistake(
            line,
            format_args!(
                "header_timeout is {first} but header_timeout_max is {max}: write header_timeout_max = \"{first}\" or more"
            ),
        );
    }
}

fn read_request_limits(table: &mut Table<'_>) -> RequestLimits {
    RequestLimits {
        limit_request_line: table.number("limit_request_line", &(64..=1 << 20), 8190),
        limit_request_fields: table.number("limit_request_fields", &(1..=1000), 100),
        limit_request_field_size: table.number("limit_request_field_size", &(64..=1 << 20), 8190),
        limit_request_body: table.size("limit_request_body", &(1..=1 << 60), 1 << 30),
    }
}
