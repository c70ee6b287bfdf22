// The line under the top bar that says what is wrong and what happens next. The only live region of the page: prices
// are never announced.

import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { Problem } from "../net/protocol";
import { get } from "../net/rest";
import { link, loadInstruments, problem, retryNow } from "../session";

const LOOK_EVERY_MS = 10_000;

const now = signal(performance.now());
const failed = signal<string[]>([]);

/** What of the node has failed, now and every ten seconds; what cannot be asked is the other lines' to say. */
async function lookAtNode(): Promise<void> {
  const said = await get<{ problems: string[] }>("/api/v1/status").catch(() => null);
  if (said !== null) failed.value = said.problems;
}

function FailureLines() {
  useEffect(() => {
    void lookAtNode();
    const timer = setInterval(() => void lookAtNode(), LOOK_EVERY_MS);
    return () => clearInterval(timer);
  }, []);
  return failed.value.map((said) => (
    <div class="notice notice-warn" key={said}>
      <p>
        <strong>Not all of the node works:</strong> {said}
      </p>
    </div>
  ));
}

function ProblemLine({ said }: { said: Problem }) {
  return (
    <div class="notice notice-bad">
      <p>
        <strong>{said.title}.</strong> {said.detail}
        {said.trace_id !== "" && (
          <>
            {" "}
            <code class="trace">{said.trace_id}</code>
          </>
        )}
      </p>
      {said.trace_id !== "" && (
        <button type="button" onClick={() => void navigator.clipboard.writeText(said.trace_id)}>
          Copy trace id
        </button>
      )}
      <button type="button" onClick={() => void loadInstruments()}>
        Try again
      </button>
    </div>
  );
}

function LinkLine() {
  const state = link.value;
  useEffect(() => {
    const tick = setInterval(() => (now.value = performance.now()), 250);
    return () => clearInterval(tick);
  }, []);
  if (state.state !== "waiting") return null;
  const left = Math.max(0, state.retryAt - now.value) / 1000;
  return (
    <div class="notice notice-warn">
      <p>
        <strong>Disconnected:</strong> {state.reason}. What you see is the last that was known.{" "}
        <span aria-hidden="true" class="hint">
          Attempt {state.attempt + 1} in {left.toFixed(1)} s
        </span>
      </p>
      <button type="button" onClick={retryNow}>
        Retry now
      </button>
    </div>
  );
}

export function Notice() {
  return (
    <div class="notices" role="status">
      {link.value.state === "waiting" && <LinkLine />}
      {link.value.state === "open" && problem.value !== null && <ProblemLine said={problem.value} />}
      {link.value.state === "open" && <FailureLines />}
    </div>
  );
}
