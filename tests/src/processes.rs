//! The server's processes as `/proc` shows them.

use std::fs;

use nix::unistd::Pid;

use crate::patience::until;

/// The processes whose parent is `parent`.
///
/// # Panics
/// Without `/proc`.
#[must_use]
pub fn children_of(parent: Pid) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").expect("there is a /proc");
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.map(Pid::from_raw).filter(|pid| status(*pid).is_some_and(|(_, its_parent)| its_parent == parent)).collect()
}

/// Whether the process is the one that watches over a server, by its name.
#[must_use]
pub fn is_lookout(pid: Pid) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "lookout\n")
}

/// Whether the process is there and is not merely waiting to be reaped.
#[must_use]
pub fn is_alive(pid: Pid) -> bool {
    status(pid).is_some_and(|(state, _)| state != 'Z' && state != 'X')
}

/// Waits until none of these processes is left.
///
/// # Panics
/// If one of them does not end.
pub fn wait_until_ended(pids: &[Pid]) {
    until(&format!("{pids:?} have ended"), || (!pids.iter().any(|pid| is_alive(*pid))).then_some(()));
}

/// State and parent. `/proc/PID/stat` is `pid (name) state ppid …`, and the name may hold anything.
fn status(pid: Pid) -> Option<(char, Pid)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut words = after_name.split_whitespace();
    let state = words.next()?.chars().next()?;
    Some((state, Pid::from_raw(words.next()?.parse().ok()?)))
}

/// The memory of the process and its children in bytes, what they share counted once (PSS).
///
/// # Panics
/// If the process itself is gone.
#[must_use]
pub fn memory_of_tree(parent: Pid) -> u64 {
    let children: u64 = children_of(parent).into_iter().filter_map(memory).sum();
    memory(parent).expect("the server runs") + children
}

fn memory(pid: Pid) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// How many descriptors the process has open; 0 if it is gone.
#[must_use]
pub fn descriptors(pid: Pid) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// How many pieces of native code from the cache the process has in its memory; 0 if it is gone.
#[must_use]
pub fn mappings_of_native_code(pid: Pid) -> usize {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    maps.lines().filter(|line| line.contains(".cwasm")).count()
}

/// The CPU time that the process has used, in clock ticks; 0 if it is gone.
#[must_use]
pub fn cpu_ticks(pid: Pid) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, after_name)| after_name);
    // utime and stime are the 14th and 15th field of the line, and 12th and 13th after the name.
    fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}
