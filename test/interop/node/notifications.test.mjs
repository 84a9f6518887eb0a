// Notifications of uploaded files with azure-iothub. Nothing in a hub produces
// them yet: the test harness puts them into the hub's queue as a stand-in for
// the file upload, with the server stopped meanwhile. From the queue on, the way
// to the unmodified client is the real one.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import azureIothub from 'azure-iothub';
import * as world from './world.mjs';

const { Client, Amqp, AmqpWs } = azureIothub;

for (const [name, transport] of [['Amqp', Amqp], ['AmqpWs', AmqpWs]]) {
  test(`file notifications are received, abandoned, completed: ${name}`, async (t) => {
    const run = world.unique('file');
    const files = [1, 2, 3].map((i) => ({
      deviceId: run, blobUri: `https://files.example.com/up/${run}/pic%20${i}.jpg`, blobName: `${run}/pic ${i}.jpg`,
      lastUpdatedTime: `2026-01-02T03:04:0${i}Z`, blobSizeInBytes: 1000 + i,
    }));
    await world.notify(files);
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
    assert.equal(Date.parse(first.n.lastUpdatedTime), Date.parse(want.lastUpdatedTime));
    assert.match(first.n.enqueuedTimeUtc, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z$/);
    assert.equal(first.m.contentType, 'application/vnd.microsoft.iothub.filenotification.json');
    assert.equal(first.m.contentEncoding, 'utf-8');
    const again = got.filter(({ n }) => n.blobName === first.n.blobName);
    assert.deepEqual(again.map(({ m }) => Number(m.transportObj.message_annotations['iothub-deliverycount'])), [0, 1]);
  });
}
