/** Server-sent events: what happened on the server, whoever did it. */

import type { Event } from "./types"

/**
 * Listen from an event on. The browser reconnects by itself after a lost line; a refused one (a restarted server) is tried
 * again here. `onLine` says whether the line stands.
 */
export function listen(after: number, onEvent: (event: Event) => void, onLine: (up: boolean) => void): () => void {
  let newest = after
  let stopped = false
  let source: EventSource | null = null
  let timer = 0

  function open(): void {
    source = new EventSource(`api/events?after=${newest}`, { withCredentials: true })
    source.onopen = () => onLine(true)
    const take = (message: MessageEvent<string>): void => {
      const event = JSON.parse(message.data) as Event
      newest = Math.max(newest, event.id)
      onEvent(event)
    }
    source.onmessage = take
    for (const kind of ["case", "job", "model", "prediction", "project"]) source.addEventListener(kind, take)
    source.onerror = () => {
      onLine(false)
      if (source?.readyState === EventSource.CLOSED && !stopped) timer = window.setTimeout(open, 2000)
    }
  }

  open()
  return () => {
    stopped = true
    window.clearTimeout(timer)
    source?.close()
  }
}
