// The experiments: what each does, and what the server promises about it. How one is run and judged is not here.

// One Wasm file under three paths, `/lab/NAME`. Whether an instance lives on after its request is all that differs.
export const MODES = [
  { name: "fresh", title: "Fresh", keeps: false },
  { name: "reused", title: "Reused", keeps: true },
  { name: "confined", title: "Confined", keeps: true },
];

// The pause of the handler that sleeps, in milliseconds.
const SLEEP = 500;

// `status` and `whole` are what the offender is answered, and whether the answer arrives to its end. `fault`: its
// instance must never serve again, in whichever mode. `says` finds fault with what the offender's answer tells.
export const EXPERIMENTS = [
  {
    name: "count",
    title: "Count requests",
    run: "Count",
    path: "count",
    without: "Handlers that share their memory count each other's requests, and two threads at once lose some.",
    here: "Fresh never gets beyond 1. Reused and confined go on counting, one request at a time.",
    status: 200,
    whole: true,
    fault: false,
    says: (answer, { before, keeps }) =>
      keeps === (answer.count > before.count) ? null : `it counted ${before.count}, then ${answer.count}`,
  },
  {
    name: "secret",
    title: "Keep a secret",
    run: "Ask for it",
    path: "secret",
    without: "What one request leaves in memory, any handler of the process can find there.",
    here: "Gone in fresh. Reused and confined still have it, which is what keeping an instance means.",
    status: 200,
    whole: true,
    fault: false,
    says: (answer, { word, keeps }) =>
      answer.secret === (keeps ? word : null) ? null : `its memory holds ${answer.secret ?? "no secret"}`,
  },
  {
    name: "trap",
    title: "Crash",
    run: "Crash",
    path: "trap",
    without: "The process is gone, and with it every request that it was serving.",
    here: "One request is answered 500. The next finds a new instance, with nothing of the old one in it.",
    status: 500,
    whole: true,
    fault: true,
  },
  {
    name: "loop",
    title: "Loop for ever",
    run: "Loop",
    path: "loop",
    without: "The thread never comes back. As many requests as there are threads, and nobody is served.",
    here: "It gets a slice of a millisecond at a time, others in between, and 504 when its CPU limit is reached.",
    status: 504,
    whole: true,
    fault: true,
  },
  {
    name: "memory",
    title: "Eat memory",
    run: "Eat",
    path: "memory",
    without: "The machine begins to swap, and the kernel kills the process that it likes least.",
    here: "At 32 MiB it is refused more and gives up: 500, and its memory is free again.",
    status: 500,
    whole: true,
    fault: true,
  },
  {
    name: "stack",
    title: "Overflow the stack",
    run: "Recurse",
    path: "stack",
    without: "A segmentation fault ends the process, or worse, somebody else's memory is overwritten.",
    here: "The stack has an end that is checked: 500 for this request.",
    status: 500,
    whole: true,
    fault: true,
  },
  {
    name: "half",
    title: "Answer half",
    run: "Break off",
    path: "half",
    without: "The client takes half for the whole, or takes the next answer for the other half.",
    here: "The connection is closed in the middle of the answer, so that the client can tell.",
    status: 200,
    whole: false,
    fault: true,
  },
  {
    name: "files",
    title: "Look at files",
    run: "Look",
    path: "files",
    without: "A handler reads and writes whatever the server's user may: passwords, keys, other sites.",
    here: "It sees no file at all, because none was granted to it.",
    status: 200,
    whole: true,
    fault: false,
    says: refusedAll,
  },
  {
    name: "call-out",
    title: "Call out",
    run: "Call",
    path: "call-out",
    without: "A handler reaches your database, your cloud's metadata, and the rest of the world.",
    here: "Refused: whom a module may call is a list, and this one's is empty.",
    status: 200,
    whole: true,
    fault: false,
    says: refusedAll,
  },
  {
    name: "sleep",
    title: "Sleep",
    run: "Sleep",
    path: `sleep?ms=${SLEEP}`,
    without: "A handler that waits holds a thread or a process. Enough of them, and the server is full.",
    here: "Its connection is parked; the thread serves others. Confined, it holds its own process and nobody else's.",
    status: 200,
    whole: true,
    fault: false,
    says: (_answer, { took }) => (took >= SLEEP ? null : "it woke too early"),
  },
];

function refusedAll(answer) {
  const reached = answer.attempts.filter((attempt) => attempt.succeeded).map((attempt) => attempt.what);
  return reached.length === 0 ? null : `it could ${reached.join(", ")}`;
}
