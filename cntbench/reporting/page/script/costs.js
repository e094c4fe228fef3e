// Score against cost of ablation methods for each purpose, with the Pareto front.

function drawCosts(page) {
  const { costs } = page.labels.pictures;
  if (!costs?.length) return null;
  const traces = costs.flatMap(({ method, measure }, cell) =>
    [false, true].map((front) => {
      const shown = method.filter((point) => point.pareto === front);
      const colour = front ? look.category(0) : look.css("--soft");
      // A single model has no interval.
      const ends = (from, to) => shown.map((p) => (p.low === null ? 0 : p[to] - p[from]));
      const within = ({ low, high }) =>
        low === null ? "" : ` [${number(low)}, ${number(high)}]`;
      return {
        mode: front ? "lines+markers" : "markers",
        x: shown.map(({ passes }) => passes),
        y: shown.map(({ score }) => score),
        ...panelAxes(cell),
        error_y: {
          type: "data",
          symmetric: false,
          array: ends("score", "high"),
          arrayminus: ends("low", "score"),
          color: faint(colour, front ? 0.8 : 0.45),
          thickness: 1.3,
          width: 0,
        },
        line: { color: colour, width: 1.4, shape: "hv" },
        marker: { color: colour, size: front ? 8 : 6, symbol: front ? "circle" : "circle-open" },
        text: shown.map(
          (point) =>
            `${plain(point.ablation)}<br>${plain(measure)} ${number(point.score)}` +
            `${within(point)}, ${number(point.passes)} forward passes`,
        ),
        hovertemplate: "%{text}<extra></extra>",
      };
    }),
  );
  const layout = panels("costs", {
    titles: costs.map(({ title }) => title),
    x: "cost [forward passes]",
    y: costs.map(({ measure }) => plain(measure)),
    names: [],
    shapes: [],
  });
  return show("costs", traces, layout);
}
