// The first screen: the course of accuracy, and the graph at three moments, which play when touched.

const FRAME = 45; // Milliseconds of a frame, so that 143 checkpoints take six seconds.
const MOMENT_EDGES = 40;

// The marks of the emergence: its onset with the interval, and the half-way step.
function emergenceMarks(page, place) {
  const { emergence } = page.labels;
  if (!emergence) return { shapes: [], annotations: [] };
  const shapes = [];
  const annotations = [];
  const colour = look.css("--soft");
  for (const [name, [step, low, high]] of Object.entries(emergence)) {
    if (low !== null && place(high) > place(low)) {
      shapes.push(shade(place(low), place(high), 0.2));
    }
    const dash = name === "onset" ? "dash" : "dot";
    shapes.push(momentLine(place(step), { line: { color: colour, width: 1.6, dash } }));
    annotations.push({
      x: place(step),
      y: name === "onset" ? 1.0 : 0.86,
      yref: "paper",
      text: `${name === "onset" ? "onset" : "half-way"} ${Math.round(step).toLocaleString("en")}`,
      showarrow: false,
      xanchor: "right",
      yanchor: "top",
      xshift: -4,
      font: { size: 12, color: look.css("--ink") },
      bgcolor: look.css("--paper"),
      borderpad: 1,
    });
  }
  return { shapes, annotations };
}

function drawCurve(page) {
  const { labels } = page;
  const readout = labels.readout.indexOf("accuracy");
  const main = labels.start.task;
  const place = stepPlaces(labels);
  const x = labels.step.map(place);
  const traces = [];
  const add = (task, looks, words) => {
    const value = Array.from(page.get("readout", task, readout));
    const error = page.get("readout_error", task, readout);
    const name = plain(labels.task[task]);
    traces.push(
      line({
        x,
        y: value,
        line: looks,
        text: value.map(
          (v, i) =>
            `${name}${words}, step ${labels.step[i].toLocaleString("en")}<br>accuracy ${withError(v, error[i])}`,
        ),
      }),
    );
    return { value, error };
  };
  if (readout >= 0) {
    labels.task.forEach((name, task) => {
      if (task === main) return;
      const kind = labels.kinds[name];
      const dash = kind === "variant" ? "dash" : "solid";
      add(task, { color: grey(0.45), width: 1.2, dash }, ` (${kind})`);
    });
    const { value, error } = add(main, { color: look.css("--accent"), width: 3 }, "");
    traces.unshift(...errorBand(x, value, error, faint(look.category(0), 0.2), {}));
  }
  const marks = emergenceMarks(page, place);
  const title = `<b>accuracy on ${spaced(labels.task[main])}</b>`;
  const rest = labels.task.length > 1 && widthOf("curve") > 420 ? " and, grey, on the other tasks" : "";
  return show(
    "curve",
    traces,
    look.layout({
      height: 232,
      margin: { l: 34, r: 10, t: 24, b: 40 },
      annotations: [panelTitle(title + rest, 0, 1.01), ...marks.annotations],
      shapes: [momentLine(place(labels.step[page.shown ?? 0]), { visible: page.shown !== null }), ...marks.shapes],
      xaxis: stepAxis(labels, widthOf("curve") < 480, {
        title: { text: "training step", standoff: 4, font: { size: 13 } },
      }),
      yaxis: look.axis({ range: [-0.03, 1.06], tickvals: [0, 0.5, 1] }),
    }),
  );
}

// The graph of a checkpoint, for the task and the ablation of the start.
function drawMoment(page, button, checkpoint = Number(button.dataset.checkpoint)) {
  const canvas = button.firstElementChild;
  const { clientWidth: width, clientHeight: height } = canvas;
  const ratio = window.devicePixelRatio || 1;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  const { depth, height: across, component } = page.labels;
  const deepest = Math.max(...depth, 1);
  const most = Math.max(...across.map(Math.abs), 0.5);
  const at = (i) => [
    10 + ((width - 20) * depth[i]) / deepest,
    height / 2 - ((height / 2 - 10) * across[i]) / most,
  ];
  const moment = { ...page.labels.start, checkpoint };
  const top = largest(page, moment);
  for (const edge of edgesAt(page, MOMENT_EDGES, everyComponent(page), moment)) {
    if (!edge.weight) continue;
    const share = edge.weight / top;
    const [[x0, y0], [x1, y1]] = [edge.source, edge.target].map(at);
    const bend = 0.45 * (x1 - x0);
    pen.beginPath();
    pen.moveTo(x0, y0);
    pen.bezierCurveTo(x0 + bend, y0, x1 - bend, y1, x1, y1);
    pen.strokeStyle = look.colour(share);
    pen.globalAlpha = 0.35 + 0.6 * Math.sqrt(share);
    pen.lineWidth = 0.5 + 4 * share;
    pen.stroke();
  }
  pen.globalAlpha = 1;
  pen.fillStyle = look.css("--soft");
  const radius = component.length > 60 ? 1 : 2.4;
  component.forEach((_, i) => {
    pen.beginPath();
    pen.arc(...at(i), radius, 0, 7);
    pen.fill();
  });
}

// The checkpoint that a small graph shows, as a line in the course of accuracy.
function mark(page, checkpoint) {
  page.shown = checkpoint;
  const at = stepPlaces(page.labels)(page.labels.step[checkpoint ?? 0]);
  Plotly.relayout("curve", {
    "shapes[0].x0": at,
    "shapes[0].x1": at,
    "shapes[0].visible": checkpoint !== null,
  });
}

function drawFirst(page) {
  if (!control("curve")) return;
  page.shown ??= null;
  drawCurve(page);
  for (const button of document.querySelectorAll(".moment")) drawMoment(page, button);
}

function playMoments(page) {
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  let stop = () => {};
  for (const button of document.querySelectorAll(".moment")) {
    const step = button.querySelector(".moment-step");
    const own = Number(button.dataset.checkpoint);
    const tell = (checkpoint) => {
      step.textContent = `step ${page.labels.step[checkpoint].toLocaleString("en")}`;
      drawMoment(page, button, checkpoint);
    };
    button.addEventListener("click", () => {
      const playing = button.dataset.playing;
      stop();
      if (playing) return;
      button.dataset.playing = "yes";
      const count = page.labels.step.length;
      const stride = calm.matches ? Math.max(1, Math.ceil(count / 6)) : 1;
      let checkpoint = 0;
      const advance = () => {
        if (checkpoint >= count) return stop();
        tell(checkpoint);
        mark(page, checkpoint);
        checkpoint += stride;
      };
      const timer = setInterval(advance, calm.matches ? 1000 : FRAME);
      stop = () => {
        clearInterval(timer);
        stop = () => {};
        delete button.dataset.playing;
        tell(own);
        mark(page, null);
      };
      advance();
    });
  }
}
