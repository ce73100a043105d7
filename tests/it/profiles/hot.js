// A program with a place where its time goes, below recursion of some depth.
function hotLoop(n) {
  let sum = 0;
  for (let i = 0; i < n; i++) sum = Math.sqrt(sum + i);
  return sum;
}
function warmLoop(n) {
  let sum = 0;
  for (let i = 0; i < n; i++) sum += i % 7;
  return sum;
}
function descend(depth) {
  return depth === 0 ? hotLoop(3e6) + warmLoop(1e6) : descend(depth - 1) + 1;
}
const end = Date.now() + 1500;
let total = 0;
while (Date.now() < end) total += descend(20);
if (total === 0.5) console.log(total);
// Sums of doubles alone: cutting a large one to an integer calls code that has no frame, and V8 then takes the
// function's caller for the one that runs.
