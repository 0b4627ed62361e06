// Runs an experiment in one mode and compares what happened with what was promised. Touches no part of the page.

// Longer than every limit of the server: reached only if a promise is broken.
const PATIENCE = 20_000;

// Plants a secret, lets the offender loose, and looks at what the next request finds.
export async function run(experiment, mode) {
  const base = `/lab/${mode.name}/`;
  const word = `secret-${crypto.getRandomValues(new Uint32Array(1))[0].toString(36)}`;
  const before = await ask(`${base}secret?set=${word}`);
  const offender = await ask(base + experiment.path);
  const next = await ask(`${base}count`);
  const found = {
    offender,
    next,
    sameInstance: next.answer !== null && next.answer.instance === before.answer?.instance,
    sameSecret: next.answer !== null && next.answer.secret === word,
  };
  return { ...found, complaints: complaints(experiment, mode, word, before, found) };
}

// What the neighbour was promised: it may become a little slower, but it is always answered.
export function judgeNeighbour(figures) {
  if (figures.failed > 0) return [`${figures.failed} of its requests failed`];
  return figures.requests > 0 ? [] : ["it was not asked"];
}

function complaints(experiment, mode, word, before, { offender, next, sameInstance, sameSecret }) {
  if (before.answer === null) return [`the request before was answered ${describe(before)}`];
  const found = [];
  if (offender.status !== experiment.status || offender.whole !== experiment.whole) {
    found.push(`the offender was answered ${describe(offender)}`);
  } else if (experiment.says) {
    found.push(experiment.says(offender.answer, { word, before: before.answer, keeps: mode.keeps, took: offender.took }));
  }

  const keeps = mode.keeps && !experiment.fault;
  if (next.answer === null) {
    found.push(`the next request was answered ${describe(next)}`);
  } else {
    if (sameInstance !== keeps) found.push(`the next request found ${sameInstance ? "the same" : "another"} instance`);
    if (sameSecret !== keeps) found.push(`the secret was ${sameSecret ? "still there" : "gone"}`);
    if (keeps !== (next.answer.count > 1)) found.push(`the counter stood at ${next.answer.count}`);
  }
  return found.filter((complaint) => complaint !== null);
}

// One request: its status (null: none came), whether all of the answer came, the answer if it is JSON and says that all
// is well, what the browser complained of otherwise, and the milliseconds that it took.
async function ask(url) {
  const began = performance.now();
  const asked = { status: null, whole: false, answer: null, failure: null, took: 0 };
  try {
    const response = await fetch(url, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    asked.status = response.status;
    const text = await response.text();
    asked.whole = true;
    if (response.ok) asked.answer = JSON.parse(text);
  } catch (failure) {
    asked.failure = `${failure}`;
  }
  asked.took = performance.now() - began;
  return asked;
}

// The answer in a few words.
export function describe({ status, whole }) {
  if (status === null) return "not at all";
  return whole ? `${status}` : `${status}, then broke off`;
}
