//! `guesthouse logs`: the lines of the log files that are about one module, as they stand there and, if that is wanted, as they
//! come. Asks no server: it reads the files that the configuration names.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Seek as _, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::config::{LogTarget, Server};

/// Between two looks at files that are followed.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
/// Bytes of a line; what is longer comes in pieces.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// Which lines are about what, by the file that they stand in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Log {
    Error,
    Access,
}

/// Writes the lines about `module` to `out`; with `follow` for as long as somebody takes them.
///
/// # Errors
/// No log goes to a file, or one cannot be read, or the lines not be written.
pub fn show(server: &Server, module: &str, follow: bool, out: &mut impl Write) -> Result<(), String> {
    let mut tails = Vec::new();
    for (log, target) in [(Log::Error, Some(&server.error_log)), (Log::Access, server.access_log.as_ref())] {
        if let Some(LogTarget::File(path)) = target {
            tails.push(Tail::new(log, path.clone()));
        }
    }
    if tails.is_empty() {
        return Err(String::from(
            "this server has no log files: its error log goes to standard error, so look where that goes (journalctl, \
             the terminal); or write error_log = \"logs/error.log\" under [server]",
        ));
    }
    loop {
        for tail in &mut tails {
            let shown = tail.read_on(module, out).and_then(|()| out.flush().map_err(Failure::Write));
            match shown {
                Ok(()) => {}
                // Who reads only the beginning has seen enough.
                Err(Failure::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                Err(Failure::Write(error)) => return Err(format!("cannot write the lines: {error}")),
                Err(Failure::Read(error)) => return Err(format!("cannot read {}: {error}", tail.path.display())),
            }
        }
        if !follow {
            return Ok(());
        }
        thread::sleep(BETWEEN_LOOKS);
    }
}

/// Why lines are not shown.
#[derive(Debug)]
enum Failure {
    Read(io::Error),
    Write(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Read(error)
    }
}

/// A file that is read as far as it goes, again and again.
struct Tail {
    log: Log,
    path: PathBuf,
    file: Option<BufReader<File>>,
    /// The end of the file, if that is no whole line yet.
    unfinished: Vec<u8>,
    /// Whether the line before was about the module: what follows it may belong to it.
    was_about: bool,
}

impl Tail {
    fn new(log: Log, path: PathBuf) -> Self {
        Self { log, path, file: None, unfinished: Vec::new(), was_about: false }
    }

    /// Writes what has come since the last time; also from the file that has taken its place.
    fn read_on(&mut self, module: &str, out: &mut impl Write) -> Result<(), Failure> {
        self.read_to_end(module, out)?;
        if self.is_current()? {
            return Ok(());
        }
        // What was written between the last read and the look.
        self.read_to_end(module, out)?;
        self.file = open(&self.path)?;
        self.unfinished.clear();
        self.read_to_end(module, out)
    }

    /// Whether the file that is open is the one that is written to. One that was cut begins anew.
    fn is_current(&mut self) -> io::Result<bool> {
        let Some(file) = &mut self.file else { return Ok(false) };
        let here = match fs::metadata(&self.path) {
            Ok(facts) => facts,
            // It was moved away, and the next one has not come yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(error),
        };
        let ours = file.get_ref().metadata()?;
        let is_cut = here.len() < file.stream_position()?;
        Ok(ours.dev() == here.dev() && ours.ino() == here.ino() && !is_cut)
    }

    fn read_to_end(&mut self, module: &str, out: &mut impl Write) -> Result<(), Failure> {
        loop {
            let Some(file) = &mut self.file else { return Ok(()) };
            let room = LINE_BYTES_MAX.saturating_sub(self.unfinished.len() as u64);
            let read = io::Read::take(file, room).read_until(b'\n', &mut self.unfinished)?;
            let is_whole = self.unfinished.ends_with(b"\n") || self.unfinished.len() as u64 >= LINE_BYTES_MAX;
            if is_whole {
                let line = std::mem::take(&mut self.unfinished);
                self.was_about = self.log.is_about(&String::from_utf8_lossy(&line), module, self.was_about);
                if self.was_about {
                    out.write_all(&line).map_err(Failure::Write)?;
                }
            } else if read == 0 {
                return Ok(());
            }
        }
    }
}

/// `None` if it is not there yet.
fn open(path: &Path) -> io::Result<Option<BufReader<File>>> {
    match File::open(path) {
        Ok(file) => Ok(Some(BufReader::new(file))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Log {
    fn is_about(self, line: &str, module: &str, was_about: bool) -> bool {
        match self {
            Log::Error => is_about_in_error_log(line, module, was_about),
            // ... "USER AGENT" MODULE MICROSECONDS MICROSECONDS
            Log::Access => line.trim_end().rsplit(' ').nth(2) == Some(module),
        }
    }
}

/// `TIME [PID] LEVEL name=value name=value: text`; a text may go on over several lines.
fn is_about_in_error_log(line: &str, module: &str, was_about: bool) -> bool {
    let mut words = line.split_whitespace();
    let (Some(time), Some(pid), Some(_level)) = (words.next(), words.next(), words.next()) else { return was_about };
    if !(time.ends_with('Z') && pid.starts_with('[') && pid.ends_with(']')) {
        return was_about;
    }
    let rest: Vec<&str> = words.collect();
    let has_names = rest.first().is_some_and(|word| word.contains('='));
    if !has_names {
        // What the server says of its modules itself.
        return line.contains(&format!("module {module:?}"));
    }
    let last_name = rest.iter().position(|word| word.ends_with(':')).unwrap_or(0);
    rest[..=last_name].iter().any(|word| word.trim_end_matches(':').strip_prefix("module=") == Some(module))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ERRORS: &str = "\
2026-11-21T10:00:00.000000Z [7] INFO module=shop request=1 stream=\"stdout\": module=blog is not mine
2026-11-21T10:00:00.000000Z [7] ERROR module=blog request=2 cause=trap: the guest trapped
  0: at shop
2026-11-21T10:00:01.000000Z [7] ERROR module=shop request=3 cause=trap: the guest trapped
  0: at blog
2026-11-21T10:00:02.000000Z [6] INFO module \"shop\" is deployed
2026-11-21T10:00:02.000000Z [6] INFO ready
";
    const ACCESSES: &str = "\
- - - [21/Nov/2026:10:00:00 +0000] \"GET /shop HTTP/1.1\" 200 - \"-\" \"shop 1 1\" blog 412 31
- - - [21/Nov/2026:10:00:00 +0000] \"GET /blog HTTP/1.1\" 200 - \"-\" \"-\" shop 412 31
";

    fn about(log: Log, text: &str, module: &str) -> Vec<usize> {
        let mut was_about = false;
        let lines = text.lines().enumerate().filter(|(_, line)| {
            was_about = log.is_about(line, module, was_about);
            was_about
        });
        lines.map(|(index, _)| index).collect()
    }

    #[test]
    fn a_line_is_about_the_module_that_it_names_with_all_that_belongs_to_it() {
        assert_eq!(about(Log::Error, ERRORS, "shop"), [0, 3, 4, 5]);
        assert_eq!(about(Log::Error, ERRORS, "blog"), [1, 2]);
        assert_eq!(about(Log::Access, ACCESSES, "shop"), [1]);
        assert_eq!(about(Log::Access, ACCESSES, "blog"), [0]);
    }

    #[test]
    fn what_comes_is_read_on_also_from_the_file_that_takes_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("error.log");
        let line = |text: &str| format!("2026-11-21T10:00:00.000000Z [7] INFO module=a request=1: {text}\n");
        let mut tail = Tail::new(Log::Error, path.clone());
        let mut read = || {
            let mut out = Vec::new();
            tail.read_on("a", &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let append = |text: &str| {
            let mut file = fs::OpenOptions::new().append(true).create(true).open(&path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        };
        assert_eq!(read(), "", "there is none yet");
        append(&line("one"));
        assert_eq!(read(), line("one"));
        let two = line("two");
        append(&two[..30]);
        assert_eq!(read(), "");
        append(&two[30..]);
        assert_eq!(read(), two);
        append(&line("three"));
        fs::rename(&path, folder.path().join("error.log.1")).unwrap();
        assert_eq!(read(), line("three"));
        append(&line("four"));
        assert_eq!(read(), line("four"));
        fs::write(&path, "").unwrap();
        append(&line("5"));
        assert_eq!(read(), line("5"), "it was cut");
    }

    #[test]
    fn where_there_are_no_files_it_says_where_to_look() {
        let text = "server.access_log = \"off\"\n";
        let (config, _) = crate::config::read_text(text, Path::new("/nowhere/guesthouse.toml")).unwrap();
        let told = show(&config.server, "a", false, &mut Vec::new()).unwrap_err();
        assert!(told.contains("journalctl") && told.contains("error_log = \"logs/error.log\""), "{told}");
    }

    #[test]
    fn no_file_is_blamed_for_an_output_that_takes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("error.log"), ERRORS).unwrap();
        let text = "server.access_log = \"off\"\nserver.error_log = \"error.log\"\n";
        let (config, _) = crate::config::read_text(text, &folder.path().join("guesthouse.toml")).unwrap();
        show(&config.server, "shop", false, &mut io::sink()).unwrap();
        let told = show(&config.server, "shop", false, &mut io::Cursor::new([0; 0])).unwrap_err();
        assert!(told.starts_with("cannot write the lines: "), "{told}");
    }
}
