/** Which grey values are shown: fixed windows for CT, shares of the image's own values for everything else. */

export interface Window {
  min: number
  max: number
}

export interface Preset {
  name: string
  label: string
  /** Level and width in Hounsfield units, or the shares of voxels below the lower and upper end. */
  level?: number
  width?: number
  shares?: readonly [number, number]
}

/** The CT windows are those in daily use (level, width in HU); see e.g. radiopaedia.org, "Windowing (CT)". */
export const PRESETS: readonly Preset[] = [
  { name: "auto", label: "Auto (1-99 %)", shares: [0.01, 0.99] },
  { name: "bright", label: "Bright (1-95 %)", shares: [0.01, 0.95] },
  { name: "full", label: "All values", shares: [0, 1] },
  { name: "soft", label: "CT soft tissue", level: 40, width: 400 },
  { name: "lung", label: "CT lung", level: -600, width: 1500 },
  { name: "bone", label: "CT bone", level: 480, width: 2500 },
  { name: "brain", label: "CT brain", level: 40, width: 80 },
]

const SAMPLES = 200_000

/** A sorted sample of an image's values; the same image gives the same sample. */
export function sample(values: ArrayLike<number>, slope: number, intercept: number): Float64Array {
  const step = Math.max(1, Math.floor(values.length / SAMPLES))
  const taken: number[] = []
  for (let at = 0; at < values.length; at += step) {
    const value = values[at]! * slope + intercept
    if (Number.isFinite(value)) taken.push(value)
  }
  return Float64Array.from(taken).sort()
}

export function presetWindow(preset: Preset, sorted: Float64Array): Window {
  if (preset.shares) {
    const at = (share: number): number => sorted[Math.round(share * (sorted.length - 1))] ?? 0
    const [min, max] = [at(preset.shares[0]), at(preset.shares[1])]
    return max > min ? { min, max } : { min: sorted[0] ?? 0, max: Math.max(sorted.at(-1) ?? 1, (sorted[0] ?? 0) + 1) }
  }
  const level = preset.level ?? 0
  const half = (preset.width ?? 1) / 2
  return { min: level - half, max: level + half }
}

/** The window to begin with: CT by the channel's name or by values that only Hounsfield units have. */
export function firstPreset(channel: string, sorted: Float64Array): string {
  return /^ct$/i.test(channel) || (sorted[0] ?? 0) <= -500 ? "soft" : "auto"
}
