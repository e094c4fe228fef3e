// Panels of equal size in columns, each with axes of its own: what circuits and costs are drawn on.

const PANEL = 232; // Height of a panel with its title and the numbers of its axes.

function panelAxes(cell) {
  const suffix = cell ? String(cell + 1) : "";
  return { xaxis: `x${suffix}`, yaxis: `y${suffix}` };
}

// Titles are above panels; a legend of the names is above all of them.
function panels(id, { titles, x, y, names, shapes }) {
  const width = widthOf(id);
  const columns = width < 560 ? 1 : Math.min(2, titles.length);
  const rows = Math.ceil(titles.length / columns);
  const plots = rows * PANEL;
  const gap = 62 / width;
  const wide = (1 - gap * (columns - 1)) / columns;
  const entry = 7.4 * Math.max(0, ...names.map((name) => name.length)) + 52;
  const lines = names.length ? Math.ceil(names.length / Math.max(1, Math.floor(width / entry))) : 0;
  const margin = { l: 52, r: 12, t: 8 + 21 * lines, b: 6 };
  const layout = {
    height: plots + margin.t + margin.b,
    margin,
    annotations: [],
    showlegend: names.length > 0,
    legend: legendAbove(1),
    shapes: [],
  };
  titles.forEach((title, cell) => {
    const left = (cell % columns) * (wide + gap);
    const top = 1 - Math.floor(cell / columns) / rows;
    const { xaxis, yaxis } = panelAxes(cell);
    const small = { tickfont: { size: 11 } };
    const [lower, upper] = [top - (PANEL - 48) / plots, top - 26 / plots];
    layout[xaxis.replace("x", "xaxis")] = look.axis({
      type: "log",
      domain: [left, left + wide],
      anchor: yaxis,
      title: { text: x, standoff: 4, font: { size: 12 } },
      ...small,
    });
    layout[yaxis.replace("y", "yaxis")] = look.axis({
      domain: [lower, upper],
      anchor: xaxis,
      title: { text: y[cell], standoff: 4, font: { size: 12 } },
      nticks: 5,
      ...small,
    });
    layout.annotations.push(panelTitle(`<b>${spaced(title)}</b>`, left, top - 24 / plots));
    const place = { xref: `${xaxis} domain`, yref: yaxis };
    layout.shapes.push(...shapes.map((shape) => ({ ...shape, ...place })));
  });
  return look.layout(layout);
}
