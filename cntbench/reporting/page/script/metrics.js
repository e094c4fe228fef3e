// Metrics over training, beside what their null models give.

function drawMetrics(page) {
  const { labels, state } = page;
  if (!labels.metric.length) return null;
  const chosen = state.allMetrics ? labels.metric.map((_, i) => i) : labels.foremost;
  const width = widthOf("metric-figure");
  const columns = width < 560 ? 1 : width < 900 ? 2 : 3;
  const rows = Math.ceil(chosen.length / columns);
  const x = labels.step.map(stepPlaces(labels));
  const traces = [];
  const layout = { annotations: [], shapes: [] };
  const gap = 62 / width; // Room for the numbers of the next axis.
  const wide = (1 - gap * (columns - 1)) / columns;
  const heightOf = 190;
  const total = rows * heightOf + 40;
  chosen.forEach((metric, cell) => {
    const [row, column] = [Math.floor(cell / columns), cell % columns];
    const suffix = cell ? String(cell + 1) : "";
    const axes = { xaxis: `x${suffix}`, yaxis: `y${suffix}` };
    const left = column * (wide + gap);
    const top = 1 - row / rows;
    const [value, mean, deviation] = ["metric", "null_mean", "null_deviation"].map((name) =>
      Array.from(page.by(name, metric)),
    );
    const about = labels.metric[metric];
    layout[`xaxis${suffix}`] = stepAxis(labels, true, {
      domain: [left, left + wide],
      anchor: `y${suffix}`,
      tickfont: { size: 11 },
    });
    layout[`yaxis${suffix}`] = look.axis({
      domain: [top - 1 / rows + 34 / total, top - 30 / total],
      anchor: `x${suffix}`,
      nticks: 4,
      tickfont: { size: 11 },
    });
    const unit = about.unit === "1" ? "" : ` [${plain(about.unit)}]`;
    const title = `<b>${spaced(about.name)}</b>${unit}`;
    layout.annotations.push(panelTitle(title, left, top - 28 / total));
    const edge = (sign) => mean.map((m, i) => m + sign * 2 * deviation[i]);
    traces.push(
      ...bands(x, edge(-1), edge(1), faint(look.dark ? "#b0b5be" : "#565b64", 0.25), axes),
    );
    traces.push(
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
        hovertemplate: "%{text}<extra></extra>",
      }),
    );
    if (row === 0) {
      layout.shapes.push(momentLine(x[state.checkpoint], { xref: `x${suffix}` }));
    }
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
