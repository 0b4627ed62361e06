// Asks the neighbour all the time and keeps how long its answers took. Draws nothing.

const URL_OF_NEIGHBOUR = "/hello";
const EVERY = 60;
// More would take the connections that a browser grants to one server, and the experiments need three.
const AT_ONCE_MAX = 2;
const PATIENCE = 10_000;
const KEPT = 30_000;

export class Neighbour extends EventTarget {
  samples = [];
  marks = [];
  #asked = 0;
  #underway = 0;

  start() {
    setInterval(() => this.#ask(), EVERY);
  }

  // Begins an observation, which the plot shows under its title or its number.
  observe(number, title) {
    const mark = { number, title, began: performance.now(), ended: null };
    this.marks.push(mark);
    return mark;
  }

  // Ends an observation when at least so many requests were begun in it and answered.
  async conclude(mark, requests) {
    const begunIn = () => this.samples.filter((sample) => sample.at >= mark.began);
    while (begunIn().length < requests) {
      await new Promise((seen) => this.addEventListener("sample", seen, { once: true }));
    }
    mark.ended = performance.now();
    return figures(begunIn());
  }

  recent() {
    return figures(this.samples);
  }

  async #ask() {
    if (this.#underway >= AT_ONCE_MAX) return;
    this.#underway += 1;
    const url = new URL(`${URL_OF_NEIGHBOUR}?${++this.#asked}`, location.href).href;
    const at = performance.now();
    let failed = true;
    try {
      const response = await fetch(url, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
      const text = await response.text();
      failed = response.status !== 200 || text !== "Hello, world!\n";
    } catch {
      // No answer is a failure.
    }
    this.#underway -= 1;
    this.#keep({ at, took: measured(url) ?? performance.now() - at, failed });
  }

  #keep(sample) {
    const old = performance.now() - KEPT;
    this.samples = this.samples.filter((kept) => kept.at > old);
    this.marks = this.marks.filter((mark) => mark.ended === null || mark.ended > old);
    this.samples.push(sample);
    this.dispatchEvent(new Event("sample"));
  }
}

// From the first byte sent to the last byte received, as the browser's network part saw it: time in which this page
// itself was busy does not count.
function measured(url) {
  const entry = performance.getEntriesByName(url, "resource").at(-1);
  performance.clearResourceTimings();
  return entry?.requestStart > 0 && entry.responseEnd > 0 ? entry.responseEnd - entry.requestStart : null;
}

function figures(samples) {
  const took = samples.filter((sample) => !sample.failed).map((sample) => sample.took);
  took.sort((one, other) => one - other);
  const at = (share) => (took.length === 0 ? null : took[Math.ceil(took.length * share) - 1]);
  return { requests: samples.length, failed: samples.length - took.length, p50: at(0.5), p99: at(0.99), max: at(1) };
}
