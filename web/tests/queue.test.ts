import { beforeEach, describe, expect, it, vi } from "vitest"
import { Away, Refused } from "../src/net/api"
import { type Decision, type Entry, Queue, type Storage } from "../src/net/queue"
import type { StrokeSaved } from "../src/net/types"

class Memory implements Storage {
  private content = new Map<string, string>()
  full = false
  get length(): number {
    return this.content.size
  }
  key(at: number): string | null {
    return [...this.content.keys()][at] ?? null
  }
  getItem(key: string): string | null {
    return this.content.get(key) ?? null
  }
  setItem(key: string, value: string): void {
    if (this.full) throw new DOMException("full", "QuotaExceededError")
    this.content.set(key, value)
  }
  removeItem(key: string): void {
    this.content.delete(key)
  }
}

function entry(id: string, caseId = "heart"): Entry {
  return {
    case: caseId,
    author: "me",
    kind: "draw",
    stroke: { id, tool: "pen", value: 1, plane: "axial", slice: 0, width: 1, seconds: 0, on_prediction: null, runs: [0, 1] },
  }
}

function saved(version: number): StrokeSaved {
  return { version, stroke: {} as StrokeSaved["stroke"] }
}

function listener(decision: Decision = "mine") {
  return {
    onState: vi.fn(),
    onSaved: vi.fn(),
    onDropped: vi.fn(),
    onOthers: vi.fn(),
    onConflict: vi.fn(async () => decision),
    onLocked: vi.fn(),
  }
}

async function settled(queue: Queue): Promise<void> {
  for (let round = 0; round < 100 && queue.size > 0; round++) await vi.advanceTimersByTimeAsync(1000)
}

const ids = (calls: unknown[][]) => calls.map(([one]) => (one as Entry).stroke.id)

beforeEach(() => {
  vi.useFakeTimers()
})

describe("queue", () => {
  it("sends in order, one at a time, each on the version that the one before made", async () => {
    const bases: [string, number][] = []
    let version = 4
    const queue = new Queue("q:", new Memory(), async (one, base) => {
      bases.push([one.stroke.id, base])
      return saved(++version)
    }, listener())
    queue.seen("heart", 4)
    for (const id of ["a", "b", "c"]) queue.push(entry(id))
    await settled(queue)
    expect(bases).toEqual([["a", 4], ["b", 5], ["c", 6]])
    expect(queue.version("heart")).toBe(7)
  })

  it("keeps strokes while the server is away, through a reload, and sends them when it is back", async () => {
    const storage = new Memory()
    const heard = listener()
    const first = new Queue("q:", storage, async () => Promise.reject(new Away()), heard)
    for (const id of ["a", "b"]) first.push(entry(id))
    await vi.advanceTimersByTimeAsync(3000)
    expect(heard.onState).toHaveBeenLastCalledWith(2, true, false)
    expect(storage.length).toBe(2)

    const sent: string[] = []
    const again = listener()
    const second = new Queue("q:", storage, async (one) => {
      sent.push(one.stroke.id)
      return saved(sent.length)
    }, again)
    expect(second.pending("heart").map((one) => one.stroke.id)).toEqual(["a", "b"])
    await second.run()
    expect(sent).toEqual(["a", "b"])
    expect(storage.length).toBe(0)
    expect(again.onState).toHaveBeenLastCalledWith(0, false, false)
  })

  it("tries again after a server error, drops what can never be saved and says why", async () => {
    const heard = listener()
    let tries = 0
    const queue = new Queue("q:", new Memory(), async (one) => {
      if (one.stroke.id === "bad") throw new Refused(422, "runs leave the grid", {})
      if (tries++ < 2) throw new Refused(503, "busy", {})
      return saved(1)
    }, heard)
    queue.push(entry("bad"))
    queue.push(entry("good"))
    await settled(queue)
    expect(heard.onDropped).toHaveBeenCalledWith(expect.objectContaining({ stroke: expect.objectContaining({ id: "bad" }) }), "runs leave the grid")
    expect(ids(heard.onSaved.mock.calls)).toEqual(["good"])
  })

  it("sends again by itself when others drew elsewhere", async () => {
    const heard = listener()
    const bases: number[] = []
    const queue = new Queue("q:", new Memory(), async (_, base) => {
      bases.push(base)
      if (base < 9) throw new Refused(409, "moved on", { message: "", version: 9, strokes: [], overlaps: false })
      return saved(10)
    }, heard)
    queue.push(entry("a"))
    await settled(queue)
    expect(bases).toEqual([0, 9])
    expect(heard.onConflict).not.toHaveBeenCalled()
    expect(heard.onOthers).toHaveBeenCalledWith("heart")
  })

  it.each([["mine", 1, 0], ["theirs", 0, 1]] as const)("asks when both drew on the same voxels: %s", async (decision, kept, dropped) => {
    const heard = listener(decision)
    const queue = new Queue("q:", new Memory(), async (_, base) => {
      if (base < 9) throw new Refused(409, "moved on", { message: "", version: 9, strokes: [], overlaps: true })
      return saved(10)
    }, heard)
    queue.push(entry("a"))
    await settled(queue)
    expect(heard.onConflict).toHaveBeenCalledTimes(1)
    expect(heard.onSaved).toHaveBeenCalledTimes(kept)
    expect(heard.onDropped).toHaveBeenCalledTimes(dropped)
  })

  it("waits behind a lock until the page is let in again", async () => {
    const heard = listener()
    let locked = true
    const queue = new Queue("q:", new Memory(), async () => {
      if (locked) throw new Refused(401, "open the address that the server printed", {})
      return saved(1)
    }, heard)
    queue.push(entry("a"))
    await vi.advanceTimersByTimeAsync(2000)
    expect(heard.onLocked).toHaveBeenCalled()
    expect(queue.size).toBe(1)
    locked = false
    await settled(queue)
    expect(heard.onSaved).toHaveBeenCalledTimes(1)
  })

  it("goes on when the browser's storage is full, and says so", async () => {
    const storage = new Memory()
    storage.full = true
    const heard = listener()
    const queue = new Queue("q:", storage, async () => saved(1), heard)
    queue.push(entry("a"))
    expect(heard.onState).toHaveBeenLastCalledWith(1, false, true)
    await settled(queue)
    expect(heard.onSaved).toHaveBeenCalledTimes(1)
  })

  it("leaves other pages' storage alone and survives rubbish in its own", () => {
    const storage = new Memory()
    storage.setItem("q:1", "{half")
    storage.setItem("other", "x")
    const queue = new Queue("q:", storage, async () => saved(1), listener())
    expect(queue.size).toBe(0)
    expect(storage.getItem("other")).toBe("x")
  })
})
