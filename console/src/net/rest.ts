// GET from the API; what goes wrong arrives as a Problem, whoever caused it.

import type { Problem } from "./protocol";

export class ProblemError extends Error {
  constructor(readonly problem: Problem) {
    super(problem.detail);
  }
}

function unreachable(path: string, detail: string): ProblemError {
  return new ProblemError({ type: "about:blank", title: "No answer", status: 0, detail, instance: path, code: "unreachable", trace_id: "" });
}

export async function get<T>(path: string): Promise<T> {
  let answer: Response;
  try {
    answer = await fetch(path, { headers: { accept: "application/json" }, signal: AbortSignal.timeout(5_000) });
  } catch {
    throw unreachable(path, `${location.host} did not answer ${path}; is the node running?`);
  }
  const body = (await answer.json().catch(() => null)) as unknown;
  if (answer.ok && body !== null) return body as T;
  // Cut off on the way, or not in time.
  if (answer.ok) throw unreachable(path, `${location.host} did not finish its answer to ${path}`);
  if (body !== null && typeof body === "object" && "code" in body) throw new ProblemError(body as Problem);
  throw unreachable(path, `${location.host} answered ${path} with status ${answer.status}`);
}
