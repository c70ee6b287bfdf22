// The API's reference at /docs: drawn from /openapi.json by code of our own, because the usual viewers weigh more than
// the console and load themselves from a CDN. Every operation can be tried in place; those that send something begin with what they must have.

import { signal, useSignal } from "@preact/signals";
import { render } from "preact";
import { get, ProblemError } from "../net/rest";
import { entriesOf, requestOf, type Entry, type Field, type OpenApi } from "./openapi";
import "../styles/tokens.css";
import "../styles/base.css";
import "../styles/docs.css";

const api = signal<OpenApi | null>(null);
const failure = signal<string | null>(null);
/** An instrument that exists, so that examples work as they stand. */
const example = signal("");
/** The same at the node's own venue, where orders go. */
const own = signal("");

async function load(): Promise<void> {
  try {
    api.value = await get<OpenApi>("/openapi.json");
    const known = await get<{ instrument: string }[]>("/api/v1/instruments");
    example.value = known[0]?.instrument ?? "";
    own.value = known.find(({ instrument }) => instrument.endsWith(".LOCAL"))?.instrument ?? "";
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error;
    failure.value = error.message;
  }
}

/** A text of the API's description: what stands between backticks is code. */
function Prose({ text }: { text: string }) {
  return <>{text.split("`").map((part, at) => (at % 2 === 1 ? <code key={at}>{part}</code> : part))}</>;
}

function Fields({ fields, caption }: { fields: Field[]; caption: string }) {
  return (
    <table class="fields">
      <caption>{caption}</caption>
      <thead>
        <tr>
          <th scope="col">Name</th>
          <th scope="col">Type</th>
          <th scope="col">Meaning</th>
        </tr>
      </thead>
      <tbody>
        {fields.map((field) => (
          <tr key={field.name}>
            <th scope="row">
              <code>{field.name}</code>
            </th>
            <td>{field.type}</td>
            <td>
              <Prose text={field.description} />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** What a body begins with: an instrument that exists, where one is named. */
function draftOf(entry: Entry): string {
  const draft = { ...entry.body?.draft };
  if ("instrument" in draft && own.value !== "") draft.instrument = own.value;
  return JSON.stringify(draft, null, 2);
}

function Try({ entry }: { entry: Entry }) {
  const values = useSignal<Record<string, string>>({});
  const written = useSignal<string | null>(null);
  const said = useSignal<string | null>(null);
  const named = entry.parameters.some(({ inPath }) => inPath) || entry.method !== "GET" ? own : example;
  const valueOf = (name: string, preset: string): string => values.value[name] ?? (name === "instrument" && entry.method === "GET" ? named.value : preset);
  const ask = async (): Promise<void> => {
    const { address, missing } = requestOf(entry, valueOf);
    if (missing.length > 0) {
      said.value = `nothing was sent: ${missing.join(" and ")} must be given`;
      return;
    }
    const options: RequestInit = { method: entry.method };
    if (entry.body !== null) {
      options.body = written.value ?? draftOf(entry);
      options.headers = { "content-type": "application/json" };
    }
    const answer = await fetch(address, options).catch(() => null);
    const told = answer === null ? null : ((await answer.json().catch(() => null)) as unknown);
    said.value = answer === null ? "no answer" : `${answer.status} ${entry.method} ${address}\n\n${JSON.stringify(told, null, 2)}`;
  };
  return (
    <div class="try">
      {entry.parameters.map(({ name, preset }) => (
        <label key={name}>
          {name}{" "}
          <input
            type="text"
            value={valueOf(name, preset)}
            onInput={(event) => (values.value = { ...values.value, [name]: event.currentTarget.value })}
          />
        </label>
      ))}
      {entry.body !== null && (
        <label class="body">
          body
          <textarea
            rows={(written.value ?? draftOf(entry)).split("\n").length}
            value={written.value ?? draftOf(entry)}
            onInput={(event) => (written.value = event.currentTarget.value)}
          />
        </label>
      )}
      <button type="button" onClick={() => void ask()}>
        {entry.method === "GET" ? "Try it" : "Send it"}
      </button>
      {entry.method !== "GET" && <span class="hint">This changes the venue.</span>}
      {said.value !== null && (
        <pre tabIndex={0} role="region" aria-label={`Answer of ${entry.method} ${entry.path}`}>
          {said.value}
        </pre>
      )}
    </div>
  );
}

function Operation({ entry }: { entry: Entry }) {
  return (
    <details class="operation">
      <summary>
        <code>
          <b>{entry.method}</b> {entry.path}
        </code>
        <span>
          <Prose text={entry.description} />
        </span>
      </summary>
      {entry.parameters.length > 0 && <Fields fields={entry.parameters} caption="Parameters" />}
      {entry.body !== null && <Fields fields={entry.body.fields} caption={`Body: ${entry.body.type}`} />}
      {entry.fields.length > 0 && <Fields fields={entry.fields} caption={`Answers ${entry.answer}`} />}
      {entry.refusals.length > 0 && (
        <ul class="refusals">
          {entry.refusals.map(({ status, description }) => (
            <li key={status}>
              <code>{status}</code> <Prose text={description} />
            </li>
          ))}
        </ul>
      )}
      <Try entry={entry} />
    </details>
  );
}

function Docs() {
  const entries = api.value === null ? [] : entriesOf(api.value);
  const tags = [...new Set(entries.map((entry) => entry.tag))].sort();
  return (
    <main class="docs">
      <h1>Tidebook API {api.value !== null && <span class="hint">{api.value.info.version}</span>}</h1>
      <p>
        <Prose text={api.value?.info.description ?? ""} />
      </p>
      <p class="hint">
        <a href="/">The page</a> · <a href="/openapi.json">openapi.json</a> · WebSockets at <code>/ws/v1</code> and <code>/ws/v1/orders</code>
      </p>
      {failure.value !== null && <p role="alert">{failure.value}</p>}
      {tags.map((tag) => (
        <section key={tag} aria-label={tag}>
          <h2>{tag}</h2>
          {entries.filter((entry) => entry.tag === tag).map((entry) => (
            <Operation entry={entry} key={`${entry.method} ${entry.path}`} />
          ))}
        </section>
      ))}
    </main>
  );
}

render(<Docs />, document.getElementById("app") as HTMLElement);
void load();
