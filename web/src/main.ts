/** Puts the page together. */

import "./style.css"
import { App } from "./app"
import { Desk } from "./desk"
import { Overlay } from "./draw/overlay"
import { Pad } from "./draw/pad"
import { Viewer } from "./draw/viewer"
import { api, Refused } from "./net/api"
import { startWorker } from "./net/volumes"
import { loadPreferences } from "./preferences"
import { makeCases } from "./ui/cases"
import { askConflict, showGuide } from "./ui/dialogs"
import { makeDraw } from "./ui/draw"
import { byId, fill, h } from "./ui/dom"
import { makeHeader } from "./ui/header"
import { makeKeys } from "./ui/keys"
import { makeNext, makeTrain } from "./ui/learn"
import { makeExport, makePrediction, makeStatistics } from "./ui/result"
import { askSetup } from "./ui/setup"
import { makeView } from "./ui/view"

let silence = 0

function say(message: string): void {
  const line = byId("message")
  line.textContent = message
  window.clearTimeout(silence)
  silence = window.setTimeout(() => {
    line.textContent = ""
  }, 7000)
}

async function start(): Promise<void> {
  startWorker()
  const preferences = loadPreferences()
  let project = await api.project()
  if (project.needs_setup) project = await askSetup(project)
  const cases = await api.cases()
  const wanted = decodeURIComponent(location.hash.slice(1))
  const first = cases.find((one) => one.id === wanted) ?? cases.find((one) => one.can_draw) ?? cases[0]
  byId("columns").hidden = false

  const viewer = new Viewer(byId<HTMLCanvasElement>("picture"))
  const desk = new Desk(viewer, preferences)
  if (first) desk.fetchAhead(first)
  await viewer.start()
  const overlay = new Overlay(byId<HTMLCanvasElement>("lines"), desk)
  const app = new App(desk, preferences)
  app.say = desk.say = say
  Object.assign(window, { medcl: app }) // a handle for the console, and for tests that ask what the page knows
  app.ask = askConflict
  viewer.onDrawn = () => overlay.draw()

  makeHeader(app)
  makeCases(app)
  const view = makeView(app)
  const pad = new Pad(byId("pad"), desk, overlay)
  pad.onWindow = view.setWindow
  const next = makeNext(app)
  fill(byId("tools"), makeDraw(app), makeTrain(app), next, makePrediction(app), makeExport(app), makeStatistics(app))
  makeKeys(app, view, () => next.go(false))

  desk.on("busy", () => {
    byId("busy").textContent = desk.busy
  })
  app.on("suggestion", () => {
    overlay.target = app.suggestion?.place ?? null
    overlay.targetCase = app.suggestion?.case ?? ""
    viewer.draw()
  })
  new ResizeObserver(() => viewer.draw()).observe(byId("stage"))

  app.start(project, cases)
  if (first) await app.open(first.id)
  else say("This folder has no cases.")
  if (!preferences.guided) {
    app.setPreferences({ guided: true })
    showGuide()
  }
}

start().catch((error: unknown) => {
  const locked = error instanceof Refused && error.status === 401
  const message = error instanceof Error ? error.message : String(error)
  document.body.append(h("p", { class: "fatal", role: "alert" }, locked ? "Open the whole address that medcl annotate printed; it ends in ?token=..." : `The page cannot start. ${message}`))
  console.error(error)
})
