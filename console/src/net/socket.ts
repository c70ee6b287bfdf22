// The page's one WebSocket: kept open, reopened with backoff, subscriptions renewed after each opening. It also notices
// a connection that is open but dead: the server says something every second, so four silent seconds end it.

import { backoffMs } from "./backoff";
import { isFrame, type Answer, type Frame, type Message, type Problem } from "./protocol";

export const DEAD_AFTER_MS = 4_000;
/** A connection that does not come about is given up later: a server that starts or is busy takes its time. */
export const UNMADE_AFTER_MS = 10_000;
const WATCH_MS = 500;
/** Least time between two changes of subscriptions: the server takes ten requests a second, and a held key makes thirty. */
const CHANGED_AFTER_MS = 250;

export type Link =
  | { state: "connecting"; attempt: number }
  | { state: "open" }
  | { state: "waiting"; attempt: number; retryAt: number; reason: string };

export interface Handlers {
  link(link: Link): void;
  frame(frame: Frame): void;
  /** The server refused to subscribe to `streams`, none of which is subscribed now. */
  refused(problem: Problem, streams: readonly string[]): void;
}

const REASONS: Record<number, string> = {
  1012: "the server restarts",
  4008: "this page read too slowly",
  4029: "this page asked too often",
};

export class Socket {
  /** `performance.now()` of the newest message. */
  heardAt = 0;
  private socket: WebSocket | null = null;
  private attempt = 1;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private watch: ReturnType<typeof setInterval> | undefined;
  private wanted = new Set<string>();
  /** What the server was asked for and has not refused. */
  private asked = new Set<string>();
  /** Of those, what is to be asked for again, because what it began with was thrown away. */
  private anew = new Set<string>();
  private readonly pending = new Map<number, readonly string[]>();
  private changedAt = -CHANGED_AFTER_MS;
  private change: ReturnType<typeof setTimeout> | undefined;
  private nextId = 1;

  constructor(
    private readonly url: string,
    private readonly handlers: Handlers,
  ) {}

  open(): void {
    clearTimeout(this.retry);
    this.handlers.link({ state: "connecting", attempt: this.attempt });
    const socket = new WebSocket(this.url);
    this.socket = socket;
    this.heardAt = performance.now();
    clearInterval(this.watch);
    let [lookedAt, listensFrom] = [this.heardAt, this.heardAt];
    this.watch = setInterval(() => {
      const now = performance.now();
      // A page that stood still has not listened: what came meanwhile is only now on its way to us.
      if (now - lookedAt > 3 * WATCH_MS) listensFrom = now;
      lookedAt = now;
      const patience = socket.readyState === WebSocket.CONNECTING ? UNMADE_AFTER_MS : DEAD_AFTER_MS;
      if (now - Math.max(this.heardAt, listensFrom) > patience) this.lost(socket, "the server went silent");
    }, WATCH_MS);
    socket.onopen = () => {
      if (this.socket !== socket) return;
      this.heardAt = performance.now();
      this.handlers.link({ state: "open" });
      this.asked.clear();
      this.anew.clear();
      this.pending.clear();
      this.tell();
    };
    socket.onmessage = (event) => {
      if (this.socket !== socket) return;
      this.attempt = 1;
      this.heardAt = performance.now();
      const message = JSON.parse(event.data as string) as Message;
      if (isFrame(message)) this.handlers.frame(message);
      else this.answered(message);
    };
    socket.onclose = (event) => this.lost(socket, REASONS[event.code] ?? "the server cannot be reached");
  }

  /** Makes `streams` the subscriptions, soon and after every reconnect. */
  want(streams: Iterable<string>): void {
    this.wanted = new Set(streams);
    if (this.socket?.readyState !== WebSocket.OPEN || this.change !== undefined) return;
    const wait = this.changedAt + CHANGED_AFTER_MS - performance.now();
    if (wait <= 0) this.tell();
    else this.change = setTimeout(() => this.tell(), wait);
  }

  /** Has every stream of `kind` begin anew with its snapshot at the next `want`, also if it is wanted all along. */
  renew(kind: RegExp): void {
    for (const stream of this.asked) if (kind.test(stream)) this.anew.add(stream);
  }

  /** Tries again now instead of at the end of the wait. */
  retryNow(): void {
    if (this.socket === null) this.open();
  }

  private lost(socket: WebSocket, reason: string): void {
    if (this.socket !== socket) return;
    this.socket = null;
    clearInterval(this.watch);
    socket.onclose = null;
    socket.close();
    const wait = backoffMs(this.attempt, Math.random());
    this.handlers.link({ state: "waiting", attempt: this.attempt, retryAt: performance.now() + wait, reason });
    this.attempt += 1;
    this.retry = setTimeout(() => this.open(), wait);
  }

  /** Asks for what is wanted and was not asked for, and ends the rest. */
  private tell(): void {
    clearTimeout(this.change);
    this.change = undefined;
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    const gone = [...this.asked].filter((stream) => !this.wanted.has(stream) || this.anew.has(stream));
    const fresh = [...this.wanted].filter((stream) => !this.asked.has(stream) || this.anew.has(stream));
    if (gone.length > 0) this.say("UNSUBSCRIBE", gone);
    if (fresh.length > 0) this.pending.set(this.say("SUBSCRIBE", fresh), fresh);
    if (gone.length + fresh.length > 0) this.changedAt = performance.now();
    this.asked = new Set(this.wanted);
    this.anew.clear();
  }

  private answered(answer: Answer): void {
    const streams = this.pending.get(answer.id ?? -1) ?? [];
    this.pending.delete(answer.id ?? -1);
    if (answer.error === undefined) return;
    for (const stream of streams) this.asked.delete(stream);
    this.handlers.refused(answer.error, streams);
  }

  private say(method: string, params: string[]): number {
    const id = this.nextId++;
    this.socket?.send(JSON.stringify({ method, params, id }));
    return id;
  }
}
