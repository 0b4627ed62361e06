
(() => {
  "use strict";
  const HISTORY = 60;
  const live = document.getElementById("live");
  const pulse = document.getElementById("pulse");
  const seconds = Number(document.body.dataset.refresh);
  const address = "notable" in document.body.dataset ? "?fragment&notable" : "?fragment";
  const rates = [];
  let before = reading();

  // Counts at one moment, by the server's own clock.
  function reading() {
    const { requests, uptime } = document.getElementById("summary").dataset;
    return { requests: Number(requests), uptime: Number(uptime) };
  }

  function tellRate() {
    const now = reading();
    const passed = now.uptime - before.uptime;
    const came = now.requests - before.requests;
    before = now;
    // A restart begins to count anew.
    if (passed <= 0 || came < 0) rates.length = 0;
    else rates.push(came / passed);
    if (rates.length > HISTORY) rates.shift();
    if (rates.length === 0) return;
    const rate = rates[rates.length - 1];
    document.getElementById("rate").textContent = `${rate < 10 ? rate.toFixed(1) : Math.round(rate)} a second`;
    const most = Math.max(...rates, 1);
    const line = document.createElementNS(document.getElementById("spark").namespaceURI, "polyline");
    const points = rates.map((value, index) => {
      const x = 120 - (rates.length - 1 - index) * (120 / (HISTORY - 1));
      return `${x.toFixed(1)},${(26 - (24 * value) / most).toFixed(1)}`;
    });
    line.setAttribute("points", points.join(" "));
    document.getElementById("spark").replaceChildren(line);
  }

  // What the reader has scrolled or focused stays as it is.
  function replace(text) {
    const regions = () => [...live.querySelectorAll(".scroll")];
    const places = regions().map((region) => region.scrollLeft);
    const focused = regions().indexOf(document.activeElement);
    live.innerHTML = text;
    regions().forEach((region, index) => { region.scrollLeft = places[index] ?? 0; });
    if (focused >= 0) regions()[focused]?.focus({ preventScroll: true });
  }

  function isReading() {
    const selection = document.getSelection();
    return selection !== null && !selection.isCollapsed && live.contains(selection.anchorNode);
  }

  async function look() {
    if (!document.hidden && !isReading()) {
      try {
        const answer = await fetch(address, { cache: "no-store", signal: AbortSignal.timeout(5000) });
        if (!answer.ok) throw new Error(`status ${answer.status}`);
        replace(await answer.text());
        tellRate();
        document.body.classList.remove("stale");
        pulse.textContent = `live, every ${seconds} s`;
      } catch {
        document.body.classList.add("stale");
        pulse.textContent = "the server does not answer";
      }
    }
    setTimeout(look, seconds * 1000);
  }

  pulse.textContent = `live, every ${seconds} s`;
  setTimeout(look, seconds * 1000);
})();
