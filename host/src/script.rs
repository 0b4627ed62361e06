//! Which file a path is, below a route whose module is an interpreter; and what a guest that speaks CGI is told of its
//! path. As Apache and php-cgi have it: `/app/x.php/more` is the script `x.php` with the path `/more`.
//!
//! No path leads out of the folder: the kernel itself keeps the look-up below it, symbolic links included
//! (`openat2(2)`, RESOLVE_BENEATH), and what the guest opens later is kept there by its own sandbox. Nothing is read
//! here, and no file is ever sent: what is no script is not there.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::{Mode, SFlag, fstat};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::config;
use crate::guest::{CgiFacts, Ends, Script};
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
    ends: Option<Ends>,
    query: Option<&str>,
) -> Result<Box<CgiFacts>, Box<Fixed>> {
    let prefix = found.prefix.strip_suffix('/').unwrap_or(found.prefix);
    let below = &found.path[prefix.len()..];
    let Some(scripts) = scripts else {
        let (script_name, path_info) = (prefix.to_owned(), below.to_owned());
        return Ok(Box::new(CgiFacts { ends, script_name, path_info, script: None }));
    };
    match scripts.find(below) {
        Meaning::Script { path, rest } => Ok(Box::new(CgiFacts {
            ends,
            script_name: format!("{prefix}{path}"),
            path_info: rest.to_owned(),
            script: Some(Script { root: scripts.root, path }),
        })),
        Meaning::Folder => Err(Box::new(respond::moved(&with_slash(&found.path, query)))),
        Meaning::Nothing => Err(Box::new(respond::not_found())),
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

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use http::header::LOCATION;
    use proptest::prelude::*;

    use super::*;
    use crate::config::{Route, Target};
    use crate::route::{Responder, Router};

    const SECRET: &str = "secret.php";

    /// A folder `www` with scripts, beside what nobody may reach, and links of every kind.
    fn folder() -> (tempfile::TempDir, Scripts) {
        let outer = tempfile::tempdir().unwrap();
        let www = outer.path().join("www");
        fs::create_dir_all(www.join("blog/empty")).unwrap();
        fs::create_dir_all(www.join("folder.php")).unwrap();
        fs::create_dir_all(outer.path().join("outside")).unwrap();
        for file in [
            "www/x.php",
            "www/index.php",
            "www/blog/index.php",
            "www/blog/a b.php",
            "www/note.txt",
            "www/.php",
            "www/folder.php/in.php",
            "outside/secret.php",
            "secret.php",
        ] {
            fs::write(outer.path().join(file), file).unwrap();
        }
        symlink("x.php", www.join("inside.php")).unwrap();
        symlink("../secret.php", www.join("relative.php")).unwrap();
        symlink(outer.path().join(SECRET), www.join("absolute.php")).unwrap();
        symlink("../outside", www.join("leave")).unwrap();
        symlink("loop.php", www.join("loop.php")).unwrap();
        nix::unistd::mkfifo(&www.join("pipe.php"), Mode::S_IRWXU).unwrap();
        let scripts = Scripts::open(&config::Scripts {
            root: 0,
            folder: www,
            index: vec!["index.php".into()],
            suffixes: vec![".php".into()],
            line: 1,
        });
        (outer, scripts.unwrap())
    }

    fn script<'a>(path: &str, rest: &'a str) -> Meaning<'a> {
        Meaning::Script { path: path.to_owned(), rest }
    }

    #[test]
    fn a_path_is_a_script_and_what_follows_it() {
        let (_outer, scripts) = folder();
        for (path, meaning) in [
            ("/x.php", script("/x.php", "")),
            ("/x.php/", script("/x.php", "/")),
            ("/x.php/more/y.php", script("/x.php", "/more/y.php")),
            ("/x.php/100%252F", script("/x.php", "/100%252F")),
            ("/blog/a b.php", script("/blog/a b.php", "")),
            ("/folder.php/in.php/more", script("/folder.php/in.php", "/more")),
            ("/inside.php", script("/inside.php", "")),
        ] {
            assert_eq!(scripts.find(path), meaning, "{path}");
        }
    }

    #[test]
    fn a_folder_is_its_index_and_ends_with_a_slash() {
        let (_outer, scripts) = folder();
        assert_eq!(scripts.find("/"), script("/index.php", ""));
        assert_eq!(scripts.find("/blog/"), script("/blog/index.php", ""));
        for path in ["", "/blog", "/blog/empty", "/folder.php"] {
            assert_eq!(scripts.find(path), Meaning::Folder, "{path:?}");
        }
        assert_eq!(scripts.find("/blog/empty/"), Meaning::Nothing);
    }

    #[test]
    fn what_is_no_script_is_not_there() {
        let (_outer, scripts) = folder();
        for path in
            ["/note.txt", "/.php", "/none.php", "/none.php/x.php", "/none", "/x.php.txt", "/pipe.php", "/blog/more"]
        {
            assert_eq!(scripts.find(path), Meaning::Nothing, "{path}");
        }
    }

    #[test]
    fn no_way_leads_out_of_the_folder() {
        let (_outer, scripts) = folder();
        for path in [
            "/relative.php",
            "/absolute.php",
            "/leave/secret.php",
            "/leave/",
            "/leave",
            "/loop.php",
            "/../secret.php",
            "/blog/../../secret.php",
            "/..",
            "/../",
            "/..%2Fsecret.php",
            "/blog%2Findex.php",
            "\\..\\secret.php",
            "/x.php\0",
        ] {
            assert_eq!(scripts.find(path), Meaning::Nothing, "{path:?}");
        }
    }

    #[test]
    fn a_path_of_many_names_that_could_be_scripts_costs_few_look_ups() {
        let (_outer, scripts) = folder();
        assert_eq!(scripts.find(&"/folder.php".repeat(700)), Meaning::Nothing);
        assert_eq!(scripts.find(&format!("/{}", "a".repeat(5000))), Meaning::Nothing);
    }

    fn found<'a>(prefix: &'a str, path: &'a str) -> Found<'a> {
        Found { responder: &Responder::Module(0), route: 0, prefix, path: Cow::Borrowed(path) }
    }

    #[test]
    fn a_guest_without_scripts_has_all_paths_below_its_route() {
        for (prefix, path, script_name, path_info) in
            [("/", "/a/b", "", "/a/b"), ("/app", "/app", "/app", ""), ("/app", "/app/x y", "/app", "/x y")]
        {
            let facts = facts(&found(prefix, path), None, None, None).unwrap();
            assert_eq!((facts.script_name.as_str(), facts.path_info.as_str()), (script_name, path_info));
            assert_eq!(facts.script, None);
        }
    }

    #[test]
    fn a_script_is_named_as_the_client_sees_it() {
        let (_outer, scripts) = folder();
        let facts = facts(&found("/app", "/app/x.php/more"), Some(&scripts), None, None).unwrap();
        assert_eq!((facts.script_name.as_str(), facts.path_info.as_str()), ("/app/x.php", "/more"));
        assert_eq!(facts.script, Some(Script { root: 0, path: "/x.php".into() }));
    }

    #[test]
    fn a_folder_without_its_slash_is_elsewhere_on_this_server() {
        let (_outer, scripts) = folder();
        for (prefix, path, query, location) in [
            ("/app", "/app", None, "/app/"),
            ("/", "/blog", Some("a=b"), "/blog/?a=b"),
            ("/a b%", "/a b%/blog", None, "/a%20b%25/blog/"),
        ] {
            let answer = facts(&found(prefix, path), Some(&scripts), None, query).unwrap_err();
            assert_eq!(answer.status, 301);
            assert_eq!(answer.headers[LOCATION], location);
        }
    }

    /// What a client may make of a path, as the pieces that it is put together from.
    fn piece() -> impl Strategy<Value = String> {
        prop_oneof![
            prop::sample::select(vec![
                "/",
                "..",
                ".",
                "%2e",
                "%2E%2e",
                "%2f",
                "%5c",
                "\\",
                "%00",
                "%",
                "x.php",
                "blog",
                "leave",
                "secret.php",
                "relative.php",
                "absolute.php",
                "outside",
                "folder.php",
                "index.php",
                "www",
            ])
            .prop_map(str::to_owned),
            "[ -~]{0,3}",
        ]
    }

    proptest! {
        #[test]
        fn no_path_of_a_request_is_a_file_outside_the_folder(
            prefix in prop::sample::select(vec!["/", "/app"]),
            pieces in prop::collection::vec(piece(), 0..12),
        ) {
            let (outer, scripts) = folder();
            let www = outer.path().join("www").canonicalize().unwrap();
            let route = Route { host: None, path: prefix.to_owned(), target: Target::Module(0), scripts: None };
            let router = Router::new(&[route]);
            let asked = format!("{}/{}", prefix.trim_end_matches('/'), pieces.join("/").replace("//", "/"));
            for asked in [asked, pieces.concat()] {
                let Ok(Some(found)) = router.find("h", &asked) else { continue };
                if let Ok(facts) = facts(&found, Some(&scripts), None, None) {
                    let Script { path, .. } = facts.script.unwrap();
                    let file: PathBuf = www.join(path.trim_start_matches('/')).canonicalize().unwrap();
                    prop_assert!(file.starts_with(&www), "{} is {}", asked, file.display());
                    prop_assert!(file.is_file() && fs::read_to_string(&file).unwrap().starts_with("www/"));
                    prop_assert_eq!(facts.path_info.is_empty() || facts.path_info.starts_with('/'), true);
                }
            }
        }
    }
}
