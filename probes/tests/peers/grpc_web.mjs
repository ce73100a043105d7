// gRPC-Web by Connect's libraries: `serve` prints the ports of a server of HTTP/1.1 and of one of HTTP/2, and serves
// until its standard input ends; `call PORT PORT` calls them and prints what it has called.
import { createServer } from "node:http";
import { createServer as createServer2 } from "node:http2";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { now } from "./clock.cjs";

const cache = process.env.ICECORE_CACHE ?? `${process.env.HOME}/.cache/icecore`;
const require = createRequire(`${cache}/node/package.json`);
let protobuf, wkt, connect, node;
try {
  protobuf = require("@bufbuild/protobuf");
  wkt = require("@bufbuild/protobuf/wkt");
  connect = require("@connectrpc/connect");
  node = require("@connectrpc/connect-node");
} catch {
  console.log("missing the Node.js packages of Connect");
  process.exit(0);
}
const CALLS = 240;
const { ConnectError, Code, createClient } = connect;
const { create, toBinary } = protobuf;
const text = ".google.protobuf.StringValue";
// A method for each call, so that each span can be told; every third one streams its answers.
const method = (_, at) => ({ name: `M${at}`, inputType: text, outputType: text, serverStreaming: at % 3 === 2 });
const file = create(wkt.FileDescriptorProtoSchema, {
  name: "shop.proto", package: "shop", syntax: "proto3", dependency: ["google/protobuf/wrappers.proto"],
  service: [{ name: "Cart", method: Array.from({ length: CALLS }, method) }],
});
const registry = protobuf.createFileRegistry(file, () => wkt.file_google_protobuf_wrappers);
const service = registry.getService("shop.Cart");

function serve() {
  const one = async ({ value }) => answer(JSON.parse(value));
  async function* several({ value }) {
    const wanted = JSON.parse(value);
    for (let i = 0; i < wanted.answers; i++) yield { value: "y".repeat(wanted.size) };
    answer(wanted);
  }
  const answer = ({ code, size }) => {
    if (code) throw new ConnectError("as it was asked for", code);
    return { value: "x".repeat(size) };
  };
  const methods = Object.fromEntries(service.methods.map((it) => [it.localName, it.methodKind === "unary" ? one : several]));
  const handler = node.connectNodeAdapter({ routes: (router) => router.service(service, methods) });
  const servers = [createServer(handler), createServer2(handler)];
  const listening = servers.map((server) => new Promise((resolve) => server.listen(0, "127.0.0.1", resolve)));
  Promise.all(listening).then(() => console.log(servers.map((server) => server.address().port).join(" ")));
  process.stdin.resume().on("end", () => process.exit(0));
}

async function call(ports) {
  const clients = ports.map((port, at) => createClient(service, node.createGrpcWebTransport({
    baseUrl: `http://127.0.0.1:${port}`, httpVersion: at === 0 ? "1.1" : "2", useBinaryFormat: true })));
  const one = async (at) => {
    const wanted = { code: at % 7 === 3 ? 1 + (at % 16) : 0, size: (at * 997) % 20_000, answers: at % 5 };
    const request = create(wkt.StringValueSchema, { value: JSON.stringify(wanted) });
    const [start, method] = [now(), service.methods[at]];
    let [status, answers] = ["OK", 0];
    try {
      const response = clients[at % 2][method.localName](request);
      if (method.methodKind === "unary") answers += Boolean(await response);
      else for await (const _ of response) answers++;
    } catch (error) {
      status = Code[error.code].replace(/(?<=[a-z])[A-Z]/g, "_$&").toUpperCase().replace("CANCELED", "CANCELLED");
    }
    const sent = [1, 5 + toBinary(wkt.StringValueSchema, request).length];
    return { method: `shop.Cart/${method.name}`, status, sent, answers, start };
  };
  console.log("ready");
  await new Promise((resolve) => createInterface(process.stdin).once("line", resolve));
  const done = [];
  let next = 0;
  const caller = async () => { while (next < CALLS) done.push(await one(next++)); };
  await Promise.all(Array.from({ length: 8 }, caller));
  // A caller has its answer when the status has come; the stream beneath may end a while later, and nobody says when.
  await new Promise((resolve) => setTimeout(resolve, 200));
  const end = now();
  console.log(JSON.stringify(done.map((row) => ({ ...row, end }))));
  process.exit(0);
}

if (process.argv[2] === "serve") serve();
else await call(process.argv.slice(3));
