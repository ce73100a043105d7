// An HTTP/2 server without TLS, for clients that know beforehand; prints its port.
//
// /bytes/N     N bytes          /status/S   no body        /hints   a 103 before the answer
// /trailers/N  N bytes and a trailer      /padded/N   N bytes in padded frames of any size
// POST, PUT    answers with the length of what came
import http2 from 'node:http2'

const plain = http2.createServer()
const padded = http2.createServer({ paddingStrategy: http2.constants.PADDING_STRATEGY_MAX })

function answer(stream, headers) {
  const [, what, figure] = headers[':path'].split('?')[0].split('/')
  const size = Number(figure ?? 0)
  if (what === 'status') return stream.respond({ ':status': size }, { endStream: true })
  if (what === 'hints') stream.additionalHeaders({ ':status': 103, link: '</style.css>' })
  if (what === 'trailers') {
    stream.respond({ ':status': 200 }, { waitForTrailers: true })
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': '1' }))
    return stream.end('t'.repeat(size))
  }
  stream.respond({ ':status': 200, 'content-type': 'text/plain' })
  if (headers[':method'] === 'HEAD') return stream.end()
  stream.end(what === 'hints' ? 'hinted' : 'b'.repeat(size))
}

function take(stream) {
  let size = 0
  stream.on('data', (data) => (size += data.length))
  stream.on('end', () => {
    stream.respond({ ':status': 201 })
    stream.end(String(size))
  })
}

for (const server of [plain, padded]) {
  server.on('stream', (stream, headers) => {
    stream.on('error', () => {})
    const takes = ['POST', 'PUT'].includes(headers[':method'])
    takes ? take(stream) : answer(stream, headers)
  })
}
plain.listen(0, '127.0.0.1', () => {
  padded.listen(0, '127.0.0.1', () => console.log(plain.address().port, padded.address().port))
})
