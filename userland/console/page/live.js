// Owns what the page hears from the server: one stream of events for each thing shown, closed when it is shown no more.
import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";

/** undefined: not known yet; then whether this browser is logged in. */
export const open = signal(undefined);

export async function askSession() {
  open.value = (await (await fetch("/session")).json()).open;
}

/** The answer of a POST; throws an Error that says what the server said. */
export async function post(path, body = {}) {
  const answer = await fetch(path, { method: "POST", body: JSON.stringify(body) });
  const json = await answer.json();
  if (answer.ok) return json;
  if (answer.status === 401 && path !== "/login") open.value = false;
  throw new Error(json.message);
}

/**
 * The newest `value` of a topic, with the `problem` that keeps it from being newer. `seen` is told each new value.
 */
export function useFeed(path, seen) {
  const [frame, setFrame] = useState({});
  const told = useRef(seen);
  told.current = seen;
  useEffect(() => {
    setFrame({});
    const source = new EventSource(`/feed/${path}`);
    source.onmessage = ({ data }) => {
      const { value, problem } = JSON.parse(data);
      if (problem === undefined) told.current?.(value);
      setFrame((before) => (problem === undefined ? { value } : { ...before, problem }));
    };
    source.onerror = () => {
      setFrame((before) => ({ ...before, problem: { code: "EIO", message: "the console does not answer" } }));
      // A refusal is final for the browser; a connection that broke is made again by itself.
      if (source.readyState === EventSource.CLOSED) askSession().catch(() => {});
    };
    return () => source.close();
  }, [path]);
  return frame;
}
