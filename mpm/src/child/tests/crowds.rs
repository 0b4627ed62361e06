//! Many connections in one child: who is served when, where a thread is one connection's (worker) and where it is shared
//! (event).

use std::net::TcpListener;

use super::*;

#[test]
fn worker_accepts_no_more_than_it_has_threads() {
    let child = Child::start(worker(common()));
    let mut clients: Vec<_> = (0..3).map(|_| child.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.ask("hello"), "hello");
    }
    let mut fourth = child.connect();
    fourth.say("me too");
    assert!(fourth.is_silent());
    drop(clients.pop());
    assert_eq!(fourth.hear(), "me too");
    assert_eq!(child.drain(), ChildExit::Drained);
}

#[test]
fn event_serves_more_connections_than_it_has_threads() {
    let child = Child::start(event(common()));
    let mut clients: Vec<_> = (0..80).map(|_| child.connect()).collect();
    for round in ["one", "two"] {
        for client in &mut clients {
            assert_eq!(client.ask(round), round);
        }
    }
    let accepted: Vec<u64> = child.reading().iter().map(|thread| thread.connections).collect();
    assert_eq!(accepted.iter().sum::<u64>(), 80);
    assert!(accepted[0] > 0 && accepted[1] > 0, "both threads take part: {accepted:?}");
    assert_eq!(child.drain(), ChildExit::Drained);
}

#[test]
fn event_reads_all_that_are_ready_before_a_request_begins() {
    let child = Child::start(event_of(common(), 1, 100, 100));
    let gate = TcpListener::bind("127.0.0.1:0").unwrap();
    let stall = format!("stall {}", gate.local_addr().unwrap());
    let [mut first, mut begun, mut last] = [(); 3].map(|()| child.connect());
    for client in [&mut first, &mut begun, &mut last] {
        assert_eq!(client.ask("hello"), "hello");
    }
    first.say(&stall);
    let held = gate.accept().unwrap();
    // Ready in this order when the thread goes on.
    begun.say("begin");
    last.say(&stall);
    drop(held);
    let held = gate.accept().unwrap();
    assert!(begun.is_silent(), "the last one is read first");
    drop(held);
    assert_eq!([&mut first, &mut begun, &mut last].map(Client::hear), ["stalled", "begun", "stalled"]);
    drop([first, begun, last]);
    assert_eq!(child.drain(), ChildExit::Drained);
}

#[test]
fn event_lets_a_whole_answer_wait_no_longer_than_half_a_millisecond_and_a_turn() {
    let child = Child::start(event_of(common(), 1, 100, 100));
    let gate = TcpListener::bind("127.0.0.1:0").unwrap();
    let stall = format!("stall {}", gate.local_addr().unwrap());
    let [mut first, mut whole, mut busy, mut last] = [(); 4].map(|()| child.connect());
    for client in [&mut first, &mut whole, &mut busy, &mut last] {
        assert_eq!(client.ask("hello"), "hello");
    }
    first.say(&stall);
    let held = gate.accept().unwrap();
    // Ready in this order when the thread goes on.
    whole.say("flush");
    busy.say("compute");
    last.say(&stall);
    drop(held);
    let held = gate.accept().unwrap();
    assert_eq!(whole.hear(), "flushed", "the thread stands still in the turn of the last one");
    drop(held);
    assert_eq!([&mut first, &mut busy, &mut last].map(Client::hear), ["stalled", "computed", "stalled"]);
    drop([first, whole, busy, last]);
    assert_eq!(child.drain(), ChildExit::Drained);
}

#[test]
fn event_does_not_let_a_spinning_guest_hold_up_the_others() {
    let child = Child::start(event_of(common(), 1, 100, 100));
    let mut spinner = child.connect();
    spinner.say(&"spin\n".repeat(1000));
    let mut other = child.connect();
    assert_eq!(other.ask("hello"), "hello");
    assert_eq!(other.ask("again"), "again");
    for _ in 0..1000 {
        assert_eq!(spinner.hear(), "spun");
    }
    assert_eq!(child.drain(), ChildExit::Drained);
}

#[test]
fn event_admits_requests_in_the_order_in_which_they_came() {
    let child = Child::start(event_of(common(), 1, 100, 1));
    let mut holder = child.connect();
    let (mut second, mut third) = (child.connect(), child.connect());
    for client in [&mut second, &mut third] {
        assert_eq!(client.ask("hello"), "hello");
    }
    assert_eq!(holder.ask("hold"), "holding");
    second.say("hold");
    assert!(second.is_silent());
    third.say("hold");
    // While requests wait, new connections do.
    let mut fourth = child.connect();
    fourth.say("hello");
    assert!(third.is_silent() && fourth.is_silent());
    assert_eq!(holder.ask("release"), "released");
    assert_eq!(second.hear(), "holding");
    assert!(third.is_silent());
    drop(second);
    assert_eq!(third.hear(), "holding");
    assert_eq!(fourth.hear(), "hello");
    assert_eq!(child.drain(), ChildExit::Drained);
}

#[test]
fn event_makes_room_by_closing_the_connection_that_was_idle_longest() {
    let child = Child::start(event_of(common(), 1, 2, 10));
    let mut clients: Vec<_> = (0..2).map(|_| child.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.ask("hello"), "hello");
    }
    let mut third = child.connect();
    assert_eq!(third.ask("hello"), "hello");
    assert!(clients[0].is_closed());
    assert_eq!(clients[1].ask("still here"), "still here");
    assert_eq!(child.drain(), ChildExit::Drained);
}

#[test]
fn event_leaves_connections_in_the_backlog_while_it_is_full_and_none_is_idle() {
    let child = Child::start(event_of(common(), 1, 2, 10));
    let mut clients: Vec<_> = (0..2).map(|_| child.connect()).collect();
    for client in &mut clients {
        client.say("hold\nspin\nsoon");
        assert_eq!(client.hear(), "holding");
        assert_eq!(client.hear(), "spun");
    }
    drop(clients);
    let mut third = child.connect();
    assert_eq!(third.ask("hello"), "hello");
    assert_eq!(child.drain(), ChildExit::Drained);
}
