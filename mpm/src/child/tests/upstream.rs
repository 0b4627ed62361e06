//! Connections with a second socket, under all three MPMs: the test itself is the pool that they speak to.

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// The pool that a child speaks to.
struct OtherPool {
    listener: UnixListener,
    path: PathBuf,
}

impl OtherPool {
    fn start() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("mpm-upstream-{}-{number}", std::process::id()));
        Self { listener: UnixListener::bind(&path).unwrap(), path }
    }

    /// Lets a client's connection connect to the pool.
    fn connected_to(&self, client: &mut Client) -> UnixStream {
        assert_eq!(client.ask(&format!("connect {}", self.path.display())), "connected");
        let (stream, _) = self.listener.accept().unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream
    }
}

impl Drop for OtherPool {
    fn drop(&mut self) {
        let _gone_already = std::fs::remove_file(&self.path);
    }
}

/// Runs a test under each MPM, with a client of a child that is drained afterwards.
fn beside_another_pool(test: impl Fn(&Child, &OtherPool, Client)) {
    under_each(|mpm| {
        let (child, pool) = (Child::start(mpm(common())), OtherPool::start());
        test(&child, &pool, child.connect());
        assert_eq!(child.drain(), ChildExit::Drained);
    });
}

fn is_closed(mut stream: UnixStream) -> bool {
    stream.read(&mut [0; 8]).unwrap() == 0
}

#[test]
fn a_connection_that_waits_only_for_its_upstream_is_advanced_when_that_speaks() {
    beside_another_pool(|_child, pool, mut client| {
        let mut upstream = pool.connected_to(&mut client);
        client.say("hear");
        assert!(client.is_silent());
        for part in ["ne", "w", "s\n"] {
            upstream.write_all(part.as_bytes()).unwrap();
        }
        assert_eq!(client.hear(), "news");
        client.say("hear\nhear");
        upstream.write_all(b"and m").unwrap();
        assert!(client.is_silent());
        upstream.write_all(b"ore\nat once\n").unwrap();
        assert_eq!(client.hear(), "and more");
        assert_eq!(client.hear(), "at once");
    });
}

#[test]
fn the_end_of_an_upstream_is_heard_and_the_connection_goes_on() {
    beside_another_pool(|_child, pool, mut client| {
        let upstream = pool.connected_to(&mut client);
        client.say("hear");
        assert!(client.is_silent());
        drop(upstream);
        assert_eq!(client.hear(), "the end");
        // What it was sent and has not read makes an end of another kind.
        let upstream = pool.connected_to(&mut client);
        assert_eq!(client.ask("pass unread"), "passed");
        client.say("hear");
        drop(upstream);
        assert_eq!(client.hear(), ErrorKind::ConnectionReset.to_string());
        assert_eq!(client.ask("still here"), "still here");
    });
}

#[test]
fn an_upstream_knows_nothing_of_the_end_of_the_one_before_it() {
    beside_another_pool(|_child, pool, mut client| {
        for _ in 0..200 {
            // Its end comes together with the line that replaces it.
            drop(pool.connected_to(&mut client));
            let mut upstream = pool.connected_to(&mut client);
            client.say("hear");
            upstream.write_all(b"mine\n").unwrap();
            assert_eq!(client.hear(), "mine");
        }
    });
}

#[test]
fn an_upstream_closes_when_it_is_told_to_when_another_comes_and_with_its_connection() {
    beside_another_pool(|child, pool, mut client| {
        let first = pool.connected_to(&mut client);
        assert_eq!(client.ask("disconnect"), "disconnected");
        assert!(is_closed(first));
        assert_eq!(client.ask("hear"), "nobody");
        let second = pool.connected_to(&mut client);
        let third = pool.connected_to(&mut client);
        assert!(is_closed(second));
        assert_ne!(client.ask("connect /nowhere"), "connected");
        assert!(is_closed(third), "there is no other, and yet it is closed");
        drop(client);
        for last_words in ["close\n", "panic\n", "half a "] {
            let mut client = child.connect();
            let upstream = pool.connected_to(&mut client);
            client.0.get_mut().write_all(last_words.as_bytes()).unwrap();
            client.0.get_mut().shutdown(std::net::Shutdown::Write).unwrap();
            assert!(is_closed(upstream), "{last_words:?}");
        }
    });
}

#[test]
fn a_pool_that_cannot_be_spoken_to_is_an_answer_at_once() {
    beside_another_pool(|_child, pool, mut client| {
        let line = format!("connect {}", pool.path.display());
        assert_eq!(client.ask("connect /nowhere/at/all"), ErrorKind::NotFound.to_string());

        socket2::SockRef::from(&pool.listener).listen(1).unwrap();
        let fill = || {
            let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket.connect(&socket2::SockAddr::unix(&pool.path).unwrap()).map(|()| socket)
        };
        let held: Vec<_> = std::iter::from_fn(|| fill().ok()).collect();
        assert_eq!(client.ask(&line), ErrorKind::WouldBlock.to_string());
        assert_eq!(client.ask("hear"), "nobody");
        drop(pool.listener.accept().unwrap());
        assert_eq!(client.ask(&line), "connected");
        drop(held);

        let OtherPool { path, .. } = &pool;
        std::fs::remove_file(path).unwrap();
        drop(UnixListener::bind(path).unwrap());
        assert_eq!(client.ask(&line), ErrorKind::ConnectionRefused.to_string());
    });
}

#[test]
fn an_upstream_is_handed_to_another_connection_of_the_thread() {
    let (child, pool) = (Child::start(event_of(common(), 1, 100, 100)), OtherPool::start());
    let (mut giver, mut heir) = (child.connect(), child.connect());
    let mut upstream = pool.connected_to(&mut giver);
    assert_eq!(heir.ask("inherit"), "hoping");
    // It is there already when it is handed over, and half of it was heard.
    giver.say("hear");
    upstream.write_all(b"first\nsec").unwrap();
    assert_eq!(giver.hear(), "first");
    assert_eq!(giver.ask("bequeath"), "given");
    assert_eq!(giver.ask("hear"), "nobody");
    heir.say("hear");
    upstream.write_all(b"ond\n").unwrap();
    assert_eq!(heir.hear(), "second");
    // The end of what it had before it got this one is none of this one.
    let _other = pool.connected_to(&mut giver);
    heir.say("inherit");
    assert_eq!(heir.hear(), "hoping");
    drop(upstream);
    assert_eq!(giver.ask("bequeath"), "given");
    assert_eq!(heir.ask("pass still here"), "passed");
    // Who is gone inherits nothing.
    let last = pool.connected_to(&mut giver);
    assert_eq!(heir.ask("inherit"), "hoping");
    heir.say("close");
    assert!(heir.is_closed());
    assert_eq!(giver.ask("bequeath"), "given");
    assert!(is_closed(last));
    drop(giver);
    assert_eq!(child.drain(), ChildExit::Drained);
}

#[test]
fn a_thread_with_one_connection_hands_its_upstream_to_nobody() {
    for mpm in [prefork, worker] {
        let (child, pool) = (Child::start(mpm(common())), OtherPool::start());
        let mut client = child.connect();
        let _upstream = pool.connected_to(&mut client);
        assert_eq!((client.ask("inherit"), client.ask("bequeath")), ("alone".to_owned(), "kept".to_owned()));
        drop(client);
        assert_eq!(child.drain(), ChildExit::Drained);
    }
}

#[test]
fn what_goes_to_an_upstream_is_not_counted_as_sent_to_clients() {
    beside_another_pool(|child, pool, mut client| {
        let upstream = pool.connected_to(&mut client);
        assert_eq!(client.ask(&format!("pass {}", "x".repeat(10_000))), "passed");
        client.say("close");
        assert!(client.is_closed());
        let reading = child.reading();
        assert_eq!(reading.iter().map(|thread| thread.bytes).sum::<u64>(), "connected\npassed\n".len() as u64);
        drop(upstream);
    });
}

#[test]
fn a_child_that_drains_finishes_what_waits_for_an_upstream() {
    under_each(|mpm| {
        let (child, pool) = (Child::start(mpm(common())), OtherPool::start());
        let mut client = child.connect();
        let mut upstream = pool.connected_to(&mut client);
        client.say("hear");
        assert!(client.is_silent());
        child.control().send(&Command::Drain).unwrap();
        child.wait_until_closed();
        upstream.write_all(b"in time\n").unwrap();
        assert_eq!(client.hear(), "in time");
        assert!(client.is_closed() && is_closed(upstream));
        assert_eq!(child.end(), ChildExit::Drained);
    });
}
