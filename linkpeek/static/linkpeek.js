// The page at / without reloads: send the form, follow the capture, show the picture.
//
// The server renders every state of the result; this script fetches the rendered
// page and puts its result in place, so there is one set of templates and the page
// works the same, only with reloads, where scripts do not run.

const FIRST_PAUSE = 150, LONGEST_PAUSE = 2000, GROWTH = 1.3, TRIES = 30;
const STATES = {
  queued: "Waiting in the queue.",
  capturing: "Opening the page.",
  ready: "The picture is ready.",
  failed: "The picture could not be taken.",
  lost: "The connection was lost; trying again.",
};

const $ = (selector, root = document) => root.querySelector(selector);
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const here = () => location.pathname + location.search;
let shown = here(); // Which page's result is on the screen.
let watch = 0; // Counts up: whoever follows a capture stops when it is no longer their turn.

// ---------------------------------------------------------------- talking to the server

// What Nginx answers by itself, and not as JSON.
const BEFORE_US = {
  429: { message: "Too many requests at once.", advice: "Wait a moment, then try again." },
  503: { message: "This service is starting again.", advice: "Try again in a few seconds." },
};

async function ask(path, accept, options = {}) {
  const response = await fetch(path, { cache: "no-store", ...options, headers: { Accept: accept } });
  if (accept !== "application/json") return response.text();
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  throw new Refusal(answer.message ? answer : BEFORE_US[response.status] || {});
}

class Refusal extends Error {
  constructor({ message, advice, field }) {
    super(message || "This service did not understand that.");
    this.advice = advice || "Reload the page and try again.";
    this.field = field;
  }
}

const unreachable = () => new Refusal({ message: "This service cannot be reached.", advice: "Check your connection, then try again." });

// ---------------------------------------------------------------- what the visitor sees

function say(text) {
  $("#live").textContent = text;
}

function showProblem(problem) {
  const box = $("#problem"), fields = $("#capture");
  $("[data-message]", box).textContent = problem.message;
  $("[data-advice]", box).textContent = problem.advice;
  box.hidden = false;
  const field = problem.field === "uri" ? fields.elements.uri : null;
  field?.setAttribute("aria-invalid", "true");
  (field || $("button", fields)).focus();
}

function clearProblem() {
  $("#problem").hidden = true;
  $("#uri").removeAttribute("aria-invalid");
}

function busy(form, on) {
  const button = $("button[type=submit]", form);
  if (on) button.setAttribute("aria-disabled", "true");
  else button.removeAttribute("aria-disabled");
}

/** Put the result of a rendered page in the place of the one that is shown. */
async function showResult(path) {
  const page = new DOMParser().parseFromString(await ask(path, "text/html"), "text/html");
  const fresh = $("#result", page);
  if (!fresh) throw unreachable();
  const idle = [document.body, null].includes(document.activeElement) || Boolean(document.activeElement.closest("[data-capture]"));
  $("#result").replaceWith(fresh);
  shown = here();
  document.title = page.title;
  enliven();
  return idle;
}

function mark(state) {
  $("#result").dataset.state = state;
  const stages = [...document.querySelectorAll("[data-stage]")];
  const now = stages.findIndex((stage) => stage.dataset.stage === state);
  stages.forEach((stage, index) => {
    stage.classList.toggle("done", index < now);
    if (index === now) stage.setAttribute("aria-current", "step");
    else stage.removeAttribute("aria-current");
  });
}

function ago(seconds) {
  for (const [unit, length] of [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]]) {
    const count = Math.floor(seconds / length);
    if (count) return `${count} ${unit}${count > 1 ? "s" : ""} ago`;
  }
  return "just now";
}

/** Start what moves in a result: copy buttons, the age, the seconds so far. */
function enliven() {
  const shown = performance.now(), result = $("#result"), age = $("[data-age]", result), counter = $("[data-seconds]", result);
  const since = (start) => Math.floor(Number(start) + (performance.now() - shown) / 1000);
  for (const button of document.querySelectorAll("[data-copy]")) button.hidden = false;
  mark(result.dataset.state);
  const tick = () => {
    if (!result.isConnected) return;
    if (age) age.textContent = ago(since(age.dataset.age));
    if (counter) counter.textContent = since(result.dataset.elapsed);
    setTimeout(tick, 1000);
  };
  if (age || counter) setTimeout(tick, 1000);
}

// ---------------------------------------------------------------- what happens

async function start(form) {
  if ($("button[aria-disabled]", form)) return;
  const turn = ++watch;
  clearProblem();
  busy(form, true);
  say("Asking for the picture.");
  try {
    const { path } = await ask(form.action, "application/json", { method: "POST", body: new URLSearchParams(new FormData(form)) });
    if (turn !== watch) return;
    history.pushState(null, "", path);
    const idle = await showResult(path), state = $("#result").dataset.state;
    if (state === "ready" || state === "failed") return settle(state, idle);
    reveal();
    follow(turn);
  } catch (problem) {
    say("");
    showProblem(problem instanceof Refusal ? problem : unreachable());
  } finally {
    busy(form, false);
  }
}

async function follow(turn = ++watch) {
  const result = $("#result"), path = result.dataset.json;
  let state = result.dataset.state, said = "", wait = FIRST_PAUSE;
  const pending = () => state === "queued" || state === "capturing";
  if (!pending()) return;
  while (pending()) {
    if (said !== state && said !== "lost") say(STATES[said = state]);
    await pause(wait);
    wait = Math.min(wait * GROWTH, LONGEST_PAUSE);
    if (turn !== watch) return;
    try {
      state = (await ask(path, "application/json")).state;
      if (said === "lost") said = "";
    } catch (problem) {
      if (problem instanceof Refusal) state = "gone";
      else if (said !== "lost") say(STATES[said = "lost"]);
    }
    if (turn !== watch) return;
    if (pending()) mark(state);
  }
  await arrive(path, state, turn);
}

async function arrive(path, state, turn) {
  for (let tries = 0; state !== "gone" && tries < TRIES; tries++) {
    try {
      return settle(state, await showResult(path));
    } catch {
      say(STATES.lost);
    }
    await pause(LONGEST_PAUSE);
    if (turn !== watch) return;
  }
  location.reload();
}

/** Say how it ended, and go there with the visitor who has been waiting for it. */
function settle(state, idle) {
  say(STATES[state]);
  // Who went on reading or typing elsewhere is not pulled away.
  if (idle) $("#result-title")?.focus({ preventScroll: true });
  if (idle) reveal();
}

/** Bring the result into sight where the window is too small for form and result. */
function reveal() {
  const result = $("#result");
  if (result.getBoundingClientRect().top > innerHeight * 0.6) result.scrollIntoView({ block: "start" });
}

async function copy(button) {
  const field = document.getElementById(button.dataset.copy);
  const text = field.value ?? field.textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Where the page is not a secure context there is only the old way.
    const selection = getSelection();
    if (field.select) field.select();
    else selection.selectAllChildren(field);
    document.execCommand("copy");
    button.focus();
  }
  const words = button.firstChild, before = button.dataset.words ??= words.textContent;
  words.textContent = "Copied";
  const live = $("#live");
  if (live) live.textContent = "Copied.";
  await pause(2000);
  words.textContent = before;
}

document.addEventListener("submit", (event) => {
  if (!event.target.matches("[data-capture]")) return;
  event.preventDefault();
  start(event.target);
});
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(button);
});
addEventListener("popstate", async () => {
  if (here() === shown) return; // A link within the page, such as the skip link.
  const turn = ++watch;
  clearProblem();
  say("");
  await showResult(location.href).catch(() => location.reload());
  if (turn === watch) follow(turn);
});

if ($("#result")) {
  enliven();
  follow();
} else {
  for (const button of document.querySelectorAll("[data-copy]")) button.hidden = false;
}
