//! A pool that speaks to another: the `relay` example, under all three MPMs. Clients are greeted by the echo at the
//! other end of the relay, with its pid, before they have said anything.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{MPMS, PATIENCE, Server, is_alive, kill_hard, wait_until};

const MIB: usize = 1 << 20;

struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    /// A client and the pid of the echo that has greeted it.
    fn greeted(address: SocketAddr) -> (Self, i32) {
        let mut client = Self::connect(address);
        let pid = client.hear().trim_end().parse().unwrap();
        (client, pid)
    }

    fn say(&mut self, text: &str) {
        self.stream().write_all(text.as_bytes()).unwrap();
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line
    }

    fn stream(&mut self) -> &mut TcpStream {
        self.0.get_mut()
    }

    /// Reads to the end, however that comes.
    fn rest(mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("neither said nor closed: {error}"),
        }
        rest
    }

    /// Writes until the other end takes no more, without ever reading. How much that was.
    fn stuff(&mut self) -> usize {
        // A machine that is too slow for this makes the test weaker and not fail.
        self.stream().set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        let mut written = 0;
        while written < 512 * MIB {
            match self.stream().write(&pattern(written..written + MIB)) {
                Ok(taken) => written += taken,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    self.stream().set_write_timeout(None).unwrap();
                    return written;
                }
                Err(error) => panic!("cannot write: {error}"),
            }
        }
        panic!("{written} bytes are buffered somewhere");
    }
}

/// Bytes of which no stretch is like another, and without a full stop.
fn pattern(range: std::ops::Range<usize>) -> Vec<u8> {
    range
        .map(|at| (at.wrapping_mul(0x9e37_79b9) >> 16) as u8)
        .map(|byte| if byte == b'.' { b'!' } else { byte })
        .collect()
}

#[test]
fn an_upstream_that_speaks_first_is_heard_and_then_answers_each_word() {
    for mpm in MPMS {
        let (server, address) = Server::relaying(mpm, 1, 64);
        let (mut client, pid) = Client::greeted(address);
        assert!(server.children().contains(&pid), "{mpm}");
        for word in ["one\n", "two\n"] {
            client.say(word);
            assert_eq!(client.hear(), word, "{mpm}");
        }
    }
}

#[test]
fn much_goes_both_ways_only_as_fast_as_the_other_end_takes_it() {
    for mpm in MPMS {
        let (_server, address) = Server::relaying(mpm, 1, 64);
        let (mut client, _) = Client::greeted(address);
        let stuck_at = client.stuff();
        let all = stuck_at + 4 * MIB;
        let mut rest = client.stream().try_clone().unwrap();
        let writer = thread::spawn(move || {
            rest.write_all(&pattern(stuck_at..all)).unwrap();
            rest.shutdown(Shutdown::Write).unwrap();
        });
        let echoed = client.rest();
        assert_eq!(echoed.len(), all, "{mpm}");
        assert!(echoed == pattern(0..all), "{mpm}: it came back otherwise than it went");
        writer.join().unwrap();
    }
}

#[test]
fn the_end_of_the_upstream_comes_after_all_that_it_has_said() {
    for mpm in MPMS {
        let (_server, address) = Server::relaying(mpm, 1, 64);
        let (mut client, first) = Client::greeted(address);
        client.say("that is all.");
        assert_eq!(client.rest(), b"that is all.", "{mpm}");
        let (_, second) = Client::greeted(address);
        assert_eq!(first, second, "{mpm}: its child has ended as well");
    }
}

#[test]
fn the_end_of_a_client_frees_the_child_that_it_spoke_to() {
    for mpm in MPMS {
        let (_server, address) = Server::relaying(mpm, 1, 64);
        let (half_closed, only) = Client::greeted(address);
        let mut waiting = Client::connect(address);
        half_closed.0.get_ref().shutdown(Shutdown::Write).unwrap();
        assert_eq!(half_closed.rest(), b"", "{mpm}");
        assert_eq!(waiting.hear().trim_end(), only.to_string(), "{mpm}");

        // What it has not read makes it go with a reset.
        waiting.stuff();
        drop(waiting);
        let (_, again) = Client::greeted(address);
        assert_eq!(again, only, "{mpm}");
    }
}

#[test]
fn an_upstream_that_is_killed_ends_the_connections_that_spoke_to_it_and_no_other() {
    for mpm in MPMS {
        let (server, address) = Server::relaying(mpm, 2, 64);
        let (victim, pid) = Client::greeted(address);
        let (mut neighbour, other) = Client::greeted(address);
        let mut waiting = Client::connect(address);
        let bystanders: Vec<_> = server.children().into_iter().filter(|child| *child != pid).collect();
        kill_hard(pid);
        assert_eq!(victim.rest(), b"", "{mpm}");
        let heir: i32 = waiting.hear().trim_end().parse().unwrap();
        assert!(heir != pid && heir != other, "{mpm}");
        neighbour.say("still here\n");
        assert_eq!(neighbour.hear(), "still here\n", "{mpm}");

        // In the midst of much: neither end can write.
        waiting.stuff();
        kill_hard(heir);
        waiting.rest();
        neighbour.say("and now\n");
        assert_eq!(neighbour.hear(), "and now\n", "{mpm}");
        assert!(bystanders.into_iter().all(is_alive), "{mpm}");
    }
}

#[test]
fn a_full_backlog_is_told_at_once_and_who_waits_in_it_is_served() {
    for mpm in MPMS {
        let (_server, address) = Server::relaying(mpm, 1, 1);
        let (busy, only) = Client::greeted(address);
        let (heard, first_words) = mpsc::channel();
        // The kernel lets one more wait than it is told.
        for _ in 0..4 {
            let (heard, mut client) = (heard.clone(), Client::connect(address));
            thread::spawn(move || {
                let word = client.hear();
                heard.send((word, client)).unwrap();
            });
        }
        let next = || first_words.recv_timeout(PATIENCE).unwrap();
        assert_eq!([next().0, next().0], ["no echo: busy\n", "no echo: busy\n"], "{mpm}");
        drop(busy);
        for _ in 0..2 {
            let (greeting, _served) = next();
            assert_eq!(greeting.trim_end(), only.to_string(), "{mpm}");
        }
    }
}

#[test]
fn an_upstream_that_is_not_there_is_told_at_once() {
    for mpm in MPMS {
        let (server, address) = Server::relaying(mpm, 1, 64);
        std::fs::remove_file(server.folder.join("echo")).unwrap();
        let told = Client::connect(address).hear();
        assert!(told.starts_with("no echo: No such file"), "{mpm}: {told}");
    }
}

#[test]
fn a_graceful_stop_lets_a_connection_and_its_upstream_finish() {
    for mpm in MPMS {
        let (mut server, address) = Server::relaying(mpm, 1, 64);
        let (mut client, _) = Client::greeted(address);
        server.signal(Signal::SIGWINCH);
        wait_until("the server has closed its listener", || TcpStream::connect(address).err());
        client.say("one more.");
        assert_eq!(client.rest(), b"one more.", "{mpm}");
        assert!(server.wait_for_end().success(), "{mpm}");
    }
}
