/** What this browser remembers between visits: name, look, pen. Never data of the scans. */

export interface Preferences {
  author: string
  theme: "auto" | "light" | "dark"
  guided: boolean
  width: number
  strokesShown: boolean
  strokeOpacity: number
  maskShown: boolean
  outline: boolean
  fillOpacity: number
  heatShown: boolean
  heatOpacity: number
  allowFill: boolean
  minutes: number
}

const KEY = "medcl:preferences"
const DEFAULTS: Preferences = {
  author: "",
  theme: "auto",
  guided: false,
  width: 3,
  strokesShown: true,
  strokeOpacity: 0.85,
  maskShown: true,
  outline: true,
  fillOpacity: 0.25,
  heatShown: false,
  heatOpacity: 0.6,
  allowFill: false,
  minutes: 2,
}

export function loadPreferences(): Preferences {
  try {
    return { ...DEFAULTS, ...(JSON.parse(localStorage.getItem(KEY) ?? "{}") as Partial<Preferences>) }
  } catch {
    return { ...DEFAULTS }
  }
}

export function savePreferences(preferences: Preferences): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(preferences))
  } catch {
    /* a full or forbidden storage costs the user nothing but this comfort */
  }
}
