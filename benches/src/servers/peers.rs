//! How the servers beside Guesthouse are configured. Starts nothing.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{User, geteuid};

use super::{AccessLog, BODY, HELLO, SCRIPT, Setup, place, write};
use crate::Bench;
use crate::tools::APACHE_MODULES;

/// What a script in PHP says at [`SCRIPT`].
const HELLO_PHP: &str = "<?php header('Content-Type: text/plain'); echo \"Hello, world!\\n\";\n";

/// nginx with a fixed answer, or `None` if it is not installed.
pub fn nginx(bench: &Bench, processes: usize, log: AccessLog) -> Result<Option<Setup>> {
    let Some(program) = &bench.tools.nginx else { return Ok(None) };
    let (folder, address) = place(bench, &format!("nginx-{processes}-{}", log.word()))?;
    let location = r#"default_type text/plain; return 200 "Hello, world!\n";"#;
    let command = nginx_command(program, &folder, address, processes, log, location)?;
    Setup::new("nginx, return 200", command, address, &folder).map(Some)
}

/// nginx in front of so many processes of PHP, which run a script at [`SCRIPT`]; `None` if either is not installed.
pub fn php_fpm(bench: &Bench, processes: usize) -> Result<Option<Setup>> {
    let (Some(nginx), Some(php_fpm)) = (&bench.tools.nginx, &bench.tools.php_fpm) else { return Ok(None) };
    let (folder, address) = place(bench, "nginx-php-fpm")?;
    write(&folder, SCRIPT.trim_start_matches('/'), HELLO_PHP)?;
    let (inside, socket) = (folder.display(), folder.join("fpm.socket"));
    let file = write(
        &folder,
        "php-fpm.conf",
        &format!(
            "\
[global]
error_log = {inside}/error.log
[www]
user = {}
listen = {}
listen.mode = 0666
pm = static
pm.max_children = {processes}
",
            own_user(),
            socket.display(),
        ),
    )?;
    let mut behind = Command::new(php_fpm);
    // Whoever measures as root has folders that others may not enter; nobody else can reach it.
    behind.arg("--nodaemonize").arg("--allow-to-run-as-root").arg("--fpm-config").arg(file);
    let location = format!(
        "root {inside}; include /etc/nginx/fastcgi_params; \
         fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name; fastcgi_pass unix:{};",
        socket.display()
    );
    let command = nginx_command(nginx, &folder, address, 2, AccessLog::Combined, &location)?;
    Setup::new("nginx + php-fpm", command, address, &folder)?.in_front_of(behind, socket).map(Some)
}

/// nginx with one location, for all paths.
fn nginx_command(
    program: &Path,
    folder: &Path,
    address: SocketAddr,
    processes: usize,
    log: AccessLog,
    location: &str,
) -> Result<Command> {
    let inside = folder.display();
    let access_log = match log {
        AccessLog::Combined => format!("{inside}/access.log combined"),
        AccessLog::Off => "off".to_owned(),
    };
    let file = write(
        folder,
        "nginx.conf",
        &format!(
            r"user {user};
worker_processes {processes};
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
        location / {{ {location} }}
    }}
}}
",
            // Only root could be another one.
            user = own_user(),
        ),
    )?;
    let mut command = Command::new(program);
    command.arg("-p").arg(folder).arg("-c").arg(file);
    Ok(command)
}

/// The name of the user who measures.
fn own_user() -> String {
    User::from_uid(geteuid()).ok().flatten().map_or_else(|| "nobody".to_owned(), |user| user.name)
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
