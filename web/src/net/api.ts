/** Calls of the server: one function an endpoint. Errors carry the server's own sentence. */

import type * as T from "./types"
import { takeVolume } from "./volumes"

/** The server answered and said no. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly body: unknown,
  ) {
    super(message)
  }
}

/** No answer: the server is not running, or the network is away. */
export class Away extends Error {
  constructor() {
    super("The server does not answer.")
  }
}

let author = ""

/** Name that strokes, reviews and jobs of this page are kept under. */
export function setAuthor(name: string): void {
  author = name
}

function headersOf(as: string): Record<string, string> {
  return { "X-Medcl": "1", ...(as ? { "X-Medcl-Author": encodeURIComponent(as) } : {}) }
}

async function call(path: string, body?: unknown, as = author): Promise<Response> {
  const headers = headersOf(as)
  const request: RequestInit = { credentials: "same-origin", headers }
  if (body !== undefined) {
    headers["Content-Type"] = "application/json"
    request.method = "POST"
    request.body = JSON.stringify(body)
  }
  let answer: Response
  try {
    answer = await fetch(path, request)
  } catch {
    throw new Away()
  }
  if (answer.ok) return answer
  let said: unknown = null
  try {
    said = await answer.json()
  } catch {
    /* a proxy or a dying server answers without JSON; the status still tells */
  }
  throw refusal(answer.status, path, said)
}

function refusal(status: number, path: string, said: unknown): Refused {
  return new Refused(status, (said as T.Problem | null)?.message ?? `The server answered ${status} to ${path}.`, said)
}

async function json<A>(path: string, body?: unknown, as = author): Promise<A> {
  return (await (await call(path, body, as)).json()) as A
}

function of(id: string): string {
  return `api/cases/${encodeURIComponent(id)}`
}

export const api = {
  project: () => json<T.Project>("api/project"),
  setup: (setup: T.Setup) => json<T.Project>("api/project/setup", setup),
  cases: () => json<T.CaseSummary[]>("api/cases"),
  case: (id: string) => json<T.CaseSummary>(of(id)),
  /** A volume of a case as the bytes of a NIfTI file. */
  volume: async (id: string, name: string, signal?: AbortSignal): Promise<ArrayBuffer> => {
    const path = `${of(id)}/${name}`
    const { buffer, status, body } = await takeVolume(path, headersOf(author), signal)
    if (buffer) return buffer
    if (status === undefined) throw new Away()
    throw refusal(status, path, body)
  },
  strokes: (id: string) => json<T.StrokeList>(`${of(id)}/strokes`),
  /** `as`: who drew it; it may wait long enough for somebody else to sit here. */
  draw: (id: string, stroke: T.NewStroke, as: string) => json<T.StrokeSaved>(`${of(id)}/strokes`, stroke, as),
  turn: (id: string, stroke: string, kind: "undo" | "redo", base: T.BaseVersion, as: string) =>
    json<T.StrokeSaved>(`${of(id)}/strokes/${encodeURIComponent(stroke)}/${kind}`, base, as),
  review: (id: string, review: T.Review) => json<T.CaseSummary>(`${of(id)}/review`, review),
  jobs: () => json<T.Job[]>("api/jobs"),
  job: (id: number) => json<T.Job>(`api/jobs/${id}`),
  start: (job: Partial<T.NewJob>) => json<T.Job>("api/jobs", job),
  cancel: (id: number) => json<T.Job>(`api/jobs/${id}/cancel`, {}),
  next: (strategy: string | null, count: number, skip: number) =>
    json<T.Suggestion[]>(
      `api/next?count=${count}&skip=${skip}${strategy ? `&strategy=${encodeURIComponent(strategy)}` : ""}`,
    ),
  strategies: () => json<T.Strategy[]>("api/strategies"),
  /** The list of `medcl suggest` that is loaded, or null. */
  suggestions: () => json<T.SuggestionList | null>("api/suggestions"),
  /** Load a list, or forget it: an empty object. */
  keepSuggestions: (content: unknown) => json<T.SuggestionList | null>("api/suggestions", content),
  statistics: () => json<T.Statistics>("api/statistics"),
  /** A file and its name. */
  file: async (address: string): Promise<{ name: string; content: Blob }> => {
    const answer = await call(address)
    const disposition = answer.headers.get("Content-Disposition") ?? ""
    const whole = /filename\*=UTF-8''([^;]+)/i.exec(disposition) // any letters (RFC 6266)
    const plain = /filename="?([^";]+)/.exec(disposition)
    return { name: whole?.[1] ? decodeURIComponent(whole[1]) : plain?.[1] ?? "export", content: await answer.blob() }
  },
  exportAddress: (id: string, what: string, format: string) => `${of(id)}/export?what=${what}&format=${format}`,
  zipAddress: (what: string, format: string) => `api/export.zip?what=${what}&format=${format}`,
  reportAddress: () => "api/report.html",
}
