//! Tests of the scoreboard, a hostile one included.

use std::sync::atomic::Ordering::Relaxed;

use proptest::prelude::*;

use super::*;

/// Writes what a child that was taken over might write: any number into any field of every line.
fn scribble(board: &Scoreboard, mut number: impl FnMut() -> u64) {
    for line in board.sheets.iter().flat_map(|sheet| sheet.children) {
        line.status.store(number() as u32, Relaxed);
        line.pid.store(number() as i32, Relaxed);
        line.generation.store(number() as u32, Relaxed);
        line.pool.store(number(), Relaxed);
        line.accepting.store(number() as u32, Relaxed);
        line.started_at_secs.store(number(), Relaxed);
    }
    for line in board.sheets.iter().flat_map(|sheet| sheet.threads) {
        for field in [&line.status, &line.reading, &line.writing, &line.idle, &line.waiting, &line.lingering] {
            field.store(number() as u32, Relaxed);
        }
        for field in [&line.requests, &line.connections, &line.bytes] {
            field.store(number(), Relaxed);
        }
    }
}

fn assert_is_bounded(board: &Scoreboard, threads: usize) {
    for slot in 0..board.slots() {
        assert!(board.idle_threads(slot, threads) <= threads.min(board.threads_per_child()));
        let _decoded = board.child(slot).read();
        for thread in 0..board.threads_per_child() {
            board.thread(slot, thread).count_request();
            let _decoded = board.thread(slot, thread).read();
        }
    }
}

#[test]
fn every_status_survives_the_board_and_has_apaches_letter() {
    let board = Scoreboard::new(1, 1).unwrap();
    let mut letters = String::new();
    for status in Status::ALL {
        board.thread(0, 0).set_status(status);
        assert_eq!(board.thread(0, 0).read().status, status);
        letters.push(status.letter());
    }
    assert_eq!(letters, ".S_RWKLDCGI");
}

#[test]
fn a_new_board_is_dead_and_counts_nothing() {
    let board = Scoreboard::new(3, 2).unwrap();
    assert_eq!((board.slots(), board.threads_per_child()), (3, 2));
    let child = board.child(2).read();
    assert_eq!((child.status, child.pid, child.accepting), (ChildStatus::Dead, 0, false));
    let thread = board.thread(2, 1).read();
    assert_eq!((thread.status, thread.requests, thread.open), (Status::Dead, 0, Connections::default()));
}

#[test]
fn lines_do_not_touch_each_other() {
    let board = Scoreboard::new(2, 2).unwrap();
    board.thread(0, 1).count_request();
    board.thread(1, 0).add_bytes(7);
    board.thread(1, 1).count_connection();
    let seen: Vec<_> = [(0, 0), (0, 1), (1, 0), (1, 1)]
        .map(|(slot, thread)| board.thread(slot, thread).read())
        .map(|line| (line.requests, line.bytes, line.connections))
        .to_vec();
    assert_eq!(seen, [(0, 0, 0), (1, 0, 0), (0, 7, 0), (0, 0, 1)]);
}

#[test]
fn a_dead_child_leaves_its_counts_and_nothing_else() {
    let board = Scoreboard::new(1, 1).unwrap();
    board.child(0).begin(4, 0);
    board.child(0).set_ready();
    board.child(0).set_accepting(true);
    board.thread(0, 0).set_status(Status::BusyWrite);
    board.thread(0, 0).set_connections(Connections { writing: 1, ..Connections::default() });
    board.thread(0, 0).count_request();
    board.mark_dead(0);
    let child = board.child(0).read();
    assert_eq!((child.status, child.pid, child.accepting), (ChildStatus::Dead, 0, false));
    let thread = board.thread(0, 0).read();
    assert_eq!((thread.status, thread.open, thread.requests), (Status::Dead, Connections::default(), 1));
    board.reset_counters();
    assert_eq!(board.thread(0, 0).read().requests, 0);
}

#[test]
fn idle_threads_are_those_up_to_ready() {
    let board = Scoreboard::new(1, 4).unwrap();
    for (thread, status) in [Status::Ready, Status::BusyRead, Status::Starting, Status::Closing].into_iter().enumerate()
    {
        board.thread(0, thread).set_status(status);
    }
    assert_eq!(board.idle_threads(0, 4), 2);
    assert_eq!(board.idle_threads(0, 2), 1);
    assert_eq!(board.idle_threads(0, 1000), 2);
}

#[test]
fn a_board_that_grows_keeps_its_lines_and_adds_others() {
    let mut board = Scoreboard::new(2, 2).unwrap();
    board.thread(1, 1).count_request();
    let before = board.clone();
    board.grow_to(5).unwrap();
    assert_eq!((before.slots(), board.slots()), (5, 5), "there was a reserve");
    board.grow_to(5 + RESERVE).unwrap();
    assert_eq!((before.slots(), board.slots()), (2 + RESERVE, 5 + RESERVE));
    assert_eq!(board.thread(1, 1).read().requests, 1);
    board.child(2).begin(7, 3);
    board.thread(2, 0).add_bytes(5);
    let first = board.child(2).read();
    assert_eq!((first.generation, first.pool, board.thread(2, 0).read().bytes), (7, 3, 5));
    assert_eq!(board.child(4).read().status, ChildStatus::Dead);
    board.mark_dead(2);
    assert_eq!(board.child(2).read().status, ChildStatus::Dead);
    board.reset_counters();
    assert_eq!((board.thread(1, 1).read().requests, board.thread(2, 0).read().bytes), (0, 0));
}

#[test]
#[should_panic(expected = "slot 2053 is not on the scoreboard")]
fn a_slot_behind_the_last_sheet_is_refused() {
    let mut board = Scoreboard::new(2, 1).unwrap();
    board.grow_to(5 + RESERVE).unwrap();
    let _ = board.child(5 + 2 * RESERVE);
}

#[test]
fn sizes_that_do_not_exist_are_refused() {
    assert_eq!(Scoreboard::new(usize::MAX, 2).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert_eq!(Scoreboard::new(usize::MAX / 64, 1).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert_eq!(Scoreboard::new(0, 5).unwrap().slots(), 0);
}

#[test]
#[should_panic(expected = "has no line on the scoreboard")]
fn a_thread_without_a_line_does_not_get_its_neighbours() {
    let _ = Scoreboard::new(2, 2).unwrap().thread(0, 2);
}

#[test]
fn a_board_full_of_ones_reads_within_bounds() {
    let board = Scoreboard::new(4, 3).unwrap();
    scribble(&board, || u64::MAX);
    assert_is_bounded(&board, 3);
    assert_eq!(board.idle_threads(0, 3), 3, "a status that does not exist counts as dead, hence as idle");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_hostile_board_reads_within_bounds(numbers in prop::collection::vec(any::<u64>(), 1..64), threads in 0usize..9) {
        let board = Scoreboard::new(3, 4).unwrap();
        let mut endless = numbers.iter().copied().cycle();
        scribble(&board, || endless.next().unwrap());
        assert_is_bounded(&board, threads);
    }
}
