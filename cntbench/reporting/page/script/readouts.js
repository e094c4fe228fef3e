// Readouts over training, with change points.

function phasesOf({ labels, state }) {
  return labels.phases[state.task * labels.ablation.length + state.ablation];
}

function phaseShapes(page) {
  const place = stepPlaces(page.labels);
  return (phasesOf(page)?.boundary ?? []).flatMap(([low, step, high]) => [
    shade(place(low), place(high), 0.16),
    momentLine(place(step), { line: { color: look.css("--soft"), width: 1.6, dash: "dash" } }),
  ]);
}

function readoutOrder(labels) {
  const wanted = ["accuracy", "cross_entropy", "logit_difference"];
  const known = wanted.map((name) => labels.readout.indexOf(name)).filter((i) => i >= 0);
  return [...known, ...labels.readout.map((_, i) => i).filter((i) => !known.includes(i))];
}

function drawReadouts(page) {
  const { labels, state } = page;
  const narrow = widthOf("readout-figure") < 620;
  const x = labels.step.map(stepPlaces(labels));
  const order = readoutOrder(labels);
  const traces = [];
  const layout = { annotations: [] };
  const share = 1 / order.length;
  order.forEach((readout, row) => {
    const axes = { ...panelAxes(row), xaxis: "x" };
    const top = 1 - row * share;
    const unit = labels.unit[readout] === "1" ? "" : ` [${plain(labels.unit[readout])}]`;
    layout[axisNames(row)[1]] = look.axis({ domain: [top - share + 0.045, top - 0.045], nticks: 5 });
    const title = `<b>${spaced(labels.readout[readout])}</b>${unit}`;
    layout.annotations.push(panelTitle(title, 0, top - 0.04));
    labels.task.forEach((name, task) => {
      const chosen = task === state.task;
      const value = Array.from(page.get("readout", task, readout));
      const error = page.get("readout_error", task, readout);
      const colour = look.category(task);
      if (chosen) traces.push(...errorBand(x, value, error, faint(colour, 0.2), axes));
      traces.push(
        line({
          x,
          y: value,
          ...axes,
          name: plain(name),
          legendgroup: name,
          showlegend: row === 0,
          opacity: chosen ? 1 : 0.6,
          line: { color: colour, width: chosen ? 3 : 1.4, dash: look.dash(task) },
          text: value.map(
            (v, i) =>
              `${plain(name)}, step ${labels.step[i]}<br>` +
              `${spaced(labels.readout[readout])} ${withError(v, error[i])}`,
          ),
        }),
      );
    });
  });
  tellPhases(page);
  setTable("readout-figure", () => ({
    caption: `Readouts on ${labels.task[state.task]}, ± standard error`,
    head: ["Step", ...order.map((readout) => labels.readout[readout])],
    rows: labels.step.map((step, i) => [
      step,
      ...order.map((readout) =>
        withError(
          page.get("readout", state.task, readout)[i],
          page.get("readout_error", state.task, readout)[i],
        ),
      ),
    ]),
  }));
  return show(
    "readout-figure",
    traces,
    look.layout({
      ...layout,
      height: 180 * order.length + 90,
      showlegend: true,
      margin: { l: 48, r: 14, t: narrow ? 118 : 56, b: 42 },
      legend: legendAbove(1.005),
      xaxis: stepAxis(labels, narrow, {
        anchor: `y${order.length > 1 ? order.length : ""}`,
        title: { text: "training step", standoff: 6 },
      }),
      shapes: [momentLine(x[state.checkpoint]), ...phaseShapes(page)],
    }),
  );
}

function tellPhases(page) {
  const place = control("phase-words");
  const phases = phasesOf(page);
  if (place && phases) place.textContent = phases.words;
}
