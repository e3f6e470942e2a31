/* Live pages. The server's database is the truth: this script says the last number that it has, gets what it missed,
   then follows. What a page puts in its HTML:

   data-live="/ws/runs/<pipeline>/<number>/"  on one element; data-live-since="<seq>": events already in the page.
   data-live="/ws/portal/"                    on list pages instead: nudges that something changed.
   data-live-poll="<address>"                 beside data-live: what to ask again and again where no socket can be opened.
   data-live-status      shows the connection in words; its data-state is live, polling, waiting or off.
   id="stage-<pk>" or data-live-stage="<pk>"  has class state-<state>; data-asks: who is asked for approvals. Inside it:
                         .state use or use.state-icon (#icon-<state>) and [data-live-word] (the state's word).
                         data-members="<pk>:<state> <pk>-<pk>:<state> ..." on a node that stands for several stages; in it
                         .share, as much of .share-of as have ended. data-live-run-state: the same for the run itself.
   data-live-refresh="<keys>" data-live-url="<address>"  its content is fetched again when one of the keys happens:
                         run stage plan decision progress artifact stage:<pk>; on list pages changed, run:<pk> and
                         the same kinds. While somebody types in it, it gets the attribute data-stale and a notice.
                         data-live-query: with the query of the page's own address.
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
  const ENDED = new Set(["succeeded", "failed", "error", "skipped", "omitted", "canceled", "rejected"]);
  const known = new WeakMap();
  const membersOf = (el) => {
    if (known.has(el)) return known.get(el);
    const members = new Map(), counts = {};
    for (const part of el.dataset.members.split(" ")) {
      const [range, state] = part.split(":"), [first, last = first] = range.split("-").map(Number);
      for (let pk = first; pk <= last; pk++) members.set(pk, state);
      counts[state] = (counts[state] || 0) + last - first + 1;
    }
    known.set(el, { members, counts });
    return known.get(el);
  };
  const showMember = (el, pk, state) => {
    const { members, counts } = membersOf(el), before = members.get(pk);
    if (!before || before === state) return;
    members.set(pk, state);
    counts[before] -= 1;
    counts[state] = (counts[state] || 0) + 1;
    const worst = WORST.find((s) => counts[s]);
    show(el, worst, `${counts[worst]} ${worst}`);
    const ended = Object.keys(counts).reduce((sum, s) => sum + (ENDED.has(s) ? counts[s] : 0), 0);
    const width = el.querySelector(".share-of")?.getAttribute("width");
    if (width) el.querySelector(".share").setAttribute("width", width * ended / members.size);
  };
  const stageChanged = (pk, { state, code }) => {
    for (const el of all(`#stage-${pk}, [data-live-stage="${pk}"]`)) {
      const why = code === "approval" ? el.dataset.asks || code : code;
      show(el, state, state === "waiting" && why ? `waiting: ${why}` : state);
    }
    for (const el of all("[data-members]")) showMember(el, pk, state);
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
      const query = el.hasAttribute("data-live-query") ? location.search : null;
      const answer = await fetch(el.dataset.liveUrl + (query || ""), { headers: { "HX-Request": "true" } });
      if (!answer.ok || answer.redirected || !el.isConnected) return;
      const html = await answer.text();
      if (query !== null && query !== location.search) return fetchInto(el);
      if (busy(el)) return stale(el);
      const focused = el.contains(document.activeElement) && document.activeElement.id;
      // What a person folded or unfolded stays so.
      const folds = new Map(all("details[id]", el).map((fold) => [fold.id, fold.open]));
      el.innerHTML = html;
      for (const fold of all("details[id]", el)) if (folds.has(fold.id)) fold.open = folds.get(fold.id);
      el.removeAttribute("data-stale");
      if (window.htmx) window.htmx.process(el);
      if (focused) document.getElementById(focused)?.focus();
      write(recent, el);
      tick();
    } catch { /* the next event, or the next connection, asks again */ }
  };
  // What htmx puts there may have been asked for before the last change was fetched.
  document.addEventListener("htmx:afterSwap", ({ detail: { target } }) => {
    if (Date.now() - (last.get(target) || 0) < 2 * REFRESH_MS) fetchInto(target);
  });
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
      if (el.querySelector("form[data-decision]")) continue; // who reads a plan is told what is new in it, see pages.js
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
  const CONNECT_MS = 8_000, SOCKET_AGAIN_MS = 60_000, POLL_MS = 2_000, POLL_MOST_MS = 15_000;
  let socket = null, opened = false, failures = 0, timer = 0, hiddenTimer = 0;
  const say = (state, words) => all("[data-live-status]").forEach((el) => { el.dataset.state = state; put(el, words); });
  const connect = () => {
    clearTimeout(timer);
    if (socket) return;
    const url = new URL(root.dataset.live, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    url.searchParams.set("since", since);
    if (!polling) say("waiting", "Connecting…");
    let mine;
    try { mine = socket = new WebSocket(url); } catch { return failed(); }
    // Some proxies neither open a socket nor refuse it.
    const patience = setTimeout(() => mine.close(), CONNECT_MS);
    mine.onmessage = (message) => {
      if (mine !== socket) return;
      clearTimeout(patience);
      failures = 0;
      opened = true;
      stopPolling();
      onFrame(JSON.parse(message.data));
    };
    mine.onclose = (event) => {
      clearTimeout(patience);
      if (mine !== socket) return;
      socket = null;
      if (FINAL.includes(event.code)) return over(event.reason);
      failed();
    };
  };
  const over = (reason) => { stopPolling(); say("off", `Not live: ${reason || "reload the page"}`); };
  const failed = () => {
    failures += 1;
    if (root.dataset.livePoll && failures >= (opened ? 3 : 1)) startPolling();
    const wait = Math.min(30_000, 250 * 2 ** failures) * (0.5 + Math.random());
    if (!polling) say("waiting", "Connection lost, trying again…");
    timer = setTimeout(connect, polling ? SOCKET_AGAIN_MS : wait);
  };
  const leave = () => { const old = socket; socket = null; clearTimeout(timer); stopPolling(); if (old) old.close(); };

  // --- where no socket can be opened: ask, the less often the less happens ---
  let polling = false, pollTimer = 0, pause = POLL_MS, unanswered = false;
  const startPolling = () => { if (!polling) { polling = true; pause = POLL_MS; poll(); } };
  const stopPolling = () => { polling = false; clearTimeout(pollTimer); };
  const poll = async () => {
    clearTimeout(pollTimer);
    let more = false;
    try {
      const answer = await fetch(`${root.dataset.livePoll}?since=${since}`, { headers: { "HX-Request": "true" } });
      if (!polling) return;
      if ([401, 403, 404].includes(answer.status)) { clearTimeout(timer); return over("reload the page"); }
      if (!answer.ok) throw new Error(answer.status);
      const frame = await answer.json();
      if (!polling) return;
      say("polling", "Live by polling");
      // A server that has come back may take sockets again.
      if (unanswered && !socket) connect();
      unanswered = false;
      const news = frame.type === "events" ? frame.events.length > 0 : headsMoved(frame.runs);
      if (frame.type === "events") onEvents(frame);
      more = frame.more;
      pause = news ? POLL_MS : Math.min(POLL_MOST_MS, pause * 1.5);
    } catch {
      if (!polling) return;
      say("waiting", "Not live: the server does not answer. Trying again; what you see may be old.");
      unanswered = true;
      pause = Math.min(POLL_MOST_MS, pause * 1.5);
    }
    pollTimer = setTimeout(poll, more ? 0 : pause);
  };
  // List pages: the state and the last number of each run that may change; what is different from the last time changed.
  let heads = null;
  const headsMoved = (runs) => {
    const before = heads;
    heads = new Map(runs.map((run) => [run.pk, run.last]));
    const moved = runs.filter((run) => before && before.get(run.pk) !== run.last);
    if (!before) refresh(new Set(["changed"]));
    else if (moved.length) onChanged({ kinds: ["run", "stage", "plan", "decision", "progress"], runs: moved });
    return moved.length > 0;
  };

  document.addEventListener("visibilitychange", () => {
    clearTimeout(hiddenTimer);
    if (document.hidden) hiddenTimer = setTimeout(() => { leave(); say("waiting", "Paused"); }, HIDDEN_MS);
    else { tick(); if (!socket && !polling) { failures = 0; connect(); } }
  });
  addEventListener("online", () => { if (!socket) connect(); });
  addEventListener("pagehide", leave);
  addEventListener("pageshow", (event) => { if (event.persisted) connect(); });
  connect();
})();
