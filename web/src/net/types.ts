/** What server and page say to each other. Mirrors `medcl.annotate.schemas`; a test of the package compares the fields. */

export type CaseState = "untouched" | "strokes" | "predicted" | "reviewed" | "wrong"
export type Plane = "axial" | "coronal" | "sagittal"
export type Tool = "pen" | "line" | "eraser" | "flood" | "import"
export type JobKind = "train" | "predict"
export type JobState = "queued" | "running" | "finished" | "cancelled" | "crashed"
export type Triple = [number, number, number]

export interface Problem {
  message: string
  details: unknown
}

export interface ClassInfo {
  index: number
  name: string
  color: string
}

export interface ModelState {
  id: number
  at: string
  steps: number
  strokes: number
  scores: Record<string, number>
}

export interface Project {
  name: string
  key: string
  needs_setup: boolean
  found: string[]
  channels: string[]
  classes: ClassInfo[]
  groups: Record<string, number[]>
  cases: number
  states: Partial<Record<CaseState, number>>
  model: ModelState | null
  author: string
  event: number
  version: string
  notices: string[]
}

export interface Setup {
  classes: string[]
  channel: string
  groups: Record<string, string[]>
}

export interface PredictionInfo {
  id: number
  model: number
  at: string
  uncertainty: number
  volumes_ml: Record<string, number>
}

export interface CaseSummary {
  id: string
  split: "Tr" | "Val" | "Ts"
  can_draw: boolean
  state: CaseState
  size: Triple
  spacing_mm: Triple
  channels: number
  color: boolean
  strokes: number
  drawn: Record<string, number>
  seconds: number
  version: number
  prediction: PredictionInfo | null
  reviewed_by: string | null
  /** Strokes were drawn since somebody accepted a label, which still is the one in the data set. */
  label_is_older: boolean
  thumbnail: string
  notice: string
}

export interface Stroke {
  id: string
  author: string
  at: string
  tool: Tool
  value: number | null
  plane: Plane | null
  slice: number | null
  width: number
  seconds: number
  voxels: number
  on_prediction: number | null
  version: number
  undone: boolean
}

export interface NewStroke {
  id: string
  base_version: number
  tool: Tool
  value: number | null
  plane: Plane
  slice: number
  width: number
  seconds: number
  on_prediction: number | null
  runs: number[]
}

export interface BaseVersion {
  base_version: number
}

export interface StrokeSaved {
  version: number
  stroke: Stroke
}

export interface StrokeList {
  version: number
  strokes: Stroke[]
}

export interface Conflict {
  message: string
  version: number
  strokes: Stroke[]
  overlaps: boolean
}

export interface Point {
  step: number
  values: Record<string, number>
}

export interface NewJob {
  kind: JobKind
  minutes: number
  cases: string[] | null
  first: string | null
  fresh: boolean
  method: string | null
  settings: Record<string, unknown>
}

export interface Job {
  id: number
  kind: JobKind
  state: JobState
  author: string
  at: string
  started: string | null
  ended: string | null
  share: number
  seconds_left: number | null
  message: string
  losses: Point[]
  scores: Point[]
  strokes: number
}

export interface Suggestion {
  case: string
  plane: Plane
  slice: number
  place: Triple
  class_index: number
  class_name: string
  score: number
  reason: string
  /** First voxel and the one after the last along i, j, k; none: the whole slice. */
  box: readonly (readonly [number, number])[] | null
  /** Expected seconds of a person's time. */
  cost_s: number | null
}

export interface ListedSuggestion extends Suggestion {
  rank: number
  drawn: boolean
}

export interface StrategyInfo {
  name: string
  description: string
}

/** A list that `medcl suggest` wrote. */
export interface SuggestionList {
  strategy: string
  created: string
  budget_s: number | null
  left: number
  left_s: number
  unknown: number
  places: ListedSuggestion[]
}

export interface Review {
  verdict: "accept" | "wrong" | "reopen"
  prediction: number | null
  base_version: number
}

export interface Moment {
  at: string
  model: number
  strokes: number
  seconds: number
  voxels: number
  scores: Record<string, number>
}

export interface Statistics {
  strokes: number
  undone: number
  seconds: number
  voxels: number
  by_class: Record<string, number>
  by_author: Record<string, number>
  cases: Partial<Record<CaseState, number>>
  curve: Moment[]
}

export interface Event {
  id: number
  kind: "case" | "job" | "model" | "prediction" | "project"
  case: string | null
  job: number | null
  at: string
}

export interface Strategy {
  name: string
  description: string
}
