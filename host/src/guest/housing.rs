//! A housing: an engine with a pool of slots, and what guests may import in it. Modules that have as many tasks at once live in
//! one together, if it is large enough for all; those of a later generation move in where there is room. Knows no call.

use std::sync::Arc;

use wasmtime::Engine;

use super::cache::{Footprint, footprint_of};
use super::engine::{self, Linkers};
use super::source::{Capacity, Concurrency, GuestsError, ModuleSource};
use crate::config;

/// Bytes of the smallest memory that a slot is made for: one Wasm page.
const MEMORY_MIN: u64 = 64 << 10;

/// See the file's head.
pub(super) struct Housing {
    pub(super) engine: Engine,
    pub(super) linkers: Linkers,
    tasks: Concurrency,
    /// The largest that it has room for.
    room: Demand,
}

/// What modules ask of a housing: slots that are large enough for each of them, and enough of those for all.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Demand {
    needs: Footprint,
    /// Bytes.
    memory_max: u64,
    /// Instances that threads keep between requests.
    kept: usize,
}

impl Demand {
    /// Of modules in a child with so many threads.
    ///
    /// # Errors
    /// One has nothing in the cache, or less memory than it starts with.
    pub(super) fn of(modules: &[&ModuleSource<'_>], threads: usize) -> Result<Demand, GuestsError> {
        modules.iter().try_fold(Demand::default(), |demand, source| {
            let config::Module { name, limits, .. } = source.settings;
            let footprint =
                footprint_of(source.native).map_err(|cause| GuestsError::Footprint { module: name.clone(), cause })?;
            if footprint.memory_initial > limits.memory {
                let (module, needs, limit) = (name.clone(), footprint.memory_initial, limits.memory);
                return Err(GuestsError::Memory { module, needs, limit });
            }
            Ok(Demand {
                needs: demand.needs.max(footprint),
                memory_max: demand.memory_max.max(limits.memory),
                kept: demand.kept.saturating_add(source.kept_max().saturating_mul(threads)),
            })
        })
    }

    fn fits(&self, room: &Demand) -> bool {
        self.needs.fits(&room.needs) && self.memory_max <= room.memory_max && self.kept <= room.kept
    }
}

impl Housing {
    /// With a slot for every call of the child, for every instance that rests between two, and for as many more as `capacity`
    /// says.
    ///
    /// # Errors
    /// [`GuestsError::Engine`]
    pub(super) fn build(tasks: Concurrency, demand: Demand, capacity: Capacity) -> Result<Arc<Housing>, GuestsError> {
        let Capacity { calls_max, threads, spare, .. } = capacity;
        // Room for the successors of all that move in, and for some more that come later.
        let spare = if spare == 0 { 0 } else { spare.saturating_mul(threads).max(demand.kept) };
        let kept = demand.kept.saturating_add(spare);
        let room = Demand { memory_max: demand.memory_max.max(MEMORY_MIN), kept, ..demand };
        let engine_error =
            |error: wasmtime::Error| GuestsError::Engine { calls_max, kept_max: kept, cause: format!("{error:#}") };
        let instances_max = calls_max.saturating_add(kept);
        let engine = engine::for_child(tasks, instances_max, &room.needs, room.memory_max).map_err(engine_error)?;
        let linkers = engine::linkers(&engine, tasks).map_err(engine_error)?;
        Ok(Arc::new(Housing { engine, linkers, tasks, room }))
    }

    /// Whether such modules can move in beside others whose threads keep so many instances here.
    pub(super) fn has_room(&self, tasks: Concurrency, demand: Demand, taken: usize) -> bool {
        self.tasks == tasks && Demand { kept: demand.kept.saturating_add(taken), ..demand }.fits(&self.room)
    }

    /// See [`CallLimits`](super::limits::CallLimits).
    pub(super) fn table_elements(&self) -> usize {
        engine::table_elements(&self.room.needs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(memories: u32, memory_max: u64, kept: usize) -> Demand {
        Demand { needs: Footprint { memories, tables: 1, ..Footprint::default() }, memory_max, kept }
    }

    #[test]
    fn what_is_larger_in_any_way_does_not_move_in() {
        let capacity = Capacity { calls_max: 1, threads: 2, spare: 3, time_slice: std::time::Duration::from_millis(1) };
        let housing = Housing::build(Concurrency::One, demand(1, 1 << 20, 2), capacity).unwrap();
        assert!(
            housing.has_room(Concurrency::One, demand(1, 1 << 20, 6), 2),
            "twice as many as the spare for each thread"
        );
        assert!(!housing.has_room(Concurrency::One, demand(1, 1 << 20, 7), 2));
        assert!(!housing.has_room(Concurrency::Many, demand(1, 1 << 20, 0), 0));
        assert!(!housing.has_room(Concurrency::One, demand(2, 1 << 20, 0), 0));
        assert!(!housing.has_room(Concurrency::One, demand(1, 2 << 20, 0), 0));
        assert!(housing.has_room(Concurrency::One, demand(1, 1, 0), 8));
    }
}
