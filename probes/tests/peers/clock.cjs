// The wall clock in nanoseconds, of any release of Node.js. Its own `performance.timeOrigin` is late by as long as Node.js
// was kept from the CPU as it started. `Date.now()` counts whole milliseconds: the latest origin that it tells, right behind
// a tick, is the true one.
const { performance } = require('perf_hooks')

let origin = 0
for (const end = performance.now() + 5; performance.now() < end;) {
  origin = Math.max(origin, Date.now() - performance.now())
}

exports.now = () => Math.round((origin + performance.now()) * 1e6)
