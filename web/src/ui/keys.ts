/** Keys that work wherever the focus is, but never while somebody types. */

import type { App } from "../app"
import type { Hand } from "../desk"
import { showKeys } from "./dialogs"
import { LAYOUT_KEYS, type View } from "./view"

const HANDS: Record<string, Hand> = { v: "look", p: "pen", l: "line", e: "eraser", f: "flood" }

export function makeKeys(app: App, view: View, next: () => void): void {
  const { desk, preferences } = app
  const toggle = (key: "strokesShown" | "maskShown" | "heatShown"): void => {
    app.setPreferences({ [key]: !preferences[key] })
    desk.applyLook()
    desk.emit("hand", "prediction")
  }
  const setWidth = (width: number): void => {
    app.setPreferences({ width: Math.min(Math.max(width, 1), 40) })
    desk.emit("hand")
    app.say(`Pen width ${preferences.width}`)
  }
  const actions: Record<string, () => void> = {
    "[": () => setWidth(preferences.width - 1),
    "]": () => setWidth(preferences.width + 1),
    z: () => desk.undo(),
    y: () => desk.redo(),
    h: () => toggle("strokesShown"),
    o: () => toggle("maskShown"),
    u: () => toggle("heatShown"),
    r: () => desk.viewer.resetView(),
    n: next,
    t: () => void app.train(preferences.minutes),
    "?": showKeys,
  }
  for (const [key, hand] of Object.entries(HANDS)) {
    actions[key] = () => {
      if (hand !== "flood" || preferences.allowFill) desk.setHand(hand)
      else app.say("Filling is off; the box 'Allow filling' turns it on.")
    }
  }
  for (const [key, layout] of LAYOUT_KEYS) {
    actions[key] = () => {
      if (!desk.isFlat) view.setLayout(layout)
    }
  }
  for (let value = 0; value < 10; value++) actions[String(value)] = () => desk.setValue(value)

  document.addEventListener("keydown", (event) => {
    const target = event.target as HTMLElement
    const typing = target.matches("input:not([type=range]):not([type=checkbox]):not([type=radio]), select, textarea")
    if (typing || document.querySelector("dialog[open]") || !desk.summary) return
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key
    if ((event.ctrlKey || event.metaKey) && !event.altKey && (key === "z" || key === "y")) {
      if (key === "y" || event.shiftKey) desk.redo()
      else desk.undo()
    } else if (event.ctrlKey || event.metaKey || event.altKey || !actions[key]) return
    else actions[key]()
    event.preventDefault()
  })
}
