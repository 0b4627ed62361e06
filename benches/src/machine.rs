//! What the figures depend on besides the servers: the machine, the day, and what else was going on.

use std::time::SystemTime;

pub struct Machine {
    pub date: String,
    pub cores: usize,
    pub processor: String,
    pub kernel: String,
    /// Of the minute before the first measurement. Much of it was not ours: measure again.
    pub load_before: f64,
}

impl Machine {
    pub fn look() -> Self {
        let cpuinfo = read("/proc/cpuinfo");
        let processor = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Self {
            date: httpdate::fmt_http_date(SystemTime::now()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            processor: processor.map_or_else(|| "unknown".to_owned(), |(_, name)| name.trim().to_owned()),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_before: read("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()).unwrap_or_default(),
        }
    }

    /// In one line.
    pub fn described(&self) -> String {
        format!(
            "{}; {} cores of {}; Linux {}; load before: {}",
            self.date, self.cores, self.processor, self.kernel, self.load_before
        )
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
