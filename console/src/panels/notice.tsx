// The line under the top bar that says what is wrong and what happens next. The only live region of the page: prices
// are never announced.

import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { Problem } from "../net/protocol";
import { link, loadInstruments, problem, retryNow } from "../session";

const now = signal(performance.now());

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
    </div>
  );
}
