// Clients of all transports while the server ends, by force or in order, and starts again.
import { test, describe } from 'node:test';
import assert from 'node:assert/strict';
import * as world from './world.mjs';
import { transports, open, serviceClient, Message } from './device.mjs';

// All transports go through the same end of the server: it comes when each of them is
// ready, or some time after the first, since a name pattern may have left others out.
function cases(title, end) {
  let waiting = Object.keys(transports).length;
  let begin;
  const ended = new Promise((resolve, reject) => { let once; begin = () => { once ??= end().then(resolve, reject); }; });
  const ready = () => {
    if (--waiting === 0) begin();
    else setTimeout(begin, 15000).unref();
  };
  describe(title, { concurrency: true }, () => {
    for (const [name, { transport }] of Object.entries(transports)) {
      test(name, async (t) => {
        let counted = false;
        const count = () => { if (!counted) { counted = true; ready(); } };
        try {
          await comeBack(t, transport, count, ended);
        } finally {
          count(); // a case that failed before must not hold up the others
        }
      });
    }
  });
}

cases('a killed and restarted server: the client comes back, nothing acknowledged is lost', world.killAndRestart);
cases('a server that is stopped in order and started again: the client comes back, nothing acknowledged is lost', world.stopAndRestart);

async function comeBack(t, transport, count, ended) {
  const d = await world.createDevice('kill');
  const c = await open(t, world.deviceString(d), transport);
  const got = [];
  c.on('message', (m) => { got.push(m.getData().toString()); c.complete(m, () => {}); });
  c.onDeviceMethod('echo', (req, res) => res.send(200, req.payload, () => {}));
  const twin = await c.getTwin();
  twin.on('properties.desired.mode', () => {});
  await world.command(d.deviceId, 'before');
  await world.until('a command', () => got.includes('before'));
  const acknowledged = [];
  let n = 0;
  const send = async () => { const id = `m${n++}`; await c.sendEvent(new Message(id)); acknowledged.push(id); };
  for (let i = 0; i < 50; i++) await send();
  let back = false;
  const sending = (async () => { // the client retries by itself
    while (!back) await send();
    for (let i = 0; i < 20; i++) await send();
  })();
  count();
  await ended;
  back = true;
  await sending;
  const list = await world.events(d.deviceId, (l) => acknowledged.every((id) => l.some((e) => e.body === id)));
  assert.ok(list.length >= acknowledged.length);
  await world.command(d.deviceId, 'after');
  await world.until('a command after the restart', () => got.includes('after'));
  const answer = await world.until('the method links', async () => {
    try {
      return (await serviceClient().invokeDeviceMethod(d.deviceId, { methodName: 'echo', payload: 1, responseTimeoutInSeconds: 10, connectTimeoutInSeconds: 10 })).result;
    } catch (err) { if (!/Not found|404/.test(err.message)) throw err; }
  });
  assert.deepEqual(answer, { status: 200, payload: 1 });
  await world.until('the subscription to the twin', async () => {
    await world.registry.updateTwin(d.deviceId, { properties: { desired: { mode: 'b' } } }, '*');
    return twin.properties.desired.mode === 'b';
  });
}
