import { describe, expect, it } from "vitest"
import { drawingPlane, type Grid, voxelNumber, voxelPlace } from "../src/draw/grid"
import { toRedo, toUndo } from "../src/draw/history"
import { StrokeMap } from "../src/draw/map"
import { readHeader, withAlpha } from "../src/draw/nifti"
import { enclosed, segment, tip } from "../src/draw/pen"
import { countVoxels, eachVoxel, toRuns } from "../src/draw/runs"

const grid: Grid = { size: [5, 4, 3], spacing: [1, 1, 3] }

describe("runs", () => {
  it("join neighbours, sort, and drop repetition", () => {
    expect(toRuns([7, 3, 4, 5, 4, 9])).toEqual([3, 3, 7, 1, 9, 1])
    expect(toRuns([])).toEqual([])
  })

  it("give back what went in, whatever it was", () => {
    let seed = 1
    for (let round = 0; round < 200; round++) {
      const voxels = new Set<number>()
      for (let n = 0; n < round % 40; n++) voxels.add((seed = (seed * 48271) % 2147483647) % 64)
      const back: number[] = []
      const runs = toRuns(voxels)
      eachVoxel(runs, (voxel) => back.push(voxel))
      expect(back).toEqual([...voxels].sort((a, b) => a - b))
      expect(countVoxels(runs)).toBe(voxels.size)
    }
  })

  it("hold numbers beyond 32 bits", () => {
    expect(toRuns([2 ** 33 + 1, 2 ** 33])).toEqual([2 ** 33, 2])
  })
})

describe("pen", () => {
  it("numbers voxels as NIfTI files do", () => {
    expect(voxelNumber(grid.size, [1, 2, 1])).toBe(1 + 5 * (2 + 4 * 1))
    for (let voxel = 0; voxel < 60; voxel++) expect(voxelNumber(grid.size, voxelPlace(grid.size, voxel))).toBe(voxel)
  })

  it("of width 1 touches one voxel, of width 3 a plus with corners", () => {
    expect(tip(grid, "axial", 1)).toEqual([[0, 0]])
    expect(tip(grid, "axial", 3).length).toBe(9)
    expect(tip(grid, "axial", 2).length).toBe(1)
  })

  it("is round in millimetres: thick slices make it flat in voxels", () => {
    const offsets = tip(grid, "coronal", 5)
    expect(new Set(offsets.map(([, v]) => v))).toEqual(new Set([0]))
    expect(offsets.map(([u]) => u)).toEqual([-2, -1, 0, 1, 2])
  })

  it("draws a line without gaps, in the slice it is on", () => {
    const line = segment(grid, "axial", [[0, 0]], [0, 0, 1], [4, 2, 1]).map((voxel) => voxelPlace(grid.size, voxel))
    expect(line).toEqual([[0, 0, 1], [1, 1, 1], [2, 1, 1], [3, 2, 1], [4, 2, 1]])
    const sagittal = segment(grid, "sagittal", [[0, 0]], [2, 0, 0], [2, 0, 2]).map((voxel) => voxelPlace(grid.size, voxel))
    expect(sagittal).toEqual([[2, 0, 0], [2, 0, 1], [2, 0, 2]])
  })

  it("stays inside the image", () => {
    const wide = tip({ size: [5, 4, 3], spacing: [1, 1, 1] }, "axial", 9)
    const corner = segment(grid, "axial", wide, [0, 0, 0], [0, 0, 0])
    expect(corner.every((voxel) => voxelPlace(grid.size, voxel)[2] === 0)).toBe(true)
    expect(Math.min(...corner)).toBe(0)
  })

  it("fills what strokes enclose, and nothing when there is a gap", () => {
    const drawn = new Uint8Array(60)
    const ring = [[1, 0], [2, 0], [3, 0], [1, 1], [3, 1], [1, 2], [3, 2], [1, 3], [2, 3], [3, 3]] as const
    for (const [i, j] of ring) drawn[voxelNumber(grid.size, [i, j, 1])] = 2
    const inside = enclosed(grid, "axial", drawn, [2, 1, 1])!
    expect(inside.map((voxel) => voxelPlace(grid.size, voxel))).toEqual([[2, 1, 1], [2, 2, 1]])
    drawn[voxelNumber(grid.size, [2, 0, 1])] = 0
    expect(enclosed(grid, "axial", drawn, [2, 1, 1])).toBeNull()
    expect(enclosed(grid, "axial", drawn, [1, 1, 1])).toEqual([])
  })
})

describe("plane to draw in", () => {
  it.each([
    [[20, 24, 12], [1, 1, 1], "axial"],
    [[20, 24, 12], [1, 1, 8], "axial"],
    [[8, 160, 160], [8, 1.3, 1.3], "sagittal"],
    [[160, 12, 160], [1, 5, 1], "coronal"],
    [[160, 1, 160], [1, 1, 1], "coronal"],
    [[20, 24, 12], [1.05, 1, 1], "axial"],
  ] as const)("of %j voxels of %j mm is %s", (size, spacing, plane) => {
    expect(drawingPlane({ size: [...size], spacing: [...spacing] })).toBe(plane)
  })
})

describe("stroke map", () => {
  const line = (id: string, value: number | null, runs: number[]) => ({ id, value, runs, undone: false })

  it("shows the newest stroke, and what was under one that is undone", () => {
    const map = new StrokeMap(Uint8Array.from([0, 0, 1, 0, 0, 0]))
    map.add(line("a", 1, [1, 3]))
    map.add(line("b", 2, [3, 2]))
    map.add(line("e", null, [1, 1]))
    expect([...map.shown]).toEqual([0, 0, 2, 3, 3, 0])
    expect(map.setUndone("a", true)).toEqual([1, 3])
    expect([...map.shown]).toEqual([0, 0, 1, 3, 3, 0])
    map.setUndone("a", false)
    map.setUndone("b", true)
    expect([...map.shown]).toEqual([0, 0, 2, 2, 0, 0])
    map.setUndone("e", true)
    expect([...map.shown]).toEqual([0, 2, 2, 2, 0, 0])
  })

  it("cannot undo what lies in the base", () => {
    expect(new StrokeMap(new Uint8Array(3)).setUndone("gone", true)).toBeNull()
  })

  it("keeps unsaved strokes over a newer base", () => {
    const map = new StrokeMap(new Uint8Array(4))
    map.add(line("saved", 0, [0, 1]))
    map.add(line("waiting", 1, [1, 1]))
    const shown = map.shown
    map.rebase(Uint8Array.from([1, 0, 3, 0]), (id) => id === "waiting")
    expect([...map.shown]).toEqual([1, 2, 3, 0])
    expect(map.shown).toBe(shown)
    expect(map.has("saved")).toBe(false)
    map.remove("waiting")
    expect([...map.shown]).toEqual([1, 0, 3, 0])
  })
})

describe("undo and redo", () => {
  const stroke = (id: string, undone = false, author = "me", tool: "pen" | "import" = "pen") => ({ id, author, tool, undone })

  it("go through my strokes alone, newest first", () => {
    const history = [stroke("file", false, "me", "import"), stroke("a"), stroke("b"), stroke("theirs", false, "Ann")]
    expect(toUndo(history, "me")?.id).toBe("b")
    history[2]!.undone = true
    expect(toUndo(history, "me")?.id).toBe("a")
    expect(toRedo(history, "me")?.id).toBe("b")
    history[1]!.undone = true
    expect(toUndo(history, "me")).toBeNull()
    expect(toRedo(history, "me")?.id).toBe("a")
  })

  it("leave nothing to redo after a new stroke", () => {
    expect(toRedo([stroke("a"), stroke("b", true), stroke("c")], "me")).toBeNull()
    expect(toRedo([stroke("a"), stroke("b", true), stroke("c", true)], "me")?.id).toBe("b")
  })
})

describe("colour pictures", () => {
  it("get an opaque fourth channel and keep the other three", () => {
    const buffer = new ArrayBuffer(352 + 6)
    const view = new DataView(buffer)
    view.setInt32(0, 348, true)
    for (const [axis, count] of [2, 1, 1].entries()) view.setInt16(42 + 2 * axis, count, true)
    view.setInt16(70, 128, true)
    view.setFloat32(108, 352, true)
    new Uint8Array(buffer).set([1, 2, 3, 4, 5, 6], 352)
    const wide = withAlpha(buffer, readHeader(buffer))
    expect([...new Uint8Array(wide, 352)]).toEqual([1, 2, 3, 255, 4, 5, 6, 255])
    expect(readHeader(wide).datatype).toBe(2304)
    expect(readHeader(wide).grid.size).toEqual([2, 1, 1])
  })
})
