//! How a child ends, under all three MPMs: at a drain, at a stop, by its own decision, and without its parent.

use super::*;

#[test]
fn a_child_serves_and_drains() {
    under_each(|mpm| {
        let child = Child::start(mpm(common()));
        let mut client = child.connect();
        assert_eq!(client.ask("one"), "one");
        assert_eq!(client.ask("two"), "two");
        assert_eq!(child.board.child(0).read().status, ChildStatus::Ready);
        let (address, board) = (child.address, child.board.clone());
        assert_eq!(child.drain(), ChildExit::Drained);
        assert!(client.is_closed());
        assert_eq!(board.child(0).read().status, ChildStatus::Draining);
        assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_draining_child_leaves_new_connections_to_others() {
    under_each(|mpm| {
        let child = Child::start(mpm(common()));
        let mut client = child.connect();
        client.say("hello\nspin");
        assert_eq!(client.hear(), "hello");
        client.0.get_mut().write_all(b"half a ").unwrap();
        assert_eq!(client.hear(), "spun");
        child.control().send(&Command::Drain).unwrap();
        child.wait_until_closed();
        assert_eq!(client.ask("line"), "half a line");
        assert!(client.is_closed());
        assert_eq!(child.end(), ChildExit::Drained);
    });
}

#[test]
fn a_line_that_was_on_its_way_to_a_draining_child_is_answered() {
    under_each(|mpm| {
        let child = Child::start(mpm(common()));
        let mut client = child.connect();
        assert_eq!(client.ask("be patient"), "patient");
        child.control().send(&Command::Drain).unwrap();
        child.wait_until_closed();
        // Idle, and yet not closed: what becomes of it is the protocol's decision.
        assert_eq!(client.ask("one more"), "one more");
        assert!(client.is_closed());
        assert_eq!(child.end(), ChildExit::Drained);
    });
}

#[test]
fn an_idle_connection_ends_at_the_deadline_that_the_protocol_gives_it_at_a_drain() {
    under_each(|mpm| {
        let child = Child::start(mpm(common()));
        let mut client = child.connect();
        assert_eq!(client.ask("be patient for 100 ms"), "patient");
        let start = Instant::now();
        child.control().send(&Command::Drain).unwrap();
        assert!(client.is_closed());
        assert!(start.elapsed() >= Duration::from_millis(100), "{:?}", start.elapsed());
        assert_eq!(child.end(), ChildExit::Drained);
    });
}

#[test]
fn a_graceful_stop_refuses_who_comes_later_however_busy_the_child_is() {
    under_each(|mpm| {
        let child = Child::start(mpm(common()));
        let mut busy: Vec<_> = (0..3).map(|_| child.connect()).collect();
        assert_eq!(busy[0].ask("hello"), "hello");
        for client in &mut busy {
            client.0.get_mut().write_all(b"half a ").unwrap();
        }
        let mut waiting = child.connect();
        child.control().send(&Command::Stop).unwrap();
        child.wait_until_closed();
        waiting.say("in time");
        for mut client in busy {
            assert_eq!(client.ask("line"), "half a line");
            assert!(client.is_closed());
        }
        assert_eq!(waiting.hear(), "in time");
        assert_eq!(child.end(), ChildExit::Drained);
    });
}

#[test]
fn a_child_that_retires_closes_its_listener_while_its_last_connection_is_open() {
    under_each(|mpm| {
        let child = Child::start(mpm(Common { max_connections_per_child: 1, ..common() }));
        let mut client = child.connect();
        child.expect(Report::Retiring);
        child.wait_until_closed();
        assert_eq!(client.ask("hello"), "hello");
        assert!(client.is_closed());
        assert_eq!(child.end(), ChildExit::Retired);
    });
}

#[test]
fn what_is_under_way_is_finished_before_a_child_drains() {
    under_each(|mpm| {
        let child = Child::start(mpm(common()));
        let mut client = child.connect();
        client.say("spin\nsleep\nspin");
        // Only to know that the child has the connection.
        assert_eq!(client.hear(), "spun");
        child.control().send(&Command::Drain).unwrap();
        assert_eq!(client.hear(), "slept");
        assert_eq!(client.hear(), "spun");
        assert!(client.is_closed());
        assert_eq!(child.end(), ChildExit::Drained);
    });
}

#[test]
fn a_graceful_stop_serves_what_waits_in_the_backlog() {
    let child = Child::start(prefork(common()));
    let mut first = child.connect();
    assert_eq!(first.ask("busy"), "busy");
    // The only process is taken: these wait in the backlog.
    let mut others: Vec<_> = (0..5).map(|_| child.connect()).collect();
    for other in &mut others {
        other.say("hello\nclose");
    }
    child.control().send(&Command::Stop).unwrap();
    for other in &mut others {
        assert_eq!(other.hear(), "hello");
    }
    assert_eq!(child.end(), ChildExit::Drained);
}

#[test]
fn a_graceful_stop_ends_a_child_when_its_last_connection_has_ended() {
    under_each(|mpm| {
        let child = Child::start(mpm(common()));
        let mut clients: Vec<_> = (0..3).map(|_| child.connect()).collect();
        // Under prefork the others wait in the backlog; under worker no thread is idle.
        assert_eq!(clients[0].ask("hello"), "hello");
        child.control().send(&Command::Stop).unwrap();
        assert!(clients[0].is_closed());
        for client in &mut clients[1..] {
            assert_eq!(client.ask("and me"), "and me");
            assert!(client.is_closed());
        }
        assert_eq!(child.end(), ChildExit::Drained);
    });
}

#[test]
fn a_graceful_stop_ends_a_child_that_has_nothing_to_do() {
    under_each(|mpm| {
        let child = Child::start(mpm(common()));
        child.control().send(&Command::Stop).unwrap();
        assert_eq!(child.end(), ChildExit::Drained);
    });
}

#[test]
fn a_child_retires_after_its_last_connection() {
    under_each(|mpm| {
        let child = Child::start(mpm(Common { max_connections_per_child: 3, ..common() }));
        for _ in 0..2 {
            let mut client = child.connect();
            assert_eq!(client.ask("hello"), "hello");
            client.say("close");
            assert!(client.is_closed());
        }
        let mut last = child.connect();
        assert_eq!(last.ask("hello\nspin"), "hello");
        assert_eq!(last.hear(), "spun");
        assert!(last.is_closed());
        child.expect(Report::Retiring);
        assert_eq!(child.end(), ChildExit::Retired);
    });
}

#[test]
fn a_child_that_accepts_no_more_by_its_own_decision_tells_the_parent_at_once() {
    for orders in [Orders::Retire, Orders::Sick] {
        let board = Scoreboard::new(1, 1).unwrap();
        let news = Arc::new(Bell::new().unwrap());
        let crew = Crew::new(Talker, board.child(0), &common(), news).unwrap();
        let (parent, control) = control::pair().unwrap();
        let mut watch = Watch::new(control, 0);
        crew.order(orders);
        assert!(watch.heed(&crew));
        assert_eq!(parent.receive(), Report::Retiring);
    }
}

#[test]
fn an_orphan_ends_within_a_second_even_with_a_connection_that_does_not() {
    under_each(|mpm| {
        let mut child = Child::start(mpm(common()));
        let mut client = child.connect();
        assert_eq!(client.ask("hold"), "holding");
        client.say(&"spin\n".repeat(3));
        let start = Instant::now();
        drop(child.control.take());
        assert_eq!(child.end(), ChildExit::ParentGone);
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    });
}
