//! Many idle connections to one server, held by processes of their own: one process may have fewer descriptors than there
//! are to be connections, and one address has only so many ports. Here are both sides, that of the program which measures
//! ([`Crowd`]) and that of the processes ([`hold`]), and what they say to each other: a number in a line.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::sys::resource::{Resource, getrlimit};

use crate::client::Client;
use crate::servers::HELLO;

/// The first word of the command line of a process that holds connections.
pub const HOLD: &str = "hold";

/// Connections of one process, which has one address: less than half of the ephemeral ports (28 232 by default), because
/// the kernel looks long for a free one among few.
const HELD_MAX: usize = 12_500;

/// Of a process, besides its connections.
const OTHER_DESCRIPTORS: usize = 64;

/// Connections that have asked for [`HELLO`] once.
pub struct Crowd {
    holders: Vec<Holder>,
    /// How many were opened: fewer than were wanted if something ran out, which standard error tells.
    pub opened: usize,
}

struct Holder {
    process: Child,
    said: BufReader<ChildStdout>,
}

impl Crowd {
    /// Opens so many, one after the other in each process, and waits until all have been answered.
    pub fn open(to: SocketAddr, wanted: usize) -> Result<Self> {
        let held_max = HELD_MAX.min(descriptors_max().saturating_sub(OTHER_DESCRIPTORS)).max(1);
        let mut holders = Vec::new();
        for first in (0..wanted).step_by(held_max) {
            holders.push(Holder::start(to, holders.len(), held_max.min(wanted - first))?);
        }
        let mut crowd = Self { holders, opened: 0 };
        crowd.opened = crowd.sum()?;
        if crowd.opened == 0 {
            bail!("no idle connection could be opened");
        }
        Ok(crowd)
    }

    /// Asks once more on each of them. How many are answered.
    pub fn ask(&mut self) -> Result<usize> {
        for holder in &mut self.holders {
            holder.process.stdin.as_mut().expect("it is a pipe").write_all(b"\n").context("cannot reach a holder")?;
        }
        self.sum()
    }

    fn sum(&mut self) -> Result<usize> {
        self.holders.iter_mut().map(Holder::number).sum()
    }
}

impl Holder {
    fn start(to: SocketAddr, index: usize, connections: usize) -> Result<Self> {
        let last = u8::try_from(2 + index).context("too many connections for one network")?;
        let from = Ipv4Addr::new(127, 0, 0, last);
        let mut process = Command::new(std::env::current_exe()?)
            .args([HOLD, &to.to_string(), &from.to_string(), &connections.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a process that holds connections")?;
        let said = BufReader::new(process.stdout.take().expect("it is a pipe"));
        Ok(Self { process, said })
    }

    fn number(&mut self) -> Result<usize> {
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        line.trim().parse().context("a process that holds connections has ended")
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // It may wait for an answer, and keeps nothing that would need an orderly end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Descriptors that this process, and those that it starts, may have open: as many as it may allow itself, which `main` has
/// done.
pub fn descriptors_max() -> usize {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| usize::try_from(soft).unwrap_or(usize::MAX))
}

/// The process: opens connections and says how many, and asks on all of them again and says how many were answered, for each
/// line that it is sent. Until nobody can send it one.
pub fn hold(words: &[String]) -> Result<()> {
    let [to, from, wanted] = words else {
        bail!("{HOLD} needs a server's address, an address of its own, and a number")
    };
    let (to, from, wanted): (SocketAddr, IpAddr, usize) = (to.parse()?, from.parse()?, wanted.parse()?);
    let mut clients = Vec::with_capacity(wanted);
    while clients.len() < wanted {
        match open(to, from) {
            Ok(client) => clients.push(client),
            Err(error) => {
                eprintln!("from {from} only {} of {wanted} connections could be opened: {error:#}", clients.len());
                break;
            }
        }
    }
    println!("{}", clients.len());
    for line in std::io::stdin().lines() {
        line?;
        println!("{}", clients.iter_mut().filter_map(|client| client.get(HELLO).ok()).count());
    }
    Ok(())
}

fn open(to: SocketAddr, from: IpAddr) -> Result<Client> {
    let mut client = Client::connect(to, Some(from))?;
    client.get(HELLO)?;
    Ok(client)
}
