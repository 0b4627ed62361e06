//! One request through one instance: a state machine that the thread which owns the connection polls itself.
//!
//! Two things have a life here, the guest and its answer, and they must be advanced together: the channel between
//! them holds one chunk, so a guest that writes waits for the reader, and the reader for the guest.
//!
//! ```text
//! guest    Running ──well, and its module is reused──► Resting ──finish──► (shelf)
//!             └──otherwise───────────────────────────────► Over
//!          Seated in an instance that serves others as well, until the answer is told, or the instance is over
//!
//! answer   Awaited ──Head──► Open ──Data*──► (End) ──► Told
//!             │                │ the guest is over
//!             └──Head──────► Rest ──Data*──► End ───► Told
//! ```
//! Back-pressure is not polling: a guest runs only inside [`Call::poll`], and its answer is taken before it runs on.
//!
//! An instance serves again only if there is nothing at all to say against its call: the guest returned by itself, its
//! answer was whole and right, and everything was told. Whatever else ends a call ends the instance.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body::Body;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::answer::{Length, Opened, Rest, Said, has_place_for_body, said};
use super::clockwork::Clockwork;
use super::fault::{Fault, judge};
use super::grants::Grants;
use super::http03::{Driven, Seat, Shared};
use super::instance::{Instance, Running};
use super::link::{Answer, Link};
use super::shelf::{ModuleId, Shelf};

/// What a poll came to. After anything but `Pending`, `Done` and `Failed` the caller polls again when it can use
/// more; nobody is woken for that.
#[derive(Debug)]
pub enum Progress {
    /// The answer's head, and the length of its body if that is known: as the guest announced it, or because the
    /// body is already complete.
    Head(http::response::Parts, Option<u64>),
    /// The next piece of the body; never empty.
    Data(Bytes),
    /// The body is complete. The guest may still be busy: poll on until `Done`.
    End(Option<HeaderMap>),
    /// The guest has ended and everything is told. Its instance may serve again ([`Call::finish`]).
    Done,
    /// The guest waits for something; the waker will tell.
    Pending,
    /// The guest used up its time slice and would go on: poll again, after others had their turn.
    Sliced,
    /// The call is over. Before `Head` a client can still be told a status ([`Fault::status`]); between `Head` and
    /// `End` only a closed connection tells it that something is missing; after `End` it has all.
    Failed(Fault),
}

/// See the file's head. Dropping it ends the guest, wherever it is, and its instance.
pub struct Call {
    guest: Guest,
    answer: AnswerState,
    audience: Audience,
    ordinal: Ordinal,
    link: Arc<Link>,
    grants: Arc<Grants>,
    clockwork: Arc<Clockwork>,
    /// The request's.
    method: Method,
}

/// Which request of which instance this is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ordinal {
    pub(super) module: ModuleId,
    /// Counts the requests of the instance, from 1.
    pub(super) request: u64,
    /// So many it serves; 0: as many as come.
    pub(super) requests_max: u64,
}

/// Where the guest is.
pub(super) enum Guest {
    /// In an instance that serves nobody else meanwhile.
    Running(Running),
    /// In an instance that others may be in as well, and which goes on without this call.
    Seated(Seat),
    /// It has returned, nothing is wrong, and it may serve again.
    Resting(Instance),
    /// Its instance is gone.
    Over,
}

/// Who hears what the guest says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Audience {
    Client,
    /// The client is gone.
    Nobody,
}

enum AnswerState {
    /// The guest has not answered yet.
    Awaited,
    /// The head is told; the guest writes the body.
    Open(HyperOutgoingBody, Length),
    /// The guest is over; this is left to tell.
    Rest(Rest),
    /// All is told, or will never be.
    Told,
}

impl Call {
    pub(super) fn new(
        guest: Guest,
        ordinal: Ordinal,
        method: Method,
        link: Arc<Link>,
        grants: Arc<Grants>,
        clockwork: Arc<Clockwork>,
    ) -> Call {
        let (answer, audience) = (AnswerState::Awaited, Audience::Client);
        Call { guest, answer, audience, ordinal, link, grants, clockwork, method }
    }

    /// Takes what the guest has to say, or lets it run until it says something, waits, or has had its time slice.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Progress {
        self.link.alarm.rings(cx.waker());
        let mut due = self.link.alarm.begin_poll();
        let slice_over = self.link.spent() + self.clockwork.slice();
        let advanced = catch_unwind(AssertUnwindSafe(|| {
            loop {
                match self.advance(due, slice_over) {
                    Some(Progress::Head(..) | Progress::Data(_) | Progress::End(_))
                        if self.audience == Audience::Nobody =>
                    {
                        // Nobody's output blocks, so only the clock keeps such a guest from having the thread.
                        if self.link.spent() >= slice_over {
                            return Progress::Sliced;
                        }
                        due = true;
                        continue;
                    }
                    Some(progress) => return progress,
                    None => {}
                }
                if self.link.alarm.fall_asleep() {
                    return Progress::Pending;
                }
                due = self.link.alarm.woken() || self.link.alarm.begin_poll();
            }
        }));
        match advanced {
            Ok(Progress::Pending) => Progress::Pending,
            Ok(progress) => {
                self.link.alarm.stay_awake();
                if let (Guest::Seated(seat), Progress::Head(..) | Progress::Data(_) | Progress::End(_)) =
                    (&self.guest, &progress)
                {
                    // A client that does not read keeps its call from being polled, but nobody else's.
                    seat.pass_on();
                }
                progress
            }
            Err(panic) => self.fail(Fault::of_panic(panic.as_ref())),
        }
    }

    /// See [`super::Guests::move_on`].
    pub(super) fn move_on(&mut self, other: impl FnOnce() -> Rc<Shared>) {
        if let Guest::Seated(seat) = &mut self.guest {
            seat.move_on(other);
            self.ordinal.request = seat.ordinal();
        }
    }

    /// To be called before the caller brings what the guest waits for, if it polls next anyway: nobody is rung for it.
    pub fn rouse(&self) {
        self.link.alarm.stay_awake();
    }

    /// CPU time that the guest has used so far.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        self.link.spent()
    }

    /// How long the call may last from its beginning: `limits.wall`.
    #[must_use]
    pub fn wall(&self) -> Duration {
        self.grants.limits.wall
    }

    /// Whether the instance had served before this request.
    #[must_use]
    pub fn is_reused(&self) -> bool {
        self.ordinal.request > 1
    }

    /// Whether the instance is to serve others after this request, if nothing goes wrong: then the call is worth
    /// letting it finish.
    #[must_use]
    pub fn outlives(&self) -> bool {
        let Ordinal { request, requests_max, .. } = self.ordinal;
        match self.guest {
            Guest::Running(_) | Guest::Resting(_) => requests_max == 0 || request < requests_max,
            // It finishes by itself.
            Guest::Seated(_) | Guest::Over => false,
        }
    }

    /// The client is gone: what the guest still says is thrown away, and [`Call::poll`] answers only `Pending`,
    /// `Sliced`, `Done` or `Failed` from now on. The request's body is the caller's to cut off.
    pub fn discard(&mut self) {
        self.audience = Audience::Nobody;
    }

    /// Ends the call, and gives the instance back to the thread's shelf if it may serve again: after
    /// [`Progress::Done`], if it is not used up and nothing was wrong with the call, and if its module is still there.
    pub fn finish(mut self, shelf: &mut Shelf) {
        self.guest = match (std::mem::replace(&mut self.guest, Guest::Over), &self.answer) {
            (Guest::Resting(instance), AnswerState::Told) => match shelf.keep(self.ordinal.module, instance) {
                Ok(()) => Guest::Over,
                Err(instance) => Guest::Resting(instance),
            },
            (other, _) => other,
        };
    }

    /// Ends a call whose wall time is over. The caller keeps the time, since it has a timer anyway.
    pub fn time_out(&mut self) -> Fault {
        if let Guest::Seated(seat) = &self.guest {
            seat.time_out();
        }
        self.end();
        Fault::WallLimit(self.grants.limits.wall)
    }

    /// One step: what has been said first, then the guest. `None`: nothing more to do for now.
    fn advance(&mut self, mut due: bool, slice_over: Duration) -> Option<Progress> {
        loop {
            if let Some(progress) = self.tell() {
                return Some(progress);
            }
            let guest = match &mut self.guest {
                Guest::Running(guest) if due => guest,
                Guest::Running(_) => return None,
                Guest::Seated(_) => match self.drive(slice_over) {
                    ControlFlow::Continue(()) => continue,
                    ControlFlow::Break(progress) => return progress,
                },
                Guest::Resting(_) | Guest::Over => return Some(Progress::Done),
            };
            let waker = Waker::from(Arc::clone(&self.link));
            let entered = self.clockwork.enter();
            self.link.stopwatch.enter(Instant::now());
            let polled = guest.as_mut().poll(&mut Context::from_waker(&waker));
            self.link.charge(self.link.stopwatch.lap(Instant::now()));
            drop(entered);
            match polled {
                Poll::Ready((instance, result)) => {
                    if let Some(progress) = self.guest_ended(instance, result) {
                        return Some(progress);
                    }
                }
                Poll::Pending if self.link.stopwatch.was_sliced() => {
                    return Some(self.tell().unwrap_or(Progress::Sliced));
                }
                // Host calls that never wait for anything do not see the clock.
                Poll::Pending if self.link.is_spent() => {
                    let limit = self.grants.limits.cpu;
                    return Some(self.fail(Fault::CpuLimit(limit)));
                }
                Poll::Pending => {
                    due = self.link.alarm.woken();
                    if due && self.link.spent() >= slice_over {
                        return Some(self.tell().unwrap_or(Progress::Sliced));
                    }
                }
            }
        }
    }

    /// Lets the instance that this call is in run on, until there is something to tell, or nothing to go on with.
    fn drive(&mut self, slice_over: Duration) -> ControlFlow<Option<Progress>> {
        let Guest::Seated(seat) = &self.guest else { return ControlFlow::Break(None) };
        if let AnswerState::Told = self.answer {
            self.guest = Guest::Over;
            return ControlFlow::Break(Some(Progress::Done));
        }
        match seat.drive(&self.link) {
            // A guest that begins has no task yet that could be charged for it.
            Driven::Ran | Driven::Sliced if self.link.is_spent() => {
                seat.time_out();
                let limit = self.grants.limits.cpu;
                ControlFlow::Break(Some(self.fail(Fault::CpuLimit(limit))))
            }
            Driven::Ran if self.link.spent() < slice_over => ControlFlow::Continue(()),
            Driven::Ran | Driven::Sliced => ControlFlow::Break(Some(self.tell().unwrap_or(Progress::Sliced))),
            Driven::Asleep => ControlFlow::Break(None),
            Driven::Over if !seat.is_honest() => {
                let fault = seat.fault();
                ControlFlow::Break(Some(self.fail(fault)))
            }
            Driven::Over => {
                let progress = self.answer_ended(Err(seat.fault()));
                self.guest = Guest::Over;
                match progress {
                    Some(progress) => ControlFlow::Break(Some(progress)),
                    None => ControlFlow::Continue(()),
                }
            }
        }
    }

    /// What there is to tell without the guest running on.
    fn tell(&mut self) -> Option<Progress> {
        match std::mem::replace(&mut self.answer, AnswerState::Told) {
            AnswerState::Awaited => {
                self.answer = AnswerState::Awaited;
                let answer = self.link.take_answer()?;
                Some(match self.open(answer) {
                    Ok(Opened { parts, body, length, announced }) => {
                        self.answer = AnswerState::Open(body, length);
                        Progress::Head(parts, announced)
                    }
                    Err(fault) => self.fail(fault),
                })
            }
            AnswerState::Open(body, length) => self.tell_open(body, length),
            AnswerState::Rest(rest) => Some(self.tell_rest(rest)),
            AnswerState::Told => None,
        }
    }

    fn tell_open(&mut self, mut body: HyperOutgoingBody, mut length: Length) -> Option<Progress> {
        let waker = Waker::from(Arc::clone(&self.link));
        loop {
            let frame = Pin::new(&mut body).poll_frame(&mut Context::from_waker(&waker));
            match said(frame, &mut length) {
                Said::Nothing => {
                    self.answer = AnswerState::Open(body, length);
                    return None;
                }
                Said::Chunk(chunk) if chunk.is_empty() => {}
                Said::Chunk(chunk) => {
                    self.answer = AnswerState::Open(body, length);
                    return Some(Progress::Data(chunk));
                }
                Said::End(trailers) => {
                    if let Guest::Seated(seat) = &mut self.guest {
                        if !seat.is_honest() {
                            let fault = seat.fault();
                            return Some(self.fail(fault));
                        }
                        seat.passed_on();
                    }
                    return Some(Progress::End(trailers));
                }
                // Its end will be judged without regard to the answer.
                Said::Fault(Fault::BrokenOff) if self.audience == Audience::Nobody => return None,
                Said::Fault(fault) => return Some(self.fail(fault)),
            }
        }
    }

    fn tell_rest(&mut self, mut rest: Rest) -> Progress {
        if let Some(chunk) = rest.chunks.pop_front() {
            self.answer = AnswerState::Rest(rest);
            return Progress::Data(chunk);
        }
        match (rest.end, rest.afterwards) {
            (Ok(trailers), None) => Progress::End(trailers),
            (Ok(trailers), Some(fault)) => {
                self.answer = AnswerState::Rest(Rest { chunks: VecDeque::new(), end: Err(fault), afterwards: None });
                Progress::End(trailers)
            }
            (Err(fault), _) => Progress::Failed(fault),
        }
    }

    fn open(&self, answer: Answer) -> Result<Opened, Fault> {
        Opened::check(answer, &self.method, self.grants.limits.response_body)
    }

    /// The guest has returned or trapped: whatever it has not said by now, it will never say.
    ///
    /// Returns a progress if there is one to tell at once; else `tell` goes on.
    fn guest_ended(&mut self, mut instance: Instance, result: wasmtime::Result<()>) -> Option<Progress> {
        // A guest that exits with 0 has ended its request well, but it was torn out of what it was doing.
        let returned = result.is_ok();
        let sandbox = instance.sandbox();
        let verdict = judge(result, sandbox.limits(), sandbox.memory.refused());
        if self.audience == Audience::Nobody {
            return Some(self.ended_unheard(instance, returned, verdict));
        }
        let progress = self.answer_ended(verdict);
        let told_well = match &self.answer {
            AnswerState::Rest(rest) => rest.end.is_ok() && rest.afterwards.is_none(),
            AnswerState::Told => !matches!(progress, Some(Progress::Failed(_))),
            AnswerState::Awaited | AnswerState::Open(..) => false,
        };
        self.guest = if returned && told_well && self.outlives() {
            instance.sandbox().end();
            Guest::Resting(instance)
        } else {
            Guest::Over
        };
        progress
    }

    /// Nobody has heard what the guest said, so only its end counts: one whose request broke off cannot but leave its
    /// answer undone.
    fn ended_unheard(&mut self, mut instance: Instance, returned: bool, verdict: Result<(), Fault>) -> Progress {
        self.answer = AnswerState::Told;
        drop(self.link.take_answer());
        self.guest = if returned && verdict.is_ok() && self.outlives() {
            instance.sandbox().end();
            Guest::Resting(instance)
        } else {
            Guest::Over
        };
        verdict.err().map_or(Progress::Done, Progress::Failed)
    }

    /// The answer of a guest that is over, with the verdict on its end. The instance still lives.
    fn answer_ended(&mut self, verdict: Result<(), Fault>) -> Option<Progress> {
        match std::mem::replace(&mut self.answer, AnswerState::Told) {
            AnswerState::Awaited => {
                let Some(answer) = self.link.take_answer() else {
                    return Some(Progress::Failed(verdict.err().unwrap_or(Fault::NoAnswer)));
                };
                let Opened { parts, body, length, announced } = match self.open(answer) {
                    Ok(opened) => opened,
                    Err(fault) => return Some(Progress::Failed(fault)),
                };
                let rest = Rest::collect(body, length, verdict);
                let Rest { chunks, end: Ok(trailers), .. } = &rest else {
                    // Nothing has been told yet: an honest status is better than half an answer.
                    return rest.end.err().map(Progress::Failed);
                };
                let complete: u64 = chunks.iter().map(|chunk| chunk.len() as u64).sum();
                // A guest that writes nothing where nothing would be sent has not said how long its body would be; and
                // trailers need a body that is sent in chunks.
                let known = trailers.is_none() && (has_place_for_body(&self.method, parts.status) || complete > 0);
                self.answer = AnswerState::Rest(rest);
                Some(Progress::Head(parts, announced.or(known.then_some(complete))))
            }
            AnswerState::Open(body, length) => {
                self.answer = AnswerState::Rest(Rest::collect(body, length, verdict));
                None
            }
            // Only a guest that is over leaves a rest.
            rest @ AnswerState::Rest(_) => {
                self.answer = rest;
                None
            }
            AnswerState::Told => verdict.err().map(Progress::Failed),
        }
    }

    fn fail(&mut self, fault: Fault) -> Progress {
        self.end();
        Progress::Failed(fault)
    }

    /// Drops the guest and all that belongs to it.
    fn end(&mut self) {
        self.answer = AnswerState::Told;
        let guest = std::mem::replace(&mut self.guest, Guest::Over);
        // A host call that panics while it is dropped must not take the thread with it.
        let _ = catch_unwind(AssertUnwindSafe(move || drop(guest)));
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests;
