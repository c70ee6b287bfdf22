import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Socket } from "../src/net/socket";
import type { Frame, Problem } from "../src/net/protocol";

/** A server as the browser shows it: what it was asked, and what a test has it answer. */
class Wire {
  static readonly CONNECTING = 0;
  static readonly OPEN = 1;
  static all: Wire[] = [];
  readyState = 0;
  asked: { at: number; method: string; params: string[]; id: number }[] = [];
  onopen: () => void = () => undefined;
  onmessage: (event: { data: string }) => void = () => undefined;
  onclose: ((event: { code: number }) => void) | null = () => undefined;

  constructor(readonly url: string) {
    Wire.all.push(this);
  }

  send(text: string): void {
    this.asked.push({ at: performance.now(), ...(JSON.parse(text) as { method: string; params: string[]; id: number }) });
  }

  close(): void {
    this.readyState = 3;
  }

  open(): void {
    this.readyState = Wire.OPEN;
    this.onopen();
  }

  says(message: object): void {
    this.onmessage({ data: JSON.stringify(message) });
  }

  /** Streams subscribed now, by what was asked. */
  get streams(): string[] {
    const now = new Set<string>();
    for (const { method, params } of this.asked) for (const stream of params) method === "SUBSCRIBE" ? now.add(stream) : now.delete(stream);
    return [...now].sort();
  }
}

const refused: { problem: Problem; streams: readonly string[] }[] = [];
let socket: Socket;

function wire(): Wire {
  return Wire.all.at(-1) as Wire;
}

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("WebSocket", Wire);
  [Wire.all, refused.length] = [[], 0];
  socket = new Socket("ws://x", {
    link: () => undefined,
    frame: (_: Frame) => undefined,
    refused: (problem, streams) => void refused.push({ problem, streams }),
  });
  socket.want(["!feeds", "a@depth20"]);
  socket.open();
  wire().open();
});

afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

test("a held key changes subscriptions at most eight times a second, and the last wish is what counts", () => {
  for (let press = 0; press < 300; press += 1) {
    socket.want(["!feeds", `instrument${press}@depth20`]);
    vi.advanceTimersByTime(33);
    wire().says({ stream: "!heartbeat", seq: 1, ts: 1 });
  }
  vi.advanceTimersByTime(250);
  expect(wire().streams).toEqual(["!feeds", "instrument299@depth20"]);
  const times = wire().asked.map(({ at }) => at);
  const inASecond = times.map((from) => times.filter((at) => at >= from && at < from + 1_000).length);
  expect(Math.max(...inASecond)).toBeLessThanOrEqual(8);
});

test("a stream that is to begin anew is ended and asked for again, also when it is wanted all along", () => {
  vi.advanceTimersByTime(1_000);
  wire().asked = [];
  socket.want(["!feeds", "b@depth20"]);
  socket.renew(/@/);
  socket.want(["!feeds", "a@depth20"]);
  vi.advanceTimersByTime(300);
  expect(wire().asked.map(({ method, params }) => [method, params])).toEqual([
    ["UNSUBSCRIBE", ["a@depth20"]],
    ["SUBSCRIBE", ["b@depth20"]],
    ["UNSUBSCRIBE", ["b@depth20"]],
    ["SUBSCRIBE", ["a@depth20"]],
  ]);
  vi.advanceTimersByTime(300);
  wire().asked = [];
  socket.renew(/depth/);
  socket.want(["!feeds", "a@depth20"]);
  expect(wire().asked.map(({ method, params }) => [method, params])).toEqual([
    ["UNSUBSCRIBE", ["a@depth20"]],
    ["SUBSCRIBE", ["a@depth20"]],
  ]);
});

test("what was refused is told with its streams and asked for again when it is still wanted", () => {
  vi.advanceTimersByTime(1_000);
  socket.want(["!feeds", "a@depth20", "a@depth20_step_3"]);
  const { id } = wire().asked.at(-1) as { id: number };
  wire().says({ id, error: { code: "invalid_request" } });
  expect(refused).toEqual([{ problem: { code: "invalid_request" }, streams: ["a@depth20_step_3"] }]);
  vi.advanceTimersByTime(1_000);
  socket.want(["!feeds", "a@depth20", "a@depth20_step_3"]);
  expect(wire().asked.at(-1)).toMatchObject({ method: "SUBSCRIBE", params: ["a@depth20_step_3"] });
});

test("a new connection subscribes to everything that is wanted, and only that", () => {
  wire().onclose?.({ code: 1012 });
  socket.want(["!feeds", "c@trade"]);
  vi.advanceTimersByTime(1_000);
  wire().open();
  expect(Wire.all.length).toBe(2);
  expect(wire().asked.map(({ method, params }) => [method, params])).toEqual([["SUBSCRIBE", ["!feeds", "c@trade"]]]);
});

test("four silent seconds end a connection, but not those in which the page itself stood still", () => {
  vi.advanceTimersByTime(3_000);
  const [still, started] = [performance.now(), Date.now()];
  vi.spyOn(performance, "now").mockImplementation(() => still + 9_000 + (Date.now() - started));
  vi.advanceTimersByTime(500);
  expect(wire().readyState).toBe(Wire.OPEN);
  vi.advanceTimersByTime(3_900);
  expect(wire().readyState).toBe(Wire.OPEN);
  vi.advanceTimersByTime(1_000);
  expect(Wire.all[0]?.readyState).toBe(3);
});

test("a connection that is still being made is waited for longer than one that fell silent", () => {
  wire().onclose?.({ code: 1012 });
  vi.advanceTimersByTime(1_000);
  const made = wire();
  expect([Wire.all.length, made.readyState]).toEqual([2, Wire.CONNECTING]);
  vi.advanceTimersByTime(8_000);
  expect([wire(), made.readyState]).toEqual([made, Wire.CONNECTING]);
  vi.advanceTimersByTime(3_000);
  expect(made.readyState).toBe(3);
});
