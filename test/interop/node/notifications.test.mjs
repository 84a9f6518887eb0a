// Notifications of uploaded files with azure-iothub: received, abandoned,
// completed.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import azureIothub from 'azure-iothub';
import * as world from './world.mjs';
import { upload } from './files.mjs';

const { Client, Amqp, AmqpWs } = azureIothub;

for (const [name, transport] of [['Amqp', Amqp], ['AmqpWs', AmqpWs]]) {
  test(`file notifications are received, abandoned, completed: ${name}`, async (t) => {
    const d = await world.createDevice('file');
    const run = d.deviceId;
    const before = Date.now() - 1000;
    const files = [1, 2, 3].map((i) => ({
      blobUri: `https://${world.host}/uploads/${run}/pic%20${i}.jpg`, blobName: `${run}/pic ${i}.jpg`, blobSizeInBytes: 1000 + i,
    }));
    for (const i of [1, 2, 3]) await upload(d, `pic ${i}.jpg`, Buffer.alloc(1000 + i));
    const c = Client.fromConnectionString(world.service, transport);
    await c.open();
    t.after(() => c.close().catch(() => {}));
    const receiver = (await c.getFileNotificationReceiver()).result;
    const got = [];
    receiver.on('message', (m) => {
      const n = JSON.parse(m.getData().toString());
      if (n.deviceId !== run) return receiver.complete(m, () => {});
      got.push({ n, m });
      // The SDK accepts by itself unless the handler says something else at once.
      receiver[got.length === 1 ? 'abandon' : 'complete'](m, () => {});
    });
    await world.until('the notifications, and the abandoned one again', () => got.length >= 4, 30000);
    const first = got[0];
    assert.equal(got.filter(({ n }) => n.blobName === first.n.blobName).length, 2);
    assert.deepEqual([...new Set(got.map(({ n }) => n.blobName))].sort(), files.map((f) => f.blobName));
    const want = files.find((f) => f.blobName === first.n.blobName);
    assert.equal(first.n.blobUri, want.blobUri);
    assert.equal(first.n.blobSizeInBytes, want.blobSizeInBytes);
    assert.ok(Date.parse(first.n.lastUpdatedTime) >= before && Date.parse(first.n.lastUpdatedTime) <= Date.now() + 1000);
    assert.match(first.n.enqueuedTimeUtc, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z$/);
    assert.equal(first.m.contentType, 'application/vnd.microsoft.iothub.filenotification.json');
    assert.equal(first.m.contentEncoding, 'utf-8');
    const again = got.filter(({ n }) => n.blobName === first.n.blobName);
    assert.deepEqual(again.map(({ m }) => Number(m.transportObj.message_annotations['iothub-deliverycount'])), [0, 1]);
  });
}
