/** Volumes by way of a worker. */

import type { Ask, Told } from "./volume_worker"

const waiting = new Map<number, (told: Told) => void>()
let worker: Worker | null = null
let count = 0

/** Start the worker; called early, so that it runs when the first volume is asked for. */
export function startWorker(): Worker {
  if (worker) return worker
  worker = new Worker(new URL("./volume_worker.ts", import.meta.url), { type: "module" })
  worker.addEventListener("message", ({ data }: MessageEvent<Told>) => {
    waiting.get(data.number)?.(data)
    waiting.delete(data.number)
  })
  worker.addEventListener("error", () => {
    for (const [number, tell] of waiting) tell({ number }) // its script did not come: said as an answer that did not
    waiting.clear()
    worker = null
  })
  return worker
}

/** Ask for a volume; an aborted request is told like a server that does not answer. */
export function takeVolume(path: string, headers: Record<string, string>, signal?: AbortSignal): Promise<Told> {
  const number = ++count
  const ask = (request: Ask): void => startWorker().postMessage(request)
  return new Promise((resolve) => {
    if (signal?.aborted) {
      resolve({ number })
      return
    }
    waiting.set(number, resolve)
    signal?.addEventListener("abort", () => ask({ number }))
    ask({ number, address: new URL(path, document.baseURI).href, headers })
  })
}
