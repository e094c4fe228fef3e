// Colours and what all figures share.

const CATEGORIES = {
  light: ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#56b4e9", "#5b5b5b", "#7a3e9d"],
  dark: ["#56b4e9", "#e69f00", "#2fcfa3", "#e59ac4", "#f0e442", "#7aa6ff", "#bdbdbd", "#c79bff"],
};
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];

const look = {
  printing: false,
  scales: null, // Colours from weak to strong on light and on dark paper, from views/colours.py.
  css(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  },
  get dark() {
    return document.documentElement.dataset.theme === "dark";
  },
  // Weak is near the paper's colour, strong far from it.
  get scale() {
    const colours = this.scales[this.dark ? "dark" : "light"];
    return colours.map((colour, i) => [i / (colours.length - 1), colour]);
  },
  colour(share) {
    const stops = this.scale;
    const at = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
    const i = Math.min(Math.floor(at), stops.length - 2);
    const parse = (hex) => [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16));
    const [low, high] = [parse(stops[i][1]), parse(stops[i + 1][1])];
    return `rgb(${low.map((c, k) => Math.round(c + (at - i) * (high[k] - c))).join(",")})`;
  },
  category(index) {
    const colours = CATEGORIES[this.dark ? "dark" : "light"];
    return colours[index % colours.length];
  },
  dash(index) {
    return DASHES[Math.floor(index / CATEGORIES.light.length) % DASHES.length];
  },
  axis(more) {
    return {
      gridcolor: this.css("--line"),
      linecolor: this.css("--line"),
      zeroline: false,
      tickcolor: this.css("--line"),
      fixedrange: true,
      ...more,
    };
  },
  layout(more) {
    return {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: this.css("--sans"), size: 13, color: this.css("--ink") },
      hoverlabel: {
        bgcolor: this.css("--raised"),
        bordercolor: this.css("--soft"),
        font: { family: this.css("--sans"), color: this.css("--ink"), size: 13 },
        align: "left",
      },
      margin: { l: 55, r: 20, t: 25, b: 40 },
      dragmode: false,
      hovermode: "closest",
      showlegend: false,
      ...more,
    };
  },
};

// A text whose place is a share of the figure's width and height.
function paperText(text, x, y, more) {
  return { xref: "paper", yref: "paper", text, x, y, showarrow: false, ...more };
}

// The title of a panel, above its upper left corner.
function panelTitle(text, x, y) {
  return paperText(text, x, y, { xanchor: "left", yanchor: "bottom" });
}

function legendAbove(y) {
  const fixed = { itemclick: false, itemdoubleclick: false };
  return { orientation: "h", x: 0, y, yanchor: "bottom", ...fixed };
}

const CONFIG = { displayModeBar: false, scrollZoom: false, doubleClick: false };

const PRINTED_WIDTH = 660;

function widthOf(id) {
  return look.printing ? PRINTED_WIDTH : document.getElementById(id).clientWidth;
}

function show(id, traces, layout) {
  return Plotly.react(id, traces, { width: widthOf(id), ...layout }, CONFIG);
}

// The axis of training steps, as views/steps.py has it.
function stepPlaces(labels) {
  const { first } = labels.axis;
  const start = Math.log10(first);
  return (step) => (step < first ? start - 0.5 * (1 - step / first) : Math.log10(step));
}

function stepAxis(labels, narrow, more) {
  const place = stepPlaces(labels);
  const steps = labels.step;
  const ends = [place(steps[0]), place(steps[steps.length - 1])];
  const room = 0.02 * (ends[1] - ends[0]) || 0.5;
  const shown = labels.axis.ticks.filter(
    (_, i, all) => !narrow || all.length < 6 || i !== all.length - 2,
  );
  return look.axis({
    tickvals: shown.map(place),
    ticktext: shown.map((step) => step.toLocaleString("en")),
    range: [ends[0] - room, ends[1] + room],
    ...more,
  });
}

// Steps in the background of a trajectory, such as an interval.
function shade(x0, x1, opacity) {
  const sides = { yref: "paper", y0: 0, y1: 1, x0, x1 };
  const looks = { fillcolor: look.css("--soft"), opacity, line: { width: 0 }, layer: "below" };
  return { type: "rect", ...sides, ...looks };
}

// A dotted line across a panel.
function rule(at, more) {
  const line = { color: look.css("--soft"), width: 1, dash: "dot" };
  return { type: "line", x0: 0, x1: 1, y0: at, y1: at, line, ...more };
}

// A vertical line at the chosen moment, the first shape of a trajectory's figure.
function momentLine(at, more) {
  const line = { color: look.css("--mark"), width: 1.6 };
  return { type: "line", yref: "paper", y0: 0, y1: 1, x0: at, x1: at, line, ...more };
}
