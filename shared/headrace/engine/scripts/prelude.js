// Evaluated in a fresh context, then called with the request; answers JSON as the pool reads it.
// After the author's code has run, nothing is taken from a prototype that it may have changed.
(function (text) {
  "use strict";
  const request = JSON.parse(text);
  const { stringify } = JSON;
  const { apply, construct, deleteProperty } = Reflect;
  const { defineProperty, getOwnPropertyDescriptor } = Object;
  const toText = String;
  const { exec } = RegExp.prototype;
  const { slice } = String.prototype;
  const { now, limits } = request;

  // Nothing here may depend on anything but the request: a resumed run must compute the same.
  const RealDate = Date;
  function FixedDate(...parts) {
    if (!new.target) return apply(RealDate.prototype.toString, new RealDate(now), []);
    return construct(RealDate, parts.length ? parts : [now], new.target);
  }
  FixedDate.prototype = RealDate.prototype;
  defineProperty(FixedDate, "name", { value: "Date" });
  defineProperty(FixedDate, "length", { value: 7 });
  FixedDate.now = () => now;
  FixedDate.parse = RealDate.parse;
  FixedDate.UTC = RealDate.UTC;
  defineProperty(RealDate.prototype, "constructor", { value: FixedDate, writable: true, configurable: true });
  defineProperty(globalThis, "Date", { value: FixedDate, writable: true, configurable: true });

  const formats = Intl.DateTimeFormat.prototype;
  const format = getOwnPropertyDescriptor(formats, "format").get;
  const { formatToParts } = formats;
  const given = (date) => (date === undefined ? now : date);
  defineProperty(formats, "format", {
    configurable: true,
    get() {
      const bound = apply(format, this, []);
      return (date) => bound(given(date));
    },
  });
  formats.formatToParts = function (date) {
    return apply(formatToParts, this, [given(date)]);
  };

  // sfc32: small, and good enough for what is no secret.
  let [a, b, c, d] = request.seed;
  const draw = () => {
    const sum = (a + b + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + sum | 0;
    return sum >>> 0;
  };
  for (let i = 0; i < 12; i++) draw();
  Math.random = () => ((draw() >>> 5) * 67108864 + (draw() >>> 6)) / 9007199254740992;

  // Clocks, threads, collection seen from inside, and memory that no limit of ours counts.
  if (typeof Temporal === "object") delete Temporal.Now;
  for (const name of ["Atomics", "SharedArrayBuffer", "WebAssembly", "WeakRef", "FinalizationRegistry",
    "setTimeout", "clearTimeout", "__timer_manager"]) {
    if (!deleteProperty(globalThis, name)) globalThis[name] = undefined;
  }

  const logs = [];
  let characters = 0;
  let unlogged = 0;
  const shown = (part) => {
    try {
      if (typeof part === "string") return part;
      const json = stringify(part);
      return json === undefined ? toText(part) : json;
    } catch {
      return "(cannot be shown)";
    }
  };
  const log = (...parts) => {
    let line = "";
    for (let i = 0; i < parts.length; i++) line += (i ? " " : "") + shown(parts[i]);
    if (logs.length === limits.lines || characters + line.length > limits.characters) {
      unlogged++;
      return;
    }
    characters += line.length;
    defineProperty(logs, logs.length, { value: line, enumerable: true });
  };
  defineProperty(globalThis, "console", {
    value: { log, debug: log, info: log, warn: log, error: log }, writable: true, configurable: true,
  });

  const failure = (stage, error) => {
    let name = "Error";
    let message = "";
    let line = null;
    try {
      if (error instanceof Error) {
        name = toText(error.name);
        message = toText(error.message);
        // Only frames of the author's function have a place within `<anonymous>`; two lines stand before its first.
        const found = apply(exec, /, <anonymous>:(\d+):\d+\)/, [toText(error.stack)]);
        line = found ? found[1] - 2 : null;
      } else {
        message = shown(error);
      }
    } catch {
      message = "what was thrown cannot be shown";
    }
    return { stage, name: apply(slice, name, [0, 100]), message: apply(slice, message, [0, 500]), line };
  };
  const answer = (value, failed) => stringify({ value, logs, unlogged, failed });

  let script;
  try {
    script = new Function("inputs", "context", request.code);
  } catch (error) {
    return answer(null, failure("compile", error));
  }
  try {
    const value = script(request.inputs, request.context);
    if (value !== null && typeof value === "object" && typeof value.then === "function")
      throw new TypeError("it returned a promise; a script returns its value itself");
    const json = stringify(value);
    if (json === undefined) return answer("null", null);
    return json.length > limits.output ? answer(null, failure("output", null)) : answer(json, null);
  } catch (error) {
    return answer(null, failure("run", error));
  }
})
