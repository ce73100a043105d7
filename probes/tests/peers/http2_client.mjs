// `http2_client.mjs PORT FIRST COUNT TOGETHER`: so many requests over one HTTP/2 connection, some at
// a time, as a JSON list of rows like those of web_client.py.
import http2 from 'node:http2'
import { now } from './clock.cjs'

const [port, first, count, together] = process.argv.slice(2).map(Number)
const session = http2.connect(`http://127.0.0.1:${port}`)
const SIZES = [0, 1, 100, 4_096, 65_536, 100_000]
const rows = []

function ask(number) {
  const size = SIZES[number % SIZES.length]
  const kinds = [['GET', `/bytes/${size}`], ['POST', '/take'], ['GET', `/trailers/${size}`], ['GET', '/hints'],
    ['HEAD', `/bytes/${size}`], ['GET', '/status/404'], ['PUT', '/take'], ['GET', '/status/500']]
  const [method, path] = kinds[number % kinds.length]
  const body = ['POST', 'PUT'].includes(method) ? 'p'.repeat(size) : ''
  const start = now()
  return new Promise((resolve, reject) => {
    const request = session.request({ ':method': method, ':path': `${path}?number=${number}` })
    let status, got = 0
    request.on('response', (headers) => (status = headers[':status']))
    request.on('data', (data) => (got += data.length))
    request.on('error', reject)
    request.on('end', () => {
      rows.push([number, port, method, path, status, body.length, got, start, now()])
      resolve()
    })
    if (['POST', 'PUT'].includes(method)) request.end(body)
  })
}

let next = first
async function worker() {
  while (next < first + count) await ask(next++)
}
await Promise.all(Array.from({ length: together }, worker))
session.close()
console.log(JSON.stringify(rows))
