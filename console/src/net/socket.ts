// The page's one WebSocket: kept open, reopened with backoff, subscriptions renewed after each opening. It also notices
// a connection that is open but dead: the server says something every second, so four silent seconds end it.

import { backoffMs } from "./backoff";
import { isFrame, type Frame, type Message, type Problem } from "./protocol";

export const DEAD_AFTER_MS = 4_000;

export type Link =
  | { state: "connecting"; attempt: number }
  | { state: "open" }
  | { state: "waiting"; attempt: number; retryAt: number; reason: string };

export interface Handlers {
  link(link: Link): void;
  frame(frame: Frame): void;
  refused(problem: Problem): void;
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
    this.watch = setInterval(() => {
      if (performance.now() - this.heardAt > DEAD_AFTER_MS) this.lost(socket, "the server went silent");
    }, 500);
    socket.onopen = () => {
      if (this.socket !== socket) return;
      this.heardAt = performance.now();
      this.handlers.link({ state: "open" });
      if (this.wanted.size > 0) this.say("SUBSCRIBE", [...this.wanted]);
    };
    socket.onmessage = (event) => {
      if (this.socket !== socket) return;
      this.attempt = 1;
      this.heardAt = performance.now();
      const message = JSON.parse(event.data as string) as Message;
      if (isFrame(message)) this.handlers.frame(message);
      else if (message.error !== undefined) this.handlers.refused(message.error);
    };
    socket.onclose = (event) => this.lost(socket, REASONS[event.code] ?? "the server cannot be reached");
  }

  /** Makes `streams` the subscriptions, now and after every reconnect. */
  want(streams: Iterable<string>): void {
    const wanted = new Set(streams);
    const gone = [...this.wanted].filter((stream) => !wanted.has(stream));
    const fresh = [...wanted].filter((stream) => !this.wanted.has(stream));
    this.wanted = wanted;
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    if (gone.length > 0) this.say("UNSUBSCRIBE", gone);
    if (fresh.length > 0) this.say("SUBSCRIBE", fresh);
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

  private say(method: string, params: string[]): void {
    this.socket?.send(JSON.stringify({ method, params, id: this.nextId++ }));
  }
}
