// A worker for Node, written from docs/protocol.md alone: what every worker needs, the binary
// form, and the methods of the demo. Node closes the channel in processes that it starts.
import { randomBytes } from 'node:crypto';
import { writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { setTimeout } from 'node:timers/promises';

const [requests, replies] = (process.env.POOLPROOF_CHANNEL ?? '3,4').split(',').map(Number);
delete process.env.POOLPROOF_CHANNEL;
if (replies === 1) globalThis.console = new console.Console(process.stderr); // which leaves descriptor 1 alone
process.on('SIGTERM', () => process.exit(0));

const input = new Socket({ fd: requests, readable: true, writable: false })[Symbol.asyncIterator]();
const utf8 = new TextDecoder('utf-8', { fatal: true });
const instance = randomBytes(16).toString('hex');
const sessions = new Map();
let unread = Buffer.alloc(0);
let limit = 16 << 20;
let greeted = false;
let last = 0; // the id of the last request

const methods = {
  echo: (params = {}) => params,
  raw_echo: (_, payload = Buffer.alloc(0)) => payload,
  pid: () => process.pid,
  put: ({ session, key, value = null }) => {
    sessions.set(session, { ...sessions.get(session), [key]: value });
    return true;
  },
  get: ({ session, key }) => sessions.get(session)?.[key] ?? null,
  session_ended: ({ session }) => sessions.delete(session),
  sleep: ({ seconds }) => setTimeout(seconds * 1000, true),
  crash: ({ code = 1 } = {}) => process.exit(code),
};

const refusal = (code, message) => Object.assign(new Error(message), { refused: code });

async function dispatch({ jsonrpc, method, params }, payload) {
  if (jsonrpc !== '2.0' || typeof method !== 'string') throw refusal(-32600, 'not a request of JSON-RPC 2.0');
  if (method === 'hello') {
    limit = params.frame_limit;
    greeted = true;
    return { protocol: 1, pid: process.pid, instance, methods: Object.keys(methods), features: ['binary'] };
  }
  if (!greeted) throw refusal(-32002, `${method} before hello`);
  if (payload && method !== 'raw_echo') throw refusal(-32602, `${method} takes no payload`);
  if (method === 'ping') return { instance };
  if (!Object.hasOwn(methods, method)) throw refusal(-32601, `no method ${method}`);
  return methods[method](params, payload);
}

async function answer(body) {
  const binary = body[0] === 0;
  const end = binary ? 4 + body.readUInt32BE() : body.length;
  const request = JSON.parse(utf8.decode(body.subarray(binary ? 4 : 0, end)));
  if (end > body.length || !request || !(request.id ?? request.method)) throw new Error('a message that is none');
  if (!('id' in request)) return; // a notification, all of which are optional
  if (!(request.id > last)) throw new Error(`a request has the id ${request.id} after ${last}`);
  last = request.id;
  const reply = { jsonrpc: '2.0', id: request.id };
  try {
    const result = await dispatch(request, binary ? body.subarray(end) : undefined);
    if (Buffer.isBuffer(result)) send({ ...reply, result: null }, result);
    else send({ ...reply, result });
  } catch (error) {
    const data = error.refused ? undefined : { traceback: error.stack };
    send({ ...reply, error: { code: error.refused ?? -32000, message: error.message, data } });
  }
}

function send(message, payload) {
  const header = Buffer.from(JSON.stringify(message));
  const body = payload ? Buffer.concat([uint32(header.length), header, payload]) : header;
  if (body.length > limit) throw refusal(-32001, `a result of ${body.length} bytes exceeds the frame limit`);
  let rest = Buffer.concat([uint32(body.length), body]);
  while (rest.length > 0) rest = rest.subarray(writeSync(replies, rest));
}

function uint32(number) {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(number);
  return bytes;
}

async function read(count) { // fewer bytes at the end of file
  const parts = [unread];
  let have = unread.length;
  for (let next; have < count && !(next = await input.next()).done; have += next.value.length) parts.push(next.value);
  const bytes = Buffer.concat(parts, have);
  unread = bytes.subarray(count);
  return bytes.subarray(0, count);
}

for (;;) {
  const head = await read(4);
  if (head.length === 0) process.exit(0);
  const length = head.length === 4 ? head.readUInt32BE() : 1;
  if (length > limit) throw new Error(`a frame of ${length} bytes exceeds the limit of ${limit}`);
  const body = await read(length);
  if (body.length < length) throw new Error('end of file inside a frame');
  await answer(body);
}
