"use strict";
// What all pages share: tables that sort, and data that comes as scripts.

const arrived = new Map(); // name -> what to do when it is there

/** Called by the scripts in data/. */
function receive(name, value) {
  arrived.get(name)?.(value);
}

const asked = new Map(); // name -> promise

/** Ask for the data of data/<name>.js; a page opened from a disk may not fetch. */
function load(name) {
  if (!asked.has(name)) {
    asked.set(name, new Promise((resolve, reject) => {
      const script = document.createElement("script");
      arrived.set(name, resolve);
      script.onerror = () => reject(new Error(`data/${name}.js cannot be read`));
      script.src = `data/${name}.js`;
      document.head.append(script);
    }));
  }
  return asked.get(name);
}

/** Say in words what is known of an image. */
function told(index, at) {
  const known = [`explained: ${index.classes[index.target[at]]}`,
    `score ${(index.confidence[at] ?? NaN).toFixed(3)}`];
  if (index.predicted[at] !== index.target[at]) known.push(`predicted: ${index.classes[index.predicted[at]]}`);
  if (index.correct[at] !== null) known.push(index.correct[at] ? "predicted correctly" : "predicted wrongly");
  return known.join(" · ");
}

function sortable(table) {
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    heading.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = heading.getAttribute("aria-sort") !== "ascending";
      headings.forEach((each) => each.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", up ? "ascending" : "descending");
      const worth = (row) => row.cells[place].dataset.value;
      const rows = [...body.rows].sort((one, other) => {
        const [a, b] = [worth(one), worth(other)];
        if (a === "" || b === "") return (a === "") - (b === ""); // what has no value comes last
        const order = place ? a - b : a.localeCompare(b);
        return up ? order : -order;
      });
      body.append(...rows);
    });
  });
}

if (typeof document !== "undefined") document.querySelectorAll(".sortable").forEach(sortable);
