//! Work of a thread that belongs to none of its connections, under all three MPMs: errands that a client sends the
//! thread on, which go on when it has left.

use std::net::TcpListener;
use std::task::Waker;

use super::*;
use crate::protocol::{ConnectionId, Upkeep};

/// Asks for this many turns once it may go on.
const TURNS: u32 = 3;

/// What one thread has under way.
pub(super) struct Errands {
    waker: Waker,
    errand: Option<Errand>,
    /// Who would have another connection's upstream.
    pub(super) heir: Option<ConnectionId>,
}

enum Errand {
    /// Another thread waits for word from the test.
    Away(mpsc::Receiver<TcpStream>),
    /// It would go on, so many times.
    Back(TcpStream, u32),
}

impl Errands {
    pub(super) fn new(waker: Waker) -> Self {
        Self { waker, errand: None, heir: None }
    }

    /// Begins one: it knocks at `address`, and goes on when it hears a byte.
    pub(super) fn run(&mut self, address: &str) {
        let (back, away) = mpsc::channel();
        self.errand = Some(Errand::Away(away));
        let (address, waker) = (address.to_owned(), self.waker.clone());
        // As a guest that is still busy does when its connection has no use for it any more.
        self.waker.wake_by_ref();
        std::thread::spawn(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.read_exact(&mut [0]).unwrap();
            back.send(stream).unwrap();
            waker.wake();
        });
    }

    pub(super) fn tend(&mut self, now: Instant) -> Upkeep {
        let far = now + LONG;
        match self.errand.take() {
            None => Upkeep::Done,
            Some(Errand::Away(away)) => {
                self.errand = Some(match away.try_recv() {
                    Ok(stream) => Errand::Back(stream, TURNS),
                    Err(_) => Errand::Away(away),
                });
                match self.errand {
                    Some(Errand::Back(..)) => Upkeep::Yield(far),
                    _ => Upkeep::Wait(far),
                }
            }
            Some(Errand::Back(mut stream, 0)) => {
                stream.write_all(b"done").unwrap();
                Upkeep::Done
            }
            Some(Errand::Back(stream, turns)) => {
                self.errand = Some(Errand::Back(stream, turns - 1));
                Upkeep::Yield(far)
            }
        }
    }
}

/// Sends the thread of `client` on an errand, and answers with its other end.
fn sent_on_an_errand(client: &mut Client) -> TcpStream {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    assert_eq!(client.ask(&format!("run {}", listener.local_addr().unwrap())), "running");
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream
}

fn finish(mut errand: TcpStream) {
    errand.write_all(b"!").unwrap();
    let mut heard = String::new();
    errand.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "done");
}

#[test]
fn a_threads_own_work_goes_on_while_a_connection_is_open() {
    under_each(|mpm| {
        let child = Child::start(mpm(common()));
        let mut client = child.connect();
        finish(sent_on_an_errand(&mut client));
        assert_eq!(client.ask("hello"), "hello");
        assert_eq!(child.drain(), ChildExit::Drained);
    });
}

#[test]
fn a_threads_own_work_goes_on_after_its_connections() {
    under_each(|mpm| {
        let child = Child::start(mpm(common()));
        let mut client = child.connect();
        let errand = sent_on_an_errand(&mut client);
        client.say("close");
        assert!(client.is_closed());
        finish(errand);
        assert_eq!(child.connect().ask("hello"), "hello");
        assert_eq!(child.drain(), ChildExit::Drained);
    });
}

#[test]
fn a_child_drains_its_threads_own_work() {
    under_each(|mpm| {
        let child = Child::start(mpm(common()));
        let mut client = child.connect();
        let errand = sent_on_an_errand(&mut client);
        client.say("close");
        assert!(client.is_closed());
        let finished = std::thread::spawn(move || finish(errand));
        assert_eq!(child.drain(), ChildExit::Drained);
        finished.join().unwrap();
    });
}
