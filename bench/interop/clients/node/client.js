// kafkajs as a client program. The contract is in clients/goclients/main.go.
'use strict'

const fs = require('fs')
const readline = require('readline')
const { Kafka, CompressionTypes, CompressionCodecs, logLevel } = require('kafkajs')
const lz4 = require('lz4-napi')
const zstd = require('@mongodb-js/zstd')

// kafkajs brings gzip; the others are plugged in, as its documentation tells.
CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy')
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async encoder => lz4.compressFrameSync(encoder.buffer),
  decompress: async buffer => lz4.decompressFrameSync(buffer),
})
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => zstd.compress(encoder.buffer),
  decompress: async buffer => zstd.decompress(buffer),
})

const codecs = {
  none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy, lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
}

const decode = text => (text === '-' ? null : Buffer.from(text, 'base64'))
const encode = data => (data === null || data === undefined ? '-' : Buffer.from(data).toString('base64'))

// A short patience with a broker that does not answer; by itself it waits for 30 s (and for a connection for 1 s).
const patience = process.env.INTEROP_PATIENCE === 'short' ? { requestTimeout: 3000 } : {}

const kafka = (address, clientId) => new Kafka({ brokers: address.split(','), clientId, logLevel: logLevel.WARN, logCreator, ...patience })

// Its own logger writes to standard output.
const logCreator = () => ({ log }) => process.stderr.write(`${log.message} ${log.error || ''}\n`)

async function produce(name, address, topic, codec, idempotent) {
  const messages = fs.readFileSync(0, 'utf8').split('\n').filter(line => line !== '').map(line => {
    const [key, value] = line.split(' ')
    return { key: decode(key), value: decode(value), headers: { client: name } }
  })
  const producer = kafka(address, name).producer({ idempotent: idempotent === 'true', allowAutoTopicCreation: false })
  await producer.connect()
  await producer.send({ topic, messages, acks: -1, compression: codecs[codec] })
  await producer.disconnect()
}

// One request at a time, as its documentation asks of an idempotent producer: what has come meanwhile is the next one.
async function flow(name, address, topic, idempotent) {
  const producer = kafka(address, name).producer({
    idempotent: idempotent === 'true', allowAutoTopicCreation: false, maxInFlightRequests: 1, retry: { retries: Number.MAX_SAFE_INTEGER },
  })
  await producer.connect()
  let waiting = []
  let sending = Promise.resolve()
  const send = async () => {
    const messages = waiting
    waiting = []
    if (messages.length === 0) return
    let answer = key => `ack ${encode(key)}\n`
    try {
      await producer.send({ topic, messages, acks: -1 })
    } catch (e) {
      answer = key => `fail ${encode(key)} ${String(e).replace(/\n/g, ' ')}\n`
    }
    process.stdout.write(messages.map(m => answer(m.key)).join(''))
  }
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [key, value] = line.split(' ')
    waiting.push({ key: decode(key), value: decode(value) })
    sending = sending.then(send)
  }
  await sending
  await producer.disconnect()
}

async function consume(address, group, clientId, assignor, topics) {
  if (assignor !== 'default') throw new Error(`no assignor ${assignor}`)
  const consumer = kafka(address, clientId).consumer({
    groupId: group, sessionTimeout: 6000, heartbeatInterval: 500, rebalanceTimeout: 30000, maxWaitTimeInMs: 200,
  })
  consumer.on(consumer.events.CRASH, ({ payload }) => process.stderr.write(`crash: ${payload.error}\n`))
  await consumer.connect()
  await consumer.subscribe({ topics, fromBeginning: true })
  await consumer.run({
    eachBatch: async ({ batch }) => {
      const lines = batch.messages.map(m => {
        const headers = Object.entries(m.headers || {}).map(([key, value]) => ` ${encode(Buffer.from(key))}=${encode(value)}`)
        return `${batch.topic} ${batch.partition} ${m.offset} ${m.timestamp} ${encode(m.key)} ${encode(m.value)}${headers.join('')}\n`
      })
      await new Promise((resolve, reject) => process.stdout.write(lines.join(''), e => (e ? reject(e) : resolve())))
    },
  })
  await new Promise(resolve => process.stdin.on('end', resolve).resume())
  await consumer.disconnect()
}

async function main() {
  const [name, verb, ...args] = process.argv.slice(2)
  switch (verb) {
    case 'version': {
      console.log('kafkajs', require('kafkajs/package.json').version)
      break
    }
    case 'produce':
      await produce(name, ...args)
      break
    case 'flow':
      await flow(name, ...args)
      break
    case 'consume':
      await consume(...args.slice(0, 4), args.slice(4))
      break
    default:
      throw new Error(`what is ${verb}?`)
  }
}

main().then(() => process.exit(0), e => {
  console.error(e)
  process.exit(1)
})
