/** What comes late from the server: a channel of a case that is no longer open, strokes that came while a case was opened. */

import { beforeEach, expect, test, vi } from "vitest"
import type { CaseSummary } from "../src/net/types"

const server = vi.hoisted(() => ({ version: 0, waiting: new Map<string, (bytes: ArrayBuffer) => void>() }))

/** A NIfTI file of 2 x 2 x 2 bytes, all alike. */
function volume(value: number): ArrayBuffer {
  const buffer = new ArrayBuffer(360)
  const view = new DataView(buffer)
  view.setInt32(0, 348, true)
  for (const at of [42, 44, 46]) view.setInt16(at, 2, true)
  view.setInt16(70, 2, true)
  view.setFloat32(108, 352, true)
  new Uint8Array(buffer, 352).fill(value)
  return buffer
}

vi.mock("../src/net/api", () => ({
  Refused: class extends Error {},
  Away: class extends Error {},
  api: {
    strokes: async () => ({ version: server.version, strokes: [] }),
    volume: (id: string, name: string) =>
      name.startsWith("image")
        ? new Promise<ArrayBuffer>((resolve) => server.waiting.set(`${id} ${name.at(-1)}`, resolve))
        : Promise.resolve(volume(server.version)),
  },
}))

const { Desk } = await import("../src/desk")

function made() {
  const shown = { image: -1, strokes: -1 }
  const nothing = (): void => undefined
  const viewer = {
    grid: { size: [2, 2, 2], spacing: [1, 1, 1] },
    layout: "axial",
    showImage: async (bytes: ArrayBuffer) => { shown.image = new Uint8Array(bytes, 352)[0]! },
    setStrokes: (map: Uint8Array) => { shown.strokes = map[0]! },
    setLayout: nothing, goTo: nothing, clear: nothing, draw: nothing, setStrokeOpacity: nothing, setOpacity: nothing, touched: nothing,
  }
  const versions = new Map<string, number>()
  const desk = new Desk(viewer as never, { strokesShown: true, strokeOpacity: 1 } as never)
  desk.queue = {
    seen: (id: string, version: number) => versions.set(id, Math.max(version, versions.get(id) ?? 0)),
    version: (id: string) => versions.get(id) ?? 0,
    pending: () => [],
  } as never
  return { desk, shown }
}

function summary(id: string, version = 0): CaseSummary {
  return { id, version, channels: 2, state: "untouched", can_draw: true, size: [2, 2, 2], prediction: null } as never
}

const soon = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5))

async function send(what: string, value: number): Promise<void> {
  await soon()
  server.waiting.get(what)!(volume(value))
  await soon()
}

beforeEach(() => {
  server.version = 0
  server.waiting.clear()
})

test("a channel that comes late is not shown under another case", async () => {
  const { desk, shown } = made()
  const first = desk.open(summary("A"))
  await send("A 0", 10)
  await first
  const late = desk.setChannel(1)
  const second = desk.open(summary("B"))
  await send("B 1", 21)
  await second
  expect(shown.image).toBe(21)
  await send("A 1", 11)
  await late
  expect([desk.summary!.id, shown.image, desk.busy]).toEqual(["B", 21, ""])
})

test("of two channels asked for, the last one stays, whichever comes first", async () => {
  const { desk, shown } = made()
  const opened = desk.open(summary("A"))
  await send("A 0", 10)
  await opened
  const one = desk.setChannel(1)
  const back = desk.setChannel(0)
  await send("A 0", 10)
  await back
  await send("A 1", 11)
  await one
  expect([desk.channel, shown.image]).toEqual([0, 10])
})

test("strokes that others draw while a case is opened are shown", async () => {
  const { desk, shown } = made()
  const opened = desk.open(summary("A"))
  await soon()
  server.version = 1
  await desk.onSummary(summary("A", 1))
  await send("A 0", 10)
  await opened
  await soon()
  expect(shown.strokes).toBe(1)
})
