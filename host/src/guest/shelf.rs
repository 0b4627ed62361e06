//! Where a thread keeps its instances: those that serve one request at a time rest here between two, at most one for
//! each module; those that serve many at once live here, and go on when no call of theirs is polled.
//!
//! Nothing here decides whether an instance may rest; `call` does, from how its request ended.

use std::cell::Cell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::Waker;
use std::time::Instant;

use guesthouse_mpm::Upkeep;

use super::http03::{Shared, Tended};
use super::instance::Instance;
use super::source::UNSEATED_MAX;

/// Tells the modules of a child apart, in all of its generations: one that has changed is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ModuleId(u64);

impl ModuleId {
    pub(super) fn new(number: u64) -> Self {
        Self(number)
    }
}

/// The instances of one thread. Made by [`super::Guests::shelf`].
pub struct Shelf {
    boards: HashMap<ModuleId, Board>,
    /// With the module of each; the oldest first.
    shared: Vec<(ModuleId, Rc<Shared>)>,
    /// Has this shelf tended.
    thread: Waker,
}

/// What is kept of one module.
#[derive(Default)]
struct Board {
    resting: Option<Instance>,
    /// Shared ones that there are.
    siblings: Rc<Cell<usize>>,
}

impl Shelf {
    pub(super) fn new(thread: Waker) -> Shelf {
        Shelf { boards: HashMap::new(), shared: Vec::new(), thread }
    }

    /// From here on instances of these modules are kept and of no others. What rests of others ends now; those that many
    /// share take nothing new, and end when they have finished what they have.
    pub(super) fn keep_only(&mut self, modules: impl Iterator<Item = ModuleId>) {
        let mut before = std::mem::take(&mut self.boards);
        self.boards = modules.map(|module| (module, before.remove(&module).unwrap_or_default())).collect();
        for (_, shared) in self.shared.iter().filter(|(module, _)| !self.boards.contains_key(module)) {
            shared.retire();
        }
        // A host call that panics while it is dropped must not take this thread's work with it.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(before)));
    }

    /// The instance that rests for this module, if one does.
    pub(super) fn take(&mut self, module: ModuleId) -> Option<Instance> {
        self.boards.get_mut(&module)?.resting.take()
    }

    /// Keeps an instance until the next request for this module. Where one rests already, because a thread served
    /// two requests at once, or where the module is gone, the newcomer comes back.
    pub(super) fn keep(&mut self, module: ModuleId, instance: Instance) -> Result<(), Instance> {
        match self.boards.get_mut(&module) {
            Some(Board { resting: free @ None, .. }) => {
                *free = Some(instance);
                Ok(())
            }
            Some(_) | None => Err(instance),
        }
    }

    /// An instance of this module that takes another request, or a new one. `make` is told how many there are, and whom
    /// to ring.
    pub(super) fn shared(
        &mut self,
        module: ModuleId,
        make: impl FnOnce(&Rc<Cell<usize>>, &Waker) -> Rc<Shared>,
    ) -> Rc<Shared> {
        let of_module = |(of, _): &&(ModuleId, Rc<Shared>)| *of == module;
        if let Some((_, shared)) = self.shared.iter().filter(of_module).find(|(_, shared)| shared.has_room()) {
            return Rc::clone(shared);
        }
        let Some(board) = self.boards.get(&module) else {
            // The module is gone, but for requests that began with it: each has an instance that takes no other.
            let shared = make(&Rc::default(), &self.thread);
            shared.retire();
            self.make_room(module);
            self.shared.push((module, Rc::clone(&shared)));
            return shared;
        };
        let shared = make(&board.siblings, &self.thread);
        // The new one is about to be waited for, so it is not yet among those that there may be too many of.
        self.make_room(module);
        self.shared.push((module, Rc::clone(&shared)));
        shared
    }

    /// Drives the instances for which something has happened, and of those that compute the one that has waited longest:
    /// the others have their turn when everything else has had one. Ends those that are used up, overdue, or one too many.
    pub fn tend(&mut self, now: Instant) -> Upkeep {
        let mut sliced = false;
        let mut earliest: Option<Instant> = None;
        let mut idle = Vec::new();
        let computing = self.shared.iter().map(|(_, shared)| shared).filter(|shared| shared.was_sliced());
        let next = computing.min_by_key(|shared| shared.driven_last()).map(Rc::as_ptr);
        self.shared.retain(|(module, shared)| match shared.tend(now, next == Some(Rc::as_ptr(shared))) {
            None => false,
            Some(Tended::Idle) if idle.contains(module) => false,
            Some(Tended::Idle) => {
                idle.push(*module);
                true
            }
            Some(Tended::Busy { sliced: again, until }) => {
                sliced |= again;
                earliest = earliest.into_iter().chain(until).min();
                true
            }
        });
        let crowded = self.boards.iter().filter(|(_, board)| board.siblings.get() > UNSEATED_MAX);
        for module in crowded.map(|(module, _)| *module).collect::<Vec<_>>() {
            self.make_room(module);
        }
        match earliest {
            at if sliced => Upkeep::Yield(at.unwrap_or(now)),
            Some(at) => Upkeep::Wait(at),
            None => Upkeep::Done,
        }
    }

    /// Ends the oldest of those that no call waits for, if there are more than there are slots for.
    fn make_room(&mut self, module: ModuleId) {
        if self.boards.get(&module).is_some_and(|board| board.siblings.get() <= UNSEATED_MAX) {
            return;
        }
        let unseated = |(of, shared): &(ModuleId, Rc<Shared>)| *of == module && !shared.is_seated();
        while self.shared.iter().filter(|entry| unseated(entry)).count() > UNSEATED_MAX
            && let Some(oldest) = self.shared.iter().position(unseated)
        {
            let (_, shared) = self.shared.remove(oldest);
            shared.say_that_it_is_cut_short();
            // A host call that panics while it is dropped must not take an unrelated call with it.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(shared)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::sync::{Arc, Mutex, mpsc};
    use std::time::Duration;

    use bytes::Bytes;

    use super::super::testing::{Child, call_name, child_of, follow, poll_once, poll_said, settings};
    use super::super::{Fault, Progress, body_channel};
    use crate::config::OutboundHost;

    /// Answers with the number of requests that the instance has served.
    const COUNT: &str = "(call $answer-count)";

    /// A guest that counts its requests, and in the second does something else first.
    fn second(other: &str) -> String {
        format!("(if (i32.eq (call $count) (i32.const 2)) (then {other})) (call $answer-digit)")
    }

    /// A child with one module whose instances serve so many requests.
    fn child(body: &str, requests_max: u64) -> Child {
        child_of(&[(body, requests_max)], &settings(), 4)
    }

    #[test]
    fn an_instance_that_is_never_retired_keeps_its_state() {
        let child = child(COUNT, 0);
        let mut thread = child.thread();
        for number in 1..=9 {
            assert_eq!(thread.body(), number.to_string());
        }
    }

    #[test]
    fn an_instance_is_retired_after_its_number_of_requests() {
        let child = child(COUNT, 3);
        let mut thread = child.thread();
        let told: Vec<String> = (0..7).map(|_| thread.body()).collect();
        assert_eq!(told, ["1", "2", "3", "1", "2", "3", "1"]);
    }

    #[test]
    fn an_instance_that_serves_one_request_is_not_kept() {
        let child = child(COUNT, 1);
        let mut thread = child.thread();
        assert_eq!([thread.body(), thread.body()], ["1", "1"]);
        let call = thread.begin();
        assert!(!call.is_reused() && !call.outlives());
    }

    #[test]
    fn a_call_knows_whether_its_instance_has_served_before_and_will_serve_again() {
        let child = child(COUNT, 2);
        let mut thread = child.thread();
        let mut first = thread.begin();
        assert!(!first.is_reused() && first.outlives());
        follow(&mut first);
        assert!(first.outlives(), "until it is given back");
        first.finish(&mut thread.shelf);
        let last = thread.begin();
        assert!(last.is_reused() && !last.outlives());
    }

    #[test]
    fn an_instance_with_which_anything_went_wrong_never_serves_again() {
        let wrongs = [
            ("unreachable", "trap"),
            ("(call $recurse)", "trap"),
            ("(call $exit (i32.const 1))", "exit"),
            ("(call $exit (i32.const 0))", "no-answer"),
            ("(return)", "no-answer"),
            ("(call $refuse) (return)", "error-code"),
            ("(call $answer) (call $hello) (return)", "broken-off"),
            ("(call $answer) (call $hello) (call $hello) (call $hello) (call $hello) unreachable", "trap"),
            ("(call $answer) (call $end) unreachable", "trap"),
            (&format!("(call $answer) {} (call $end) (return)", "(call $hello) ".repeat(5)), "response-limit"),
            ("(drop (memory.grow (i32.const 100))) unreachable", "memory-limit"),
            ("(call $forever)", "cpu-limit"),
        ];
        let bodies = wrongs.map(|(wrong, _)| second(wrong));
        let modules: Vec<_> = bodies.iter().map(|body| (body.as_str(), 0)).collect();
        let mut settings = settings();
        settings.limits.response_body = 20;
        settings.limits.cpu = Duration::from_secs(1);
        let child = child_of(&modules, &settings, 1);
        let mut thread = child.thread();
        for (module, (wrong, cause)) in wrongs.into_iter().enumerate() {
            assert_eq!(thread.body_of(module), "1");
            let call = thread.begin_of(module);
            let told = thread.end(call);
            let fault = told.fault.as_ref().unwrap_or_else(|| panic!("{wrong}: {told:?}"));
            assert_eq!(fault.kind(), cause, "{wrong}");
            assert_eq!(thread.body_of(module), "1", "{wrong}");
        }
    }

    #[test]
    fn a_guest_that_exits_after_a_good_answer_has_answered_but_does_not_serve_again() {
        let child = child("(call $answer-count) (call $exit (i32.const 0))", 0);
        let mut thread = child.thread();
        assert_eq!([thread.body(), thread.body()], ["1", "1"]);
    }

    #[test]
    fn a_call_that_is_left_before_its_end_takes_its_instance_with_it() {
        let child = child(&second("(call $forever)"), 0);
        let mut thread = child.thread();
        for leave in ["dropped", "timed out", "finished too early"] {
            assert_eq!(thread.body(), "1", "{leave}");
            let mut call = thread.begin();
            assert!(call.is_reused());
            assert!(matches!(poll_once(&mut call), Progress::Sliced));
            match leave {
                "dropped" => drop(call),
                "timed out" => {
                    assert!(matches!(call.time_out(), Fault::WallLimit(_)));
                    assert!(!call.outlives());
                    call.finish(&mut thread.shelf);
                }
                _ => call.finish(&mut thread.shelf),
            }
        }
        assert_eq!(thread.body(), "1");
    }

    #[test]
    fn an_instance_whose_answer_was_not_told_to_its_end_does_not_serve_again() {
        let child = child(COUNT, 0);
        let mut thread = child.thread();
        let mut call = thread.begin();
        assert!(matches!(poll_said(&mut call), Progress::Head(..)));
        call.finish(&mut thread.shelf);
        assert_eq!(thread.body(), "1");
    }

    #[test]
    fn the_memory_of_an_instance_is_counted_over_all_its_requests() {
        // Five pages more with each request; one at the start, and sixteen are allowed.
        let grow = "(if (i32.eq (memory.grow (i32.const 5)) (i32.const -1)) (then unreachable))";
        let child = child(&format!("{grow} {COUNT}"), 0);
        let mut thread = child.thread();
        assert_eq!([thread.body(), thread.body(), thread.body()], ["1", "2", "3"]);
        let fault = thread.get().fault;
        assert!(matches!(fault, Some(Fault::OutOfMemory { limit: 1_048_576, wanted: 1_376_256 })), "{fault:?}");
        assert_eq!(thread.body(), "1");
    }

    #[test]
    fn memory_that_was_refused_and_not_missed_is_no_reason_for_a_trap_in_a_later_request() {
        let child = child(
            "(if (i32.eq (call $count) (i32.const 3)) (then unreachable) (else (drop (memory.grow (i32.const 100)))))
             (call $answer-digit)",
            0,
        );
        let mut thread = child.thread();
        assert_eq!([thread.body(), thread.body()], ["1", "2"]);
        assert!(matches!(thread.get().fault, Some(Fault::Trap { .. })));
    }

    #[test]
    fn each_thread_keeps_instances_of_its_own() {
        let child = child(COUNT, 0);
        let (mut one, mut other) = (child.thread(), child.thread());
        assert_eq!([one.body(), one.body(), other.body(), one.body(), other.body()], ["1", "2", "1", "3", "2"]);
    }

    #[test]
    fn a_thread_that_serves_two_requests_at_once_has_two_instances_and_keeps_one() {
        let child = child(COUNT, 0);
        let mut thread = child.thread();
        assert_eq!(thread.body(), "1");
        let (kept, fresh) = (thread.begin(), thread.begin());
        assert!(kept.is_reused() && !fresh.is_reused());
        assert_eq!(thread.end(kept).body, b"2");
        assert_eq!(thread.end(fresh).body, b"1");
        assert_eq!([thread.body(), thread.body()], ["3", "4"]);
    }

    #[test]
    fn kept_instances_take_no_slot_from_the_calls() {
        let child = child_of(&[(COUNT, 0), (COUNT, 2), ("(call $forever)", 1)], &settings(), 1);
        let mut threads = [child.thread(), child.thread()];
        for thread in &mut threads {
            assert_eq!([thread.body_of(0), thread.body_of(1)], ["1", "1"]);
        }
        let mut fresh = threads[0].begin_of(2);
        assert!(matches!(poll_once(&mut fresh), Progress::Sliced), "there is room for one call beside what is kept");
        assert!(matches!(poll_once(&mut threads[0].begin_of(2)), Progress::Failed(Fault::NoRoom)), "and for no more");
        for thread in &mut threads {
            assert_eq!([thread.body_of(0), thread.body_of(1)], ["2", "2"]);
        }
    }

    #[test]
    fn the_body_of_a_request_ends_with_it() {
        let child = child(
            "(if (i32.eq (call $count) (i32.const 1)) (then (call $open-input)) (else (call $read-input)))
             (call $answer-digit)",
            0,
        );
        let mut thread = child.thread();
        let (mut sender, body) = body_channel();
        sender.send(Bytes::from_static(b"for the first request"));
        assert_eq!(thread.send(body).body, b"1");
        assert!(sender.is_abandoned(), "who feeds the body need not go on");
        assert_eq!(thread.body(), "9", "reading from it fails");
        assert_eq!(thread.body(), "9");
    }

    #[test]
    fn a_request_that_a_guest_left_open_ends_with_the_call() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port:05}");
        let write: String = address
            .bytes()
            .enumerate()
            .map(|(index, byte)| format!("(i32.store8 (i32.const {}) (i32.const {byte})) ", 128 + index))
            .collect();
        let body =
            format!("(if (i32.eq (call $count) (i32.const 1)) (then {write} (call $call-out))) (call $answer-digit)");
        let mut settings = settings();
        settings.outbound.push(OutboundHost { host: "127.0.0.1".into(), port: Some(port), private: false });
        let child = child_of(&[(&body, 0)], &settings, 1);
        let mut thread = child.thread();

        let (ended, end) = mpsc::channel();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut bytes = [0; 1024];
            assert!(stream.read(&mut bytes).unwrap() > 0);
            stream.write_all(b"HTTP/1.1 200 ok\r\ncontent-length: 20\r\n\r\n").unwrap();
            // Until the other end closes.
            while matches!(stream.read(&mut bytes), Ok(1..)) {}
            ended.send(()).unwrap();
        });
        assert_eq!(thread.body(), "1");
        end.recv_timeout(Duration::from_secs(10)).expect("the connection is closed while the instance is kept");
        assert_eq!(thread.body(), "2");
    }

    #[test]
    fn what_a_guest_prints_is_logged_with_the_request_within_which_it_was_printed() {
        // Half a line in each request; to one handle, which is opened in the first.
        let child = child("(call $print (i32.const 4)) (call $answer-count)", 0);
        let mut thread = child.thread();
        let log = Log::default();
        let names = [call_name(), call_name(), call_name()];
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            for (name, body) in names.iter().zip(["1", "2", "3"]) {
                assert_eq!(thread.get_as(*name).body, body.as_bytes());
            }
        });
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().filter(|line| line.contains("stream=\"stdout\"")).collect();
        assert_eq!(lines.len(), names.len(), "{text}");
        for (line, name) in lines.iter().zip(names) {
            let request = format!(" half module=test request={} ", name.request.unwrap());
            assert!(line.contains(&request), "{request:?} in {line:?}");
        }
    }

    /// What is logged.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_guest_that_nobody_listens_to_works_on_and_may_serve_again() {
        let hellos = "(call $hello) ".repeat(50);
        let child = child(&second(&format!("(call $answer) {hellos} (call $end) (return)")), 0);
        let mut thread = child.thread();
        assert_eq!(thread.body(), "1");
        let mut call = thread.begin();
        assert!(matches!(poll_said(&mut call), Progress::Head(..)));
        assert!(matches!(poll_said(&mut call), Progress::Data(_)));
        call.discard();
        let told = thread.end(call);
        assert!(told.body.is_empty() && !told.ended && told.fault.is_none(), "{told:?}");
        assert_eq!(thread.body(), "3");
    }

    #[test]
    fn a_guest_that_leaves_its_answer_undone_for_nobody_may_serve_again() {
        let undone = "(call $answer) (call $hello) (call $hello) (call $hello) (call $hello) (return)";
        for wrong in [undone, "(return)"] {
            let child = child(&second(wrong), 0);
            let mut thread = child.thread();
            assert_eq!(thread.body(), "1");
            let mut call = thread.begin();
            call.discard();
            let told = thread.end(call);
            assert!(told.fault.is_none() && told.status.is_none(), "{told:?}");
            assert_eq!(thread.body(), "3");
        }
    }

    #[test]
    fn a_guest_that_traps_for_nobody_never_serves_again() {
        let child = child(&second("(call $answer) (call $hello) unreachable"), 0);
        let mut thread = child.thread();
        assert_eq!(thread.body(), "1");
        let mut call = thread.begin();
        call.discard();
        let told = thread.end(call);
        assert!(matches!(told.fault, Some(Fault::Trap { .. })), "{told:?}");
        assert_eq!(thread.body(), "1");
    }

    #[test]
    fn a_guest_that_nobody_listens_to_does_not_hold_the_thread() {
        let mut settings = settings();
        settings.limits.cpu = Duration::from_millis(50);
        settings.limits.response_body = u64::MAX;
        let child = child_of(&[("(call $answer) (loop $again (call $hello) (br $again))", 0)], &settings, 1);
        let mut thread = child.thread();
        let mut call = thread.begin();
        call.discard();
        let told = thread.end(call);
        assert!(matches!(told.fault, Some(Fault::CpuLimit(_))), "{told:?}");
        assert!(told.slices >= 2, "{told:?}");
    }
}
