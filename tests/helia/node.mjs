// A Helia node on loopback that knows nobody. Usage: node.mjs noise|tls
//
// Prints one line of JSON when it listens: {"id", "addresses"}. Then reads one command, an object of JSON, per line and
// answers each with one line, {"ok": ...} or {"error": "..."}:
//   {"connect": ADDRESS}                    the id of the peer
//   {"add": PATH, "profile": PROFILE}       the CID of a file or a directory tree
//   {"get": CID, "to": PATH}                writes a file or a directory tree
//   {"record": ID}                          the addresses in the signed record that this peer sent with identify, or null
// Ends when its standard input does.
import { createReadStream } from 'node:fs'
import { mkdir, open, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { withBitswap } from '@helia/bitswap'
import { withLibp2pLight } from '@helia/libp2p'
import { unixfs } from '@helia/unixfs'
import { identify, identifyPush } from '@libp2p/identify'
import { noise } from '@libp2p/noise'
import { PeerRecord, RecordEnvelope } from '@libp2p/peer-record'
import { peerIdFromString } from '@libp2p/peer-id'
import { tcp } from '@libp2p/tcp'
import { tls } from '@libp2p/tls'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createHeliaLight } from 'helia'
import { CID } from 'multiformats/cid'

const security = { noise, tls }[process.argv[2]]

const helia = await withBitswap(withLibp2pLight(createHeliaLight(), {
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [security()],
  streamMuxers: [yamux()],
  // On a busy machine a ping may take longer than the monitor waits before it ends a connection.
  connectionMonitor: { enabled: false },
  services: { identify: identify(), identifyPush: identifyPush() }
})).start()
const fs = unixfs(helia)

async function * entries (root, path = '') {
  const children = await readdir(join(root, path), { withFileTypes: true })
  for (const child of children) {
    const below = join(path, child.name)
    if (child.isDirectory()) {
      yield * entries(root, below)
    } else {
      yield { path: below, content: createReadStream(join(root, below)) }
    }
  }
}

async function add ({ add: path, profile }) {
  if ((await stat(path)).isFile()) {
    return String(await fs.addByteStream(createReadStream(path), { profile }))
  }
  let root
  for await (const added of fs.addAll(entries(path), { profile, wrapWithDirectory: true })) {
    root = added.cid
  }
  return String(root)
}

async function write (cid, to) {
  const found = await fs.stat(cid)
  if (found.type === 'directory') {
    await mkdir(to)
    for await (const entry of fs.ls(cid)) {
      await write(entry.cid, join(to, entry.name))
    }
    return
  }
  const file = await open(to, 'w')
  for await (const bytes of fs.cat(cid)) {
    await file.write(bytes)
  }
  await file.close()
}

async function record ({ record: id }) {
  const envelope = (await helia.libp2p.peerStore.get(peerIdFromString(id))).peerRecordEnvelope
  if (envelope == null) {
    return null
  }
  const opened = await RecordEnvelope.openAndCertify(envelope, PeerRecord.DOMAIN)
  return PeerRecord.createFromProtobuf(opened.payload).multiaddrs.map(String)
}

async function answer (command) {
  if (command.connect != null) {
    return String((await helia.libp2p.dial(multiaddr(command.connect))).remotePeer)
  }
  if (command.add != null) {
    return await add(command)
  }
  if (command.get != null) {
    await write(CID.parse(command.get), command.to)
    return command.to
  }
  return await record(command)
}

function say (what) {
  process.stdout.write(JSON.stringify(what) + '\n')
}

say({ id: String(helia.libp2p.peerId), addresses: helia.libp2p.getMultiaddrs().map(String) })
for await (const line of createInterface({ input: process.stdin })) {
  try {
    say({ ok: await answer(JSON.parse(line)) })
  } catch (error) {
    say({ error: String(error.stack ?? error) })
  }
}
process.exit(0)
