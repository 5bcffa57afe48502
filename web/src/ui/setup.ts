/** The first questions about a folder of scans without dataset.json: which structures are to be found? */

import { api, Refused } from "../net/api"
import type { Project } from "../net/types"
import { button, byId, count, fill, h } from "./dom"

/** Show the form; resolves with the project once the server has written dataset.json. */
export function askSetup(project: Project): Promise<Project> {
  const names = h("ol", { class: "names" })
  const problem = h("p", { class: "problem", role: "alert" })
  const channel = h("input", { id: "channel", type: "text", maxLength: 60, value: "image" })

  function addName(value = ""): HTMLInputElement {
    const input = h("input", { type: "text", maxLength: 60, value, aria: { label: "Name of a structure" } })
    const row = h("li", {}, input, button("Remove", () => {
      row.remove()
      if (names.children.length === 0) addName()
    }, { class: "quiet" }))
    names.append(row)
    return input
  }

  const submit = h("button", { type: "submit", class: "main" }, "Begin")
  const form = h("form", { class: "setup" },
    h("h2", {}, `${count(project.found.length, "scan")} in ${project.name}`),
    h("p", {}, "Which structures do you want to find in them? Name each once; background is added by itself."),
    names,
    button("Add a structure", () => addName().focus()),
    h("p", {}, h("label", { for: "channel" }, "What kind of picture is it? "), channel, h("span", { class: "hint" }, " CT chooses windows in Hounsfield units; anything else is only a name.")),
    problem,
    h("div", { class: "buttons" }, submit),
    h("details", {}, h("summary", {}, "Scans found"), h("ul", {}, ...project.found.slice(0, 200).map((name) => h("li", {}, name)))),
    h("p", { class: "hint" }, "Your scans stay as they are: what you say here is written to dataset.json, in a folder medcl-dataset beside them where they are no data set yet."))
  const main = h("main", { class: "first" }, form)
  byId("columns").before(main)
  addName().focus()
  fill(byId("header"), h("img", { src: "./icon.svg", alt: "", width: 28, height: 28 }), h("h1", {}, "medcl annotate"))

  return new Promise((resolve) => {
    form.addEventListener("submit", (event) => {
      event.preventDefault()
      const classes = [...names.querySelectorAll("input")].map((input) => input.value.trim()).filter(Boolean)
      if (classes.length === 0) {
        problem.textContent = "Name at least one structure, such as liver."
        names.querySelector("input")?.focus()
        return
      }
      if (new Set(classes).size < classes.length) {
        problem.textContent = "Two structures have the same name; each needs its own."
        return
      }
      submit.disabled = true
      api.setup({ classes, channel: channel.value.trim() || "image", groups: {} }).then(
        (ready) => {
          main.remove()
          resolve(ready)
        },
        (error: unknown) => {
          submit.disabled = false
          problem.textContent = error instanceof Error ? error.message : String(error)
          if (!(error instanceof Refused)) console.error(error)
        },
      )
    })
  })
}
