/* Live pages. The server's database is the truth: this script says the last number that it has, gets what it missed,
   then follows. What a page puts in its HTML:

   data-live="/ws/runs/<pipeline>/<number>/"  on one element; data-live-since="<seq>": events already in the page.
   data-live="/ws/portal/"                    on list pages instead: nudges that something changed.
   data-live-status      shows the connection in words; its data-state is live, waiting or off.
   id="stage-<pk>" or data-live-stage="<pk>"  has class state-<state>. Inside it, where present:
                         .state use or use.state-icon (#icon-<state>) and [data-live-word] (the state's word). data-members="<pk>:<state> ..." on
                         a node that stands for several stages. data-live-run-state: the same for the run itself.
   data-live-refresh="<keys>" data-live-url="<address>"  its content is fetched again when one of the keys happens:
                         run stage plan decision progress artifact stage:<pk>; on list pages changed, run:<pk> and
                         the same kinds. While somebody types in it, it gets the attribute data-stale and a notice.
   data-live-log="<stage pk>"  log text is appended; data-live-since="<seq>" on it: the text up to there is in it.
                         The element itself scrolls, and follows the end while it is scrolled to the end.
   data-live-new         hidden until runs appear that have no data-live-row="<run pk>"; then it says how many.
   data-since="<ISO>"    becomes a ticking duration; <time datetime="<ISO>" data-relative> becomes "3 min ago". */
(() => {
  "use strict";
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const root = document.querySelector("[data-live]");
  const LOG_LIMIT = 2_000_000, RECENT = 400, REFRESH_MS = 500, HIDDEN_MS = 30_000, FINAL = [4400, 4401, 4403, 4404];

  // --- times ---
  const span = (s) => s < 60 ? `${s} s` : s < 3600 ? `${Math.floor(s / 60)} min ${s % 60} s`
    : s < 86400 ? `${Math.floor(s / 3600)} h ${Math.floor(s % 3600 / 60)} min` : `${Math.floor(s / 86400)} d`;
  const ago = (s) => s < 10 ? "just now" : s < 60 ? `${s} s ago` : s < 3600 ? `${Math.floor(s / 60)} min ago`
    : s < 86400 ? `${Math.floor(s / 3600)} h ago` : `${Math.floor(s / 86400)} d ago`;
  const put = (el, text) => { if (el.textContent !== text) el.textContent = text; };
  const passed = (iso) => Math.max(0, Math.floor((Date.now() - Date.parse(iso)) / 1000));
  const tick = () => {
    for (const el of all("[data-since]")) if (el.dataset.since) put(el, span(passed(el.dataset.since)));
    for (const el of all("time[data-relative]")) if (el.dateTime) put(el, ago(passed(el.dateTime)));
  };
  setInterval(() => document.hidden || tick(), 1000);
  tick();
  if (!root) return;

  // --- states ---
  // The first of these that a member is in is what a node for several stages shows.
  const WORST = ["failed", "error", "rejected", "unknown", "waiting", "running", "queued", "pending", "canceled",
    "omitted", "skipped", "succeeded"];
  const show = (el, state, word) => {
    el.setAttribute("class", [...el.classList].filter((c) => !c.startsWith("state-")).concat(`state-${state}`).join(" "));
    for (const use of all(".state use, use.state-icon", el)) use.setAttribute("href", `#icon-${state}`);
    for (const text of all("[data-live-word]", el)) put(text, word);
    const link = el.querySelector("a[data-name]");
    if (link) link.setAttribute("aria-label", `${link.dataset.name}, ${word}`);
  };
  const showMember = (el, pk, state) => {
    const members = new Map(el.dataset.members.split(" ").map((pair) => pair.split(":")));
    if (!members.has(pk)) return;
    members.set(pk, state);
    el.dataset.members = [...members].map((pair) => pair.join(":")).join(" ");
    const states = [...members.values()], worst = WORST.find((s) => states.includes(s));
    show(el, worst, `${states.filter((s) => s === worst).length} ${worst}`);
  };
  const stageChanged = (pk, { state, code }) => {
    const word = state === "waiting" && code ? `waiting: ${code}` : state;
    for (const el of all(`#stage-${pk}, [data-live-stage="${pk}"]`)) show(el, state, word);
    for (const el of all("[data-members]")) showMember(el, String(pk), state);
  };

  // --- logs: collected, then written once for each frame of the screen ---
  let recent = [], unwritten = [];
  const write = (events, within = document) => {
    for (const el of all("[data-live-log]", within)) {
      const had = Number(el.dataset.liveSince || root.dataset.liveSince || 0);
      const mine = events.filter((e) => e.seq > had && String(e.stage) === el.dataset.liveLog);
      if (!mine.length) continue;
      const atEnd = el.scrollHeight - el.scrollTop - el.clientHeight < 24;
      el.append(mine.map((e) => e.data.text.endsWith("\n") ? e.data.text : `${e.data.text}\n`).join(""));
      el.dataset.liveSince = mine.at(-1).seq;
      let size = el.textContent.length;
      while (size > LOG_LIMIT && el.childNodes.length > 1) {
        size -= el.firstChild.textContent.length;
        el.firstChild.remove();
      }
      if (atEnd) el.scrollTop = el.scrollHeight;
    }
  };
  const flush = () => { const events = unwritten; unwritten = []; write(events); };
  const logged = (event) => {
    recent.push(event);
    if (recent.length > RECENT * 2) recent = recent.slice(-RECENT);
    // A hidden page gets no animation frames.
    if (unwritten.push(event) === 1) document.hidden ? setTimeout(flush, 50) : requestAnimationFrame(flush);
  };
  // A log that has just come into the page may be a little behind what was received meanwhile.
  document.addEventListener("htmx:load", (e) => write(recent, e.target.parentNode || document));

  // --- fragments ---
  const last = new WeakMap(), due = new WeakSet(), typed = new WeakSet();
  document.addEventListener("input", (e) => { if (e.target.form) typed.add(e.target.form); });
  document.addEventListener("reset", (e) => typed.delete(e.target));
  const busy = (el) => all("form", el).concat(el.closest("form") || []).some((form) => typed.has(form));
  const fetchInto = async (el) => {
    last.set(el, Date.now());
    try {
      const answer = await fetch(el.dataset.liveUrl, { headers: { "HX-Request": "true" } });
      if (!answer.ok || answer.redirected || !el.isConnected) return;
      const html = await answer.text();
      if (busy(el)) return stale(el);
      const focused = el.contains(document.activeElement) && document.activeElement.id;
      el.innerHTML = html;
      el.removeAttribute("data-stale");
      if (window.htmx) window.htmx.process(el);
      if (focused) document.getElementById(focused)?.focus();
      write(recent, el);
      tick();
    } catch { /* the next event, or the next connection, asks again */ }
  };
  const stale = (el) => {
    if (el.hasAttribute("data-stale")) return;
    el.setAttribute("data-stale", "");
    const notice = document.createElement("p"), button = document.createElement("button");
    notice.className = "stale-notice";
    notice.setAttribute("role", "status");
    button.type = "button";
    button.textContent = "Show the change";
    button.onclick = () => { all("form", el).forEach((form) => typed.delete(form)); fetchInto(el); };
    notice.append("This changed while you were writing. ", button);
    el.prepend(notice);
  };
  const refresh = (keys) => {
    for (const el of all("[data-live-refresh]")) {
      if (due.has(el) || !el.dataset.liveRefresh.split(/\s+/).some((key) => keys.has(key))) continue;
      if (busy(el)) { stale(el); continue; }
      due.add(el);
      setTimeout(() => { due.delete(el); if (el.isConnected) fetchInto(el); },
        Math.max(20, REFRESH_MS - (Date.now() - (last.get(el) || 0))));
    }
  };

  // --- what comes in ---
  let since = Number(root.dataset.liveSince || 0), changedOnce = false;
  const unseen = new Set();
  const onEvents = (frame) => {
    const keys = new Set();
    for (const event of frame.events) {
      if (event.seq <= since) continue;
      since = event.seq;
      if (event.kind === "log") { logged(event); continue; }
      keys.add(event.kind);
      if (event.stage) keys.add(`stage:${event.stage}`);
      if (event.kind === "stage") stageChanged(event.stage, event.data);
      if (event.kind === "run") for (const el of all("[data-live-run-state]")) show(el, event.data.state, event.data.state);
      document.dispatchEvent(new CustomEvent("live:event", { detail: event }));
    }
    if (keys.size) refresh(keys);
  };
  const onChanged = ({ kinds, runs }) => {
    for (const { pk, state } of runs) {
      const rows = all(`[data-live-row="${pk}"]`);
      rows.forEach((row) => show(row, state, state));
      if (!rows.length) unseen.add(pk);
    }
    for (const el of all("[data-live-new]")) {
      el.hidden = !unseen.size;
      put(el, `${unseen.size} new`);
    }
    refresh(new Set(["changed", ...kinds, ...runs.map((run) => `run:${run.pk}`)]));
  };
  const onFrame = (frame) => {
    if (frame.type === "events") onEvents(frame);
    else if (frame.type === "changed") onChanged(frame);
    else if (frame.type === "live") {
      say("live", "Live");
      // What changed while a list page was not connected is not told again.
      if (changedOnce && frame.last === null) refresh(new Set(["changed"]));
      changedOnce = true;
    }
  };

  // --- the connection ---
  let socket = null, failures = 0, timer = 0, hiddenTimer = 0;
  const say = (state, words) => all("[data-live-status]").forEach((el) => { el.dataset.state = state; put(el, words); });
  const connect = () => {
    clearTimeout(timer);
    if (socket) return;
    const url = new URL(root.dataset.live, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    url.searchParams.set("since", since);
    say("waiting", "Connecting…");
    const mine = socket = new WebSocket(url);
    mine.onmessage = (message) => { if (mine === socket) { failures = 0; onFrame(JSON.parse(message.data)); } };
    mine.onclose = (event) => {
      if (mine !== socket) return;
      socket = null;
      if (FINAL.includes(event.code)) return say("off", `Not live: ${event.reason || "reload the page"}`);
      const wait = Math.min(30_000, 500 * 2 ** failures++) * (0.5 + Math.random());
      say("waiting", failures > 3 ? "Not live: the server does not answer. Trying again; what you see may be old."
        : "Connection lost, trying again…");
      timer = setTimeout(connect, wait);
    };
  };
  const leave = () => { const old = socket; socket = null; clearTimeout(timer); if (old) old.close(); };
  document.addEventListener("visibilitychange", () => {
    clearTimeout(hiddenTimer);
    if (document.hidden) hiddenTimer = setTimeout(() => { leave(); say("waiting", "Paused"); }, HIDDEN_MS);
    else { tick(); if (!socket) { failures = 0; connect(); } }
  });
  addEventListener("online", () => { if (!socket) connect(); });
  addEventListener("pagehide", leave);
  addEventListener("pageshow", (event) => { if (event.persisted) connect(); });
  connect();
})();
