//! A server that does what a file tells it: for watching (and testing) what the parent does at starts, reloads and
//! deaths. The preparation is `cat FILE`, so that the file is read anew at each reload.
//!
//! `cargo run --example staged -- FILE`, with a FILE of lines such as `listen 127.0.0.1:7000`, `mpm event`,
//! `children 2`, `say hello` (the answer to every connection, with the child's pid and generation, the number of
//! connections that were answered since the last restart, and the children that the scoreboard shows), and `load refuse`, `start fail`, `start crash`, `pid_file PATH`, `graceful_shutdown_timeout_ms 500`.
//! `lookout FOLDER` has a lookout, which appends its pid and what it is told to `FOLDER/told`, and asks for what it finds in
//! `FOLDER/ask`: `publish`, `reload`, `restart`, `stop` or `stop-gracefully`.
//! With `adopt yes` what is published is taken over by the children that there are, with `adopt fail` they cannot; a child that
//! is told to forget a generation writes its number into `FOLDER/forgotten.PID`.
//! `pool NAME ADDRESS CHILDREN` adds a pool of so many prefork children, never more, which start on demand if CHILDREN is 0;
//! `start.NAME fail` is about that pool alone.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use guesthouse_mpm::lookout::{Lookout, LookoutLine, News, Request};
use guesthouse_mpm::scoreboard::{ChildStatus, Scoreboard, Tallies};
use guesthouse_mpm::settings::{Common, Event, ListenAddress, Mpm, Pool, Prefork, Worker};
use guesthouse_mpm::{
    Accepted, Application, ChildContext, LoadError, Next, Protocol, Settings, StartError, ThreadContext, Turn, serve,
};

struct Staged {
    file: String,
    /// By generation, what is loaded now the last; older ones for pools that older requests still speak to.
    scripts: Vec<(u32, Script)>,
    /// The last one, as the preparation wrote it.
    text: String,
    answered: Tallies,
}

/// The lines of the file.
#[derive(Debug)]
struct Script(Vec<(String, String)>);

impl Script {
    fn parse(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        Self(lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }

    fn all(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |line| line.0 == key).map(|line| line.1.as_str())
    }

    fn one(&self, key: &str) -> Option<&str> {
        self.all(key).next()
    }

    fn number(&self, key: &str) -> Option<usize> {
        self.one(key)?.parse().ok()
    }

    fn mpm(&self) -> Mpm {
        let children = self.number("children").unwrap_or(2);
        let timeout = self.number("graceful_shutdown_timeout_ms").unwrap_or(0);
        let common = Common {
            graceful_shutdown_timeout: Duration::from_millis(timeout.try_into().unwrap_or(u64::MAX)),
            max_connections_per_child: self.number("max_connections_per_child").map_or(0, |count| count as u64),
            ..Common::default()
        };
        match self.one("mpm") {
            Some("prefork") => Mpm::Prefork(Prefork {
                common,
                start_servers: children,
                min_spare_servers: 1,
                max_spare_servers: children,
                ..Prefork::default()
            }),
            Some("worker") => Mpm::Worker(Worker {
                common,
                start_servers: children,
                threads_per_child: 2,
                min_spare_threads: 1,
                max_spare_threads: 2 * children + 2,
                ..Worker::default()
            }),
            _ => Mpm::Event(Event { common, start_servers: children, threads_per_child: 1, ..Event::default() }),
        }
    }
}

impl Staged {
    /// The value of a line of what is loaded now.
    fn one(&self, key: &str) -> Option<&str> {
        self.scripts.last().and_then(|(_, script)| script.one(key))
    }
}

impl Application for Staged {
    type Protocol = Speaker;

    fn preparation(&mut self) -> Option<Command> {
        let mut command = Command::new("cat");
        command.arg(&self.file);
        Some(command)
    }

    fn load(&mut self, generation: u32, prepared: &[u8]) -> Result<Settings, LoadError> {
        let script = Script::parse(prepared);
        if script.one("load").is_some() {
            return Err(LoadError("the script says so".to_owned()));
        }
        let listen = script.all("listen").map(address).collect::<Result<_, _>>()?;
        let mut pools = vec![Pool { name: "server".to_owned(), listen, mpm: script.mpm() }];
        for line in script.all("pool") {
            pools.push(pool(line)?);
        }
        let settings = Settings { pools, pid_file: script.one("pid_file").map(Into::into) };
        self.scripts.push((generation, script));
        self.text = String::from_utf8_lossy(prepared).into_owned();
        Ok(settings)
    }

    fn abandon(&mut self) {
        self.scripts.pop();
    }

    fn handover(&self) -> Option<Vec<u8>> {
        self.one("adopt").map(|_| self.text.clone().into_bytes())
    }

    fn reset_counters(&mut self) {
        self.answered.reset();
    }

    fn publish(&mut self) -> String {
        self.one("say").unwrap_or("").to_owned()
    }

    fn has_lookout(&self) -> bool {
        self.one("lookout").is_some()
    }

    fn look_out(&self, Lookout { line, serving, .. }: Lookout) {
        let Some(folder) = self.one("lookout").map(PathBuf::from) else { return };
        let mut told = match OpenOptions::new().append(true).create(true).open(folder.join("told")) {
            Ok(told) => told,
            Err(error) => return tracing::error!("cannot write into {}: {error}", folder.display()),
        };
        let mut tell = |words: String| {
            if let Err(error) = told.write_all(format!("{words}\n").as_bytes()) {
                tracing::error!("cannot write what the lookout is told: {error}");
            }
        };
        tell(format!("lookout {} {serving:?}", std::process::id()));
        let line = Arc::new(line);
        let asking = Arc::clone(&line);
        std::thread::spawn(move || ask(&asking, &folder.join("ask")));
        loop {
            let news = line.receive();
            tell(format!("{news:?}"));
            if news == News::ParentGone {
                return;
            }
        }
    }

    fn start(&self, child: &ChildContext) -> Result<Speaker, StartError> {
        let loaded = self.scripts.iter().rev().find(|(generation, _)| *generation == child.generation);
        let (_, script) = loaded.ok_or_else(|| StartError(String::from("nobody knows that generation any more")))?;
        let own = script.one(&format!("start.{}", child.pool_name));
        match own.or(script.one("start")) {
            Some("fail") => return Err(StartError("the script says so".to_owned())),
            Some("crash") => std::process::abort(),
            _ => {}
        }
        let greeting = Greeting::new(script, child.generation, &child.news);
        Ok(Speaker {
            greetings: Mutex::new(Greetings { current: greeting, next: None, older: Vec::new() }),
            folder: script.one("lookout").map(PathBuf::from),
            slot: child.slot,
            answered: self.answered.clone(),
            scoreboard: child.scoreboard.clone(),
            news: child.news.clone(),
        })
    }
}

/// Asks for what stands in the file, which is removed then, until there is nobody to ask.
fn ask(line: &LookoutLine, file: &Path) {
    loop {
        std::thread::sleep(Duration::from_millis(5));
        let Ok(word) = std::fs::read_to_string(file) else { continue };
        let request = match word.as_str() {
            "publish" => Request::Publish,
            "reload" => Request::Reload,
            "restart" => Request::Restart,
            "stop" => Request::Stop,
            "stop-gracefully" => Request::StopGracefully,
            // It is not written to its end.
            _ => continue,
        };
        if std::fs::remove_file(file).is_err() || line.send(request).is_err() {
            return;
        }
    }
}

fn address(text: &str) -> Result<ListenAddress, LoadError> {
    match text.strip_prefix("unix:") {
        Some(path) => Ok(ListenAddress::Unix(path.into())),
        None => text.parse().map(ListenAddress::Tcp).map_err(|error| LoadError(format!("{text}: {error}"))),
    }
}

/// `NAME ADDRESS CHILDREN`.
fn pool(line: &str) -> Result<Pool, LoadError> {
    let words: Vec<_> = line.split(' ').collect();
    let wrong = || LoadError(format!("pool {line}: write a name, an address and a number of children"));
    let [name, listen, children] = words[..] else { return Err(wrong()) };
    let children = children.parse().map_err(|_| wrong())?;
    let mpm = Mpm::Prefork(Prefork {
        on_demand: children == 0,
        start_servers: children,
        min_spare_servers: children,
        max_spare_servers: if children == 0 { 0 } else { children + 1 },
        server_limit: 8,
        max_request_workers: if children == 0 { 8 } else { children },
        ..Prefork::default()
    });
    Ok(Pool { name: name.to_owned(), listen: vec![address(listen)?], mpm })
}

/// Says its line, then waits until the client has closed.
struct Speaker {
    greetings: Mutex<Greetings>,
    /// The lookout's.
    folder: Option<PathBuf>,
    slot: usize,
    answered: Tallies,
    scoreboard: Scoreboard,
    news: Waker,
}

/// By generation.
struct Greetings {
    current: Arc<Greeting>,
    next: Option<Arc<Greeting>>,
    /// Connections that they were said to may still be open.
    older: Vec<(u32, Weak<Greeting>)>,
}

struct Greeting {
    word: String,
    generation: u32,
    news: Waker,
}

impl Greeting {
    fn new(script: &Script, generation: u32, news: &Waker) -> Arc<Self> {
        let word = script.one("say").unwrap_or("").to_owned();
        Arc::new(Self { word, generation, news: news.clone() })
    }
}

impl Drop for Greeting {
    fn drop(&mut self) {
        self.news.wake_by_ref();
    }
}

impl Speaker {
    fn greetings(&self) -> MutexGuard<'_, Greetings> {
        self.greetings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The greeting of the generation that is published now.
    fn greeting(&self) -> Arc<Greeting> {
        let mut greetings = self.greetings();
        let published = self.scoreboard.published();
        if let Some(next) = greetings.next.take_if(|next| next.generation == published) {
            let before = std::mem::replace(&mut greetings.current, next);
            greetings.older.push((before.generation, Arc::downgrade(&before)));
        }
        Arc::clone(&greetings.current)
    }

    fn line(&self, greeting: &Greeting) -> String {
        self.answered.add(self.slot, 0, 1);
        let lives = |slot: &usize| self.scoreboard.child(*slot).read().status != ChildStatus::Dead;
        let children = (0..self.scoreboard.slots()).filter(lives).count();
        let Greeting { word, generation, .. } = greeting;
        format!("{word} {} {generation} {} {children}\n", std::process::id(), self.answered.sum(0))
    }
}

/// Holds the greeting for as long as it listens.
struct Listener {
    greeting: Arc<Greeting>,
    was_greeted: bool,
}

impl Protocol for Speaker {
    type Thread = ();
    type Connection = Listener;

    fn thread(&self, _context: ThreadContext) -> Result<(), StartError> {
        Ok(())
    }

    fn accept(&self, (): &mut (), _accepted: &Accepted) -> Listener {
        Listener { greeting: self.greeting(), was_greeted: false }
    }

    fn advance(&self, (): &mut (), listener: &mut Listener, turn: &mut Turn<'_>) -> Next {
        let was_greeted = std::mem::replace(&mut listener.was_greeted, true);
        if !was_greeted && turn.stream.write_all(self.line(&listener.greeting).as_bytes()).is_err() {
            return Next::Close;
        }
        match turn.stream.read(&mut [0; 64]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Next::Read(Instant::now() + Duration::from_secs(60)),
            Ok(_) | Err(_) => Next::Close,
        }
    }

    fn adopt(&self, generation: u32, handover: &[u8]) -> Result<(), StartError> {
        let script = Script::parse(handover);
        if script.one("adopt") == Some("fail") {
            return Err(StartError("the script says so".to_owned()));
        }
        self.greetings().next = Some(Greeting::new(&script, generation, &self.news));
        Ok(())
    }

    fn forget(&self, generation: u32) {
        self.greetings().next.take_if(|next| next.generation == generation);
        let Some(folder) = &self.folder else { return };
        let sign = folder.join(format!("forgotten.{}", std::process::id()));
        if let Err(error) = std::fs::write(&sign, generation.to_string()) {
            tracing::error!("cannot write {}: {error}", sign.display());
        }
    }

    fn published(&self) {
        self.greeting();
    }

    fn held(&self) -> Vec<u32> {
        let mut greetings = self.greetings();
        greetings.older.retain(|(_, greeting)| greeting.strong_count() > 0);
        let older = greetings.older.iter().map(|(generation, _)| *generation);
        older.chain([greetings.current.generation]).collect()
    }

    fn turn_end(&self, (): &mut ()) {}
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .init();
    let Some(file) = std::env::args().nth(1) else {
        eprintln!("usage: staged FILE");
        return ExitCode::from(2);
    };
    let answered = match Tallies::new(1) {
        Ok(answered) => answered,
        Err(error) => {
            tracing::error!("cannot get shared memory: {error}");
            return ExitCode::FAILURE;
        }
    };
    match serve(Staged { file, scripts: Vec::new(), text: String::new(), answered }) {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
