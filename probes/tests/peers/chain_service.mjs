// The service of `chain_service.py` on an event loop: many requests at a time, all on one thread. What it
// calls is called at once, or after a while, as the number of the request has it; and every ten
// milliseconds it calls somebody for itself.
import http from "node:http";

const [host, port, itself] = process.argv.slice(2);
const agent = new http.Agent({ keepAlive: true, maxSockets: 64 });

function branches(tree) {
  const found = [];
  let depth = 0;
  let start = 0;
  for (let at = 0; at < tree.length; at += 1) {
    if (tree[at] === "(") depth += 1;
    if (tree[at] === ")" && (depth -= 1) === 0) {
      const open = tree.indexOf("(", start);
      found.push([tree.slice(start, open), tree.slice(open + 1, at)]);
      start = at + 1;
    }
  }
  return found;
}

function call(place, path) {
  return new Promise((done, failed) => {
    const [to, at] = place.split(":");
    const asked = http.get({ host: to, port: at, path, agent }, (answer) => {
      answer.resume();
      answer.on("end", done);
    });
    asked.on("error", failed);
  });
}

const server = http.createServer(async (request, response) => {
  const [, number, tree] = request.url.split("/");
  let branch = 0;
  for (const [place, rest] of branches(tree)) {
    if (Number(number.split(".")[0]) % 2) await new Promise((later) => setTimeout(later, 3));
    const path = `/${number}.${branch}/${rest}`;
    branch += 1;
    process.stdout.write(`${request.url}\t${path}\n`);
    await call(place, path);
  }
  response.end("done");
});
server.keepAliveTimeout = 60_000;
server.listen(Number(port), host);

let own = 0;
if (itself) setInterval(() => call(itself, `/own${(own += 1)}/`).catch(() => {}), 10);
