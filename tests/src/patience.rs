//! How long the tests wait for what must happen. Waits are bounded, and end as soon as it has happened.

use std::time::{Duration, Instant};

/// The longest wait for anything. Generous, because the machine may be busy with other tests: it is only reached by a
/// test that fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at what gives no sign when it changes.
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// Waits until `look` finds something.
///
/// # Panics
/// If it has not within [`PATIENCE`]; `what` completes "waited in vain until".
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(BETWEEN_LOOKS);
    }
}
