// `tls_node.js serve CERTIFICATE KEY`: an HTTPS server with keep-alive; prints its port.
//   /bytes/N          N bytes, with Content-Length
//   /status/S         no body
//   POST              answers with the length of what came
// `tls_node.js ask PORT`: prints "ready", reads [[number, method, path, request bytes], ...] from one
// line, sends that over four kept-alive connections, and prints the records, as `tls_client.py` does.
const fs = require('fs');
const https = require('https');
const readline = require('readline');
const { now } = require('./clock.cjs');

function serve(cert, key) {
  const answer = (request, response) => {
    const [, what, figure] = request.url.split('?')[0].split('/');
    let got = 0;
    request.on('data', (data) => { got += data.length; });
    request.on('end', () => {
      if (what === 'status') {
        response.writeHead(Number(figure)).end();
        return;
      }
      const body = request.method === 'POST' ? String(got) : 'n'.repeat(Number(figure));
      response.writeHead(200, { 'Content-Length': body.length }).end(body);
    });
  };
  const server = https.createServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key) }, answer);
  server.keepAliveTimeout = 60_000;
  server.listen(0, '127.0.0.1', () => console.log(server.address().port));
}

function wall() {
  return Math.round(now() / 1000) * 1000;
}

function ask(agent, port, [number, method, path, size]) {
  return new Promise((resolve, reject) => {
    const start = wall();
    const options = { agent, method, host: '127.0.0.1', servername: 'localhost', port, path: `${path}?number=${number}`, rejectUnauthorized: false };
    const request = https.request(options, (response) => {
      const version = response.socket.getProtocol().slice(4);
      let got = 0;
      response.on('data', (data) => { got += data.length; });
      response.on('end', () => {
        resolve([number, port, method, path, response.statusCode, size, got, start, wall(), version, 'localhost']);
      });
    });
    request.on('error', reject);
    if (size > 0) {
      request.setHeader('Content-Length', size);
    }
    request.end('p'.repeat(size));
  });
}

async function run(port) {
  console.log('ready');
  const agent = new https.Agent({ keepAlive: true, maxSockets: 4 });
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const rows = await Promise.all(JSON.parse(line).map((one) => ask(agent, port, one)));
    console.log(JSON.stringify(rows));
    break;
  }
  agent.destroy();
  process.stdin.destroy();
}

const [, , role, ...given] = process.argv;
if (role === 'serve') {
  serve(...given);
} else {
  run(Number(given[0]));
}
