// Joins the parts of the page: the buttons, the experiments, the neighbour and the plot.

import { EXPERIMENTS, MODES } from "./experiments.js";
import { judgeNeighbour, run } from "./judge.js";
import { Neighbour } from "./neighbour.js";
import { Plot } from "./plot.js";
import { Card, showNeighbour, showTally } from "./view.js";

// Requests of the neighbour that must have been answered during an experiment, so that its figures say something.
const NEIGHBOURS_MIN = 10;

const neighbour = new Neighbour();
const plot = new Plot(document.getElementById("plot"));
const runAll = document.getElementById("run-all");
const tally = document.getElementById("tally");
const announcement = document.getElementById("announcement");

const cards = new Map(
  EXPERIMENTS.map((experiment) => [experiment, new Card(numberOf(experiment), experiment, () => perform([experiment]))]),
);
document.getElementById("experiments").append(...[...cards.values()].map((card) => card.element));
runAll.addEventListener("click", () => perform(EXPERIMENTS));

neighbour.addEventListener("sample", () => {
  showNeighbour(document.getElementById("neighbour-now"), neighbour.recent());
  plot.draw(neighbour);
});
neighbour.start();

// One experiment after the other: what is left in memory by one must not be taken for the other's.
let performing = false;
async function perform(experiments) {
  if (performing) return;
  setPerforming(true);
  for (const experiment of experiments) await performOne(experiment);
  setPerforming(false);
}

async function performOne(experiment) {
  const card = cards.get(experiment);
  card.begin();
  const mark = neighbour.observe(numberOf(experiment), experiment.title);
  const verdicts = await Promise.all(
    MODES.map(async (mode) => {
      const result = await run(experiment, mode);
      card.show(mode, result);
      return result.complaints;
    }),
  );
  const figures = await neighbour.conclude(mark, NEIGHBOURS_MIN);
  const ofNeighbour = judgeNeighbour(figures);
  card.conclude(figures, ofNeighbour);
  showTally(tally);
  const broken = [...verdicts, ofNeighbour].filter((complaints) => complaints.length > 0).length;
  announcement.textContent = `${experiment.title}: ${broken === 0 ? "as promised" : `${broken} results not as promised`}`;
}

// By which the plot names it where its title has no room.
function numberOf(experiment) {
  return EXPERIMENTS.indexOf(experiment) + 1;
}

// Not `disabled`, which would take the keyboard's focus away from the button that was pressed.
function setPerforming(now) {
  performing = now;
  for (const button of [runAll, ...[...cards.values()].map((card) => card.button)]) {
    button.setAttribute("aria-disabled", String(now));
  }
}
