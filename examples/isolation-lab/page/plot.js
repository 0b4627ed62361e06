// Draws the neighbour's latency over the last seconds: time from left to right, milliseconds on a logarithmic
// scale, a band for each experiment. Only draws; where the figures come from is not its business.

const PIXELS_PER_SECOND = 34;
const FLOOR_MS = 0.1;
const CEILING_MS = 1000;
const LINES_MS = [1, 10, 100];
const LEFT = 52;
const TOP = 18;
const BOTTOM = 6;

export class Plot {
  #canvas;
  #due = false;

  constructor(canvas) {
    this.#canvas = canvas;
  }

  // Draws before the next frame, once, however often it is asked.
  draw(neighbour) {
    if (this.#due) return;
    this.#due = true;
    requestAnimationFrame((now) => {
      this.#due = false;
      this.#paint(neighbour, now);
    });
  }

  #paint({ samples, marks }, now) {
    const { pen, width, height } = this.#prepare();
    const colour = colours(this.#canvas);
    const right = width - 8;
    const x = (time) => right - ((now - time) / 1000) * PIXELS_PER_SECOND;
    const y = (took) => {
      const share = Math.log(Math.min(Math.max(took, FLOOR_MS), CEILING_MS) / FLOOR_MS) / Math.log(CEILING_MS / FLOOR_MS);
      return height - BOTTOM - share * (height - BOTTOM - TOP);
    };

    pen.clearRect(0, 0, width, height);
    pen.font = `11px ${getComputedStyle(this.#canvas).fontFamily}`;
    pen.textBaseline = "middle";
    for (const took of LINES_MS) {
      pen.fillStyle = colour.line;
      pen.fillRect(LEFT, Math.round(y(took)), right - LEFT, 1);
      pen.fillStyle = colour.muted;
      pen.textAlign = "right";
      pen.fillText(`${took} ms`, LEFT - 6, y(took));
    }

    pen.save();
    pen.beginPath();
    pen.rect(LEFT, 0, right - LEFT, height);
    pen.clip();
    pen.textAlign = "left";
    for (const [index, mark] of marks.entries()) {
      const [from, to] = [x(mark.began), x(mark.ended ?? now)];
      pen.fillStyle = colour.band;
      pen.fillRect(from, TOP, Math.max(to - from - 1, 2), height - TOP - BOTTOM);
      pen.fillStyle = colour.muted;
      const room = (index + 1 < marks.length ? x(marks[index + 1].began) : right) - from;
      const full = `${mark.number} ${mark.title}`;
      const label = [full, `${mark.number}`].find((label) => pen.measureText(label).width + 4 < room);
      if (label) pen.fillText(label, from, TOP / 2);
    }
    for (const { at, took, failed } of samples) {
      pen.fillStyle = failed ? colour.bad : colour.accent;
      pen.beginPath();
      pen.arc(x(at), failed ? TOP : y(took), failed ? 4 : 2, 0, 2 * Math.PI);
      pen.fill();
    }
    pen.restore();
  }

  // The canvas in the pixels of the screen that it covers, whatever became of the window.
  #prepare() {
    const canvas = this.#canvas;
    const { clientWidth: width, clientHeight: height } = canvas;
    const scale = window.devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    return { pen, width, height };
  }
}

// As the style sheet says, which knows light and dark.
function colours(element) {
  const style = getComputedStyle(element);
  const names = ["line", "muted", "band", "accent", "bad"];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`)]));
}
