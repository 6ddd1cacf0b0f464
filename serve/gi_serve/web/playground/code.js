// The tab of clients: whole programs that the tests of this project run, with this server's address in them.

const PLACE = "http://127.0.0.1:8000";
const element = (id) => document.getElementById(id);

export class CodeTab {
  constructor() {
    element("language").addEventListener("change", () => this.show());
    element("copy").addEventListener("click", () => this.copy());
  }

  async load() {
    this.examples = await (await fetch("../examples/index.json")).json();
    element("language").replaceChildren(...this.examples.map(({ name }, i) => new Option(name, i)));
    await this.show();
  }

  async show() {
    const { file, needs } = this.examples[Number(element("language").value)];
    const text = await (await fetch(`../examples/${file}`)).text();
    element("snippet").firstElementChild.textContent = text.replaceAll(PLACE, location.origin);
    element("needs").textContent = `${file}. It needs ${needs}.`;
    element("copied").textContent = "";
  }

  async copy() {
    const text = element("snippet").textContent;
    try {
      await navigator.clipboard.writeText(text);
      element("copied").textContent = "Copied.";
    } catch {
      getSelection().selectAllChildren(element("snippet")); // pages over plain HTTP may not write to the clipboard
      element("copied").textContent = "Selected: press Ctrl+C.";
    }
  }
}
