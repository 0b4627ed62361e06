//! A headless Chromium with one page, driven over the DevTools protocol. Knows nothing of what the page is.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use guesthouse_tests::patience::{PATIENCE, until};
use headless_chrome::protocol::cdp::Log::{LogEntryLevel, LogEntrySource};
use headless_chrome::protocol::cdp::Page::CaptureScreenshotFormatOption;
use headless_chrome::protocol::cdp::Runtime::ConsoleAPICalledEventTypeOption;
use headless_chrome::protocol::cdp::types::Event;
use headless_chrome::protocol::cdp::{Emulation, Runtime};
use headless_chrome::{Browser, LaunchOptions, Tab};
use serde_json::Value;

/// Beside those that the driver gives: nothing that asks the network or needs a right that a test may not have.
const FLAGS: [&str; 3] = ["--disable-quic", "--disable-component-update", "--hide-scrollbars"];

/// What the page is shown on.
#[derive(Clone, Copy)]
pub struct Screen {
    pub width: u32,
    pub height: u32,
    pub dark: bool,
}

/// A browser with a profile of its own. Dropping it ends its processes.
pub struct Chromium {
    tab: Arc<Tab>,
    heard: Arc<Mutex<Heard>>,
    _browser: Browser,
}

/// What the page and the browser complained of.
#[derive(Default)]
struct Heard {
    /// What should not be.
    errors: Vec<String>,
    /// Answers with the status of an error, and answers that did not come: what the page is about. Told if a test
    /// fails, since they say what the browser saw.
    network: Vec<String>,
}

impl Chromium {
    pub fn start(screen: Screen) -> Self {
        let options = LaunchOptions::default_builder()
            .path(Some(program()))
            // The pages are our own, and in a container Chromium has no right to build its sandbox.
            .sandbox(false)
            .args(FLAGS.map(OsStr::new).to_vec())
            .idle_browser_timeout(PATIENCE)
            .build()
            .expect("the options are complete");
        let browser = Browser::new(options).expect("Chromium starts");
        let tab = browser.new_tab().expect("Chromium opens a page");
        tab.set_default_timeout(PATIENCE);
        emulate(&tab, screen);
        let heard = listen(&tab);
        Self { tab, heard, _browser: browser }
    }

    /// Loads a page.
    pub fn open(&self, url: &str) {
        self.tab.navigate_to(url).and_then(|tab| tab.wait_until_navigated()).expect("the page is loaded");
    }

    /// The value of an expression of JavaScript.
    pub fn evaluate(&self, expression: &str) -> Value {
        let evaluate = Runtime::Evaluate {
            expression: expression.to_owned(),
            return_by_value: Some(true),
            object_group: None,
            include_command_line_api: None,
            silent: None,
            context_id: None,
            generate_preview: None,
            user_gesture: None,
            await_promise: None,
            throw_on_side_effect: None,
            timeout: None,
            disable_breaks: None,
            repl_mode: None,
            allow_unsafe_eval_blocked_by_csp: None,
            unique_context_id: None,
            serialization_options: None,
        };
        let answer = self.tab.call_method(evaluate).expect("Chromium evaluates");
        assert!(answer.exception_details.is_none(), "{expression} threw {:?}", answer.exception_details);
        answer.result.value.unwrap_or(Value::Null)
    }

    /// The texts of all elements that the selector finds.
    pub fn texts(&self, selector: &str) -> Vec<String> {
        let found = self.evaluate(&format!("[...document.querySelectorAll('{selector}')].map((e) => e.innerText)"));
        serde_json::from_value(found).expect("they are texts")
    }

    /// Scrolls to the element and clicks where it is then, as a hand would.
    pub fn click(&self, selector: &str) {
        // In the middle of the window, so that nothing that sticks to its edges is in the way.
        self.evaluate(&format!("document.querySelector('{selector}').scrollIntoView({{ block: 'center' }})"));
        self.tab.find_element(selector).and_then(|element| element.click().map(drop)).expect("there is what to click");
    }

    /// Moves the focus to the element and presses Enter.
    pub fn press_enter_on(&self, selector: &str) {
        let element = self.tab.find_element(selector).expect("the element is there");
        element.focus().expect("the element takes the focus");
        self.tab.press_key("Enter").expect("the page takes the key");
    }

    /// Writes what is to be seen as PNG.
    pub fn screenshot(&self, file: &Path) {
        let picture = self.tab.capture_screenshot(CaptureScreenshotFormatOption::Png, None, None, true);
        std::fs::write(file, picture.expect("Chromium takes the picture")).expect("the file can be written");
    }

    /// That nothing went wrong in the page so far: no exception, no complaint on the console, none by the browser.
    /// Answers that are errors do not count.
    pub fn assert_no_errors(&self) {
        // Errors arrive in order, so that all have when this one has. It also shows that errors are heard at all.
        const LAST: &str = "that was all";
        self.evaluate(&format!("console.error('{LAST}')"));
        let errors = until("the console tells what it was told", || {
            let errors = &self.heard.lock().expect("nobody fails while holding it").errors;
            errors.iter().any(|error| error.contains(LAST)).then(|| errors.clone())
        });
        assert_eq!(errors.len(), 1, "{errors:#?}");
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Ok(heard) = self.heard.lock()
        {
            eprintln!("the browser heard:\n{}", heard.network.join("\n"));
        }
    }
}

/// As `cargo xtask test` has found it, or as it is called on most machines.
fn program() -> PathBuf {
    const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
    if let Some(named) = std::env::var_os("CHROMIUM") {
        return named.into();
    }
    let folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    let mut places = NAMES.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    places.find(|place| place.exists()).expect("no Chromium: install it, or name it in the variable CHROMIUM")
}

fn emulate(tab: &Tab, screen: Screen) {
    let metrics = Emulation::SetDeviceMetricsOverride {
        width: screen.width,
        height: screen.height,
        device_scale_factor: 1.0,
        mobile: false,
        scale: None,
        screen_width: None,
        screen_height: None,
        position_x: None,
        position_y: None,
        dont_set_visible_size: None,
        screen_orientation: None,
        viewport: None,
        display_feature: None,
        device_posture: None,
    };
    tab.call_method(metrics).expect("Chromium takes a size");
    let scheme = if screen.dark { "dark" } else { "light" };
    let feature = Emulation::MediaFeature { name: "prefers-color-scheme".to_owned(), value: scheme.to_owned() };
    tab.call_method(Emulation::SetEmulatedMedia { media: None, features: Some(vec![feature]) })
        .expect("Chromium takes a colour scheme");
}

fn listen(tab: &Tab) -> Arc<Mutex<Heard>> {
    let heard = Arc::new(Mutex::new(Heard::default()));
    let to_fill = Arc::clone(&heard);
    tab.enable_runtime().and_then(|tab| tab.enable_log()).expect("Chromium tells of errors");
    tab.add_event_listener(Arc::new(move |event: &Event| {
        note(event, &mut to_fill.lock().expect("nobody fails while holding it"));
    }))
    .expect("the page takes a listener");
    heard
}

fn note(event: &Event, heard: &mut Heard) {
    match event {
        Event::RuntimeExceptionThrown(thrown) => heard.errors.push(format!("{:?}", thrown.params.exception_details)),
        Event::RuntimeConsoleAPICalled(called) if called.params.Type == ConsoleAPICalledEventTypeOption::Error => {
            heard.errors.push(format!("{:?}", called.params.args));
        }
        Event::LogEntryAdded(added) if added.params.entry.level == LogEntryLevel::Error => {
            let entry = &added.params.entry;
            let text = format!("{} {}", entry.text, entry.url.as_deref().unwrap_or_default());
            let is_network = entry.source == LogEntrySource::Network;
            if is_network { &mut heard.network } else { &mut heard.errors }.push(text);
        }
        _ => {}
    }
}
