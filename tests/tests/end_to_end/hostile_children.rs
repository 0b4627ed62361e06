//! A confined child that is in the hands of its guest: whatever it says to a server child, the client gets one answer or
//! a broken one, in time, and the next request is served.
//!
//! The test takes the place of the pool's children: it binds the path of their socket and speaks bytes. And it takes the
//! place of a server child, to see what a real one is told.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use guesthouse_tests::patience::{PATIENCE, until};
use guesthouse_tests::{Answer, Mpm, Server, Setup};

use crate::confinement::{ONE, THREADED, sockets, with_confined};

const BEGUN: &[u8] = &[4, 1, 0, 0, 0, 0];
const WANTED: &[u8] = &[5, 0, 0, 0, 0];
/// Status 200, a body of unknown length, no fields.
const HEAD: &[u8] = &[7, 4, 0, 0, 0, 0xc8, 0x01, 0, 0];
const DATA: &[u8] = &[2, 5, 0, 0, 0, b'h', b'e', b'l', b'l', b'o'];
const END: &[u8] = &[3, 1, 0, 0, 0, 0];
const DONE: &[u8] = &[8, 3, 0, 0, 0, 0, 0, 0];

/// A server whose confined children are replaced by one that does this with every connection.
fn server_with(mpm: Mpm, lines: &str, play: impl Fn(UnixStream) + Send + 'static) -> Server {
    server_of(with_confined(mpm, lines), play)
}

/// As [`server_with`], set up otherwise.
fn server_of(setup: Setup, play: impl Fn(UnixStream) + Send + 'static) -> Server {
    server_unread(setup, move |stream| {
        // The request is read, as a confined child would.
        let _ = (&stream).read(&mut [0; 4096]);
        play(stream);
    })
}

/// As [`server_of`], but it has read nothing yet.
fn server_unread(setup: Setup, play: impl Fn(UnixStream) + Send + 'static) -> Server {
    let server = setup.start();
    let socket = sockets(&server).pop().expect("there is a pool");
    std::fs::remove_file(&socket).expect("the folder is ours");
    let impostor = UnixListener::bind(&socket).expect("the path is free");
    thread::spawn(move || impostor.incoming().flatten().for_each(play));
    server
}

/// A server whose confined child says this, whatever it is asked, and closes.
fn server_that_is_told(mpm: Mpm, said: &[&[u8]]) -> Server {
    let said = said.concat();
    server_with(mpm, "", move |mut stream| {
        let _ = stream.write_all(&said);
    })
}

/// What a client gets; `None` if that is not a whole answer.
fn ask(server: &Server) -> Option<Answer> {
    let mut client = server.connect();
    client.send_get("/c/hello");
    client.try_receive().ok()
}

fn is_well(server: &Server) {
    assert_eq!(server.get("/hello").text(), "hello\n");
}

#[test]
fn an_honest_child_is_answered_for() {
    for mpm in THREADED {
        let server = server_that_is_told(mpm, &[BEGUN, HEAD, DATA, END, DONE]);
        assert_eq!(ask(&server).expect("an answer").text(), "hello");
        is_well(&server);
    }
}

#[test]
fn requests_that_wait_follow_each_other_on_one_connection() {
    /// Done, and waiting for another request.
    const GOES_ON: &[u8] = &[8, 3, 0, 0, 0, 0, 0, 1];
    let (begin, may_begin) = mpsc::channel::<()>();
    let (says_served, served) = mpsc::channel();
    let one_thread = "start_servers = 1\nthreads_per_child = 1";
    let server = server_of(with_confined(Mpm::Event, "").directives(one_thread), move |mut stream| {
        // Only the first waits for the word.
        let _ = may_begin.recv();
        let mut requests = 1;
        while stream.write_all(&[BEGUN, HEAD, DATA, END, GOES_ON].concat()).is_ok()
            && matches!(stream.read(&mut [0; 4096]), Ok(1..))
        {
            requests += 1;
        }
        let _ = says_served.send(requests);
    });
    let mut clients: Vec<_> = (0..16).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.send_get("/c/hello"));
    // The one thread has seen what came before this.
    is_well(&server);
    drop(begin);
    for client in &mut clients {
        assert_eq!(client.receive().text(), "hello");
    }
    // Four were in the pool's queue already; a fifth went there when the first was taken out.
    assert_eq!(served.iter().take(5).collect::<Vec<i32>>(), [12, 1, 1, 1, 1]);
}

#[test]
fn a_request_that_a_child_has_not_read_goes_to_another_one_once() {
    for mpm in THREADED {
        for (closed_unread, status) in [(1, 200), (2, 502)] {
            let asked = AtomicUsize::new(0);
            let server = server_unread(with_confined(mpm, ""), move |mut stream| {
                if asked.fetch_add(1, Ordering::Relaxed) >= closed_unread {
                    let _ = stream.read(&mut [0; 4096]);
                    let _ = stream.write_all(&[BEGUN, HEAD, DATA, END, DONE].concat());
                }
            });
            assert_eq!(ask(&server).expect("an answer").status, status, "{mpm:?}: {closed_unread} closed");
            assert_eq!(ask(&server).expect("an answer").text(), "hello", "and the next is served");
        }
    }
}

/// Whether a child waits for another request, once it has said that. DONE ends with its flag; its time has one byte or more.
fn goes_on(said: &[u8]) -> Option<bool> {
    let mut rest = said;
    while let [kind, length, 0, 0, 0, content @ ..] = rest {
        let (content, behind) = content.split_at_checked(usize::from(*length))?;
        if *kind == DONE[0] {
            return content.last().map(|flag| *flag == 1);
        }
        rest = behind;
    }
    None
}

/// What a real child of a pool does with requests for `/hello`, said over one connection after the other: says whether it
/// waits for another one after each. `flags`: no body, and whether others wait.
fn asked(server: &Server, flags: [u8; 2]) -> Vec<bool> {
    let [socket] = &sockets(server)[..] else { panic!("one pool") };
    let mut stream = UnixStream::connect(socket).expect("the pool is there");
    stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
    let content = [&[7, 0, 1, b'h', 3][..], b"GET", &[6], b"/hello", &[0], &flags, &[0, 0]].concat();
    let length = u8::try_from(content.len()).expect("it is short");
    let request = [&[1, length, 0, 0, 0][..], &content].concat();
    let mut went_on = Vec::new();
    loop {
        // It waits for a second: where this thread has stood still for longer, it has gone.
        if stream.write_all(&request).is_err() {
            return went_on;
        }
        let mut said = Vec::new();
        let waits = loop {
            let mut piece = [0; 4096];
            match stream.read(&mut piece) {
                Ok(0) | Err(_) if said.is_empty() && !went_on.is_empty() => return went_on,
                Ok(0) => panic!("it has ended in the middle of an answer: {said:?}"),
                Ok(count) => said.extend_from_slice(&piece[..count]),
                Err(error) => panic!("it does not answer: {error}, after {said:?}"),
            }
            if let Some(waits) = goes_on(&said) {
                break waits;
            }
        };
        went_on.push(waits);
        if !waits {
            assert!(matches!(stream.read(&mut [0]), Ok(0)), "it waits for nothing more");
            return went_on;
        }
    }
}

#[test]
fn a_child_goes_on_with_a_connection_for_a_while_if_others_wait() {
    let server = with_confined(Mpm::Event, ONE).start();
    // How many follow in that time depends on the machine.
    until("one has followed another", || (asked(&server, [0, 1]).len() > 1).then_some(()));
    assert_eq!(asked(&server, [0, 0]), [false], "nobody waits");
    let counted = ONE.to_owned() + "\nmax_connections_per_child = 1000";
    let server = with_confined(Mpm::Event, &counted).start();
    assert_eq!(asked(&server, [0, 1]), [false], "its connections are counted");
}

#[test]
fn nonsense_before_the_answer_is_502() {
    let cases: [(&str, &[&[u8]]); 12] = [
        ("nothing", &[]),
        ("noise", &[b"HTTP/1.1 200 OK\r\n\r\n"]),
        ("half a frame", &[BEGUN, &HEAD[..6]]),
        ("a frame of 4 GiB", &[BEGUN, &[7, 0xff, 0xff, 0xff, 0xff]]),
        ("an unknown kind", &[BEGUN, &[99, 0, 0, 0, 0]]),
        ("a field that would split the head", &[BEGUN, &[7, 9, 0, 0, 0, 0xc8, 0x01, 0, 1, 1, b'x', 2, b'\r', b'\n']]),
        ("an interim status", &[BEGUN, &[7, 3, 0, 0, 0, 100, 0, 0]]),
        ("an answer before it has begun", &[HEAD, DATA, END, DONE]),
        ("data before the head", &[BEGUN, DATA]),
        ("an end before the head", &[BEGUN, END]),
        ("done before the head", &[BEGUN, DONE]),
        ("the wish for a body that there is not", &[BEGUN, WANTED]),
    ];
    for (index, (what, said)) in cases.into_iter().enumerate() {
        let server = server_that_is_told(THREADED[index % 2], said);
        let answer = ask(&server).unwrap_or_else(|| panic!("{what}: an answer"));
        assert_eq!(answer.status, 502, "{what}: {answer:?}");
        server.log.wait_for("module=confined…request=…cause=");
        is_well(&server);
    }
}

#[test]
fn an_answer_that_goes_wrong_breaks_off() {
    let cases: [&[&[u8]]; 3] = [&[BEGUN, HEAD, DATA, HEAD], &[BEGUN, HEAD, DATA], &[BEGUN, HEAD, DATA, DONE]];
    for (index, said) in cases.into_iter().enumerate() {
        let server = server_that_is_told(THREADED[index % 2], said);
        let answer = ask(&server);
        assert!(answer.is_none(), "half an answer passed for a whole one: {answer:?}");
        is_well(&server);
    }
}

#[test]
fn what_comes_after_an_answer_reaches_nobody() {
    for mpm in THREADED {
        let server = server_that_is_told(mpm, &[BEGUN, HEAD, DATA, END, DONE, HEAD, DATA, END]);
        let mut client = server.connect();
        client.send_get("/c/hello");
        client.send_get("/hello");
        assert_eq!(client.receive().text(), "hello");
        assert_eq!(client.receive().text(), "hello\n");
    }
}

#[test]
fn a_child_that_says_nothing_is_waited_for_no_longer_than_the_limits_allow() {
    let limit = Duration::from_millis(300);
    let cases: [(&str, &[u8], u16); 2] =
        [("[module.pool]\nqueue_timeout = \"300ms\"", b"", 503), ("[module.limits]\nwall = \"300ms\"", BEGUN, 504)];
    for mpm in THREADED {
        for (lines, said, status) in cases {
            let open = Mutex::new(Vec::new());
            let server = server_with(mpm, lines, move |mut stream| {
                let _ = stream.write_all(said);
                open.lock().expect("one thread at a time").push(stream);
            });
            let began = Instant::now();
            assert_eq!(ask(&server).expect("an answer").status, status);
            // The server child gives a begun one a second more. Without these limits it would be 5 s and 30 s.
            assert!((limit..Duration::from_secs(4)).contains(&began.elapsed()), "{:?}", began.elapsed());
            is_well(&server);
        }
    }
}

#[test]
fn a_child_that_never_stops_talking_holds_no_thread() {
    const UNWANTED: &[u8] = &[6, 0, 0, 0, 0];
    let one_byte = [2, 1, 0, 0, 0, b'x'];
    for mpm in THREADED {
        for (begin, talk) in
            [(BEGUN.to_vec(), UNWANTED.repeat(10_000)), ([BEGUN, HEAD].concat(), one_byte.repeat(10_000))]
        {
            let server = server_with(mpm, "[module.limits]\nwall = \"2s\"", move |mut stream| {
                let _ = stream.write_all(&begin);
                while stream.write_all(&talk).is_ok() {}
            });
            let mut talkers: Vec<_> = (0..4).map(|_| server.connect()).collect();
            talkers.iter_mut().for_each(|client| client.send_get("/c/hello"));
            // However the connections are spread, every thread has one to listen to.
            for _ in 0..8 {
                is_well(&server);
            }
        }
    }
}

#[test]
fn an_endless_answer_that_nobody_reads_is_not_gathered() {
    for mpm in THREADED {
        let (says_blocked, blocked) = mpsc::channel();
        let chunk = [&[2, 0, 0, 1, 0][..], &[b'x'; 65536]].concat();
        let server = server_with(mpm, "", move |mut stream| {
            stream.set_write_timeout(Some(Duration::from_millis(500))).expect("not zero");
            let _ = stream.write_all(&[BEGUN, HEAD].concat());
            let mut sent = 0_usize;
            while stream.write_all(&chunk).is_ok() {
                sent += chunk.len();
            }
            let _ = says_blocked.send(sent);
        });
        let before = server.memory();
        let mut client = server.connect();
        client.send_get("/c/hello");
        client.wait_for_bytes();
        let sent = blocked.recv_timeout(Duration::from_secs(30)).expect("the server stops taking");
        let grown = server.memory().saturating_sub(before);
        assert!(sent < 64 << 20 && grown < 8 << 20, "the server took {sent} bytes and has grown by {grown}");
        is_well(&server);
    }
}
