//! Generations that the children take over while they serve.

use std::fs;
use std::net::SocketAddr;

use nix::sys::signal::Signal;

use crate::harness::{MPMS, Server, greeted, greeting, greeting_at, is_alive, kill_hard, wait_until, wait_until_ended};
use crate::{ask, lookout};

/// A script whose children take over what the lookout asks for.
fn script(mpm: &str, word: &str, more: &str) -> String {
    format!("mpm {mpm}\nlisten 127.0.0.1:0\nadopt yes\nsay {word}\nlookout FOLDER\n{more}")
}

fn ask_for(server: &Server, script: &str) {
    server.rewrite(script);
    ask(server, "publish");
}

/// All but the lookout.
fn children(server: &Server) -> Vec<i32> {
    let lookout = lookout(server, 1);
    server.children().into_iter().filter(|pid| *pid != lookout).collect()
}

/// Waits until this very child greets somebody with this word.
fn wait_until_says(address: SocketAddr, child: i32, word: &str) {
    // Held, so that others have their turn.
    let mut held = Vec::new();
    wait_until(&format!("child {child} says {word}"), || {
        held.push(greeted(address));
        held.iter().any(|(now, _)| (now.pid, now.word.as_str()) == (child, word)).then_some(())
    });
}

#[test]
fn what_the_lookout_asks_for_is_served_by_the_same_children_from_one_moment_on() {
    for mpm in MPMS {
        let (server, address) = Server::ready(&script(mpm, "one", ""));
        let before = greeting(address);
        for (generation, word) in [(1, "two"), (2, "three")] {
            ask_for(&server, &script(mpm, word, ""));
            server.wait_for("is ready");
            // Whoever comes now, to whichever child.
            for _ in 0..10 {
                let now = greeting(address);
                assert_eq!((now.word.as_str(), now.generation), (word, generation), "{mpm}");
            }
        }
        wait_until_says(address, before.pid, "three");
    }
}

#[test]
fn a_pool_that_stays_keeps_its_children_and_one_that_goes_serves_those_who_began_with_it() {
    for mpm in MPMS {
        let pools = "pool stays unix:FOLDER/stays 1\npool goes unix:FOLDER/goes 1";
        let (server, address) = Server::ready(&script(mpm, "one", pools));
        let (stays, goes) = (server.folder.join("stays"), server.folder.join("goes"));
        let ((_, held), kept, old) = (greeted(address), greeting_at(&stays), greeting_at(&goes));
        ask_for(&server, &script(mpm, "two", "pool new unix:FOLDER/new 1\npool stays unix:FOLDER/stays 1"));
        server.wait_for("generation 1 is ready");
        assert_eq!(greeting(address).word, "two", "{mpm}");
        assert_eq!((greeting_at(&stays).pid, greeting_at(&stays).word), (kept.pid, "one".to_owned()), "{mpm}");
        assert_eq!(greeting_at(&server.folder.join("new")).word, "two", "{mpm}");
        assert_eq!(greeting_at(&goes).pid, old.pid, "{mpm}: somebody who began before may still need it");
        drop(held);
        wait_until("nobody needs it any more", || (!goes.exists() && !is_alive(old.pid)).then_some(()));
        assert_eq!(greeting_at(&stays).pid, kept.pid, "{mpm}");
    }
}

#[test]
fn a_pool_that_goes_starts_children_for_those_who_began_with_it() {
    for mpm in MPMS {
        let (server, address) = Server::ready(&script(mpm, "one", "pool side unix:FOLDER/old 0"));
        let (_, held) = greeted(address);
        ask_for(&server, &script(mpm, "two", "pool side unix:FOLDER/new 0"));
        server.wait_for("generation 1 is ready");
        let old = server.folder.join("old");
        assert_eq!((greeting_at(&old).word.as_str(), greeting_at(&old).generation), ("one", 0), "{mpm}");
        assert_eq!(greeting_at(&server.folder.join("new")).word, "two", "{mpm}");
        drop(held);
        wait_until("nobody needs it any more", || (!old.exists()).then_some(()));
    }
}

#[test]
fn a_pool_goes_although_somebody_who_began_before_it_is_still_there() {
    let (server, address) = Server::ready(&script("event", "one", ""));
    let (_, held) = greeted(address);
    for number in 1..=5 {
        ask_for(&server, &script("event", "more", &format!("pool side unix:FOLDER/{number} 1")));
        server.wait_for(&format!("generation {number} is ready"));
    }
    let gone = |number: &u32| !server.folder.join(number.to_string()).exists();
    wait_until("only the last one is left", || (1..5).all(|number| gone(&number)).then_some(()));
    assert!(!gone(&5));
    drop(held);
}

#[test]
fn a_child_that_dies_after_that_is_replaced_by_one_that_serves_the_same() {
    for mpm in MPMS {
        let (server, address) = Server::ready(&script(mpm, "one", "children 1"));
        ask_for(&server, &script(mpm, "two", "children 1"));
        server.wait_for("is ready");
        let first = greeting(address);
        kill_hard(first.pid);
        let (next, _held) = wait_until("there is another child", || {
            let next = greeted(address);
            (next.0.pid != first.pid).then_some(next)
        });
        assert_eq!((next.word.as_str(), next.generation), ("two", 1), "{mpm}");
    }
}

#[test]
fn what_a_child_cannot_take_over_is_served_by_new_ones_and_the_next_is_taken_over() {
    for mpm in MPMS {
        let (server, address) = Server::ready(&script(mpm, "one", ""));
        let old = children(&server);
        ask_for(&server, &script(mpm, "two", "").replace("adopt yes", "adopt fail"));
        server.wait_for("cannot take generation 1 over: the script says so");
        server.wait_for("generation 1 is not taken over (the script says so): new children are tried");
        server.wait_for("generation 2 is ready");
        wait_until_ended(&old);
        let new = greeting(address);
        assert_eq!(new.word, "two", "{mpm}");
        ask_for(&server, &script(mpm, "three", ""));
        server.wait_for("generation 3 is ready");
        assert_eq!(greeting(address).word, "three", "{mpm}");
        wait_until_says(address, new.pid, "three");
    }
}

#[test]
fn a_pool_that_cannot_start_takes_back_what_children_have_taken_over() {
    for mpm in MPMS {
        let (server, address) = Server::ready(&script(mpm, "one", ""));
        let child = greeting(address).pid;
        ask_for(&server, &script(mpm, "bad", "pool side unix:FOLDER/side 1\nstart.side fail"));
        server.wait_for("generation 0 goes on serving: pool side: the script says so");
        assert_eq!(greeting(address).word, "one", "{mpm}");
        wait_until("the children have forgotten it", || {
            let sign = fs::read_to_string(server.folder.join(format!("forgotten.{child}"))).ok()?;
            (sign == "1").then_some(())
        });
        ask_for(&server, &script(mpm, "two", ""));
        server.wait_for("generation 2 is ready");
        assert_eq!(greeting(address).word, "two", "{mpm}");
        wait_until_says(address, child, "two");
    }
}

#[test]
fn a_reload_by_signal_replaces_children_that_could_take_it_over() {
    let (server, address) = Server::ready(&script("event", "one", ""));
    let old = children(&server);
    server.rewrite(&script("event", "two", ""));
    server.signal(Signal::SIGUSR1);
    server.wait_for("is ready");
    wait_until_ended(&old);
    assert_eq!(greeting(address).word, "two");
}
