//! A server that never was, for the tests of the renderings.

use std::collections::BTreeMap;

use super::snapshot::{
    Bucket, Child, ChildCounts, ChildStatus, Connections, Latency, Memory, Module, Pool, Runs, Server, Snapshot,
};

/// A module whose texts would break out of any rendering that does not escape them.
pub(super) const HOSTILE: &str = "<script>alert(\"1\")</script>\n# TYPE x counter\u{1b}[2J";

/// Two children of the server's own pool, one of an earlier generation, and two modules, one of them confined.
pub(crate) fn snapshot() -> Snapshot {
    Snapshot {
        server: Server {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            mpm: "event".to_owned(),
            generation: 1,
            taken_at_secs: 1_795_255_200,
            started_at_secs: 1_795_251_600,
            uptime_secs: 3600.25,
            counted_secs: 3600.25,
            load: Some([0.5, 0.25, 0.1]),
            requests: 1200,
            bytes: 4000,
            own_answers: BTreeMap::from([("4xx".to_owned(), 100)]),
            threads_busy: 2,
            threads_idle: 3,
            threads_draining: 1,
            connections: Connections { reading: 1, writing: 2, keep_alive: 4, waiting: 1, lingering: 0 },
        },
        pools: vec![
            Pool {
                name: "server".to_owned(),
                mpm: "event".to_owned(),
                children: ChildCounts { starting: 0, busy: 1, idle: 1, draining: 0 },
                children_max: 4,
                threads_per_child: 2,
            },
            Pool {
                name: "counter".to_owned(),
                mpm: "prefork".to_owned(),
                children: ChildCounts { starting: 0, busy: 1, idle: 0, draining: 0 },
                children_max: 5,
                threads_per_child: 1,
            },
        ],
        children: vec![
            child(0, Some("server"), "_W", ChildStatus::Ready),
            child(1, Some("server"), "__", ChildStatus::Ready),
            child(2, None, "GR", ChildStatus::Draining),
            Child { serves_clients: false, ..child(3, Some("counter"), "W", ChildStatus::Ready) },
        ],
        modules: vec![
            Module {
                version: Some(HOSTILE.to_owned()),
                description: Some("greets".to_owned()),
                errors: BTreeMap::from([("trap".to_owned(), 3), ("wall-limit".to_owned(), 1)]),
                ..module("hello", Runs::Shared, 1000)
            },
            Module {
                pool: Some("counter".to_owned()),
                max_requests_per_instance: 0,
                max_concurrent_requests_per_instance: 1,
                ..module("counter", Runs::Confined, 100)
            },
        ],
    }
}

fn child(slot: usize, pool: Option<&str>, threads: &str, status: ChildStatus) -> Child {
    Child {
        slot,
        pid: 4000 + i32::try_from(slot).unwrap(),
        pool: pool.map(str::to_owned),
        mpm: pool.map(|pool| if pool == "server" { "event" } else { "prefork" }.to_owned()),
        serves_clients: true,
        generation: u32::from(pool.is_some()),
        age_secs: 90,
        status,
        accepting: status == ChildStatus::Ready,
        connections: Connections { reading: 1, keep_alive: 2, ..Connections::default() },
        threads: threads.to_owned(),
        requests: 300,
        bytes: 2048,
        memory: Some(Memory { private: 3 << 20, resident: 12 << 20 }),
    }
}

fn module(name: &str, runs: Runs, requests: u64) -> Module {
    Module {
        name: name.to_owned(),
        kind: "http-incoming-handler".to_owned(),
        version: None,
        description: None,
        runs,
        max_requests_per_instance: 1,
        max_concurrent_requests_per_instance: 1,
        pool: None,
        requests,
        errors: BTreeMap::new(),
        instances_made: requests,
        instances_reused: 0,
        guest_cpu_secs: 0.125,
        bytes: 1900,
        latency: Latency {
            p50_secs: Some(0.000_412),
            p99_secs: Some(0.012),
            total_secs: 1.5,
            buckets: vec![
                Bucket { up_to_secs: Some(0.000_5), requests: requests - 10 },
                Bucket { up_to_secs: Some(0.015), requests: 9 },
                Bucket { up_to_secs: None, requests: 1 },
            ],
        },
    }
}
