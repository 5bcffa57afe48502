/** Voxels as runs: start, length, start, length, ... rising, without overlap; the form in which strokes travel. */

/** Numbers of voxels, in any order and with repetition -> runs. */
export function toRuns(voxels: Iterable<number>): number[] {
  const sorted = Float64Array.from(new Set(voxels)).sort()
  const runs: number[] = []
  for (const voxel of sorted) {
    const last = runs.length - 2
    if (last >= 0 && voxel === runs[last]! + runs[last + 1]!) runs[last + 1]!++
    else runs.push(voxel, 1)
  }
  return runs
}

/** Call `visit` for every voxel of the runs, rising. */
export function eachVoxel(runs: readonly number[], visit: (voxel: number) => void): void {
  for (let at = 0; at < runs.length; at += 2) {
    const start = runs[at]!
    const end = start + runs[at + 1]!
    for (let voxel = start; voxel < end; voxel++) visit(voxel)
  }
}

/** Number of voxels in the runs. */
export function countVoxels(runs: readonly number[]): number {
  let count = 0
  for (let at = 1; at < runs.length; at += 2) count += runs[at]!
  return count
}
