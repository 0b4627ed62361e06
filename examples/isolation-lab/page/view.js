// What the page shows: puts results into the document, as text for people and as data attributes for programs.

import { MODES } from "./experiments.js";
import { describe } from "./judge.js";

// The card of one experiment.
export class Card {
  #card;
  #results;

  constructor(number, experiment, whenPressed) {
    this.#card = clone("card");
    this.#card.dataset.experiment = experiment.name;
    fill(this.#card, {
      number,
      title: experiment.title,
      run: experiment.run,
      without: experiment.without,
      here: experiment.here,
    });
    this.button.setAttribute("aria-label", `${experiment.run}: run the experiment “${experiment.title}”`);
    this.button.addEventListener("click", whenPressed);
    this.#results = new Map(MODES.map((mode) => [mode.name, result(mode)]));
    slot(this.#card, "results").append(...this.#results.values());
  }

  get element() {
    return this.#card;
  }

  get button() {
    return slot(this.#card, "run");
  }

  begin() {
    this.#card.dataset.state = "running";
    for (const element of [...this.#results.values(), this.#beside]) {
      delete element.dataset.verdict;
      slot(element, "verdict").textContent = "";
    }
  }

  show(mode, { offender, next, sameInstance, sameSecret, complaints }) {
    const element = this.#results.get(mode.name);
    Object.assign(element.dataset, {
      status: offender.status ?? "none",
      whole: offender.whole,
      failure: offender.failure ?? "none",
      took: offender.took.toFixed(1),
      nextStatus: next.status ?? "none",
      count: next.answer?.count ?? "none",
      secret: sameSecret ? "kept" : "gone",
      instance: sameInstance ? "same" : "another",
    });
    define(element, "offender", [row(describe(offender), milliseconds(offender.took))]);
    const attempts = offender.answer?.attempts ?? [];
    define(element, "said", attempts.map(({ what, told }) => `${what}: ${told}`));
    define(element, "next", next.answer
      ? [`counter ${next.answer.count}`, `secret ${sameSecret ? "there" : "gone"}`, `${sameInstance ? "same" : "another"} instance`]
      : [`answered ${describe(next)}`]);
    rule(element, complaints);
  }

  conclude(figures, complaints) {
    const { requests, failed, p50, p99, max } = figures;
    Object.assign(this.#beside.dataset, { requests, failed, p50, p99, max });
    fill(this.#beside, {
      beside: row(`${failed} of ${requests} failed`, `p50 ${bare(p50)}`, `p99 ${bare(p99)}`, `max ${milliseconds(max)}`),
    });
    rule(this.#beside, complaints);
    this.#card.dataset.state = "done";
  }

  get #beside() {
    return this.#card.querySelector("[data-neighbour]");
  }
}

// The neighbour's figures of late.
export function showNeighbour(element, figures) {
  element.dataset.requests = figures.requests;
  element.dataset.failed = figures.failed;
  for (const name of ["p50", "p99", "max"]) figure(element, name).textContent = milliseconds(figures[name]);
  figure(element, "failed").textContent = String(figures.failed);
}

// How many of the results on the page are as promised.
export function showTally(element) {
  const count = (verdict) => document.querySelectorAll(`[data-verdict="${verdict}"]`).length;
  const [promised, broken] = [count("as-promised"), count("not-as-promised")];
  Object.assign(element.dataset, { promised, broken });
  element.textContent =
    broken === 0 ? `${promised} results, all as promised` : `${broken} of ${promised + broken} results not as promised`;
}

function result(mode) {
  const element = clone("result");
  element.dataset.mode = mode.name;
  fill(element, { mode: mode.title });
  return element;
}

function rule(element, complaints) {
  const promised = complaints.length === 0;
  element.dataset.verdict = promised ? "as-promised" : "not-as-promised";
  slot(element, "verdict").textContent = promised ? "as promised" : `not as promised: ${complaints.join("; ")}`;
}

function milliseconds(time) {
  return time === null ? "–" : `${bare(time)} ms`;
}

// For a row of times that names their unit once.
function bare(time) {
  if (time === null) return "–";
  return time < 10 ? time.toFixed(1) : String(Math.round(time));
}

// Facts in a row, which breaks after a dot and never within a fact.
function row(...facts) {
  return facts.map((fact) => fact.replaceAll(" ", "\u00a0")).join("\u00a0\u00b7 ");
}

// Puts texts under a term, one a line; without any, the term is not shown.
function define(element, name, texts) {
  const group = slot(element, name);
  const definitions = texts.map((text) => Object.assign(document.createElement("dd"), { textContent: text }));
  group.hidden = texts.length === 0;
  group.replaceChildren(group.firstElementChild, ...definitions);
}

function clone(template) {
  return document.getElementById(template).content.firstElementChild.cloneNode(true);
}

function fill(element, texts) {
  for (const [name, text] of Object.entries(texts)) slot(element, name).textContent = text;
}

function slot(element, name) {
  return element.querySelector(`[data-slot="${name}"]`);
}

function figure(element, name) {
  return element.querySelector(`[data-figure="${name}"]`);
}
