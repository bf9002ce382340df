// Shows boxes and last tasks with the visitor's key, and again whenever the ledger grows.
"use strict";

const $ = (id) => document.getElementById(id);
const GOOD = new Set(["connected", "succeeded"]);
const WAIT = new Set(["never", "stale", "queued", "accepted", "running"]);
const SHOWN_TASKS = 50;
const REFRESH_MS = 5000;

// With this entry of the tab's history it outlives a reload, and no other page of this origin can read it.
let key = history.state?.key ?? null;
if (location.hash.startsWith("#key=")) {
  key = decodeURIComponent(location.hash.slice(5));
  history.replaceState(null, "", location.pathname);
}

async function ask(path) {
  const answer = await fetch("/api/v1/" + path, { headers: { Authorization: "Bearer " + key } });
  const body = await answer.json();
  if (!answer.ok) {
    const error = new Error([body.detail, body.hint].filter(Boolean).join(": "));
    error.denied = answer.status === 401;
    throw error;
  }
  return body;
}

function ago(time) {
  if (!time) return "never";
  const s = Math.max(0, Math.round((Date.now() - Date.parse(time)) / 1000));
  if (s < 60) return s + " s ago";
  if (s < 3600) return Math.round(s / 60) + " min ago";
  if (s < 172800) return Math.round(s / 3600) + " h ago";
  return Math.round(s / 86400) + " days ago";
}

function took(task) {
  if (!task.started_at) return "";
  const ms = (task.ended_at ? Date.parse(task.ended_at) : Date.now()) - Date.parse(task.started_at);
  return ms < 1000 ? ms + " ms" : (ms / 1000).toFixed(1) + " s";
}

function summary(spec) {
  if (spec.command) return spec.command.split("\n")[0];
  const steps = (spec.steps || []).map((step) => [step.action, step.url || step.selector].filter(Boolean).join(" "));
  return steps.join(" → ").slice(0, 200) || spec.kind || "";
}

function row(cells) {
  const tr = document.createElement("tr");
  for (const [text, kind, title] of cells) {
    const td = document.createElement("td");
    td.textContent = text;
    if (kind) td.className = kind;
    if (title) td.title = title;
    tr.append(td);
  }
  return tr;
}

const mood = (word) => (GOOD.has(word) ? "good" : WAIT.has(word) ? "wait" : "bad");

async function show() {
  const [boxes, tasks, fleet] = await Promise.all([
    ask("boxes?limit=500"), ask("tasks?limit=" + SHOWN_TASKS), ask("fleet")]);
  $("boxes").replaceChildren(...boxes.items.map((box) => row([
    [box.id], [box.status, mood(box.status), box.why], [ago(box.last_seen_at), "", box.last_seen_at],
    [String(box.queue.queued), "n"], [String(box.queue.running), "n"]])));
  $("tasks").replaceChildren(...tasks.items.map((task) => row([
    [ago(task.created_at), "", task.created_at], [task.box_id],
    [task.state, mood(task.state), task.error ? task.error.message : ""],
    [task.exit_code === null ? "" : String(task.exit_code), "n"], [took(task), "n"],
    [summary(task.spec), "", task.id]])));
  const total = Object.values(fleet.boxes).reduce((sum, n) => sum + n, 0);
  $("now").textContent = `${fleet.boxes.connected} of ${total} boxes connected, ` +
    `${fleet.tasks.running} tasks running, ${fleet.tasks.queued} queued` +
    (boxes.next ? "; the first 500 boxes are shown" : "");
  $("login").hidden = true;
  $("problem").hidden = true;
  $("fleet").hidden = false;
}

function login(message) {
  history.replaceState(null, "", location.pathname);
  key = null;
  $("fleet").hidden = true;
  $("login").hidden = false;
  $("now").textContent = "";
  $("problem").textContent = message;
  $("problem").hidden = !message;
}

async function turn() {
  if (!key) return;
  try {
    await show();
    history.replaceState({ key }, "", location.pathname);
  } catch (error) {
    if (error.denied) login(error.message);
    else {
      $("problem").textContent = "not up to date: " + error.message;
      $("problem").hidden = false;
    }
  }
}

$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  key = $("key").value.trim();
  $("key").value = "";
  turn();
});

if (key) turn();
else login("");
setInterval(turn, REFRESH_MS);
