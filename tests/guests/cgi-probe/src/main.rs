//! A program that speaks CGI, whose paths do what the end-to-end tests need: answer, misbehave, and look around.
//!
//! Built for WASI preview 1 and as a component. It knows nothing but the standard library, as programs do that were
//! written for another server. The tests know it by its paths (PATH_INFO) and query parameters, so each is documented
//! where it is handled.

use std::io::{self, Read, Write};
use std::time::Duration;

/// The head of most answers here.
const PLAIN: &[u8] = b"Content-Type: text/plain\n\n";

fn main() -> io::Result<()> {
    let path = variable("PATH_INFO");
    match path.rsplit('/').next().unwrap_or_default() {
        "hello" => answer(b"hello\n"),
        "env" => {
            answer(std::env::vars().map(|(name, value)| format!("{name}={value}\n")).collect::<String>().as_bytes())
        }
        "args" => answer(std::env::args().map(|argument| format!("{argument}\n")).collect::<String>().as_bytes()),
        "read" => read(),
        "list" => list(),
        "write" => answer(outcome(&std::fs::write(parameter("path"), "written")).as_bytes()),
        "open" => open(),
        "stderr" => stderr(),

        "raw" => say(&decoded(&parameter("text"))),
        "big" => big(),
        "flood" => flood(),
        "endless-head" => endless_head(),
        "drip" => drip(),
        "echo" => echo(),
        "upload" => upload(),
        "ignore-body" => answer(b"ignored\n"),

        "exit" => exit(),
        "trap" => trap(),
        "half" => half(),
        "loop" => spin(),
        "memory" => eat_memory(),
        "sleep" => {
            std::thread::sleep(Duration::from_mins(1));
            answer(b"awake\n")
        }
        "silent" => Ok(()),
        _ => say(b"Status: 404\nContent-Type: text/plain\n\nnothing is here\n"),
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// Of the query, as it stands there.
fn parameter(name: &str) -> String {
    let query = variable("QUERY_STRING");
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).next().unwrap_or_default()
}

fn number(name: &str, default: u64) -> u64 {
    parameter(name).parse().unwrap_or(default)
}

/// Without percent-encodings; other bytes are what they are.
fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digits: String = bytes.by_ref().take(2).map(char::from).collect();
                u8::from_str_radix(&digits, 16).unwrap_or(b'?')
            }
            other => other,
        });
    }
    decoded
}

fn say(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

fn answer(content: &[u8]) -> io::Result<()> {
    say(&[PLAIN, content].concat())
}

fn outcome<T>(result: &io::Result<T>) -> String {
    result.as_ref().map_or_else(|error| format!("{:?}\n", error.kind()), |_| "ok\n".to_owned())
}

/// `/read?path=`: a file, or why not.
fn read() -> io::Result<()> {
    match std::fs::read(parameter("path")) {
        Ok(content) => answer(&content),
        Err(error) => answer(outcome::<()>(&Err(error)).as_bytes()),
    }
}

/// `/list?path=`: the names in a folder, or why not.
fn list() -> io::Result<()> {
    match std::fs::read_dir(parameter("path")) {
        Ok(entries) => {
            let mut names: Vec<String> =
                entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            answer(names.join("\n").as_bytes())
        }
        Err(error) => answer(outcome::<()>(&Err(error)).as_bytes()),
    }
}

/// `/open?path=&n=`: opens the file so many times and keeps it open; how often it could.
fn open() -> io::Result<()> {
    let path = parameter("path");
    let open: Vec<_> = (0..number("n", 1)).map_while(|_| std::fs::File::open(&path).ok()).collect();
    answer(format!("{}\n", open.len()).as_bytes())
}

/// `/stderr?text=`: prints, and answers.
fn stderr() -> io::Result<()> {
    eprintln!("{}", parameter("text"));
    answer(b"printed\n")
}

/// `/big?kib=`: so many KiB of "x".
fn big() -> io::Result<()> {
    say(PLAIN)?;
    let piece = [b'x'; 1024];
    (0..number("kib", 1)).try_for_each(|_| say(&piece))
}

/// Content without end.
fn flood() -> io::Result<()> {
    say(PLAIN)?;
    loop {
        say(&[b'x'; 8192])?;
    }
}

/// `/endless-head?line=1`: fields without end, or with `line=0` one that does not end.
fn endless_head() -> io::Result<()> {
    let piece: &[u8] = if number("line", 1) == 1 { b"X-Field: value\n" } else { b"xxxxxxxxxxxxxxxx" };
    loop {
        say(piece)?;
    }
}

/// `/drip?count=&ms=`: lines with pauses between them.
fn drip() -> io::Result<()> {
    say(PLAIN)?;
    for line in 0..number("count", 3) {
        say(format!("line {line}\n").as_bytes())?;
        std::thread::sleep(Duration::from_millis(number("ms", 50)));
    }
    Ok(())
}

/// Sends the body back as it comes.
fn echo() -> io::Result<()> {
    say(b"Content-Type: application/octet-stream\n\n")?;
    io::copy(&mut io::stdin().lock(), &mut io::stdout().lock())?;
    io::stdout().flush()
}

/// Reads the body to its end: how long it was, and what CONTENT_LENGTH said; or that it broke off, in the log.
fn upload() -> io::Result<()> {
    let mut body = Vec::new();
    match io::stdin().lock().read_to_end(&mut body) {
        Ok(bytes) => {
            answer(format!("{bytes} bytes, announced {:?}\n", std::env::var("CONTENT_LENGTH").ok()).as_bytes())
        }
        Err(error) => {
            eprintln!("the body broke off: {:?}", error.kind());
            Err(error)
        }
    }
}

/// `/exit?code=&answer=`: ends with this status, after an answer or (`answer=0`) without.
fn exit() -> io::Result<()> {
    if number("answer", 1) == 1 {
        answer(b"hello\n")?;
    }
    std::process::exit(i32::try_from(number("code", 0)).unwrap_or(-1))
}

/// `/trap?answer=`: before anything is said, or (`answer=1`) in the middle of the content.
fn trap() -> io::Result<()> {
    if number("answer", 0) == 1 {
        answer(b"half of")?;
        std::thread::sleep(Duration::from_millis(number("ms", 0)));
    }
    panic!("the probe was asked to trap")
}

/// Ends within the head.
fn half() -> io::Result<()> {
    say(b"Content-Type: text/plain\n")
}

fn spin() -> ! {
    let mut number: u64 = 0;
    loop {
        number = std::hint::black_box(number.wrapping_add(1));
    }
}

fn eat_memory() -> io::Result<()> {
    let mut held: Vec<Vec<u8>> = Vec::new();
    loop {
        held.push(vec![1; 1 << 20]);
        std::hint::black_box(&held);
    }
}
