// Follows what changes: the server says that the page would show something else by now,
// and the page is fetched anew. Without this script everything works but that.
"use strict";
(() => {
	const status = document.getElementById("live");
	let source, timer, wait = 1000, since, fetching = false, again = false;

	const show = text => { status.textContent = text; };

	const lost = () => {
		since ??= new Date();
		status.classList.add("lost");
		show("not connected since " + since.toISOString().slice(11, 19) + " UTC");
	};

	// What the reader has done to the page stays: where boxes are scrolled to, what is
	// open, what has the focus.
	const replace = next => {
		const main = document.querySelector("main");
		const kept = new Map();
		for (const e of main.querySelectorAll("[data-keep]")) kept.set(e.dataset.keep, [e.scrollLeft, e.scrollTop, e.open]);
		const active = document.activeElement;
		const href = active?.getAttribute("href"), key = active?.dataset?.keep;
		main.replaceWith(next);
		for (const e of next.querySelectorAll("[data-keep]")) {
			const before = kept.get(e.dataset.keep);
			if (!before) continue;
			[e.scrollLeft, e.scrollTop] = before;
			if (e.tagName === "DETAILS") e.open = before[2];
		}
		if (!document.contains(active)) {
			const same = key ? `[data-keep="${CSS.escape(key)}"]` : href ? `[href="${CSS.escape(href)}"]` : null;
			if (same) next.querySelector(same)?.focus({preventScroll: true});
		}
	};

	const refetch = async () => {
		if (fetching) { again = true; return; }
		fetching = true;
		try {
			do {
				again = false;
				const answer = await fetch(location.href, {cache: "no-store", credentials: "same-origin"});
				const page = new DOMParser().parseFromString(await answer.text(), "text/html");
				const next = page.querySelector("main");
				if (!next) throw new Error("no page");
				document.title = page.title;
				replace(document.adoptNode(next));
				if (answer.ok) show("as of " + next.dataset.at);
			} while (again);
		} catch {
			lost();
			retry();
		} finally {
			fetching = false;
		}
	};

	const close = () => {
		source?.close();
		source = undefined;
		clearTimeout(timer);
	};

	const retry = () => {
		close();
		if (document.hidden) return;
		timer = setTimeout(open, wait * (0.75 + Math.random() / 2));
		wait = Math.min(2 * wait, 30000);
	};

	const open = () => {
		close();
		source = new EventSource("/live");
		source.onopen = () => {
			wait = 1000;
			if (since) {
				since = undefined;
				status.classList.remove("lost");
				refetch();
			}
		};
		source.addEventListener("state", event => {
			const state = JSON.parse(event.data);
			if (state.anew || state.mark !== document.querySelector("main").dataset.mark) refetch();
		});
		source.addEventListener("end", () => { lost(); retry(); });
		source.onerror = () => { lost(); retry(); };
	};

	// A browser lets few connections to a server stay open: those who do not look need none.
	document.addEventListener("visibilitychange", () => document.hidden ? close() : open());
	addEventListener("pagehide", close);
	addEventListener("pageshow", event => { if (event.persisted) open(); });
	if (!document.hidden) open();
})();
