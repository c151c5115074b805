// Reads every .mmd file of a folder with Mermaid's own parser, and prints for each what it
// holds, as one line of JSON: what internal/mermaid must hold of it too.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import DOMPurify from "dompurify";
import mermaid from "mermaid";

// Without a browser there is nothing to purify.
DOMPurify.addHook ??= () => {};
DOMPurify.sanitize ??= (text) => text;
mermaid.initialize({ startOnLoad: false });

// Mermaid keeps entity codes in a form of its own until it draws.
const decoded = (text) =>
  text.replace(/ﬂ°°(\d+)¶ß/g, (_, code) => String.fromCodePoint(Number(code))).replace(/ﬂ°(\w+)¶ß/g, "#$1;");
const shown = (text) => decoded((text ?? "").trim());

const folder = process.argv[2];
for (const name of readdirSync(folder).filter((each) => each.endsWith(".mmd")).sort()) {
  const said = { name };
  try {
    const { db } = await mermaid.mermaidAPI.getDiagramFromText(readFileSync(join(folder, name), "utf8"));
    said.title = shown(db.getDiagramTitle());
    said.accTitle = shown(db.getAccTitle());
    said.accDescr = shown(db.getAccDescription());
    said.sections = db.getSections().map(shown);
    said.tasks = db.getTasks().map((task) => ({
      section: shown(task.section),
      name: shown(task.task),
      score: task.score,
      actors: task.people.map(shown).filter((each) => each !== ""),
    }));
  } catch (error) {
    said.error = String(error);
  }
  console.log(JSON.stringify(said));
}
