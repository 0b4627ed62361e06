//! What children tell about themselves: one line for each child, one for each of its threads, in memory that the
//! parent and all children share. The only file that maps shared memory. Numbers that an application counts are kept in
//! [`Tallies`].
//!
//! The parent distrusts every value in here (Apache's CVE-2019-0211 was a scoreboard that it trusted): lines hold
//! numbers of fixed size only, a number is decoded before it is used, and no number read from here becomes an
//! index, a pointer or a pid to signal. Nothing here decides anything.
//!
//! The layout is Apache's: `process_score` and `worker_score` (include/scoreboard.h).

use std::io;
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{
    AtomicI32, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};

mod tallies;

pub use tallies::Tallies;

/// What a thread is doing, with Apache's letters and in Apache's order: up to `Ready` it is idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Status {
    /// Nobody is here.
    Dead = 0,
    Starting = 1,
    /// Waits for a connection.
    Ready = 2,
    /// Reads a request.
    BusyRead = 3,
    /// Makes or writes an answer.
    BusyWrite = 4,
    /// Waits for the next request of a connection.
    BusyKeepAlive = 5,
    BusyLog = 6,
    BusyDns = 7,
    /// Lingers until the peer has closed.
    Closing = 8,
    /// Finishes what is open; the child takes nothing new.
    Graceful = 9,
    IdleKill = 10,
}

impl Status {
    const ALL: [Status; 11] = [
        Status::Dead,
        Status::Starting,
        Status::Ready,
        Status::BusyRead,
        Status::BusyWrite,
        Status::BusyKeepAlive,
        Status::BusyLog,
        Status::BusyDns,
        Status::Closing,
        Status::Graceful,
        Status::IdleKill,
    ];

    /// The letter of mod_status's scoreboard.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Status::Dead => '.',
            Status::Starting => 'S',
            Status::Ready => '_',
            Status::BusyRead => 'R',
            Status::BusyWrite => 'W',
            Status::BusyKeepAlive => 'K',
            Status::BusyLog => 'L',
            Status::BusyDns => 'D',
            Status::Closing => 'C',
            Status::Graceful => 'G',
            Status::IdleKill => 'I',
        }
    }

    /// Whether a thread with this status could take a connection (Apache: `status <= SERVER_READY`).
    #[must_use]
    pub fn is_idle(self) -> bool {
        self <= Status::Ready
    }

    /// A number that no child of ours writes counts as dead.
    fn decode(number: u32) -> Status {
        usize::try_from(number).ok().and_then(|index| Self::ALL.get(index).copied()).unwrap_or(Status::Dead)
    }
}

/// What a child says about itself, for the status page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum ChildStatus {
    Dead = 0,
    Starting = 1,
    Ready = 2,
    Draining = 3,
}

impl ChildStatus {
    fn decode(number: u32) -> ChildStatus {
        match number {
            1 => ChildStatus::Starting,
            2 => ChildStatus::Ready,
            3 => ChildStatus::Draining,
            _ => ChildStatus::Dead,
        }
    }
}

/// Connections that are open now, by what they wait for (see [`Next`](crate::Next)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Connections {
    pub reading: u32,
    pub writing: u32,
    /// Keep-alive: between two requests.
    pub idle: u32,
    /// For something other than the socket: a guest, or a place to run one.
    pub waiting: u32,
    pub lingering: u32,
}

/// A child's line, decoded. Every value is what the child claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChildReading {
    pub status: ChildStatus,
    pub pid: i32,
    /// The latest that the child serves.
    pub generation: u32,
    /// The [key](crate::settings::Pool::key) of its pool.
    pub pool: u64,
    /// Seconds since the Unix epoch.
    pub started_at_secs: u64,
    pub accepting: bool,
}

/// A thread's line, decoded. Every value is what the child claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadReading {
    pub status: Status,
    /// Requests served by all threads that ever had this line since the start or the last restart (HUP).
    pub requests: u64,
    /// Connections accepted, likewise.
    pub connections: u64,
    /// Bytes sent, likewise.
    pub bytes: u64,
    /// Connections open now.
    pub open: Connections,
}

/// On a cache line of its own, so that children do not slow each other down.
#[derive(Debug)]
#[repr(C, align(64))]
struct ChildLine {
    status: AtomicU32,
    pid: AtomicI32,
    generation: AtomicU32,
    accepting: AtomicU32,
    pool: AtomicU64,
    started_at_secs: AtomicU64,
}

/// On a cache line of its own, so that threads do not slow each other down.
#[derive(Debug)]
#[repr(C, align(64))]
struct ThreadLine {
    status: AtomicU32,
    reading: AtomicU32,
    writing: AtomicU32,
    idle: AtomicU32,
    waiting: AtomicU32,
    lingering: AtomicU32,
    requests: AtomicU64,
    connections: AtomicU64,
    bytes: AtomicU64,
}

/// Lines that nobody needs yet: pools of later generations find them on the board of children that live already. They are
/// address space only.
const RESERVE: usize = 1024;

/// The whole board. A handle: copies speak of the same memory, also after `fork`; of what was added beyond the reserve,
/// only those that were made later do.
#[derive(Debug, Clone)]
pub struct Scoreboard {
    headline: &'static Headline,
    /// One after the other.
    sheets: Vec<Sheet>,
    threads_per_child: usize,
}

/// What is said of the whole server.
#[derive(Debug)]
#[repr(C, align(64))]
struct Headline {
    published: AtomicU32,
    /// Lines for children that are in use.
    slots: AtomicU64,
}

/// Lines that came into being together.
#[derive(Debug, Clone, Copy)]
struct Sheet {
    children: &'static [ChildLine],
    /// Those of the first child, then those of the second...
    threads: &'static [ThreadLine],
}

impl Scoreboard {
    /// A board with room for `children` children of `threads_per_child` threads each, all dead. Its memory is
    /// reserved, not used, until somebody writes, and stays for as long as the process.
    ///
    /// # Errors
    /// The memory is not to be had; `InvalidInput` if so much cannot even be asked for.
    pub fn new(children: usize, threads_per_child: usize) -> io::Result<Self> {
        let headline = &Lines::new(1)?.forever()[0];
        let mut board = Self { headline, sheets: Vec::new(), threads_per_child };
        board.grow_to(children)?;
        Ok(board)
    }

    /// Makes room for so many children in all, if there is less.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(crate) fn grow_to(&mut self, children: usize) -> io::Result<()> {
        let missing = children.saturating_sub(self.lines());
        if missing > 0 {
            let lines = missing.checked_add(RESERVE).ok_or(io::ErrorKind::InvalidInput)?;
            let threads = lines.checked_mul(self.threads_per_child).ok_or(io::ErrorKind::InvalidInput)?;
            self.sheets.push(Sheet { children: Lines::new(lines)?.forever(), threads: Lines::new(threads)?.forever() });
        }
        self.headline.slots.fetch_max(children as u64, Relaxed);
        Ok(())
    }

    /// The generation that serves whatever begins now. The parent alone decides; a child that does not know this one keeps
    /// to what it has.
    #[must_use]
    pub fn published(&self) -> u32 {
        self.headline.published.load(Acquire)
    }

    /// From this moment on, in all children at once, whatever begins is served as this generation has it.
    pub(crate) fn publish(&self, generation: u32) {
        self.headline.published.store(generation, Release);
    }

    /// Lines for children that are in use, as far as this copy knows them: one more than the greatest slot. Others may
    /// have written here, so the parent does not ask.
    #[must_use]
    pub fn slots(&self) -> usize {
        usize::try_from(self.headline.slots.load(Relaxed)).unwrap_or(usize::MAX).min(self.lines())
    }

    /// Lines for children that this copy knows, in use or not.
    fn lines(&self) -> usize {
        self.sheets.iter().map(|sheet| sheet.children.len()).sum()
    }

    /// Lines for threads that each child has.
    #[must_use]
    pub fn threads_per_child(&self) -> usize {
        self.threads_per_child
    }

    /// The line of one child.
    ///
    /// # Panics
    /// `slot` is not on the board.
    #[must_use]
    pub fn child(&self, slot: usize) -> ChildSlot {
        let (sheet, index) = self.place(slot);
        ChildSlot { line: &sheet.children[index] }
    }

    /// The line of one thread of one child.
    ///
    /// # Panics
    /// `slot` or `thread` is not on the board.
    #[must_use]
    pub fn thread(&self, slot: usize, thread: usize) -> ThreadSlot {
        assert!(thread < self.threads_per_child, "thread {thread} of a child has no line on the scoreboard");
        let (sheet, index) = self.place(slot);
        ThreadSlot { line: &sheet.threads[index * self.threads_per_child + thread] }
    }

    /// The sheet with the lines of a slot, and which of them they are.
    fn place(&self, slot: usize) -> (Sheet, usize) {
        let mut index = slot;
        for sheet in &self.sheets {
            match index.checked_sub(sheet.children.len()) {
                None => return (*sheet, index),
                Some(behind) => index = behind,
            }
        }
        panic!("slot {slot} is not on the scoreboard");
    }

    /// Takes a child that no longer exists off the board. What its threads have served stays counted.
    pub(crate) fn mark_dead(&self, slot: usize) {
        let ChildSlot { line } = self.child(slot);
        line.status.store(ChildStatus::Dead as u32, Relaxed);
        line.accepting.store(0, Relaxed);
        line.pid.store(0, Relaxed);
        for thread in 0..self.threads_per_child {
            let thread = self.thread(slot, thread);
            thread.set_status(Status::Dead);
            thread.set_connections(Connections::default());
        }
    }

    /// Begins to count requests, connections and bytes anew, as a restart (HUP) does.
    pub(crate) fn reset_counters(&self) {
        // Not those in reserve, which would be made real.
        let lines = (0..self.slots()).flat_map(|slot| (0..self.threads_per_child).map(move |thread| (slot, thread)));
        for ThreadSlot { line } in lines.map(|(slot, thread)| self.thread(slot, thread)) {
            line.requests.store(0, Relaxed);
            line.connections.store(0, Relaxed);
            line.bytes.store(0, Relaxed);
        }
    }

    /// How many of a child's first `threads` threads say that they could take a connection.
    pub(crate) fn idle_threads(&self, slot: usize, threads: usize) -> usize {
        (0..threads.min(self.threads_per_child))
            .filter(|&thread| self.thread(slot, thread).read().status.is_idle())
            .count()
    }
}

/// The line of a child; written by the child.
#[derive(Debug, Clone, Copy)]
pub struct ChildSlot {
    line: &'static ChildLine,
}

impl ChildSlot {
    /// This process is the child of this line now, and is starting.
    pub fn begin(&self, generation: u32, pool: u64) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.line.pid.store(std::process::id().cast_signed(), Relaxed);
        self.line.generation.store(generation, Relaxed);
        self.line.pool.store(pool, Relaxed);
        self.line.started_at_secs.store(now.as_secs(), Relaxed);
        self.line.accepting.store(0, Relaxed);
        self.line.status.store(ChildStatus::Starting as u32, Relaxed);
    }

    /// The child serves this generation now.
    pub fn set_generation(&self, generation: u32) {
        self.line.generation.store(generation, Relaxed);
    }

    /// All threads are there.
    pub fn set_ready(&self) {
        self.line.status.store(ChildStatus::Ready as u32, Relaxed);
    }

    /// The child takes nothing new and ends when what is open is finished.
    pub fn set_draining(&self) {
        self.line.accepting.store(0, Relaxed);
        self.line.status.store(ChildStatus::Draining as u32, Relaxed);
    }

    /// Whether the child takes new connections at the moment.
    pub fn set_accepting(&self, accepting: bool) {
        self.line.accepting.store(u32::from(accepting), Relaxed);
    }

    #[must_use]
    pub fn read(&self) -> ChildReading {
        ChildReading {
            status: ChildStatus::decode(self.line.status.load(Relaxed)),
            pid: self.line.pid.load(Relaxed),
            generation: self.line.generation.load(Relaxed),
            pool: self.line.pool.load(Relaxed),
            started_at_secs: self.line.started_at_secs.load(Relaxed),
            accepting: self.line.accepting.load(Relaxed) == 1,
        }
    }
}

/// The line of a thread; written by that thread alone, so that no update needs a locked instruction.
#[derive(Debug, Clone)]
pub struct ThreadSlot {
    line: &'static ThreadLine,
}

impl ThreadSlot {
    pub fn set_status(&self, status: Status) {
        self.line.status.store(status as u32, Relaxed);
    }

    pub fn count_request(&self) {
        add(&self.line.requests, 1);
    }

    pub fn count_connection(&self) {
        add(&self.line.connections, 1);
    }

    /// Bytes sent to clients.
    pub fn add_bytes(&self, bytes: u64) {
        add(&self.line.bytes, bytes);
    }

    /// Says how many connections the thread has open now. What a child has open is the sum over its threads.
    pub fn set_connections(&self, open: Connections) {
        self.line.reading.store(open.reading, Relaxed);
        self.line.writing.store(open.writing, Relaxed);
        self.line.idle.store(open.idle, Relaxed);
        self.line.waiting.store(open.waiting, Relaxed);
        self.line.lingering.store(open.lingering, Relaxed);
    }

    #[must_use]
    pub fn read(&self) -> ThreadReading {
        ThreadReading {
            status: Status::decode(self.line.status.load(Relaxed)),
            requests: self.line.requests.load(Relaxed),
            connections: self.line.connections.load(Relaxed),
            bytes: self.line.bytes.load(Relaxed),
            open: Connections {
                reading: self.line.reading.load(Relaxed),
                writing: self.line.writing.load(Relaxed),
                idle: self.line.idle.load(Relaxed),
                waiting: self.line.waiting.load(Relaxed),
                lingering: self.line.lingering.load(Relaxed),
            },
        }
    }
}

/// An increment by the only writer: no locked instruction is needed, and a reader sees the old or the new value.
fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(more), Relaxed);
}

/// A type whose every bit pattern is a value and that may be changed by others at any time.
///
/// # Safety
/// All fields are atomic integers.
unsafe trait Line: Sync + 'static {}

// SAFETY: atomic integers only.
unsafe impl Line for Headline {}
// SAFETY: atomic integers only.
unsafe impl Line for ChildLine {}
// SAFETY: atomic integers only.
unsafe impl Line for ThreadLine {}

/// Zeroed lines that this process shares with all that it forks while it has them. A process that drops them has them
/// no longer; the others do.
#[derive(Debug)]
struct Lines<L: Line> {
    start: NonNull<L>,
    count: usize,
}

// SAFETY: a `Line` is `Sync`, and the memory belongs to no thread.
unsafe impl<L: Line> Send for Lines<L> {}
// SAFETY: as above.
unsafe impl<L: Line> Sync for Lines<L> {}

impl<L: Line> Lines<L> {
    fn new(count: usize) -> io::Result<Self> {
        let bytes = count.checked_mul(size_of::<L>()).and_then(NonZeroUsize::new);
        let Some(bytes) = bytes.filter(|bytes| isize::try_from(bytes.get()).is_ok()) else {
            let none = Self { start: NonNull::dangling(), count: 0 };
            return if count == 0 { Ok(none) } else { Err(io::ErrorKind::InvalidInput.into()) };
        };
        let (protection, flags) = (ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED);
        // SAFETY: without MAP_FIXED the kernel chooses an address that nothing else uses.
        let start = unsafe { mmap_anonymous(None, bytes, protection, flags | MapFlags::MAP_NORESERVE)? };
        Ok(Self { start: start.cast(), count })
    }

    /// Keeps them for as long as the process.
    fn forever(self) -> &'static [L] {
        let lines = std::mem::ManuallyDrop::new(self);
        // SAFETY: as in `deref`, and they are never unmapped.
        unsafe { std::slice::from_raw_parts(lines.start.as_ptr(), lines.count) }
    }
}

impl<L: Line> Deref for Lines<L> {
    type Target = [L];

    fn deref(&self) -> &[L] {
        // SAFETY: the mapping is `count` lines long, page-aligned, and stays until `self` is dropped; `Line` promises
        // that its zeroes are values and that writes by other processes are writes to atomics.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.count) }
    }
}

impl<L: Line> Drop for Lines<L> {
    fn drop(&mut self) {
        if self.count == 0 {
            return;
        }
        // SAFETY: `new` has mapped so many bytes here, and whoever borrows them borrows `self`.
        if let Err(error) = unsafe { munmap(self.start.cast(), self.count * size_of::<L>()) } {
            tracing::error!("cannot give shared memory back: {error}");
        }
    }
}

#[cfg(test)]
mod tests;
