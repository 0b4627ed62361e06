//! Deployments under way: what has not changed goes on, what has begun ends as it began, and nothing is left behind.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;

use guesthouse_tests::deployment::{deploy, put, refuse, saying, setup};
use guesthouse_tests::log::Mark;
use guesthouse_tests::patience::until;
use guesthouse_tests::processes::{children_of, descriptors, mappings_of_native_code, wait_until_ended};
use guesthouse_tests::setup::guest;
use guesthouse_tests::{Answer, Client, Load, Mpm, Server, Setup, Signal, under_every_mpm};
use nix::sys::signal::kill;
use nix::unistd::Pid;

under_every_mpm! {
    what_has_not_changed_goes_on_while_a_module_is_deployed,
    a_request_ends_with_the_version_that_it_began_with,
    a_request_of_a_confined_module_ends_with_the_version_that_it_began_with,
    what_a_thread_keeps_of_a_module_goes_with_it,
    a_child_that_is_killed_is_replaced_by_one_of_the_version_that_serves,
    a_parent_that_is_killed_at_any_step_serves_what_was_published_last,
    children_that_are_killed_at_any_step_are_replaced_and_the_deployment_goes_on,
    a_compiler_that_is_killed_costs_its_file_and_nothing_else,
    many_deployments_under_load_lose_nothing_and_leave_nothing,
}

/// Connections stay open for as long as the slowest machine needs.
fn patient(mpm: Mpm) -> Setup {
    setup(mpm).server("keep_alive_timeout = \"60s\"\nbody_timeout = \"60s\"")
}

fn what_has_not_changed_goes_on_while_a_module_is_deployed(mpm: Mpm) {
    let server = patient(mpm).probe("max_requests_per_instance = 0").start();
    let mut client = server.connect();
    assert_eq!(client.get("/probe/count").text(), "1\n");
    deploy(&server, "a", saying("one"));
    assert_eq!(client.get("/probe/count").text(), "2\n", "the instance stays, and so does the connection");
    deploy(&server, "a", saying("two"));
    fs::remove_file(server.folder().join("modules/a.wasm")).unwrap();
    server.log.wait_for("module \"a\" is withdrawn");
    assert_eq!(client.get("/a").status, 404);
    assert_eq!(client.get("/probe/count").text(), "3\n");
    let before = server.children();
    server.signal(Signal::SIGUSR1);
    wait_until_ended(&before);
    assert_eq!(server.get("/probe/count").text(), "1\n", "a reload by signal brings new children");
}

/// How many pools of confined modules there are.
fn sockets(server: &Server) -> usize {
    crate::confinement::sockets(server).len()
}

/// Begins a request of a version that waits for its body, deploys the next one, and ends the request. Each version has so many
/// pools.
fn end_late(server: &Server, settings: &str, pools: usize) {
    let others = sockets(server);
    put(server, "v.toml", format!("{settings}\n[limits]\nwall = \"60s\"\n"));
    deploy(server, "v", fs::read(guest("probe")).unwrap());
    let mut client = server.connect();
    client.send("POST /v/echo HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhello");
    // Its guest has begun to answer.
    assert_eq!(client.receive_head().status, 200);
    deploy(server, "v", saying("next"));
    assert_eq!(server.get("/v").text(), "next");
    assert_eq!(sockets(server), others + 2 * pools);
    client.send("world");
    let mut body = Vec::new();
    while !body.ends_with(b"\r\n0\r\n\r\n") {
        body.extend(client.read_some(1024).unwrap());
    }
    assert_eq!(String::from_utf8_lossy(&body), "5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n");
    assert_eq!(client.get("/v").text(), "next", "the same connection");
}

fn a_request_ends_with_the_version_that_it_began_with(mpm: Mpm) {
    end_late(&patient(mpm).start(), "", 0);
}

fn a_request_of_a_confined_module_ends_with_the_version_that_it_began_with(mpm: Mpm) {
    let server = patient(mpm).start();
    put(&server, "w.toml", "thread_safe = false");
    deploy(&server, "w", saying("stays"));
    let others = sockets(&server);
    // Under prefork each process is confined as it is.
    end_late(&server, "thread_safe = false", usize::from(mpm != Mpm::Prefork));
    fs::remove_file(server.folder().join("modules/v.wasm")).unwrap();
    fs::remove_file(server.folder().join("modules/v.toml")).unwrap();
    until("no version of it is left", || (server.get("/v").status == 404).then_some(()));
    until("nor is its pool", || (sockets(&server) == others).then_some(()));
    assert_eq!(server.get("/w").text(), "stays");
}

fn what_a_thread_keeps_of_a_module_goes_with_it(mpm: Mpm) {
    let server = patient(mpm).start();
    put(&server, "v.toml", "max_requests_per_instance = 0\n[env]\nGREETING = \"ho\"");
    deploy(&server, "v", fs::read(guest("probe")).unwrap());
    let mut client = server.connect();
    assert_eq!([client.get("/v/count").text().to_owned(), client.get("/v/count").text().to_owned()], ["1\n", "2\n"]);
    // Other settings make another version.
    let mark = server.log.mark();
    put(&server, "v.toml", "max_requests_per_instance = 0\n[env]\nGREETING = \"hey\"");
    server.log.wait_for_after(mark, "module \"v\" is deployed in its next version");
    assert_eq!(client.get("/v/count").text(), "1\n");
    assert_eq!(client.get("/v/env").text(), "GREETING=hey\n");
    assert_eq!(client.get("/v/count").text(), "2\n");
}

fn a_child_that_is_killed_is_replaced_by_one_of_the_version_that_serves(mpm: Mpm) {
    let server = setup(mpm).start();
    deploy(&server, "a", saying("one"));
    deploy(&server, "a", saying("two"));
    for child in server.children() {
        kill(child, Signal::SIGKILL).unwrap();
    }
    until("there are others", || Client::try_get(server.address(), "/a").ok());
    for _ in 0..8 {
        assert_eq!(server.get("/a").text(), "two", "whichever child answers");
    }
}

/// What the processes of a server have.
struct Holdings {
    memory: u64,
    /// Descriptors, and mappings of native code.
    of_each: BTreeMap<Pid, (usize, usize)>,
}

impl Holdings {
    /// Of all, the lookout among them.
    fn of(server: &Server) -> Self {
        let processes = children_of(server.pid()).into_iter().chain([server.pid()]);
        let of_each = processes.map(|pid| (pid, (descriptors(pid), mappings_of_native_code(pid)))).collect();
        Self { memory: server.memory(), of_each }
    }

    fn are_as_small_as(&self, before: &Self) -> bool {
        // The pool of the confined module has grown with its load. What every deployment leaves behind would be far more.
        // Of memory some is shared with the servers of other tests, until these end.
        let of_each = self.of_each.iter().all(|(pid, (descriptors, mappings))| {
            before.of_each.get(pid).is_none_or(|before| *descriptors <= before.0 + 8 && *mappings <= before.1 + 4)
        });
        of_each && self.of_each.len() <= before.of_each.len() + 4 && self.memory <= before.memory + (16 << 20)
    }
}

fn is_of_one_version(answer: &Answer) -> bool {
    let words: Vec<&str> = answer.text().split(' ').collect();
    words.len() == 20 && words.iter().all(|word| *word == words[0])
}

/// Twenty times the same word.
fn version(number: usize) -> Vec<u8> {
    saying(&vec![format!("v{number}"); 20].join(" "))
}

fn many_deployments_under_load_lose_nothing_and_leave_nothing(mpm: Mpm) {
    // Two hundred under each would show no more, and take their time.
    let deployments = if mpm == Mpm::Event { 100 } else { 20 };
    let server = setup(mpm).server("access_log = \"access.log\"").start();
    let own = server.children();
    put(&server, "confined.toml", "thread_safe = false");
    for name in ["shared", "confined"] {
        deploy(&server, name, version(0));
        deploy(&server, name, version(1));
        assert!(is_of_one_version(&server.get(&format!("/{name}"))));
    }
    let before = Holdings::of(&server);
    let loads = ["/shared", "/confined"].map(|target| Load::checked(&server, target, is_of_one_version));
    for number in 2..2 + deployments {
        for name in ["shared", "confined"] {
            if number % 2 == 0 {
                deploy(&server, name, version(number));
                let expected = format!("v{number} ");
                assert!(server.get(&format!("/{name}")).text().starts_with(&expected), "{name} {number}");
            } else {
                refuse(&server, name, &format!("no wasm {number}"), "is not a Wasm file");
            }
        }
    }
    for load in loads {
        let lost = load.stop();
        assert!(lost.is_empty(), "{lost:?}");
    }
    let end =
        until("nothing is left behind", || Some(Holdings::of(&server)).filter(|now| now.are_as_small_as(&before)));
    // Prefork's come and go with the load.
    if mpm != Mpm::Prefork {
        assert!(own.iter().all(|child| end.of_each.contains_key(child)), "none of them was replaced");
    }
}

/// How far a deployment has come when something is killed. What has passed before anybody could look counts as reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Renamed,
    Preparing,
    Vetting,
    Vetted,
    Prepared,
    Ready,
    Told,
}

const STEPS: [Step; 7] =
    [Step::Renamed, Step::Preparing, Step::Vetting, Step::Vetted, Step::Prepared, Step::Ready, Step::Told];

/// The end of a deployment in the log.
const DEPLOYED: &str = "module \"a\" is deployed";

/// Those of `parent`'s children that run with this word on their command line.
fn running(parent: Pid, word: &str) -> Vec<Pid> {
    let words = |pid: &Pid| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let runs = |pid: &Pid| words(pid).split(|byte| *byte == 0).any(|other| other == word.as_bytes());
    children_of(parent).into_iter().filter(runs).collect()
}

/// The processes that compile for a server.
fn vets(server: &Server) -> Vec<Pid> {
    running(server.pid(), "prepare").into_iter().flat_map(|preparation| running(preparation, "vet")).collect()
}

/// Puts a file there, and waits until its deployment has come so far. What it makes the server log comes after the mark.
fn begin(server: &Server, number: usize, step: Step) -> Mark {
    let mark = server.log.mark();
    put(server, "a.wasm", version(number));
    let log = || server.log.text_after(mark);
    let is_done = || log().contains(DEPLOYED);
    let preparing = || !running(server.pid(), "prepare").is_empty();
    let reached = |what: &dyn Fn() -> bool| until(&format!("{step:?}"), || (what() || is_done()).then_some(()));
    match step {
        Step::Renamed => {}
        Step::Preparing => reached(&preparing),
        Step::Vetting => reached(&|| !vets(server).is_empty()),
        Step::Vetted => {
            reached(&|| !vets(server).is_empty());
            reached(&|| vets(server).is_empty());
        }
        Step::Prepared => {
            reached(&preparing);
            reached(&|| !preparing());
        }
        Step::Ready => reached(&|| log().contains("is ready")),
        Step::Told => reached(&|| false),
    }
    mark
}

/// That it serves is seen before it is logged. What follows would take the line for one of its own.
fn wait_until_logged(server: &Server, mark: Mark) {
    server.log.wait_for_after(mark, DEPLOYED);
}

/// Which version of the module `a` answers; `None`: nobody does.
fn answering(address: SocketAddr) -> Option<usize> {
    let answer = Client::try_get(address, "/a").ok().filter(is_of_one_version)?;
    answer.text().split(' ').next()?.strip_prefix('v')?.parse().ok()
}

fn a_parent_that_is_killed_at_any_step_serves_what_was_published_last(mpm: Mpm) {
    for step in STEPS {
        // So that nothing is compiled yet.
        let mut server = setup(mpm).own_cache().start();
        deploy(&server, "a", version(1));
        begin(&server, 2, step);
        let seen = answering(server.address()).expect("the server serves all the time");
        server.signal(Signal::SIGKILL);
        server.wait_for_exit();
        // Whoever starts next cannot serve the file itself.
        put(&server, "a.wasm", "no wasm");
        let again = server.launch_again();
        let serves = answering(again.wait_until_ready());
        assert!(serves == Some(1) || serves == Some(2), "{step:?}: {serves:?}");
        assert!(serves >= Some(seen), "{step:?}: {serves:?} serves, and {seen} was seen");
        if step == Step::Told {
            assert_eq!(serves, Some(2));
        }
    }
}

fn children_that_are_killed_at_any_step_are_replaced_and_the_deployment_goes_on(mpm: Mpm) {
    let server = setup(mpm).own_cache().start();
    put(&server, "a.toml", "thread_safe = false");
    deploy(&server, "a", version(1));
    for (number, step) in (2..).zip(STEPS) {
        let of_the_server = || running(server.pid(), "serve");
        let mark = begin(&server, number, step);
        // The lookout is among them.
        for child in of_the_server() {
            let _gone_already = kill(child, Signal::SIGKILL);
        }
        until(&format!("{step:?}: the new version serves"), || {
            (answering(server.address()) == Some(number)).then_some(())
        });
        wait_until_logged(&server, mark);
    }
}

fn a_compiler_that_is_killed_costs_its_file_and_nothing_else(mpm: Mpm) {
    let server = setup(mpm).own_cache().start();
    deploy(&server, "a", version(1));
    let finders: [fn(&Server) -> Vec<Pid>; 2] = [vets, |server| running(server.pid(), "prepare")];
    for (number, find) in (2..).zip(finders) {
        let mark = server.log.mark();
        put(&server, "a.wasm", version(number));
        let is_done = || server.log.text_after(mark).contains(DEPLOYED);
        // On a machine where it is too quick to be seen, or to be killed, nothing is.
        until("it is killed, or has done its work", || {
            let is_killed = find(&server).first().is_some_and(|pid| kill(*pid, Signal::SIGKILL).is_ok());
            (is_killed || is_done()).then_some(())
        });
        let serves = answering(server.address());
        assert!(serves == Some(number) || serves == Some(number - 1), "{serves:?}");
        // What has killed the compiler of a file may do it again, so that one is not tried before it changes.
        until("something has come of it", || {
            let text = server.log.text_after(mark);
            ["is deployed", "has died", "reload failed"].iter().any(|outcome| text.contains(outcome)).then_some(())
        });
        put(&server, "a.wasm", version(number));
        until("it serves", || (answering(server.address()) == Some(number)).then_some(()));
        wait_until_logged(&server, mark);
    }
}
