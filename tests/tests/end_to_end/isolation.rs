//! Nothing of one request is there for the next.

use guesthouse_tests::{Mpm, Setup, under_every_mpm};

under_every_mpm! {
    every_request_has_an_instance_of_its_own,
    nothing_that_a_request_leaves_in_memory_is_found_by_the_next,
}

fn every_request_has_an_instance_of_its_own(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let mut client = server.connect();
    for _ in 0..20 {
        assert_eq!(client.get("/count").text(), "1\n");
    }
}

/// The probe seeks the word backwards, because its own request would put it into memory otherwise; that it finds a
/// word that is there is shown first.
fn nothing_that_a_request_leaves_in_memory_is_found_by_the_next(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    let mut client = server.connect();
    assert_eq!(client.get("/canary?seek=nrutas-eht&decoy=the-saturn").text(), "found\n");
    for _ in 0..10 {
        assert_eq!(client.get("/canary?leave=the-canary-word").text(), "left\n");
        assert_eq!(client.get("/canary?seek=drow-yranac-eht").text(), "clean\n");
    }
    // A trap leaves its instance in the middle of something.
    assert_eq!(client.get("/trap").status, 500);
    assert_eq!(server.get("/canary?seek=drow-yranac-eht").text(), "clean\n");
}
