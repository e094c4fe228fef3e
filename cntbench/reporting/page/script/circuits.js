// What circuits and their complements recover, over budgets of edges; a picture for each task.

function drawCircuits(page) {
  page.labels.pictures.circuits?.forEach((circuit, k) => {
    const id = `circuit-${k}`;
    if (control(id)) drawCircuit(id, circuit); // A circuit of no budget has no curve.
  });
}

function drawCircuit(id, { share, ablation, panel }) {
  const traces = [];
  const named = new Set();
  panel.forEach(({ random, line: lines, title }, cell) => {
    const axes = panelAxes(cell);
    if (random) traces.push(...bands(share, random.low, random.high, grey(0.25), axes));
    lines.forEach(({ value, low, high }, a) => {
      if (!value.some(Number.isFinite)) return;
      const colour = look.category(a);
      if (low) traces.push(...bands(share, low, high, faint(colour, 0.2), axes));
      const within = (i) =>
        low && Number.isFinite(low[i]) ? ` [${number(low[i])}, ${number(high[i])}]` : "";
      traces.push({
        mode: "lines+markers",
        x: share,
        y: value,
        ...axes,
        name: plain(ablation[a]),
        legendgroup: String(a),
        showlegend: !named.has(a),
        line: { color: colour, width: 2, dash: look.dash(a) },
        marker: { color: colour, size: 6 },
        text: value.map(
          (v, i) =>
            `${plain(ablation[a])}, ${number(share[i])} % of the edges<br>` +
            `${plain(title.split(",")[0])} recovers ${number(v)}${within(i)}`,
        ),
        hovertemplate: "%{text}<extra></extra>",
      });
      named.add(a);
    });
  });
  const layout = panels(id, {
    titles: panel.map(({ title }) => title),
    x: "share of the scored edges [%]",
    y: panel.map(() => "recovered"),
    names: [...named].map((a) => ablation[a]),
    shapes: [rule(0), rule(1)],
  });
  return show(id, traces, layout);
}
