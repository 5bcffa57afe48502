/** The prediction: how it is shown, what people say of it, and what leaves the page. */

import type { App } from "../app"
import { api } from "../net/api"
import type { Review } from "../net/types"
import { button, checkbox, count, duration, fill, h, section, slider } from "./dom"
import { chart } from "./chart"

export function makePrediction(app: App): HTMLElement {
  const { desk, preferences } = app
  const look = (change: Partial<typeof preferences>): void => {
    app.setPreferences(change)
    desk.applyLook()
  }
  const shown = checkbox("Show prediction (O)", (on) => look({ maskShown: on }))
  const outline = checkbox("Outline", (on) => look({ outline: on }))
  const fillIn = slider("Fill", { min: 0, max: 1, step: 0.05 }, (value) => (value === 0 ? "none" : `${Math.round(value * 100)} %`), (value) => look({ fillOpacity: value }))
  const heat = checkbox("Show uncertainty (U)", (on) => look({ heatShown: on }))
  const heatOpacity = slider("Heat", { min: 0.1, max: 1, step: 0.05 }, (value) => `${Math.round(value * 100)} %`, (value) => look({ heatOpacity: value }))
  const words = h("p", { class: "hint", role: "status" })
  const verdict = h("p", { class: "verdict", role: "status" })
  const accept = button("✓ Accept as label", () => void say("accept"), { title: "The prediction becomes the case's dense label" })
  const wrong = button("✗ Mark wrong", () => void say("wrong"))
  const reopen = button("Reopen", () => void say("reopen"))

  async function say(said: Review["verdict"]): Promise<void> {
    const { summary } = desk
    if (!summary) return
    const base = Math.max(summary.version, app.queue.version(summary.id))
    const answer = await app.attempt(api.review(summary.id, { verdict: said, prediction: summary.prediction?.id ?? null, base_version: base }))
    if (!answer) return
    const at = app.cases.findIndex((one) => one.id === answer.id)
    if (at >= 0) app.cases[at] = answer
    app.queue.seen(answer.id, answer.version)
    app.emit("cases")
    await desk.onSummary(answer)
    app.say(`${{ accept: "Accepted as label.", wrong: "Marked wrong.", reopen: "Open again." }[said]} ${answer.notice}`.trim())
  }

  function show(): void {
    const { summary } = desk
    const info = summary?.prediction
    for (const [box, value] of [[shown, preferences.maskShown], [outline, preferences.outline], [heat, preferences.heatShown]] as const) box.set(value)
    fillIn.set(preferences.fillOpacity)
    heatOpacity.set(preferences.heatOpacity)
    const volumes = Object.entries(info?.volumes_ml ?? {}).map(([name, ml]) => `${name} ${ml.toFixed(ml < 10 ? 1 : 0)} ml`)
    words.textContent = info
      ? `By model ${info.model}, mean uncertainty ${info.uncertainty.toFixed(2)}${volumes.length && !desk.isFlat ? `; ${volumes.join(", ")}` : ""}. Strokes drawn over it correct it in the next training.`
      : "None yet. It arrives by itself after training."
    accept.disabled = wrong.disabled = !info || !desk.isShown // what cannot be seen cannot be judged
    reopen.hidden = summary?.state !== "reviewed" && summary?.state !== "wrong" && !summary?.label_is_older
    verdict.textContent = summary?.state === "reviewed" ? `Accepted${summary.reviewed_by ? ` by ${summary.reviewed_by}` : ""}.` : summary?.state === "wrong" ? `Marked wrong${summary.reviewed_by ? ` by ${summary.reviewed_by}` : ""}.` : summary?.label_is_older ? `Accepted${summary.reviewed_by ? ` by ${summary.reviewed_by}` : ""} before the last strokes: the label in the data set is the older one. Accept again, or reopen to take it back.` : ""
  }

  desk.on(["case", "prediction"], show)
  show()
  return section("Prediction", true, words,
    h("div", { class: "checks" }, shown.element, outline.element, heat.element),
    fillIn.element, heatOpacity.element,
    h("div", { class: "buttons" }, accept, wrong, reopen), verdict)
}

const FORMATS = [["nifti", "NIfTI"], ["nrrd", "NRRD"], ["dicom-seg", "DICOM SEG"]] as const
const WHAT = [["mask", "Mask (prediction)"], ["strokes", "Strokes"], ["label", "Label (accepted)"]] as const

export function makeExport(app: App): HTMLElement {
  const what = h("select", { aria: { label: "What to export" } }, ...WHAT.map(([value, label]) => h("option", { value }, label)))
  const format = h("select", { aria: { label: "File format" } }, ...FORMATS.map(([value, label]) => h("option", { value }, label)))
  return section("Export", false,
    h("div", { class: "buttons" }, what, format),
    h("div", { class: "buttons" },
      button("This case", () => {
        if (app.desk.summary) void save(api.exportAddress(app.desk.summary.id, what.value, format.value))
      }),
      button("All cases (zip)", () => void save(api.zipAddress(what.value, format.value))),
      button("Report", () => window.open(api.reportAddress(), "_blank", "noopener"))),
    h("p", { class: "hint" }, "Files lie in the geometry of your scans. Strokes are in the data set's own folder already: it is ready for medcl check and medcl train at any time."))

  /** Ask first, so that a refusal is a sentence here rather than a page of its own. */
  async function save(address: string): Promise<void> {
    await app.attempt((async () => {
      const { name, content } = await api.file(address)
      const link = h("a", { href: URL.createObjectURL(content), download: name })
      link.click()
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000)
      app.say(`${name} was saved.`)
    })())
  }
}

export function makeStatistics(app: App): HTMLElement {
  const rows = h("dl", { class: "numbers" })
  const curve = h("div", { class: "charts" })

  function show(): void {
    const { statistics } = app
    if (!statistics) return
    const named = (counts: Record<string, number>): string => Object.entries(counts).map(([name, number]) => `${name || "?"} ${number}`).join(", ") || "none"
    const lines: [string, string][] = [
      ["Strokes", `${statistics.strokes}${statistics.undone ? ` (${statistics.undone} undone)` : ""}`],
      ["Time drawing", duration(statistics.seconds)],
      ["Voxels", count(statistics.voxels, "voxel")],
      ["By class", named(statistics.by_class)],
      ["By person", named(statistics.by_author)],
    ]
    fill(rows, ...lines.flatMap(([term, text]) => [h("dt", {}, term), h("dd", {}, text)]))
    const names = [...new Set(statistics.curve.flatMap((moment) => Object.keys(moment.scores)))].sort()
    const bought = names.map((name) => ({
      name: name.replace(/^dice\//, ""),
      points: statistics.curve.filter((moment) => name in moment.scores).map((moment) => [moment.strokes, moment.scores[name]!] as const),
    }))
    fill(curve, bought.length > 0 ? chart("Dice on held-back strokes", bought, "strokes", [0, 1]) : h("p", { class: "hint" }, "After the first training: what the strokes bought."))
  }

  app.on("statistics", show)
  return section("Statistics", false, rows, curve)
}
