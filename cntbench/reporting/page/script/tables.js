// The numbers of a figure as a table, for readers who cannot see the figure.

const tables = {};

function fillTable(id) {
  const details = document.querySelector(`details[data-table="${id}"]`);
  const place = document.getElementById(`table-${id}`);
  if (!details || !details.open || !tables[id]) return;
  const { caption, head, rows } = tables[id]();
  const table = document.createElement("table");
  table.createCaption().textContent = caption;
  const headRow = table.createTHead().insertRow();
  for (const text of head) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = text;
    headRow.append(cell);
  }
  const body = table.createTBody();
  for (const row of rows) {
    const line = body.insertRow();
    for (const text of row) line.insertCell().textContent = text;
  }
  place.replaceChildren(table);
}

function setTable(id, make) {
  tables[id] = make;
  fillTable(id);
}

for (const details of document.querySelectorAll("details[data-table]")) {
  details.addEventListener("toggle", () => fillTable(details.dataset.table));
}
