/** Takes volumes from the server beside the page: a page that makes shaders or uploads a scan takes nothing from the line meanwhile. */

export interface Ask {
  number: number
  /** Absolute address and headers; without an address the request of this number is given up. */
  address?: string
  headers?: Record<string, string>
}

/** Either the bytes, or the server's refusal, or (neither) no answer. */
export interface Told {
  number: number
  buffer?: ArrayBuffer
  status?: number
  body?: unknown
}

const running = new Map<number, AbortController>()

async function take({ number, address, headers }: Required<Ask>): Promise<Told> {
  const abort = new AbortController()
  running.set(number, abort)
  try {
    // The browser keeps volumes and asks by their ETag whether they changed.
    const answer = await fetch(address, { credentials: "same-origin", cache: "no-cache", headers, signal: abort.signal })
    if (answer.ok) return { number, buffer: await answer.arrayBuffer() }
    return { number, status: answer.status, body: await answer.json().catch(() => null) }
  } catch {
    return { number }
  } finally {
    running.delete(number)
  }
}

addEventListener("message", ({ data }: MessageEvent<Ask>) => {
  const { number, address, headers } = data
  if (address === undefined) running.get(number)?.abort()
  else {
    void take({ number, address, headers: headers ?? {} }).then((told) =>
      postMessage(told, { transfer: told.buffer ? [told.buffer] : [] }),
    )
  }
})
