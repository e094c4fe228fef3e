// The film of a large model: heads are drawn as one for each layer, which opens on demand. It is
// SVG of our own, because Plotly takes too long for a slider to draw so much anew.

const MANY = 60; // Components, beyond which they are grouped by layer, as in context.py.
const ROW = 26; // Pixels between components of an opened layer.

function grouped(page) {
  return page.labels.component.length > MANY;
}

// What is drawn as one: a component of the opened layer, an MLP, or the heads or the experts of a layer.
function filmNodes(page) {
  const { component, layer, kind } = page.labels;
  const { opened } = page.state;
  page.nodes ??= {};
  if (page.nodes[opened]) return page.nodes[opened];
  const nodes = [];
  const of = new Int32Array(component.length);
  const groups = new Map();
  const inOpened = component.map((_, i) => i).filter((i) => layer[i] === opened);
  component.forEach((name, i) => {
    const single = layer[i] === opened || kind[i] === "MLP";
    const group = single ? `component ${i}` : `${kind[i]}s ${layer[i]}`;
    if (!groups.has(group)) {
      groups.set(group, nodes.length);
      const closed = kind[i] === "head" ? 1.6 : -1.6;
      const across = layer[i] === opened ? (inOpened.length - 1) / 2 - inOpened.indexOf(i) : closed;
      nodes.push({ name, members: [], layer: layer[i], open: layer[i] === opened, across });
    }
    of[i] = groups.get(group);
    nodes[of[i]].members.push(i);
  });
  for (const node of nodes) {
    if (node.members.length > 1) node.name = `L${node.layer} ${kind[node.members[0]]}s`;
  }
  page.nodes[opened] = { nodes, of };
  return page.nodes[opened];
}

function describeNode(page, node) {
  if (node.members.length === 1) {
    return describeComponent(page, node.members[0]).replace(/<br>/g, "; ").replace(/<\/?b>/g, "");
  }
  const kind = page.labels.kind[node.members[0]];
  return `${plain(node.name)}: ${node.members.length} ${kind}s, sizes are those of the strongest`;
}

function strongestMember(page, node, role) {
  let most = 0;
  for (const i of node.members) {
    const value = page.now(role, i);
    if (value > most) most = value;
  }
  return most;
}

function drawLargeFilm(page) {
  const view = filmNodes(page);
  const { nodes } = view;
  const width = widthOf("film");
  const narrow = width < 620;
  const layers = [...new Set(page.labels.layer)];
  const last = Math.max(layers[layers.length - 1], 1);
  const tallest = Math.max(3, ...nodes.map((node) => Math.abs(node.across)));
  const depth = narrow ? last * 44 + 90 : 2 * tallest * ROW + 120;
  const exact = nodes.map(({ layer, across }) => {
    const along = layer / last;
    return narrow
      ? [width / 2 - (across * (width - 90)) / (2 * tallest), 60 + along * (depth - 90)]
      : [34 + along * (width - 68), depth / 2 - across * ROW];
  });
  const at = exact.map((place) => place.map(Math.round));
  const most = largest(page);
  const edges = edgesAt(page, page.state.drawn, view);
  const parts = edges.map((edge, number) => {
    const [[x0, y0], [x1, y1]] = [at[edge.from], at[edge.to]];
    const share = edge.weight / most;
    const bow = Math.min(80, 8 * (nodes[edge.to].layer - nodes[edge.from].layer - 1));
    const side = nodes[edge.from].across < 0 ? 1 : -1;
    const bend = 0.4 * (narrow ? y1 - y0 : x1 - x0);
    const curve = narrow
      ? `${x0 - side * bow} ${y0 + bend} ${x1 - side * bow} ${y1 - bend}`
      : `${x0 + bend} ${y0 + side * bow} ${x1 - bend} ${y1 + side * bow}`;
    return (
      `<path d="M${x0} ${y0}C${curve} ${x1} ${y1}" fill="none" stroke="${look.colour(share)}" ` +
      `stroke-width="${(0.5 + 2.5 * share).toFixed(1)}" opacity="${(0.3 + 0.5 * share).toFixed(2)}" data-edge="${number}"/>`
    );
  });
  const [sent, received] = ["spreader", "gatherer"].map((role) => {
    const values = nodes.map((node) => strongestMember(page, node, role));
    const top = Math.max(...values, 1e-12);
    return values.map((value) => (value > 0 ? 2.5 + 6 * Math.sqrt(value / top) : 0));
  });
  nodes.forEach((node, i) => {
    const [x, y] = at[i];
    const name = node.open
      ? narrow
        ? `<text x="${x}" y="${y + 22}" text-anchor="middle">${plain(node.name.replace(/^L\d+\./, ""))}</text>`
        : `<text x="${x}" y="${y + 4}" dx="14">${plain(node.name)}</text>`
      : "";
    parts.push(
      `<g class="node" data-node="${i}"><circle cx="${x}" cy="${y}" r="11" fill="transparent"/>` +
        `<circle cx="${x}" cy="${y}" r="${Math.max(sent[i], 2)}" class="sent"/>` +
        `<circle cx="${x}" cy="${y}" r="${received[i]}" class="received"/>${name}</g>`,
    );
  });
  const every = Math.ceil(layers.length / (narrow ? 99 : 26));
  layers.forEach((layer, i) => {
    if (i % every) return;
    const along = layer / last;
    const place = narrow
      ? `x="18" y="${64 + along * (depth - 90)}"`
      : `x="${34 + along * (width - 68)}" y="${depth - 8}"`;
    parts.push(`<text ${place} text-anchor="middle" class="layer">${layer}</text>`);
  });
  if (!edges.length) {
    parts.push(
      `<text x="${width / 2}" y="${depth / 2}" text-anchor="middle" class="lost">${lostWords(page)}</text>`,
    );
  }
  const stops = look.scale.map(([share, colour]) => `<stop offset="${share}" stop-color="${colour}"/>`);
  const key =
    `<defs><linearGradient id="influence-scale">${stops.join("")}</linearGradient></defs>` +
    `<text x="34" y="16">influence</text><rect x="104" y="7" width="120" height="10" fill="url(#influence-scale)"/>` +
    `<text x="104" y="30" text-anchor="middle">0</text><text x="224" y="30" text-anchor="middle">${number(most)}</text>`;
  page.large = { edges, nodes };
  control("film").innerHTML =
    `<svg class="large" width="${width}" height="${depth}" viewBox="0 0 ${width} ${depth}">${key}${parts.join("")}</svg>`;
  setTable("film", () => tableOfEdges(page));
  return null;
}

// A click on a layer opens it, and one on an opened layer closes it.
function listenToLayers(page) {
  const choice = control("opened");
  if (!choice) return;
  const open = (layer) => {
    page.state.opened = layer;
    choice.value = layer;
    drawFilm(page);
  };
  choice.addEventListener("change", () => open(Number(choice.value)));
  // A tooltip is written when the pointer gets there, not all of them with every frame.
  control("film").addEventListener("pointerover", ({ target }) => {
    const part = target.closest?.("[data-edge], [data-node]");
    if (!part || part.querySelector("title")) return;
    const title = document.createElementNS("http://www.w3.org/2000/svg", "title");
    const { edge, node } = part.dataset;
    title.innerHTML = edge
      ? describeEdge(page, page.large.edges[Number(edge)])
      : describeNode(page, page.large.nodes[Number(node)]);
    part.prepend(title);
  });
  control("film").addEventListener("click", (event) => {
    const group = event.target.closest?.("[data-node]");
    if (!group) return;
    const node = filmNodes(page).nodes[Number(group.dataset.node)];
    open(node.open ? -1 : node.layer);
  });
}
