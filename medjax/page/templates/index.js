"use strict";
// Sends the chosen image with its conditions, and shows the cases that come back. All texts are set
// as text, never as HTML: names of files are those of strangers.
const byId = (id) => document.getElementById(id);
let asked = 0; // so that an answer to an earlier question is not shown after a later one

function conditions() {
  const filters = [...document.querySelectorAll("[data-name]")].filter((f) => f.value !== "");
  return filters.map((f) => f.dataset.name + (f.dataset.relation || "=") + f.value);
}

function say(text, isError) {
  byId("message").textContent = text;
  byId("message").className = isError ? "error" : "soft";
}

function figureOf(source, title, lines) {
  const figure = document.createElement("figure");
  const image = document.createElement("img");
  const caption = document.createElement("figcaption");
  const strong = document.createElement("strong");
  image.src = source;
  image.alt = title;
  strong.textContent = title;
  caption.append(strong);
  for (const line of lines) {
    const row = document.createElement("div");
    row.textContent = line;
    caption.append(row);
  }
  figure.append(image, caption);
  return figure;
}

function show(answer, name) {
  const query = figureOf(answer.picture, "your image", [name]);
  query.className = "query";
  const cases = answer.cases.map((c) => {
    const facts = Object.entries(c.facts).map(([key, value]) => `${key}: ${value}`);
    const subject = c.subject_id ? [`subject: ${c.subject_id}`] : [];
    const lines = [`distance ${c.distance.toPrecision(3)}`, ...subject, ...facts];
    return figureOf(`pictures/${c.number}.png`, c.case_id, lines);
  });
  byId("cases").replaceChildren(query, ...cases);
  byId("answer").hidden = false;
  say([`${answer.cases.length} cases`, ...answer.notes].join("; "), false);
}

async function ask() {
  const file = byId("file").files[0];
  if (!file) return;
  const mine = ++asked;
  byId("prompt").textContent = file.name;
  say("searching …", false);
  const query = new URLSearchParams({ name: file.name, k: byId("k").value });
  query.append("subject", byId("subject").value);
  conditions().forEach((condition) => query.append("where", condition));
  try {
    const response = await fetch(`search?${query}`, { method: "POST", body: file });
    const answer = await response.json();
    if (mine !== asked) return;
    if (answer.error) {
      byId("answer").hidden = true;
      say(answer.error, true);
    } else {
      show(answer, file.name);
    }
  } catch (error) {
    if (mine === asked) say("The server does not answer; is `medjax index serve` still running?", true);
  }
}

byId("query").addEventListener("change", ask);
byId("query").addEventListener("submit", (event) => event.preventDefault());
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault(); // a file that misses the frame must not replace the page
    byId("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
  });
}
document.addEventListener("drop", (event) => {
  if (!event.dataTransfer.files.length) return;
  byId("file").files = event.dataTransfer.files;
  ask();
});
