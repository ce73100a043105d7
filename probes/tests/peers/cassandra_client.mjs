// `cassandra_client.mjs PORT`: talks to a server of Cassandra's protocol through DataStax's driver for Node.js, many
// streams of one connection at once, and prints what it did as a JSON list.
import { createRequire } from 'node:module'
import { now } from './clock.cjs'

const cache = process.env.ICECORE_CACHE ?? `${process.env.HOME}/.cache/icecore`
const require = createRequire(`${cache}/node/package.json`)
let cassandra, Connection
try {
  cassandra = require('cassandra-driver')
  Connection = require('cassandra-driver/lib/connection')
} catch {
  console.log('[]') // what is not installed is not asked
  process.exit(0)
}
const records = []
const collection = (text) => text.match(/\b(?:FROM|INTO|TABLE) ([\w.]+)/)?.[1] ?? null
const word = (text) => text.split(' ', 1)[0].toUpperCase()

/** What a request asks for; nothing of what no client is told. */
function described (request) {
  const { query, queries } = request
  switch (request.constructor.name) {
    case 'PrepareRequest':
      return { operation: 'PREPARE', text: query, collection: collection(query) }
    case 'QueryRequest':
    case 'ExecuteRequest':
      return { operation: word(query), text: query, collection: collection(query) }
    case 'BatchRequest': {
      const texts = queries.map((one) => one.query)
      const same = texts.every((text) => text === texts[0])
      const operations = new Set(texts.map(word))
      const operation = operations.size === 1 ? `BATCH ${word(texts[0])}` : 'BATCH'
      const tables = new Set(texts.map(collection))
      return { operation, text: same ? texts[0] : texts.join('; '), collection: tables.size === 1 ? [...tables][0] : null }
    }
  }
}

const plain = Connection.prototype.sendStream
Connection.prototype.sendStream = function (request, options, callback) {
  const said = described(request)
  if (!said) return plain.call(this, request, options, callback)
  const record = { ...said, status: null, start: now() }
  const own = Object.create(request)
  own.write = (encoder, stream) => {
    const data = request.write(encoder, stream)
    record.sent = data.length
    record.connection = this.netClient.localPort
    records.push(record)
    return data
  }
  return plain.call(this, own, options, (error, response, length) => {
    record.end = now()
    record.received = length === undefined ? null : length + 9
    if (error) record.status = error.code === undefined ? 'cut_off' : String(error.code)
    callback(error, response, length)
  })
}

const client = new cassandra.Client({
  contactPoints: [`127.0.0.1:${process.argv[2]}`],
  localDataCenter: 'datacenter1',
  keyspace: 'shop',
  protocolOptions: { maxVersion: cassandra.types.protocolVersion.v4 },
  isMetadataSyncEnabled: false
})
await client.connect()
await client.execute('CREATE TABLE people_n (id int PRIMARY KEY, name text, note text)')
const insert = 'INSERT INTO people_n (id, name, note) VALUES (?, ?, ?)'
const prepared = { prepare: true }
const rows = Array.from({ length: 120 }, (_, at) => [at, `n${at}`, 'n'.repeat(at * 271 % 30_000)])
await client.execute(insert, rows[0], prepared)
await Promise.all(rows.map((row) => client.execute(insert, row, prepared)))
await Promise.all(rows.map(([id]) => client.execute(`SELECT id, note FROM people_n WHERE id = ${id}`)))
await Promise.all(rows.slice(0, 20).map(([id]) => client.execute(`SELECT id FROM nowhere WHERE id = ${id}`).catch(() => {})))
await client.batch(rows.slice(0, 9).map((params) => ({ query: insert, params })), prepared)
await client.batch([{ query: insert, params: rows[1] }, { query: 'DELETE FROM people_n WHERE id = ?', params: [2] }], prepared)
await client.shutdown()
console.log(JSON.stringify(records))
