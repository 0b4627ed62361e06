//! Which file a path is, below a route whose module is an interpreter; and what a guest that speaks CGI is told of its
//! path. As Apache and php-cgi have it: `/app/x.php/more` is the script `x.php` with the path `/more`.
//!
//! No path leads out of the folder: the kernel itself keeps the look-up below it, symbolic links included
//! (`openat2(2)`, RESOLVE_BENEATH), and what the guest opens later is kept there by its own sandbox. Nothing is read
//! here, and no file is ever sent: what is no script is not there.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::{Mode, SFlag, fstat};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::config;
use crate::guest::{CgiFacts, Script};
use crate::respond::{self, Fixed};
use crate::route::Found;

/// Folders on the way to a script whose names end as a script's does: each costs a look-up.
const LOOK_UPS_MAX: usize = 16;

/// What stands unescaped in a path (RFC 3986 section 3.3); "%" is not among it.
const PATH: AsciiSet = NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// The scripts of one route. Opened once for all requests of a child.
#[derive(Debug)]
pub struct Scripts {
    folder: OwnedFd,
    /// Which of the module's folders it is.
    root: usize,
    index: Vec<String>,
    suffixes: Vec<String>,
}

/// What a path below the route is.
#[derive(Debug, PartialEq, Eq)]
enum Meaning<'a> {
    /// A script, by its path below the folder, and what follows it.
    Script { path: String, rest: &'a str },
    /// A folder whose path lacks the slash at its end.
    Folder,
    /// Nothing that may be run.
    Nothing,
}

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thing {
    File,
    Folder,
    Nothing,
}

impl Scripts {
    /// Opens the folder.
    ///
    /// # Errors
    /// It is not there, may not be looked into, or the kernel cannot keep a look-up below it.
    pub fn open(scripts: &config::Scripts) -> io::Result<Self> {
        let config::Scripts { root, folder, index, suffixes, .. } = scripts;
        let folder = open(folder, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        let scripts = Self { folder, root: *root, index: index.clone(), suffixes: suffixes.clone() };
        scripts.look_at(".").map_err(|error| match error {
            Errno::ENOSYS | Errno::EPERM => io::Error::other("openat2(2) is not allowed: it needs Linux 5.6 or later"),
            other => other.into(),
        })?;
        Ok(scripts)
    }

    /// What a path is: normalised, below the route, empty or with a slash at its front.
    fn find<'a>(&self, path: &'a str) -> Meaning<'a> {
        // An encoded slash has no place in a file's name, and a backslash only where somebody hopes for another system.
        if path.contains(['\\', '\0']) || path.contains("%2F") {
            return Meaning::Nothing;
        }
        let ends = path.match_indices('/').map(|(at, _)| at).filter(|at| *at > 0).chain([path.len()]);
        let scripts = ends.filter(|end| self.is_script(&path[..*end])).take(LOOK_UPS_MAX);
        for end in scripts {
            match self.thing_at(&path[..end]) {
                Thing::File => return Meaning::Script { path: path[..end].to_owned(), rest: &path[end..] },
                // A folder of such a name.
                Thing::Folder => {}
                Thing::Nothing => return Meaning::Nothing,
            }
        }
        match self.thing_at(path) {
            Thing::Folder if path.ends_with('/') => self.index_of(path),
            Thing::Folder => Meaning::Folder,
            Thing::File | Thing::Nothing => Meaning::Nothing,
        }
    }

    fn index_of<'a>(&self, folder: &str) -> Meaning<'a> {
        let mut files = self.index.iter().map(|name| format!("{folder}{name}"));
        match files.find(|file| self.thing_at(file) == Thing::File) {
            Some(path) => Meaning::Script { path, rest: "" },
            None => Meaning::Nothing,
        }
    }

    fn is_script(&self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or_default();
        self.suffixes.iter().any(|suffix| name.len() > suffix.len() && name.ends_with(suffix.as_str()))
    }

    /// What cannot be looked at is not there.
    fn thing_at(&self, path: &str) -> Thing {
        let below = path.trim_start_matches('/');
        self.look_at(if below.is_empty() { "." } else { below }).unwrap_or(Thing::Nothing)
    }

    fn look_at(&self, below: &str) -> Result<Thing, Errno> {
        let beneath = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(beneath);
        let thing = openat2(self.folder.as_fd(), Path::new(below), how)?;
        let kind = SFlag::from_bits_truncate(fstat(&thing)?.st_mode) & SFlag::S_IFMT;
        Ok(match kind {
            SFlag::S_IFREG => Thing::File,
            SFlag::S_IFDIR => Thing::Folder,
            _ => Thing::Nothing,
        })
    }
}

/// What a guest is told of a request's path, which was `found`; `scripts` are the route's, if it has some. `query` is the
/// request's, without "?".
///
/// # Errors
/// The answer, if the path is that of no script.
pub fn facts(
    found: &Found<'_>,
    scripts: Option<&Scripts>,
    client: Option<IpAddr>,
    query: Option<&str>,
) -> Result<Box<CgiFacts>, Fixed> {
    let prefix = found.prefix.strip_suffix('/').unwrap_or(found.prefix);
    let below = &found.path[prefix.len()..];
    let Some(scripts) = scripts else {
        let (script_name, path_info) = (prefix.to_owned(), below.to_owned());
        return Ok(Box::new(CgiFacts { client, script_name, path_info, script: None }));
    };
    match scripts.find(below) {
        Meaning::Script { path, rest } => Ok(Box::new(CgiFacts {
            client,
            script_name: format!("{prefix}{path}"),
            path_info: rest.to_owned(),
            script: Some(Script { root: scripts.root, path }),
        })),
        Meaning::Folder => Err(respond::moved(&with_slash(&found.path, query))),
        Meaning::Nothing => Err(respond::not_found()),
    }
}

/// From the path as it was looked up, which never begins with two slashes: that would name another server.
fn with_slash(path: &str, query: Option<&str>) -> String {
    let path = utf8_percent_encode(path, &PATH);
    match query {
        Some(query) => format!("{path}/?{query}"),
        None => format!("{path}/"),
    }
}
