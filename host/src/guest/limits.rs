//! What a guest may take of the host's memory, and the record of what it was refused.
//!
//! Time is measured in `link`; the size of bodies is counted where they pass.

use std::time::Duration;

use wasmtime::ResourceLimiter;

use crate::config;

/// Bytes that one call from the guest into the host may make the host allocate for its arguments: strings, lists,
/// chunks of a body (`set_hostcall_fuel`). Lower than Wasmtime's 128 MiB, since many guests run in one child.
pub(super) const HOSTCALL_BYTES: usize = 16 << 20;

/// Bytes of one `fields` resource in the host's memory (`set_field_size_limit`), names and values and the map's own. As
/// many as an answer's head may have that comes from elsewhere.
pub(super) const FIELDS_BYTES: usize = 64 << 10;

/// Bytes of a method, and of an authority, that the resource of a request keeps.
pub(super) const REQUEST_TEXT_BYTES: usize = 8 << 10;

/// Bytes that a guest may hand over in one write to a body or to standard output, and so the largest chunk of an answer;
/// and bytes of its standard output that wait for the client. A stream ends a guest that writes more.
pub(super) const CHUNK_BYTES: usize = 64 << 10;

/// Resources (streams, fields, files...) that an instance may hold at once, those from earlier requests included. No
/// resource keeps much more than [`FIELDS_BYTES`] or [`CHUNK_BYTES`], so this bounds what an instance has of the host's
/// memory outside its own: to some 64 MiB, as much as `limits.memory` is by default. An ordinary request needs a dozen.
const RESOURCES: usize = 1000;

/// How many more for each further request that the instance may serve at once.
const RESOURCES_OF_REQUEST: usize = 32;

/// Resources of an instance that serves so many requests at once.
pub(super) fn resources(at_once: usize) -> usize {
    RESOURCES.saturating_add(RESOURCES_OF_REQUEST.saturating_mul(at_once.saturating_sub(1)))
}

/// Files and directories that an instance may have open at once: each is a descriptor of the child's, and all that its
/// guests and clients have open come from one purse. `mpm` reckons with as many for a request, and those below.
pub(super) const OPEN_FILES: usize = 128;

/// The same for a command of preview 1, where all that it has open are resources, and a few more while it waits for them.
pub(super) const PREVIEW_1_RESOURCES: usize = OPEN_FILES + 16;

/// Random bytes that a guest may ask for at once; Wasmtime's own limit is 64 MiB.
pub(super) const RANDOM_BYTES: u64 = 1 << 20;

/// Lines that the outbound requests of one call may bring to the log; of the rest nothing is told.
pub(super) const OUTBOUND_LINES: usize = 32;

/// Outbound requests that one call may have open at once.
pub(super) const OUTBOUND_REQUESTS: usize = 32;

/// What one call may take, from the module's settings.
#[derive(Debug, Clone)]
pub(super) struct CallLimits {
    /// Bytes of linear memory, all memories of the instance together.
    pub(super) memory: u64,
    /// Elements of one table.
    pub(super) table_elements: usize,
    pub(super) wall: Duration,
    pub(super) cpu: Duration,
    /// Bytes.
    pub(super) response_body: u64,
}

impl CallLimits {
    pub(super) fn new(settings: &config::Limits, table_elements: usize) -> CallLimits {
        CallLimits {
            memory: settings.memory,
            table_elements,
            wall: settings.wall,
            cpu: settings.cpu,
            response_body: settings.response_body,
        }
    }
}

/// Counts the memory of one instance.
#[derive(Debug)]
pub(super) struct MemoryMeter {
    /// Bytes.
    limit: u64,
    table_elements: usize,
    /// Bytes that the instance's memories have together.
    held: u64,
    /// Bytes by which the last growth enlarged `held`, to be taken back if the growth fails after all.
    last: u64,
    refused: Option<Refused>,
}

/// A growth that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    /// Bytes that the guest would have had.
    pub(super) wanted: u64,
}

impl MemoryMeter {
    pub(super) fn new(limits: &CallLimits) -> MemoryMeter {
        MemoryMeter { limit: limits.memory, table_elements: limits.table_elements, held: 0, last: 0, refused: None }
    }

    /// The instance begins a request. Its memory stays charged; what was refused in an earlier request, and got over
    /// there, is no reason for what happens in this one.
    pub(super) fn begin_request(&mut self) {
        self.refused = None;
    }

    /// The first growth that was refused in this request, if any. A guest that cannot allocate traps soon after, and then this is
    /// the reason and not the trap.
    pub(super) fn refused(&self) -> Option<Refused> {
        self.refused
    }
}

impl ResourceLimiter for MemoryMeter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let grows = desired.saturating_sub(current) as u64;
        let wanted = self.held.saturating_add(grows);
        if wanted > self.limit {
            self.refused.get_or_insert(Refused { wanted });
            return Ok(false);
        }
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.held = wanted;
        self.last = grows;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.held -= std::mem::take(&mut self.last);
        tracing::debug!("a guest's memory could not grow: {error:#}");
        Ok(())
    }

    fn table_growing(&mut self, _current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= self.table_elements && maximum.is_none_or(|maximum| desired <= maximum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(memory: u64) -> MemoryMeter {
        let limits = CallLimits {
            memory,
            table_elements: 10,
            wall: Duration::from_secs(1),
            cpu: Duration::from_secs(1),
            response_body: 1,
        };
        MemoryMeter::new(&limits)
    }

    #[test]
    fn the_limit_holds_for_all_memories_together() {
        let mut meter = meter(100);
        assert!(meter.memory_growing(0, 60, None).unwrap());
        assert!(!meter.memory_growing(0, 60, None).unwrap());
        assert_eq!(meter.refused(), Some(Refused { wanted: 120 }));
        assert!(meter.memory_growing(60, 100, None).unwrap());
    }

    #[test]
    fn a_request_inherits_the_memory_but_not_the_refusals_of_those_before() {
        let mut meter = meter(100);
        assert!(meter.memory_growing(0, 60, None).unwrap());
        assert!(!meter.memory_growing(60, 120, None).unwrap());
        meter.begin_request();
        assert_eq!(meter.refused(), None);
        assert!(!meter.memory_growing(60, 110, None).unwrap());
        assert_eq!(meter.refused(), Some(Refused { wanted: 110 }));
    }

    #[test]
    fn a_growth_that_the_memory_itself_forbids_is_not_blamed_on_the_limit() {
        let mut meter = meter(100);
        assert!(!meter.memory_growing(10, 60, Some(50)).unwrap());
        assert_eq!(meter.refused(), None);
    }

    #[test]
    fn a_growth_that_failed_is_given_back() {
        let mut meter = meter(100);
        assert!(meter.memory_growing(0, 80, None).unwrap());
        meter.memory_grow_failed(wasmtime::format_err!("no pages")).unwrap();
        assert!(meter.memory_growing(0, 80, None).unwrap());
    }

    #[test]
    fn tables_are_bounded() {
        let mut meter = meter(100);
        assert!(meter.table_growing(0, 10, None).unwrap());
        assert!(!meter.table_growing(10, 11, None).unwrap());
    }
}
