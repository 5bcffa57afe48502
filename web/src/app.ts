/** What the page knows: project, cases, jobs; and what happens when the server tells of something. */

import type { Desk } from "./desk"
import { Emitter } from "./emitter"
import { api, Away, Refused, setAuthor } from "./net/api"
import { listen } from "./net/events"
import { type Decision, type Entry, Queue } from "./net/queue"
import type { CaseSummary, Conflict, Event, Job, Project, Statistics, StrokeSaved, Suggestion, SuggestionList } from "./net/types"
import { type Preferences, savePreferences } from "./preferences"
import { duration } from "./ui/dom"

export type Topic = "project" | "cases" | "saving" | "job" | "statistics" | "suggestion" | "list" | "line"

export class App extends Emitter<Topic> {
  project!: Project
  cases: CaseSummary[] = []
  job: Job | null = null
  statistics: Statistics | null = null
  suggestion: Suggestion | null = null
  list: SuggestionList | null = null
  saving = { waiting: 0, away: false, full: false, locked: false }
  queue!: Queue
  /** Says something to the user, aloud too. */
  say: (message: string) => void = () => undefined
  ask: (entry: Entry, conflict: Conflict) => Promise<Decision> = async () => "mine"
  private skipped = 0
  private dirty = new Set<string>()
  private timer = 0
  private lineUp = true

  constructor(
    readonly desk: Desk,
    readonly preferences: Preferences,
  ) {
    super()
  }

  get author(): string {
    return this.preferences.author || this.project.author || ""
  }

  start(project: Project, cases: CaseSummary[]): void {
    this.project = project
    this.cases = cases
    this.applyAuthor()
    this.desk.classes = project.classes
    this.desk.viewer.setClasses(project.classes)
    this.queue = new Queue(`medcl:queue:${project.key}:`, localStorage, send, {
      onState: (waiting, away, full) => {
        this.saving = { waiting, away, full, locked: this.saving.locked && away }
        this.emit("saving")
      },
      onSaved: (entry, saved) => this.onSaved(entry, saved),
      onDropped: (entry, reason) => {
        this.desk.onDropped(entry)
        this.say(reason ? `A stroke was not saved: ${reason}` : "Your stroke was dropped; theirs stays.")
      },
      onOthers: (id) => {
        if (id === this.desk.summary?.id) this.desk.markStale()
      },
      onConflict: (entry, conflict) => this.ask(entry, conflict),
      onLocked: () => {
        this.saving.locked = true
        this.emit("saving")
      },
    })
    this.desk.queue = this.queue
    listen(project.event, (event) => this.onEvent(event), (up) => this.onLine(up))
    this.emit("project", "cases", "saving")
    void this.queue.run()
    void this.findJob()
    void this.loadStatistics()
    void this.loadList()
  }

  applyAuthor(): void {
    setAuthor(this.author)
    this.desk.author = this.author
  }

  setPreferences(change: Partial<Preferences>): void {
    Object.assign(this.preferences, change)
    savePreferences(this.preferences)
  }

  /** Run something that asks the server; its refusal is said to the user. Returns null then. */
  async attempt<A>(what: Promise<A>): Promise<A | null> {
    try {
      return await what
    } catch (error) {
      if (error instanceof Refused || error instanceof Away) this.say(error.message)
      else if (!(error instanceof DOMException && error.name === "AbortError")) {
        this.say(error instanceof Error ? error.message : String(error))
        console.error(error)
      }
      return null
    }
  }

  async open(id: string, suggestion?: Suggestion): Promise<void> {
    const summary = this.cases.find((one) => one.id === id)
    if (!summary) return
    history.replaceState(null, "", `#${encodeURIComponent(id)}`)
    if (this.desk.summary?.id === id && suggestion) {
      if (this.desk.viewer.layout !== "multi" && !this.desk.isFlat) this.desk.viewer.setLayout(suggestion.plane)
      this.desk.viewer.goTo(suggestion.place)
      this.desk.emit("case")
      return
    }
    await this.attempt(this.desk.open(summary, suggestion?.place, suggestion?.plane))
    this.emit("cases")
  }

  // --- events ---

  private onSaved(entry: Entry, saved: StrokeSaved): void {
    if (this.saving.locked) this.saving.locked = false
    this.desk.onSaved(entry, saved)
  }

  private onLine(up: boolean): void {
    if (up && !this.lineUp) {
      void this.queue.run()
      void this.refreshAll()
    }
    this.lineUp = up
    this.emit("line")
  }

  get isConnected(): boolean {
    return this.lineUp
  }

  private onEvent(event: Event): void {
    if (event.case) this.dirty.add(event.case)
    if (event.kind === "job") this.dirty.add(":job")
    if (event.kind === "model" || event.kind === "project") this.dirty.add(":project")
    // A stroke of ours comes back as an event; many events become one look.
    this.timer ||= window.setTimeout(() => {
      this.timer = 0
      const dirty = this.dirty
      this.dirty = new Set()
      void this.attempt(this.refresh(dirty))
    }, 150)
  }

  private async refresh(dirty: Set<string>): Promise<void> {
    const ids = [...dirty].filter((id) => !id.startsWith(":"))
    if (dirty.has(":job")) await this.findJob()
    if (dirty.has(":project")) {
      this.project = await api.project()
      this.desk.classes = this.project.classes
      this.emit("project")
    }
    if (ids.length > 5) this.cases = await api.cases()
    else {
      for (const summary of await Promise.all(ids.map((id) => api.case(id)))) {
        const at = this.cases.findIndex((one) => one.id === summary.id)
        if (at >= 0) this.cases[at] = summary
        else this.cases.push(summary)
      }
    }
    if (ids.length > 0) this.emit("cases")
    const open = this.cases.find((one) => one.id === this.desk.summary?.id)
    if (open && dirty.has(open.id)) await this.desk.onSummary(open)
    if (ids.length > 0 || dirty.has(":project")) await this.loadStatistics()
    if (this.list && (ids.length > 0 || dirty.has(":project"))) await this.loadList()
  }

  private async refreshAll(): Promise<void> {
    await this.attempt(this.refresh(new Set([...this.cases.map((one) => one.id), ":job", ":project"])))
  }

  // --- jobs, statistics, next ---

  /** Look at the loaded list of `medcl suggest`: strokes may have ticked off some of its places. */
  async loadList(): Promise<void> {
    try {
      this.list = await api.suggestions()
    } catch {
      return // shown again with the next event
    }
    this.emit("list")
  }

  /** Load a list from a file, for everybody who opens the project. */
  async keepList(file: File): Promise<void> {
    let content: unknown
    try {
      content = JSON.parse(await file.text())
    } catch {
      this.say(`${file.name}: expected suggestions.json of medcl suggest, got a file that is not JSON.`)
      return
    }
    const list = await this.attempt(api.keepSuggestions(content))
    if (!list) return
    this.list = list
    this.emit("list")
    this.say(`List loaded: ${list.left} places to draw, about ${duration(list.left_s)}${list.unknown ? `; ${list.unknown} more are of cases that are not here or reviewed` : ""}.`)
  }

  async forgetList(): Promise<void> {
    await this.attempt(api.keepSuggestions({}))
    this.list = null
    this.emit("list")
  }

  /** Go to a place that was suggested and take up its pen. */
  async goTo(suggestion: Suggestion): Promise<void> {
    this.suggestion = suggestion
    this.emit("suggestion")
    await this.open(suggestion.case, suggestion)
    if (this.desk.summary?.can_draw) this.desk.setValue(suggestion.class_index)
    this.say(`Next: ${suggestion.reason}`)
  }

  async findJob(): Promise<void> {
    try {
      const jobs = await api.jobs()
      const newest = (kind: (job: Job) => boolean): Job | undefined => jobs.filter(kind).sort((a, b) => b.id - a.id)[0]
      this.job = newest((job) => job.state === "running") ?? newest((job) => job.state === "queued") ?? newest((job) => job.kind === "train") ?? null
      // The list is short of curves on some servers; the job itself has them.
      if (this.job) this.job = await api.job(this.job.id)
    } catch (error) {
      if (!(error instanceof Refused || error instanceof Away)) throw error
    }
    this.emit("job")
  }

  async train(minutes: number): Promise<void> {
    const job = await this.attempt(api.start({ kind: "train", minutes, first: this.desk.summary?.id ?? null }))
    if (!job) return
    this.job = job
    this.emit("job")
  }

  async cancel(): Promise<void> {
    if (!this.job) return
    const job = await this.attempt(api.cancel(this.job.id))
    if (job) this.job = job
    this.emit("job")
  }

  async loadStatistics(): Promise<void> {
    try {
      this.statistics = await api.statistics()
    } catch {
      this.statistics = null // shown again with the next event
    }
    this.emit("statistics")
  }

  /** Go where a stroke is expected to help most; `skip` passes over what was suggested last. */
  async next(strategy: string | null, skip: boolean): Promise<void> {
    const last = this.suggestion
    if (skip && last) this.skipped++
    else this.skipped = 0
    let asked = await this.attempt(api.next(strategy, 1, this.skipped))
    if (asked?.[0] && isSame(asked[0], last)) {
      this.skipped++ // nothing has been learned since: the same place would come for ever
      asked = await this.attempt(api.next(strategy, 1, this.skipped))
    }
    if (!asked) return
    const found = asked[0] ?? null
    if (!found) {
      this.suggestion = null
      this.emit("suggestion")
      this.say(this.skipped > 0 ? "No further suggestions; Next begins again with the first." : "No suggestion yet: draw a few strokes and train, then ask again.")
      this.skipped = 0
      return
    }
    await this.goTo(found)
  }
}

function send(entry: Entry, base: number): Promise<StrokeSaved> {
  if (entry.kind === "draw") return api.draw(entry.case, { ...entry.stroke, base_version: base }, entry.author)
  return api.turn(entry.case, entry.stroke.id, entry.kind, { base_version: base }, entry.author)
}

function isSame(one: Suggestion | null, other: Suggestion | null): boolean {
  return one?.case === other?.case && one?.plane === other?.plane && one?.slice === other?.slice && one?.class_index === other?.class_index
}
