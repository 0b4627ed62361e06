//! How the servers beside Guesthouse are configured. Starts nothing.

use std::process::Command;

use anyhow::Result;

use super::{AccessLog, BODY, HELLO, Setup, place, write};
use crate::Bench;

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
    /// Where Debian and Ubuntu put them.
    const MODULES: &str = "/usr/lib/apache2/modules";
    let Some(program) = &bench.tools.apache else { return Ok(None) };
    let (folder, address) = place(bench, "apache")?;
    let inside = folder.display();
    write(&folder, HELLO.trim_start_matches('/'), BODY)?;
    let file = write(
        &folder,
        "httpd.conf",
        &format!(
            r#"ServerRoot "{inside}"
Listen {address}
PidFile "{inside}/httpd.pid"
Mutex file:{inside}
LoadModule mpm_event_module {MODULES}/mod_mpm_event.so
LoadModule authz_core_module {MODULES}/mod_authz_core.so
ServerName localhost
DocumentRoot "{inside}"
KeepAlive On
KeepAliveTimeout 3600
MaxKeepAliveRequests 0
ErrorLog "{inside}/error.log"
LogFormat "%h %l %u %t \"%r\" %>s %O \"%{{Referer}}i\" \"%{{User-Agent}}i\"" combined
CustomLog "{inside}/access.log" combined
StartServers 1
ThreadsPerChild 64
MaxRequestWorkers 64
<Directory "{inside}">
    Require all granted
</Directory>
"#
        ),
    )?;
    let mut command = Command::new(program);
    command.arg("-D").arg("FOREGROUND").arg("-f").arg(file);
    Setup::new("Apache event, static file", command, address, &folder).map(Some)
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
    command.args(["--addr", &address.to_string()]).arg(bench.guests.join(guest));
    Setup::new(name, command, address, &folder).map(Some)
}
