//! The isolation lab as its visitors meet it: the real server, the real page, and a real Chromium that presses every
//! button.
//!
//! What each experiment must come to is written here once more, beside the page's own table, so that the page cannot
//! be wrong about itself. How fast anything is, is not tested.

// Empty without the feature, so that the tests can be run all together where there is no browser.
#![cfg(feature = "browser")]

mod chromium;

use std::collections::HashMap;

use chromium::{Chromium, Screen};
use guesthouse_tests::Server;
use guesthouse_tests::patience::until;
use guesthouse_tests::setup::{guest, shared_cache, target};

/// The lab as everybody can start it.
const CONFIGURATION: &str = include_str!("../../../examples/isolation-lab/guesthouse.toml");

const DESKTOP: Screen = Screen { width: 1280, height: 1392, dark: false };
const PHONE: Screen = Screen { width: 360, height: 740, dark: true };

const MODES: [&str; 3] = ["fresh", "reused", "confined"];

/// How often the neighbour is asked during each experiment, at least.
const NEIGHBOURS_MIN: u32 = 10;

/// What happens in an experiment.
struct Expected {
    name: &'static str,
    /// What the offender is answered.
    status: &'static str,
    /// Whether the offender's answer arrives to its end.
    whole: &'static str,
    /// Whether its instance must not serve again.
    fault: bool,
}

const fn harmless(name: &'static str) -> Expected {
    Expected { name, status: "200", whole: "true", fault: false }
}

const fn fault(name: &'static str, status: &'static str) -> Expected {
    Expected { name, status, whole: "true", fault: true }
}

const EXPERIMENTS: [Expected; 10] = [
    harmless("count"),
    harmless("secret"),
    fault("trap", "500"),
    fault("loop", "504"),
    fault("memory", "500"),
    fault("stack", "500"),
    Expected { name: "half", status: "200", whole: "false", fault: true },
    harmless("files"),
    harmless("call-out"),
    harmless("sleep"),
];

#[test]
fn every_experiment_comes_out_as_promised() {
    let server = Server::start_on(&configuration());
    let lab = open(&server, DESKTOP);
    assert_eq!(lab.texts("[data-experiment]").len(), EXPERIMENTS.len(), "an experiment is not tested here");
    for expected in &EXPERIMENTS {
        lab.click(&format!("{} button", card(expected.name)));
        wait_for_the_end(&lab, expected.name);
        assert_outcome(&lab, expected);
    }
    assert_all_as_promised(&lab);
    lab.assert_no_errors();

    // For the README, where it is put by hand: see the README of the lab.
    lab.evaluate("scrollTo(0, 0)");
    lab.screenshot(&target().join("isolation-lab.png"));
}

#[test]
fn one_button_runs_them_all_on_a_phone_with_a_keyboard() {
    let server = Server::start_on(&configuration());
    let lab = open(&server, PHONE);
    lab.press_enter_on("#run-all");
    run_to_the_end(&lab);
    assert_all_as_promised(&lab);
    assert_eq!(lab.evaluate("document.activeElement.id"), "run-all", "the focus stays where it was");
    assert_eq!(lab.evaluate("document.documentElement.scrollWidth"), PHONE.width, "the page is as wide as the phone");
    lab.screenshot(&target().join("isolation-lab-phone.png"));
    lab.assert_no_errors();
}

#[test]
fn a_promise_that_is_broken_is_told() {
    // What the page calls reused is served as fresh.
    let server = Server::start_on(&replaced(&configuration(), "max_requests_per_instance = 0", ""));
    let lab = open(&server, DESKTOP);
    lab.click(&format!("{} button", card("secret")));
    wait_for_the_end(&lab, "secret");
    let verdict = |mode| facts(&lab, &result("secret", mode))["verdict"].clone();
    assert_eq!(MODES.map(verdict), ["as-promised", "not-as-promised", "as-promised"]);
    let told = lab.texts(&format!("{} .verdict", result("secret", "reused")));
    assert!(told[0].contains("not as promised") && told[0].contains("the secret was gone"), "{told:?}");
    assert_eq!(facts(&lab, "#tally")["broken"], "1");
    lab.assert_no_errors();
}

/// The lab's own file, with an address and places that do not disturb others.
fn configuration() -> String {
    let guests = guest("isolation-lab");
    let guests = guests.parent().expect("a guest lies in a folder");
    let text = replaced(CONFIGURATION, "../../target/guests", &guests.display().to_string());
    let server = format!("listen = [\"127.0.0.1:0\"]\ncache_dir = \"{}\"", shared_cache().display());
    replaced(&text, "listen = [\"127.0.0.1:8080\"]", &server)
}

fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from:?} is not in the configuration:\n{text}");
    text.replace(from, to)
}

fn open(server: &Server, screen: Screen) -> Chromium {
    let lab = Chromium::start(screen);
    lab.open(&format!("http://{}/", server.address()));
    until("the neighbour is asked", || {
        let now = facts(&lab, "#neighbour-now");
        (now["requests"] != "0").then_some(())
    });
    lab
}

fn run_to_the_end(lab: &Chromium) {
    for expected in &EXPERIMENTS {
        wait_for_the_end(lab, expected.name);
    }
}

fn wait_for_the_end(lab: &Chromium, experiment: &str) {
    until(&format!("the experiment {experiment:?} is done"), || {
        (facts(lab, &card(experiment))["state"] == "done").then_some(())
    });
}

fn assert_outcome(lab: &Chromium, expected: &Expected) {
    for mode in MODES {
        let keeps = mode != "fresh" && !expected.fault;
        let facts = facts(lab, &result(expected.name, mode));
        let context = format!("{} in {mode}: {facts:?}", expected.name);
        assert_eq!(facts["status"], expected.status, "{context}");
        assert_eq!(facts["whole"], expected.whole, "{context}");
        assert_eq!(facts["nextStatus"], "200", "{context}");
        assert_eq!(facts["instance"], if keeps { "same" } else { "another" }, "{context}");
        assert_eq!(facts["secret"], if keeps { "kept" } else { "gone" }, "{context}");
        // The secret was planted by one request, the offender was another, and the next is at least the third.
        let count: u32 = facts["count"].parse().unwrap_or_else(|_| panic!("no count: {context}"));
        assert!(if keeps { count >= 3 } else { count == 1 }, "{context}");
        assert_eq!(facts["verdict"], "as-promised", "{context}");
    }
    let neighbour = facts(lab, &format!("{} [data-neighbour]", card(expected.name)));
    let requests: u32 = neighbour["requests"].parse().expect("requests are counted");
    assert!(requests >= NEIGHBOURS_MIN, "{}: the neighbour was asked too seldom: {neighbour:?}", expected.name);
    assert_eq!(neighbour["failed"], "0", "{}: {neighbour:?}", expected.name);
    assert_eq!(neighbour["verdict"], "as-promised", "{}: {neighbour:?}", expected.name);
}

fn assert_all_as_promised(lab: &Chromium) {
    let tally = facts(lab, "#tally");
    let complaints = lab.texts("[data-verdict=\"not-as-promised\"]");
    assert_eq!(tally["broken"], "0", "{complaints:#?}");
    // Each mode, and the neighbour.
    assert_eq!(tally["promised"], (EXPERIMENTS.len() * (MODES.len() + 1)).to_string());
}

fn card(experiment: &str) -> String {
    format!("[data-experiment=\"{experiment}\"]")
}

fn result(experiment: &str, mode: &str) -> String {
    format!("{} [data-mode=\"{mode}\"]", card(experiment))
}

/// What the page says of an element in its data attributes.
fn facts(lab: &Chromium, selector: &str) -> HashMap<String, String> {
    let found = lab.evaluate(&format!("({{ ...document.querySelector('{selector}').dataset }})"));
    serde_json::from_value(found).expect("data attributes are texts")
}
