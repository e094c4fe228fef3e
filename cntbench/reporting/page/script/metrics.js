// Metrics over training, beside what their null models give.

function drawMetrics(page) {
  const { labels, state } = page;
  if (!labels.metric.length) return null;
  const chosen = state.allMetrics ? labels.metric.map((_, i) => i) : labels.foremost;
  const { rows, cells } = stepGrid("metric-figure", chosen.length);
  const x = labels.step.map(stepPlaces(labels));
  const traces = [];
  const layout = { annotations: [], shapes: [] };
  const total = rows * 190 + 40;
  chosen.forEach((metric, cell) => {
    const axes = panelAxes(cell);
    const { row, across } = cells[cell];
    const top = 1 - row / rows;
    const [value, mean, deviation] = ["metric", "null_mean", "null_deviation"].map((name) =>
      Array.from(page.by(name, metric)),
    );
    const about = labels.metric[metric];
    const unit = about.unit === "1" ? "" : ` [${plain(about.unit)}]`;
    addStepPanel(layout, labels, cell, {
      across,
      up: [top - 1 / rows + 34 / total, top - 30 / total],
      title: `<b>${spaced(about.name)}</b>${unit}`,
      titleAt: top - 28 / total,
    });
    traces.push(
      ...errorBand(x, mean, deviation, grey(0.25), axes),
      line({
        x,
        y: value,
        ...axes,
        line: { color: look.category(0), width: 2 },
        text: value.map(
          (v, i) =>
            `step ${labels.step[i]}: ${number(v)}` +
            (Number.isFinite(mean[i])
              ? `<br>null model ${withError(mean[i], deviation[i])} sd`
              : ""),
        ),
      }),
    );
    if (row === 0) layout.shapes.push(momentLine(x[state.checkpoint], { xref: axes.xaxis }));
  });
  page.metricLines = layout.shapes.length;
  setTable("metric-figure", () => ({
    caption: `Metrics, ${momentWords(page)}`,
    head: ["Metric", "Value", "Null model's mean", "Its standard deviation"],
    rows: chosen.map((metric) => [
      labels.metric[metric].name.replace(/_/g, " "),
      ...["metric", "null_mean", "null_deviation"].map((name) =>
        number(page.by(name, metric)[state.checkpoint]),
      ),
    ]),
  }));
  return show(
    "metric-figure",
    traces,
    look.layout({
      ...layout,
      height: total,
      margin: { l: 46, r: 12, t: 4, b: 20 },
    }),
  );
}
