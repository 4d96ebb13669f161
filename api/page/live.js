/* What is on the screen follows what is in the service. */

import { useCallback, useEffect, useRef, useState } from "./vendor/preact-htm.js";
import { follow, Problem } from "./api.js";
import * as connection from "./connection.js";

const RETRY = 3000;

/** The state of the connection. */
export function useConnection() {
  const [state, setState] = useState(connection.now());
  useEffect(() => connection.listen(setState), []);
  return state;
}

/** Load something: `value` stays while it is loaded again, `problem` says why there is none.
 *
 * Another of `deps` is another thing to load; another of `also` is the same thing that has changed. */
export function useLoad(load, deps, also = []) {
  const [state, setState] = useState({ value: null, problem: null, loading: true });
  const { regained } = useConnection();
  const turn = useRef(0);
  const retry = useRef(null);
  const latest = useRef(load);
  latest.current = load;
  const reload = useCallback(async () => {
    const mine = ++turn.current;
    clearTimeout(retry.current);
    try {
      const value = await latest.current();
      if (mine === turn.current) setState({ value, problem: null, loading: false });
    } catch (problem) {
      if (mine !== turn.current) return;
      setState((known) => ({ value: known.value, problem: asProblem(problem), loading: false }));
      if (problem.passes) retry.current = setTimeout(reload, 1000 * problem.after || RETRY);
    }
  }, deps);
  useEffect(() => {
    setState({ value: null, problem: null, loading: true });
  }, deps);
  useEffect(() => {
    reload();
    return () => {
      turn.current += 1;
      clearTimeout(retry.current);
    };
  }, [reload, regained, ...also]);
  return { ...state, reload };
}

/** What is no problem of the service is a mistake of the page: it belongs on the console too. */
function asProblem(error) {
  if (error instanceof Problem) return error;
  console.error(error);
  const remedy = "Reload the page; if it stays so, the service may be of another version.";
  return new Problem({ detail: `The page made a mistake: ${error.message}`, remedy, code: "page" });
}

/** Do something every so often while it is wanted and the page is looked at. */
export function useEvery(milliseconds, wanted, call) {
  const latest = useRef(call);
  latest.current = call;
  useEffect(() => {
    if (!wanted) return undefined;
    const timer = setInterval(() => document.hidden || latest.current(), milliseconds);
    return () => clearInterval(timer);
  }, [milliseconds, wanted]);
}

/** Do something soon, and once, however often it is wished for in the meantime. */
export function useSoon(milliseconds, call) {
  const timer = useRef(null);
  const latest = useRef(call);
  latest.current = call;
  useEffect(() => () => clearTimeout(timer.current), []);
  return useCallback(() => {
    timer.current ??= setTimeout(() => {
      timer.current = null;
      latest.current();
    }, milliseconds);
  }, [milliseconds]);
}

/** The events of a job, all of them so far and those to come; `told` hears of each batch. */
export function useEvents(path, again, told) {
  const [events, setEvents] = useState([]);
  const [problem, setProblem] = useState(null);
  const latest = useRef(told);
  latest.current = told;
  const known = useRef([]);
  useEffect(() => {
    known.current = [];
    setEvents([]);
  }, [path]);
  useEffect(() => {
    const stop = new AbortController();
    let batch = [];
    const flush = () => {
      const fresh = batch;
      batch = [];
      known.current = [...known.current, ...fresh];
      setEvents(known.current);
      latest.current(fresh);
    };
    const take = (event) => {
      if (!batch.length) setTimeout(() => stop.signal.aborted || flush(), 100);
      batch.push(event);
    };
    const after = known.current.at(-1)?.id ?? 0;
    setProblem(null);
    follow(path, { after, told: take, signal: stop.signal }).catch((error) => {
      if (!stop.signal.aborted) setProblem(asProblem(error));
    });
    return () => stop.abort();
  }, [path, again]);
  return { events, problem };
}

/** The width that an element has on the screen, to draw at its true size. */
export function useWidth(usual) {
  const ref = useRef(null);
  const [width, setWidth] = useState(usual);
  useEffect(() => {
    if (!ref.current) return undefined;
    const observer = new ResizeObserver(([entry]) => {
      const found = Math.round(entry.contentRect.width);
      if (found > 0) setWidth(found);
    });
    observer.observe(ref.current);
    return () => observer.disconnect();
  }, []);
  return [ref, width];
}
