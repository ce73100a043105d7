// Burns a CPU: nearly all of it in hot(), which is compiled while it runs.
function hot(seed) {
  let sum = seed;
  for (let i = 0; i < 200000; i++) sum = (Math.imul(sum, 1103515245) + 12345) | 0;
  return sum;
}
function outer(seed) {
  return hot(seed) ^ 1;
}
console.log("ready");
let sum = process.pid;
for (;;) sum = outer(sum);
