//! Clients that keep a server busy while a test does something to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::answer::Answer;
use crate::client::Client;
use crate::patience::until;
use crate::server::Server;

/// Clients that ask over and over, half of them on kept connections.
pub struct Load {
    end: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    /// No more than the smallest server has processes.
    pub const CLIENTS: usize = 2;

    /// GETs of `target`; whatever is not answered with 200 is lost.
    #[must_use]
    pub fn start(server: &Server, target: &str) -> Self {
        Self::checked(server, target, |_| true)
    }

    /// The same; an answer that is not right is lost, too.
    #[must_use]
    pub fn checked(server: &Server, target: &str, is_right: fn(&Answer) -> bool) -> Self {
        let request = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
        let end = Arc::new(AtomicBool::new(false));
        let answers = Arc::new(AtomicUsize::new(0));
        let clients = (0..Self::CLIENTS).map(|index| {
            let (address, end, answers) = (server.address(), Arc::clone(&end), Arc::clone(&answers));
            let request = request.clone();
            std::thread::spawn(move || {
                let mut lost = Vec::new();
                let mut kept = None;
                while !end.load(Ordering::Relaxed) {
                    match ask(address, &request, kept.take(), is_right) {
                        Ok(client) => kept = client.filter(|_| index % 2 == 0),
                        Err(error) => lost.push(error),
                    }
                    answers.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(2));
                }
                lost
            })
        });
        let clients = clients.collect();
        Self { end, answers, clients }
    }

    /// # Panics
    /// If there are not so many in time.
    pub fn wait_for_answers(&self, count: usize) {
        until("the clients have their answers", || (self.answers.load(Ordering::Relaxed) >= count).then_some(()));
    }

    /// Ends the load, and says what was lost.
    ///
    /// # Panics
    /// If a client has.
    #[must_use]
    pub fn stop(self) -> Vec<String> {
        self.end.store(true, Ordering::Relaxed);
        self.clients.into_iter().flat_map(|client| client.join().expect("the client does not panic")).collect()
    }
}

/// One request, on the kept connection if there is one; gives the connection back if it may be kept. A kept connection
/// that was closed before any byte of the answer means: ask again on a new one (RFC 9112 section 9.3.1).
fn ask(
    address: SocketAddr,
    request: &str,
    kept: Option<Client>,
    is_right: fn(&Answer) -> bool,
) -> Result<Option<Client>, String> {
    if let Some(mut client) = kept
        && client.try_send(request).is_ok()
        && client.try_wait_for_bytes().is_ok()
    {
        return take_answer(client, is_right);
    }
    let mut client = Client::try_connect(address).map_err(|error| format!("connecting: {error}"))?;
    client.try_send(request).map_err(|error| format!("sending: {error}"))?;
    take_answer(client, is_right)
}

fn take_answer(mut client: Client, is_right: fn(&Answer) -> bool) -> Result<Option<Client>, String> {
    let answer = client.try_receive().map_err(|error| format!("receiving: {error}"))?;
    match answer.status {
        200 if !is_right(&answer) => Err(format!("answer {:?}", answer.text())),
        200 => Ok(Some(client).filter(|_| !answer.says_close())),
        status => Err(format!("status {status}")),
    }
}
