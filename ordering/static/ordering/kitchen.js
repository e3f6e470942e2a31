// The kitchen's board works without this file; with it the board follows by itself and buttons do not reload it.
(() => {
  "use strict";
  const board = document.getElementById("board");
  const form = document.getElementById("kitchen-form");
  const connection = document.querySelector("[data-connection]");
  let tag = "";
  let changes = 0;
  let readUntil = 0; // a message about what was not possible stays long enough to be read

  // A tone for each order that was not there before. Browsers play none before a tap, so the switch is one.
  const sound = document.getElementById("sound");
  let audio = null;
  const onBoard = () => new Set([...board.querySelectorAll("[data-new]")].map((ticket) => ticket.dataset.new));
  let known = onBoard();

  const ring = () => {
    if (!audio) return;
    for (const [at, pitch] of [[0, 880], [0.18, 1175]]) {
      const tone = audio.createOscillator();
      const volume = audio.createGain();
      tone.frequency.value = pitch;
      volume.gain.setValueAtTime(0.4, audio.currentTime + at);
      volume.gain.exponentialRampToValueAtTime(0.001, audio.currentTime + at + 0.4);
      tone.connect(volume).connect(audio.destination);
      tone.start(audio.currentTime + at);
      tone.stop(audio.currentTime + at + 0.4);
    }
  };

  const switchSound = (on) => {
    audio = on ? audio || new AudioContext() : null;
    sound.setAttribute("aria-pressed", String(on));
    sound.textContent = on ? sound.dataset.on : sound.dataset.off;
  };
  sound.hidden = false;
  sound.addEventListener("click", () => {
    switchSound(!audio);
    ring();
  });

  const show = (html) => {
    const focused = board.contains(document.activeElement) ? document.activeElement.id : "";
    board.innerHTML = html;
    const now = onBoard();
    if ([...now].some((order) => !known.has(order))) ring();
    // What was taken back is not new: it stays known as long as the page is open.
    known = new Set([...known, ...now]);
    if (focused) document.getElementById(focused)?.focus();
  };

  const say = (text) => {
    if (connection.textContent !== text) connection.textContent = text;
  };

  const look = async () => {
    const before = changes;
    const headers = tag ? { "If-None-Match": tag } : {};
    const response = await fetch(board.dataset.follow, { headers, cache: "no-store" });
    if (response.status !== 200 && response.status !== 304) throw new Error(`board: ${response.status}`);
    say("");
    if (response.status === 304) return;
    const html = await response.text();
    // An answer that was asked for before a button was pressed is older than the board.
    if (before !== changes) return;
    tag = response.headers.get("ETag") || "";
    show(html);
  };

  const lost = () => say(board.dataset.lost);
  const keepLooking = () =>
    (document.hidden || Date.now() < readUntil ? Promise.resolve() : look().catch(lost)).finally(() =>
      setTimeout(keepLooking, 2000));

  form.addEventListener("submit", async (event) => {
    const button = event.submitter;
    if (!button) return;
    event.preventDefault();
    const body = new URLSearchParams(new FormData(form));
    if (button.name) body.set(button.name, button.value);
    changes += 1;
    button.disabled = true;
    try {
      const response = await fetch(button.formAction, { method: "POST", body, headers: { "X-Fragment": "board" } });
      if (!response.ok && response.status !== 409) throw new Error(`kitchen: ${response.status}`);
      tag = "";
      changes += 1;
      readUntil = response.ok ? 0 : Date.now() + 6000;
      show(await response.text());
      say("");
    } catch {
      button.disabled = false;
      lost();
    }
  });

  keepLooking();
  document.addEventListener("visibilitychange", () => look().catch(lost));
})();
