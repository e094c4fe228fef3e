// Panels of equal size in columns, each with axes of its own.

const PANEL = 232; // Height of a panel with its title and the numbers of its axes.

function panelAxes(cell) {
  const suffix = cell ? String(cell + 1) : "";
  return { xaxis: `x${suffix}`, yaxis: `y${suffix}` };
}

// What a layout calls the axes of a panel.
function axisNames(cell) {
  return Object.values(panelAxes(cell)).map((axis) => `${axis[0]}axis${axis.slice(1)}`);
}

// The number of rows, and each panel's row and place across the figure.
function panelGrid(width, count, columns) {
  const gap = 62 / width; // Room for the numbers of the next axis.
  const wide = (1 - gap * (columns - 1)) / columns;
  const cells = Array.from({ length: count }, (_, cell) => {
    const left = (cell % columns) * (wide + gap);
    return { row: Math.floor(cell / columns), across: [left, left + wide] };
  });
  return { rows: Math.ceil(count / columns), cells };
}

// Panels over training, as many beside each other as there is room for.
function stepGrid(id, count) {
  const width = widthOf(id);
  return panelGrid(width, count, width < 560 ? 1 : width < 900 ? 2 : 3);
}

// Add the axes and the title of a panel over training to a layout.
function addStepPanel(layout, labels, cell, { across, up, title, titleAt, ...more }) {
  const { xaxis, yaxis } = panelAxes(cell);
  const [x, y] = axisNames(cell);
  const small = { tickfont: { size: 11 } };
  layout[x] = stepAxis(labels, true, { domain: across, anchor: yaxis, ...small });
  layout[y] = look.axis({ domain: up, anchor: xaxis, nticks: 4, ...small, ...more });
  layout.annotations.push(panelTitle(title, across[0], titleAt));
}

// Panels of what circuits and costs are drawn on. Titles are above panels; a legend of the names is
// above all of them.
function panels(id, { titles, x, y, names, shapes }) {
  const width = widthOf(id);
  const { rows, cells } = panelGrid(width, titles.length, width < 560 ? 1 : Math.min(2, titles.length));
  const plots = rows * PANEL;
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
    const { row, across } = cells[cell];
    const top = 1 - row / rows;
    const { xaxis, yaxis } = panelAxes(cell);
    const [xName, yName] = axisNames(cell);
    const small = { tickfont: { size: 11 } };
    const [lower, upper] = [top - (PANEL - 48) / plots, top - 26 / plots];
    layout[xName] = look.axis({
      type: "log",
      domain: across,
      anchor: yaxis,
      title: { text: x, standoff: 4, font: { size: 12 } },
      ...small,
    });
    layout[yName] = look.axis({
      domain: [lower, upper],
      anchor: xaxis,
      title: { text: y[cell], standoff: 4, font: { size: 12 } },
      nticks: 5,
      ...small,
    });
    layout.annotations.push(panelTitle(`<b>${spaced(title)}</b>`, across[0], top - 24 / plots));
    const place = { xref: `${xaxis} domain`, yref: yaxis };
    layout.shapes.push(...shapes.map((shape) => ({ ...shape, ...place })));
  });
  return look.layout(layout);
}
