// Reports how one view of this page felt: LCP, INP, CLS, FCP and TTFB as https://web.dev/articles/vitals defines them.
// Sent once, when the page is hidden. It says the page's token, device class and navigation type, and nothing else.
(() => {
  "use strict";

  const { to, token, sample } = document.currentScript.dataset;
  // Whoever drives a browser is no visitor.
  if (!navigator.sendBeacon || navigator.webdriver || Math.random() >= (sample || 1)) return;

  const start = () => {
    const entries = (type) => performance.getEntriesByType(type);
    const page = entries("navigation")[0] || {};
    const activated = page.activationStart || 0;
    const isHidden = () => document.visibilityState === "hidden";
    const sinceActivated = (time) => Math.max(time - activated, 0);
    const observed = [];
    const coarse = matchMedia("(pointer: coarse)").matches;
    const device = !coarse ? "desktop" : Math.min(screen.width, screen.height) < 600 ? "phone" : "tablet";

    let values = {};
    let navigation = activated
      ? "prerender"
      : document.wasDiscarded ? "restore" : (page.type || "navigate").replace("_", "-");
    let sent = false;
    let restored = false;
    // What was painted after the page had been hidden says how long it was hidden, not how fast it is.
    let hiddenAt =
      entries("visibility-state").find((one) => one.name === "hidden" && one.startTime >= activated)?.startTime ??
      (isHidden() ? 0 : Infinity);

    const observe = (type, take, options) => {
      if (!self.PerformanceObserver?.supportedEntryTypes?.includes(type)) return;
      const observer = new PerformanceObserver((list) => list.getEntries().forEach(take));
      observer.observe({ type, buffered: true, ...options });
      observed.push(() => observer.takeRecords().forEach(take));
    };

    if (page.responseStart > 0 && page.responseStart < performance.now()) {
      values.TTFB = sinceActivated(page.responseStart);
    }
    observe("paint", (entry) => {
      if (entry.name === "first-contentful-paint" && !restored && entry.startTime < hiddenAt) {
        values.FCP = sinceActivated(entry.startTime);
      }
    });
    observe("largest-contentful-paint", (entry) => {
      if (!restored && entry.startTime < hiddenAt) values.LCP = sinceActivated(entry.startTime);
    });

    // CLS: the largest burst of shifts, each less than 1 s after the one before, 5 s at most in all.
    let burst, first, last;
    const noShifts = () => {
      burst = 0;
      first = last = -Infinity;
      if (self.LayoutShift) values.CLS = 0;
    };
    noShifts();
    observe("layout-shift", (entry) => {
      if (entry.hadRecentInput) return;
      const time = entry.startTime;
      if (time - last >= 1000 || time - first >= 5000) {
        burst = 0;
        first = time;
      }
      last = time;
      burst += entry.value;
      values.CLS = Math.max(values.CLS, burst);
    });

    // INP: the longest interaction, leaving out one for every 50.
    let longest = [];
    let before = 0;
    let lowest = Infinity;
    let highest = 0;
    const interactions = () => performance.interactionCount ?? (highest ? (highest - lowest) / 7 + 1 : 0);
    const interaction = ({ interactionId: id, duration }) => {
      if (!id) return;
      const known = longest.find((one) => one.id === id);
      if (known) known.duration = Math.max(known.duration, duration);
      else longest.push({ id, duration });
      longest.sort((a, b) => b.duration - a.duration).splice(10);
    };
    if (self.PerformanceEventTiming && "interactionId" in PerformanceEventTiming.prototype) {
      observe("event", interaction, { durationThreshold: 40 });
      observe("first-input", interaction);
      if (performance.interactionCount === undefined) {
        observe("event", ({ interactionId: id }) => {
          if (!id) return;
          lowest = Math.min(lowest, id);
          highest = Math.max(highest, id);
        }, { durationThreshold: 16 });
      }
    }

    const end = () => {
      observed.forEach((take) => take());
      if (sent) return;
      sent = true;
      const count = interactions() - before;
      const inp = longest[Math.min(longest.length - 1, Math.floor(count / 50))];
      if (inp) values.INP = inp.duration;
      // Shorter ones than the browser tells of.
      else if (restored && count) values.INP = 8;
      // A page that never painted cannot have shifted.
      if (values.FCP === undefined) delete values.CLS;
      for (const name in values) values[name] = Math.round(values[name] * 1e4) / 1e4;
      navigator.sendBeacon(to, JSON.stringify({ t: token, d: device, n: navigation, m: values }));
    };

    addEventListener("visibilitychange", (event) => {
      if (!isHidden()) return;
      end();
      hiddenAt = Math.min(hiddenAt, event.timeStamp);
    }, true);
    addEventListener("pagehide", end, true);

    // Taken out of the back/forward cache it is another view, which waits for no server.
    addEventListener("pageshow", (event) => {
      if (!event.persisted) return;
      observed.forEach((take) => take());
      navigation = "back-forward-cache";
      restored = true;
      sent = false;
      values = { TTFB: 0 };
      noShifts();
      longest = [];
      before = interactions();
      const view = values;
      requestAnimationFrame(() => requestAnimationFrame(() => {
        view.FCP = view.LCP = performance.now() - event.timeStamp;
      }));
    }, true);
  };

  if (document.prerendering) addEventListener("prerenderingchange", start, { once: true });
  else start();
})();
