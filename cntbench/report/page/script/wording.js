// Numbers as people write them, and text that Plotly must not take for markup.

const MINUS = "\u2212";

function number(value, digits = 3) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  const text = size === 0 || (size >= 0.001 && size < 1e5)
    ? Number(value.toPrecision(digits)).toString() : value.toExponential(digits - 1);
  return text.replace("-", MINUS);
}

// 0.62 ± 0.03; both with the decimals of the error's second digit, as far as three digits go.
function withError(value, error) {
  if (!Number.isFinite(value)) return "–";
  if (!(error > 0)) return number(value);
  const decimals = Math.max(0, Math.min(6, 1 - Math.floor(Math.log10(error))));
  return `${value.toFixed(decimals)} ± ${error.toFixed(decimals)}`.replace("-", MINUS);
}

function plain(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

function spaced(name) {
  return plain(name).replace(/_/g, " ");
}
