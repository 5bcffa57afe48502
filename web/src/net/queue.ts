/**
 * What was drawn and is not yet known to be saved. Every entry lies in the browser's storage before it is sent and until the
 * server has said yes: closing the tab, or a server that dies, loses nothing. Order is kept; drawing never waits.
 */

import { Away, Refused } from "./api"
import type { Conflict, NewStroke, StrokeSaved } from "./types"

export type Drawn = Omit<NewStroke, "base_version">

export type Entry = { case: string; author: string } & (
  | { kind: "draw"; stroke: Drawn }
  | { kind: "undo" | "redo"; stroke: { id: string } }
)

export type Sender = (entry: Entry, baseVersion: number) => Promise<StrokeSaved>

/** What to do about a stroke that meets somebody else's: go over theirs, or drop mine. */
export type Decision = "mine" | "theirs"

export interface Listener {
  /** How many wait, and whether the server was away at the last try. */
  onState(waiting: number, away: boolean, storageFull: boolean): void
  onSaved(entry: Entry, saved: StrokeSaved): void
  /** Not saved and not tried again: refused for a reason, or dropped by the user. `reason` is empty for the latter. */
  onDropped(entry: Entry, reason: string): void
  /** Others have drawn in this case since. */
  onOthers(caseId: string): void
  onConflict(entry: Entry, conflict: Conflict): Promise<Decision>
  /** The server does not know this page any more. */
  onLocked(): void
}

export interface Storage {
  length: number
  key(at: number): string | null
  getItem(key: string): string | null
  setItem(key: string, value: string): void
  removeItem(key: string): void
}

interface Kept {
  key: string
  entry: Entry
}

const RETRY_MS = [300, 600, 1200, 2500, 5000]

export class Queue {
  private waiting: Kept[] = []
  private versions = new Map<string, number>()
  private running = false
  private failures = 0
  private full = false
  private count = 0
  private wake: (() => void) | null = null

  constructor(
    private readonly prefix: string,
    private readonly storage: Storage,
    private readonly send: Sender,
    private readonly listener: Listener,
  ) {
    const keys: string[] = []
    for (let at = 0; at < storage.length; at++) {
      const key = storage.key(at)
      if (key?.startsWith(prefix)) keys.push(key)
    }
    for (const key of keys.sort()) {
      try {
        this.waiting.push({ key, entry: JSON.parse(storage.getItem(key)!) as Entry })
      } catch {
        storage.removeItem(key) // half-written by a dying browser: nothing can be read from it
      }
    }
    this.count = this.waiting.length
  }

  /** The version of a case that the page shows; never goes back. */
  seen(caseId: string, version: number): void {
    this.versions.set(caseId, Math.max(version, this.versions.get(caseId) ?? 0))
  }

  version(caseId: string): number {
    return this.versions.get(caseId) ?? 0
  }

  /** What waits for a case, oldest first. */
  pending(caseId: string): Entry[] {
    return this.waiting.filter((kept) => kept.entry.case === caseId).map((kept) => kept.entry)
  }

  get size(): number {
    return this.waiting.length
  }

  push(entry: Entry): void {
    const key = `${this.prefix}${String(Date.now()).padStart(15, "0")}-${String(this.count++).padStart(8, "0")}`
    try {
      this.storage.setItem(key, JSON.stringify(entry))
      this.full = false
    } catch {
      this.full = true // the entry is still sent; only a crash of the browser right now would lose it
    }
    this.waiting.push({ key, entry })
    this.tell()
    void this.run()
  }

  /** Send what waits; called at start and when the server may be back. */
  async run(): Promise<void> {
    this.wake?.()
    if (this.running) return
    this.running = true
    try {
      while (this.waiting.length > 0) {
        const kept = this.waiting[0]!
        const tell = await this.attempt(kept.entry)
        if (tell) {
          this.waiting.shift()
          this.storage.removeItem(kept.key)
          tell() // only now: whoever hears it may look whether anything waits
          this.tell()
        } else {
          this.tell()
          await this.pause(RETRY_MS[Math.min(this.failures, RETRY_MS.length) - 1] ?? 300)
        }
      }
    } finally {
      this.running = false
    }
  }

  private tell(): void {
    this.listener.onState(this.waiting.length, this.failures > 0, this.full)
  }

  private pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms)
      this.wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  /** Try once. Returns what is to be told once the entry is done with, one way or another; null: try again later. */
  private async attempt(entry: Entry): Promise<(() => void) | null> {
    try {
      const saved = await this.send(entry, this.version(entry.case))
      this.failures = 0
      this.seen(entry.case, saved.version)
      return () => this.listener.onSaved(entry, saved)
    } catch (error) {
      if (error instanceof Refused && error.status === 409 && isConflict(error.body)) {
        this.failures = 0
        return this.settle(entry, error.body)
      }
      if (error instanceof Away || (error instanceof Refused && (error.status >= 500 || error.status === 429))) {
        this.failures++
        return null
      }
      if (error instanceof Refused && (error.status === 401 || error.status === 403)) {
        this.failures++
        this.listener.onLocked()
        return null
      }
      this.failures = 0
      return () => this.listener.onDropped(entry, error instanceof Error ? error.message : String(error))
    }
  }

  private async settle(entry: Entry, conflict: Conflict): Promise<(() => void) | null> {
    this.listener.onOthers(entry.case)
    if (conflict.overlaps && (await this.listener.onConflict(entry, conflict)) === "theirs") {
      return () => this.listener.onDropped(entry, "")
    }
    this.seen(entry.case, conflict.version)
    return this.attempt(entry)
  }
}

function isConflict(body: unknown): body is Conflict {
  return typeof body === "object" && body !== null && "overlaps" in body && "version" in body
}
