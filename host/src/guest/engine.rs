//! How Wasmtime is set up: once for the compiler, once for the children that run what it made.
//!
//! Both start from [`common`], because native code runs only in an engine that agrees with the one that compiled it.
//! What belongs to one module or one call never stands here.

use wasmtime::component::Linker as ComponentLinker;
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, Linker as ModuleLinker, PoolingAllocationConfig,
    WasmBacktraceDetails,
};

use super::cache::Footprint;
use super::cgi;
use super::rationed;
use super::sandbox::Sandbox;
use super::source::Concurrency;

/// Bytes of a slot's memory that stay mapped from one instance to the next: resetting them by copying is cheaper than
/// giving the pages back and faulting them in again. Measured: 64 KiB with `PAGEMAP_SCAN` costs half of the default.
const KEEP_RESIDENT: usize = 64 * 1024;

/// Table elements that a guest may have at least, whatever the modules say: what Wasmtime's pool offers by default.
pub(super) const TABLE_ELEMENTS_MIN: usize = 20_000;

/// Stacks for each instance of a guest that has many tasks, on the average of all that are there.
const STACKS_OF_MANY_TASKS: u32 = 4;

/// What decides whether native code fits an engine.
fn common(tasks: Concurrency) -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true);
    config.memory_init_cow(true);
    config.concurrency_support(tasks == Concurrency::Many);
    config.wasm_component_model_async(tasks == Concurrency::Many);
    // Not used by what we serve, and where most of Wasmtime's recent advisories are.
    config.wasm_memory64(false);
    // Exceptions stay on: interpreters that were written for setjmp need them. They have a heap of the collector's in
    // each store that throws, but the types of garbage-collected languages nobody uses yet.
    config.wasm_gc(false);
    // Function names come from the name section; reading DWARF at run time would let a guest that traps on purpose
    // make the host parse megabytes of it.
    config.wasm_backtrace_details(WasmBacktraceDetails::Disable);
    config
}

/// The engine of the compiler process. It can also load what it compiled, to check it.
pub(super) fn for_compiler(tasks: Concurrency) -> wasmtime::Result<Engine> {
    Engine::new(&common(tasks))
}

/// The engine of a child: a pool of slots for so many instances at once, running or kept, each as large as the largest
/// module needs.
///
/// `memory_max` is in bytes.
pub(super) fn for_child(
    tasks: Concurrency,
    instances_max: usize,
    needs: &Footprint,
    memory_max: u64,
) -> wasmtime::Result<Engine> {
    let instances = u32::try_from(instances_max).unwrap_or(u32::MAX);
    // The heap for exceptions lies in a memory's slot.
    let memories = needs.memories.saturating_add(needs.heaps).max(1);
    let tables = needs.tables.max(1);
    let mut pool = PoolingAllocationConfig::new();
    // These three only count; what bounds them is the number of memories, tables and stacks.
    pool.total_component_instances(u32::MAX).total_core_instances(u32::MAX).max_component_instance_size(16 << 20);
    pool.total_memories(instances.saturating_mul(memories))
        .max_memories_per_component(memories)
        .max_memories_per_module(memories)
        .max_memory_size(usize::try_from(memory_max).unwrap_or(usize::MAX));
    pool.total_tables(instances.saturating_mul(tables))
        .max_tables_per_component(tables)
        .max_tables_per_module(tables)
        .table_elements(table_elements(needs));
    // A guest with many tasks may have one for each that waits inside of a call to the host.
    pool.total_stacks(match tasks {
        Concurrency::One => instances,
        Concurrency::Many => instances.saturating_mul(STACKS_OF_MANY_TASKS),
    });
    pool.total_gc_heaps(instances.saturating_mul(needs.heaps));
    pool.linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(KEEP_RESIDENT)
        // Linux 6.7 and later; elsewhere Wasmtime falls back to copying the lowest pages.
        .pagemap_scan(Enabled::Auto);
    let mut config = common(tasks);
    // Nothing is compiled here, and a compiler that is made ready takes memory and a part of the start.
    config.enable_compiler(false);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
}

/// How many table elements one table of a guest may have.
pub(super) fn table_elements(needs: &Footprint) -> usize {
    usize::try_from(needs.table_elements).unwrap_or(usize::MAX).max(TABLE_ELEMENTS_MIN)
}

/// Everything that guests may import, by what their code is.
pub(super) struct Linkers {
    pub(super) components: ComponentLinker<Sandbox>,
    pub(super) modules: ModuleLinker<Sandbox>,
}

/// For components all of WASI 0.2 and `wasi:http`, and where guests have many tasks those of 0.3 beside them, since what
/// such a guest is made of still speaks 0.2; for core modules WASI preview 1.
///
/// Today's toolchains import `wasi:cli` and `wasi:filesystem` whether the handler uses them or not, so all of it is
/// linked, and the sandbox decides what a guest may really do: nothing, unless the configuration grants it.
pub(super) fn linkers(engine: &Engine, tasks: Concurrency) -> wasmtime::Result<Linkers> {
    let mut components = ComponentLinker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut components)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut components)?;
    if tasks == Concurrency::Many {
        wasmtime_wasi::p3::add_to_linker(&mut components)?;
        wasmtime_wasi_http::p3::add_to_linker(&mut components)?;
    }
    rationed::replace_in(&mut components, tasks)?;
    let mut modules = ModuleLinker::new(engine);
    cgi::add_preview_1(&mut modules)?;
    Ok(Linkers { components, modules })
}
