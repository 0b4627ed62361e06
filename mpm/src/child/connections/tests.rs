//! Connections that are mere letters, advanced by hand.

use std::time::Duration;

use super::*;

fn after(start: Instant, ms: u64) -> Instant {
    start + Duration::from_millis(ms)
}

fn three(start: Instant) -> (Connections<char>, [Token; 3]) {
    let mut connections = Connections::new(start);
    let tokens = ['a', 'b', 'c'].map(|name| connections.insert(start, name));
    for token in tokens {
        connections.settle(token, Next::Read(after(start, 1000)));
    }
    (connections, tokens)
}

fn ready(connections: &mut Connections<char>) -> Vec<Token> {
    std::iter::from_fn(|| connections.pop(Run::Ready)).collect()
}

#[test]
fn a_connection_is_ready_once_however_much_happens_to_it() {
    let start = Instant::now();
    let (mut connections, [a, b, _]) = three(start);
    for token in [b, a, b, b] {
        connections.schedule(token);
    }
    connections.schedule_expired(after(start, 1), |_| {});
    assert_eq!(ready(&mut connections), [b, a]);
    assert!(!connections.has_runnable());
}

#[test]
fn a_token_of_a_closed_connection_never_hits_its_successor() {
    let start = Instant::now();
    let (mut connections, [a, ..]) = three(start);
    connections.schedule(a);
    assert_eq!(connections.remove(a), Some('a'));
    let successor = connections.insert(start, 'd');
    assert_eq!(successor.index, a.index);
    connections.schedule(a);
    connections.settle(a, Next::Yield(start));
    assert_eq!(ready(&mut connections), []);
    assert_eq!(connections.get_mut(a), None);
    assert_eq!(connections.remove(a), None);
    assert_eq!(connections.get_mut(successor), Some(&mut 'd'));
}

#[test]
fn deadlines_schedule_and_a_later_deadline_does_not() {
    let start = Instant::now();
    let (mut connections, [a, b, c]) = three(start);
    connections.settle(a, Next::Idle(after(start, 5)));
    connections.settle(b, Next::Wait(after(start, 10)));
    connections.settle(b, Next::Wait(after(start, 2000)));
    assert_eq!(connections.next_deadline(), Some(after(start, 5)));
    connections.schedule_expired(after(start, 20), |_| {});
    assert_eq!(ready(&mut connections), [a]);
    connections.settle(a, Next::Idle(after(start, 3000)));
    connections.schedule_expired(after(start, 1000), |_| {});
    assert_eq!(ready(&mut connections), [c]);
}

#[test]
fn a_yielded_connection_keeps_its_place_behind_all_that_are_ready() {
    let start = Instant::now();
    let (mut connections, [a, b, _]) = three(start);
    connections.settle(a, Next::Yield(after(start, 5)));
    connections.schedule(a);
    connections.schedule(b);
    connections.schedule_expired(after(start, 6), |_| {});
    assert_eq!(ready(&mut connections), [b]);
    assert_eq!(connections.pop(Run::Yield), Some(a));
    assert_eq!(connections.pop(Run::Yield), None);
}

#[test]
fn whole_answers_leave_after_all_that_are_ready_and_each_once() {
    let start = Instant::now();
    let (mut connections, [a, b, c]) = three(start);
    connections.schedule(c);
    for token in [a, b] {
        connections.settle(token, Next::Flush);
    }
    // More of its next request has come.
    connections.schedule(a);
    assert!(connections.has_runnable(), "the thread does not wait");
    assert_eq!((connections.run_len(Run::Flush), ready(&mut connections)), (2, vec![c]));
    connections.remove(b);
    assert_eq!([(); 3].map(|()| connections.pop(Run::Flush)), [Some(a), None, None]);
    connections.settle(a, Next::Idle(after(start, 5)));
    assert!(!connections.has_runnable());
}

#[test]
fn a_request_begins_after_all_that_are_ready() {
    let start = Instant::now();
    let (mut connections, [a, b, c]) = three(start);
    connections.settle(a, Next::Flush);
    connections.settle(b, Next::Begin);
    for token in [b, c] {
        connections.schedule(token);
    }
    assert_eq!((connections.run_len(Run::Begin), ready(&mut connections)), (1, vec![c]));
    assert_eq!([(); 2].map(|()| connections.pop(Run::Begin)), [Some(b), None]);
    assert!(connections.has_runnable(), "an answer is to leave");
    connections.settle(b, Next::Flush);
    assert_eq!([(); 3].map(|()| connections.pop(Run::Flush)), [Some(a), Some(b), None]);
}

#[test]
fn a_connection_that_yields_while_it_is_ready_has_one_turn_not_two() {
    let start = Instant::now();
    let (mut connections, [a, ..]) = three(start);
    connections.schedule(a);
    // Advanced out of turn, because it was admitted.
    connections.settle(a, Next::Yield(after(start, 5)));
    assert_eq!(connections.pop(Run::Yield), None);
    assert_eq!(ready(&mut connections), [a]);
    connections.settle(a, Next::Yield(after(start, 5)));
    assert_eq!((connections.pop(Run::Yield), connections.pop(Run::Yield)), (Some(a), None));
}

#[test]
fn at_a_drain_all_are_scheduled_once_and_the_idle_are_shown() {
    let start = Instant::now();
    let (mut connections, [a, b, c]) = three(start);
    connections.settle(a, Next::Read(after(start, 5)));
    connections.settle(b, Next::Idle(after(start, 5)));
    connections.remove(c);
    connections.schedule(b);
    let mut idle = 0;
    connections.schedule_all(|_| idle += 1);
    assert_eq!((idle, ready(&mut connections)), (1, vec![b, a]));
}

#[test]
fn admission_goes_by_age_and_passes_over_who_has_moved_on() {
    let start = Instant::now();
    let (mut connections, [a, b, c]) = three(start);
    for token in [a, b, c, a] {
        connections.settle(token, Next::Admit(after(start, 9)));
    }
    assert_eq!(connections.unadmitted(), 3);
    connections.settle(a, Next::Wait(after(start, 9)));
    assert_eq!(connections.unadmitted(), 2);
    assert_eq!(connections.pop_unadmitted(), Some(b));
    connections.remove(c);
    assert_eq!(connections.pop_unadmitted(), None);
    assert_eq!(connections.unadmitted(), 1, "b was not settled yet");
}

#[test]
fn the_connection_that_has_been_idle_longest_goes_first() {
    let start = Instant::now();
    let (mut connections, [a, b, c]) = three(start);
    for (token, at) in [(a, 10), (b, 11), (c, 12)] {
        connections.settle(token, Next::Idle(after(start, at)));
    }
    connections.settle(a, Next::Read(after(start, 20)));
    connections.settle(a, Next::Idle(after(start, 30)));
    assert_eq!(connections.pop_oldest_idle(), Some(b));
    connections.remove(b);
    connections.settle(c, Next::Read(after(start, 40)));
    assert_eq!(connections.pop_oldest_idle(), Some(a));
    connections.remove(a);
    assert_eq!(connections.pop_oldest_idle(), None);
}

#[test]
fn the_tally_follows_every_connection_to_its_end() {
    let start = Instant::now();
    let (mut connections, [a, b, c]) = three(start);
    connections.settle(a, Next::Linger(start));
    connections.settle(b, Next::Admit(start));
    let expected = Tally { reading: 1, waiting: 1, lingering: 1, ..Tally::default() };
    assert_eq!(connections.tally(), expected);
    for token in [a, b, c] {
        connections.remove(token);
    }
    assert_eq!((connections.tally(), connections.len(), connections.unadmitted()), (Tally::default(), 0, 0));
}

#[test]
fn queues_do_not_grow_with_connections_that_come_and_go() {
    let start = Instant::now();
    let mut connections = Connections::new(start);
    for _ in 0..10_000 {
        let token = connections.insert(start, 'x');
        connections.settle(token, Next::Admit(start));
        connections.settle(token, Next::Idle(start));
        connections.remove(token);
    }
    assert!(connections.admission.len() <= 2 * SLACK);
    assert_eq!(connections.len(), 0);
    assert!(connections.places.len() < 100);
}
