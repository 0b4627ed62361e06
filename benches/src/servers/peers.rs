//! How the servers beside Guesthouse are configured. Starts nothing.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::Result;
use nix::sys::prctl;
use nix::sys::signal::Signal;

use super::{AccessLog, BODY, HELLO, SCRIPT, Setup, place, write};
use crate::Bench;
use crate::tools::APACHE_MODULES;

/// nginx with a fixed answer, or `None` if it is not installed.
pub fn nginx(bench: &Bench, processes: usize, log: AccessLog) -> Result<Option<Setup>> {
    let Some(program) = &bench.tools.nginx else { return Ok(None) };
    let (folder, address) = place(bench, &format!("nginx-{processes}-{}", log.word()))?;
    let inside = folder.display();
    let access_log = match log {
        AccessLog::Combined => format!("{inside}/access.log combined"),
        AccessLog::Off => "off".to_owned(),
    };
    let file = write(
        &folder,
        "nginx.conf",
        &format!(
            r#"worker_processes {processes};
daemon off;
pid {inside}/nginx.pid;
error_log {inside}/error.log;
events {{ worker_connections 20000; }}
http {{
    access_log {access_log};
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_body_temp_path {inside}/body;
    proxy_temp_path {inside}/proxy;
    fastcgi_temp_path {inside}/fastcgi;
    uwsgi_temp_path {inside}/uwsgi;
    scgi_temp_path {inside}/scgi;
    server {{
        listen {address};
        location / {{ default_type text/plain; return 200 "Hello, world!\n"; }}
    }}
}}
"#,
        ),
    )?;
    let mut command = Command::new(program);
    command.arg("-p").arg(&folder).arg("-c").arg(file);
    Setup::new("nginx, return 200", command, address, &folder).map(Some)
}

/// Apache with the event MPM and a static file, or `None` if it is not installed.
pub fn apache(bench: &Bench) -> Result<Option<Setup>> {
    let serving = format!(
        "\
LoadModule mpm_event_module {APACHE_MODULES}/mod_mpm_event.so
StartServers 1
ThreadsPerChild 64
MaxRequestWorkers 64
"
    );
    apache_with(bench, "Apache event, static file", "apache", (HELLO, BODY), &serving)
}

/// Apache with the prefork MPM and a script for PHP in it, at [`SCRIPT`]; `None` if either is not installed. Each of the
/// processes holds one connection.
pub fn mod_php(bench: &Bench, processes: usize) -> Result<Option<Setup>> {
    const HELLO_PHP: &str = "<?php header('Content-Type: text/plain'); echo \"Hello, world!\\n\";\n";
    let Some(php) = &bench.tools.mod_php else { return Ok(None) };
    // All of them are there from the beginning to the end.
    let serving = format!(
        "\
LoadModule mpm_prefork_module {APACHE_MODULES}/mod_mpm_prefork.so
StartServers {processes}
MinSpareServers {processes}
MaxSpareServers {}
MaxRequestWorkers {processes}
LoadModule php_module {}
<FilesMatch \"[.]php$\">
    SetHandler application/x-httpd-php
</FilesMatch>
",
        processes + 1,
        php.display()
    );
    let folder = format!("apache-php-{processes}");
    apache_with(bench, "Apache prefork + mod_php", &folder, (SCRIPT, HELLO_PHP), &serving)
}

/// Apache with one file, whose path and content are given. `serving`: the lines that say who serves it.
fn apache_with(bench: &Bench, name: &str, folder: &str, file: (&str, &str), serving: &str) -> Result<Option<Setup>> {
    let Some(program) = &bench.tools.apache else { return Ok(None) };
    let (folder, address) = place(bench, folder)?;
    let inside = folder.display();
    let (path, content) = file;
    write(&folder, path.trim_start_matches('/'), content)?;
    let file = write(
        &folder,
        "httpd.conf",
        &format!(
            r#"ServerRoot "{inside}"
Listen {address}
PidFile "{inside}/httpd.pid"
Mutex file:{inside}
{serving}LoadModule authz_core_module {APACHE_MODULES}/mod_authz_core.so
ServerName localhost
DocumentRoot "{inside}"
KeepAlive On
KeepAliveTimeout 3600
MaxKeepAliveRequests 0
ErrorLog "{inside}/error.log"
LogFormat "%h %l %u %t \"%r\" %>s %O \"%{{Referer}}i\" \"%{{User-Agent}}i\"" combined
CustomLog "{inside}/access.log" combined
<Directory "{inside}">
    Require all granted
</Directory>
"#
        ),
    )?;
    let mut command = Command::new(program);
    command.arg("-D").arg("FOREGROUND").arg("-f").arg(file);
    // Prefork ends by a signal to its whole group, so it must not share this program's. The terminal's signals do not
    // reach it there, so the end of this program does.
    command.process_group(0);
    // SAFETY: between fork and exec only what is async-signal-safe may be called; this is one system call.
    unsafe { command.pre_exec(|| Ok(prctl::set_pdeathsig(Signal::SIGTERM)?)) };
    Setup::new(name, command, address, &folder).map(Some)
}

/// How `wasmtime serve` allocates instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocation {
    /// As it comes.
    Default,
    /// As Guesthouse does.
    Tuned,
}

/// `wasmtime serve` with the same guest, or `None` if it is not installed.
pub fn wasmtime(bench: &Bench, guest: &str, allocation: Allocation) -> Result<Option<Setup>> {
    const TUNED: &str = "pooling-allocator=y,pooling-memory-keep-resident=65536,\
                         pooling-table-keep-resident=65536,pooling-pagemap-scan=y";
    let Some(wasmtime) = &bench.tools.wasmtime else { return Ok(None) };
    let (name, folder) = match allocation {
        Allocation::Default => ("wasmtime serve, default", "wasmtime-default"),
        Allocation::Tuned => ("wasmtime serve, tuned", "wasmtime-tuned"),
    };
    let (folder, address) = place(bench, folder)?;
    let mut command = Command::new(&wasmtime.program);
    command.args(["serve", "-S", "cli"]);
    if allocation == Allocation::Tuned {
        command.args(["-O", TUNED]);
    }
    // As many threads as all others have, whatever the machine's size: it is a program on tokio.
    command.env("TOKIO_WORKER_THREADS", "2");
    command.args(["--addr", &address.to_string()]).arg(bench.guests.join(guest));
    Setup::new(name, command, address, &folder).map(Some)
}
