//! What a tree of processes has used, as `/proc` shows it: CPU time and memory. And who belongs to it.

use std::collections::HashMap;
use std::fs;

/// In bytes.
pub const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// A process and all that descend from it.
pub fn tree(root: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for pid in pids {
        // Field 4 of the line, the second after the name.
        if let Some(parent) = stat_fields(pid).and_then(|fields| fields.get(1)?.parse().ok()) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children.remove(pid).unwrap_or_default());
        next += 1;
    }
    found
}

/// What a process calls itself: its program, or what it has chosen, cut to 15 bytes. Empty if it has gone.
pub fn name(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_owned()
}

/// Seconds of CPU time, user and system, that the tree has used: by its processes and by those that they outlived.
pub fn cpu_seconds(root: u32) -> f64 {
    /// utime, stime, cutime and cstime: fields 14 to 17 of the line, from the 12th after the name.
    const TIMES: std::ops::Range<usize> = 11..15;
    let ticks: u64 = tree(root)
        .into_iter()
        .filter_map(stat_fields)
        .flat_map(|fields| fields.get(TIMES).unwrap_or_default().to_vec())
        .filter_map(|ticks| ticks.parse::<u64>().ok())
        .sum();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let seconds = ticks as f64 / ticks_per_second();
    seconds
}

/// Bytes of memory of the tree; what its processes share is counted once (PSS).
pub fn memory(root: u32) -> f64 {
    tree(root).into_iter().map(pss).sum()
}

/// Bytes of memory of one process, its share of what it shares (PSS).
pub fn pss(pid: u32) -> f64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
    kibibytes.unwrap_or_default() * 1024.0
}

/// The fields of `/proc/PID/stat` after the name, which may hold anything.
fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    Some(after_name.split_whitespace().map(str::to_owned).collect())
}

fn ticks_per_second() -> f64 {
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
    #[expect(clippy::cast_precision_loss, reason = "it is 100, or a little more")]
    let ticks = ticks as f64;
    ticks
}
