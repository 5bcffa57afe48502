/** Train and Next: the machine's half of the loop. */

import type { App } from "../app"
import { api } from "../net/api"
import type { Job, Point, Strategy } from "../net/types"
import { chart, type Curve } from "./chart"
import { button, duration, fill, h, section } from "./dom"
import { makeList } from "./list"

export function curves(points: readonly Point[]): Curve[] {
  const names = [...new Set(points.flatMap((point) => Object.keys(point.values)))]
  return names.map((name) => ({ name, points: points.filter((point) => name in point.values).map((point) => [point.step, point.values[name]!] as const) }))
}

const STATES: Record<Job["state"], string> = {
  queued: "waits for its turn",
  running: "runs",
  finished: "finished",
  cancelled: "cancelled",
  crashed: "stopped by an error",
}

export function makeTrain(app: App): HTMLElement {
  const minutes = h("input", { type: "number", min: "0.1", max: "1440", step: "any", class: "value", aria: { label: "Minutes of training" } })
  minutes.value = String(app.preferences.minutes)
  const start = button("Train", () => {
    const value = Number(minutes.value)
    if (!(value > 0 && value <= 1440)) {
      app.say("Minutes of training: expected a number above 0 and up to 1440.")
      return
    }
    app.setPreferences({ minutes: value })
    void app.train(value)
  }, { class: "main", key: "T" })
  const cancel = button("Cancel", () => void app.cancel())
  const state = h("p", { class: "job", role: "status", aria: { live: "polite" } })
  const bar = h("progress", { max: 1, aria: { label: "Progress of the job" } })
  const charts = h("div", { class: "charts" })
  const model = h("p", { class: "hint" })

  function show(): void {
    const { job } = app
    const active = job?.state === "running" || job?.state === "queued"
    start.disabled = active === true && job?.kind === "train"
    cancel.hidden = !active
    bar.hidden = !active
    if (job) {
      bar.value = job.share
      const left = active && job.seconds_left !== null ? `, ${duration(job.seconds_left)} left` : ""
      const what = job.kind === "train" ? "Training" : "Prediction"
      const text = `${what} ${STATES[job.state]}${left}${job.message ? `: ${job.message}` : "."}`
      if (state.textContent !== text) state.textContent = text
      state.dataset.state = job.state
      fill(charts,
        job.scores.length > 0 ? chart("Validation on held-back strokes", curves(job.scores), "steps", [0, 1]) : null,
        job.losses.length > 0 ? chart("Losses", curves(job.losses), "steps") : null)
    }
    const newest = app.project?.model
    const dice = newest?.scores.dice
    model.textContent = newest
      ? `Newest model: ${newest.steps.toLocaleString("en")} steps on ${newest.strokes} strokes${dice === undefined ? "" : `, Dice ${dice.toFixed(2)} on held-back strokes`}.`
      : "No model yet. A few strokes of every class, background too, in two or three slices are enough to begin."
  }

  app.on(["job", "project"], show)
  return section("Train", true,
    h("div", { class: "buttons" }, start, h("label", { class: "inline" }, minutes, " minutes"), cancel),
    bar, state, charts, model)
}

export function makeNext(app: App): HTMLElement & { go: (skip: boolean) => void } {
  const strategy = h("select", { aria: { label: "How the next place is chosen" } }, h("option", { value: "" }, "Recommended"))
  const go = (skip: boolean): void => void app.next(strategy.value || null, skip)
  const reason = h("p", { class: "reason" }) // said aloud by the line of messages
  const skip = button("Skip", () => go(true), { title: "Not this one: the next best place" })
  const more = h("p", { class: "hint" })

  let known: readonly Strategy[] = []
  strategy.addEventListener("change", () => {
    more.textContent = known.find((one) => one.name === strategy.value)?.description ?? ""
  })

  /** What can be chosen; a loaded list is one of them, and is chosen when it comes. */
  async function offer(): Promise<void> {
    try {
      known = await api.strategies()
    } catch {
      strategy.hidden = known.length === 0
      return
    }
    const before = strategy.value
    fill(strategy, h("option", { value: "" }, "Recommended"), ...known.map((one) => h("option", { value: one.name, title: one.description }, one.name)))
    const came = app.list !== null && !hadList
    hadList = app.list !== null
    strategy.value = came ? "list" : known.some((one) => one.name === before) ? before : ""
    more.textContent = known.find((one) => one.name === strategy.value)?.description ?? ""
  }
  let hadList = false
  void offer()
  app.on("list", () => {
    if ((app.list !== null) === hadList) return
    if (app.list) {
      strategy.append(h("option", { value: "list" }, "list")) // at once: Next may be asked for before the names come
      strategy.value = "list"
    }
    void offer()
  })

  function show(): void {
    const { suggestion } = app
    skip.disabled = !suggestion
    fill(reason, ...(suggestion
      ? [h("strong", {}, suggestion.reason), h("br"), `${suggestion.case}, ${suggestion.plane} slice ${suggestion.slice + 1}: draw in the dashed circle what is really there; the pen is set to ${suggestion.class_name}, change it where something else is.${suggestion.cost_s === null ? "" : ` About ${duration(suggestion.cost_s)}.`}`]
      : ["Where would a stroke help most? Next takes you there."]))
  }

  app.on("suggestion", show)
  show()
  const element = section("Next", true,
    h("div", { class: "buttons" }, button("Next place", () => go(false), { class: "main", key: "N" }), skip, strategy), reason, more, makeList(app))
  return Object.assign(element, { go })
}
