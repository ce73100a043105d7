// `dns_client.mjs PORT FIRST COUNT`: so many questions by Node.js's resolver, all at once, as a JSON list.
import { Resolver } from 'node:dns/promises'
import { now } from './clock.cjs'

const [port, first, count] = process.argv.slice(2).map(Number)
const resolver = new Resolver({ timeout: 5_000, tries: 1 })
resolver.setServers([`127.0.0.1:${port}`])
const CODES = { ENOTFOUND: 'NXDOMAIN', ENODATA: 'NOERROR', EREFUSED: 'REFUSED', ESERVFAIL: 'SERVFAIL' }

async function ask(number) {
  const kind = ['A', 'AAAA', 'TXT', 'A'][number % 4]
  const name = `n${number}.${['some', 'some', 'some', 'none'][number % 4]}.test`
  const start = now()
  let code = 'NOERROR', answers = []
  try {
    answers = await resolver.resolve(name, kind)
  } catch (error) {
    code = CODES[error.code]
  }
  return { name, kind, code, answers, transport: 'udp', received: null, start, end: now() }
}

const numbers = Array.from({ length: count }, (_, at) => first + at)
console.log(JSON.stringify(await Promise.all(numbers.map(ask))))
