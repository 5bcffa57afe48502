/** What opens over the page: guide, keys, name, conflict. Native dialogs: focus stays inside, Escape closes. */

import type { App } from "../app"
import type { Decision, Entry } from "../net/queue"
import type { Conflict } from "../net/types"
import { button, h } from "./dom"

let titles = 0

function open(title: string, ...content: (Node | string)[]): { dialog: HTMLDialogElement; closed: Promise<string> } {
  const id = `title-${++titles}`
  const heading = h("h2", { id }, title)
  const dialog = h("dialog", { aria: { labelledby: id } }, heading, ...content)
  document.body.append(dialog)
  const closed = new Promise<string>((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove()
      resolve(dialog.returnValue)
    })
  })
  dialog.showModal()
  return { dialog, closed }
}

function list(...items: (string | Node)[][]): HTMLOListElement {
  return h("ol", {}, ...items.map((item) => h("li", {}, ...item)))
}

export function showGuide(): void {
  const strong = (text: string): HTMLElement => h("strong", {}, text)
  const { dialog } = open(
    "From a few strokes to masks",
    h("p", {}, "You draw a few strokes, the machine learns from them while you look, and shows what it makes of all your scans. You correct where it is wrong, and so on, until you are content."),
    list(
      [strong("Draw. "), "Choose a pen on the right and draw short strokes well inside each structure: no outlines, no need to be complete. Draw background too: what is not drawn is unknown, not background."],
      [strong("Train. "), "Two or three slices with strokes of every class are enough to begin. You can go on drawing meanwhile."],
      [strong("Look. "), "Predictions appear by themselves, as outline and colour. Uncertainty shows where the model doubts."],
      [strong("Correct. "), "Draw over the prediction where it is wrong, with the pen of what it really is. The next training learns from it."],
      [strong("Next "), "takes you to the place where a stroke is expected to help most, and says why."],
      [strong("Accept "), "a prediction when it is right: it becomes the label of the case. Export when you are done."],
    ),
    h("p", { class: "hint" }, "Every stroke is saved at once, with your name and the time; Undo takes it back, also tomorrow. Mouse: wheel for slices, Ctrl and wheel to zoom, middle button to move, right button for brightness. Touch: one finger draws, two fingers move and zoom. Keyboard: press ? for all keys."),
    h("p", { class: "hint" }, "medcl is a research tool, not a medical device."),
  )
  const close = button("Begin", () => dialog.close(), { class: "main", autofocus: true })
  dialog.append(h("div", { class: "buttons end" }, close))
  close.focus()
}

const KEYS: readonly (readonly [string, string])[] = [
  ["0 … 9", "pen of background, first class, second class ..."],
  ["V  P  L  E  F", "look, pen, line, eraser, fill (when allowed)"],
  ["[  ]", "thinner, wider pen"],
  ["Z or Ctrl Z", "undo"],
  ["Y or Ctrl Shift Z", "redo"],
  ["H  O  U", "show or hide strokes, prediction, uncertainty"],
  ["A  C  S  M  D", "axial, coronal, sagittal, all planes, 3D"],
  ["N", "next place"],
  ["T", "train"],
  ["?", "this list"],
]
const PICTURE_KEYS: readonly (readonly [string, string])[] = [
  ["Arrow keys", "move the cursor; with Shift ten voxels"],
  ["Space", "pen down, and up again; arrows draw meanwhile"],
  ["Escape", "give the stroke up"],
  ["Page Up, Page Down", "next, previous slice; Home and End: last and first"],
  ["+  −  R", "zoom in, out, whole picture"],
]

export function showKeys(): void {
  const table = (rows: readonly (readonly [string, string])[]): HTMLElement =>
    h("table", {}, h("tbody", {}, ...rows.map(([key, meaning]) => h("tr", {}, h("th", { scope: "row" }, key), h("td", {}, meaning)))))
  const { dialog } = open("Keys", table(KEYS), h("h3", {}, "While the picture has the focus"), table(PICTURE_KEYS))
  const close = button("Close", () => dialog.close(), { class: "main" })
  dialog.append(h("div", { class: "buttons end" }, close))
  close.focus()
}

export async function askName(app: App): Promise<void> {
  const input = h("input", { id: "author", type: "text", maxLength: 80, autocomplete: "name", value: app.author })
  const form = h("form", { method: "dialog" },
    h("label", { for: "author" }, "Strokes and reviews are kept under this name."),
    input,
    h("div", { class: "buttons end" }, h("button", { value: "keep", class: "main" }, "Keep")))
  const { closed } = open("Who draws?", form)
  input.focus()
  if ((await closed) !== "keep") return
  app.setPreferences({ author: input.value.trim() })
  app.applyAuthor()
}

export async function askConflict(entry: Entry, conflict: Conflict): Promise<Decision> {
  const names = [...new Set(conflict.strokes.map((stroke) => stroke.author || "somebody"))].join(" and ")
  for (;;) {
    const form = h("form", { method: "dialog" },
      h("p", {}, `In ${entry.case}, ${names} changed voxels that your last ${entry.kind === "draw" ? "stroke" : entry.kind} touches. Whose shall stand?`),
      h("p", { class: "hint" }, "Put on top, yours and theirs both stay in the history, and either can be undone. What you drop is not kept."),
      h("div", { class: "buttons end" },
        h("button", { value: "theirs" }, `Keep ${names}'s, drop mine`),
        h("button", { value: "mine", class: "main" }, "Put mine on top")))
    const said = await open("Somebody else drew here", form).closed
    if (said === "theirs" || said === "mine") return said // closed by Escape: ask again rather than decide silently
  }
}
