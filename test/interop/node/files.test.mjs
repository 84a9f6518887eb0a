// File upload with azure-iot-device over each of its transports, the storage
// with @azure/storage-blob, notifications with azure-iothub.
import { test, describe } from 'node:test';
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import http from 'azure-iot-device-http';
import * as storage from '@azure/storage-blob';
import * as world from './world.mjs';
import { open, transports, Client, Message, NoRetry } from './device.mjs';
import { blobs, read, notifications } from './files.mjs';

const all = { ...transports, Http: { transport: http.Http } };

describe('file upload', () => {
  for (const [name, { transport }] of Object.entries(all)) {
    test(`uploadToBlob over ${name}, with the notification`, async (t) => {
      const d = await world.createDevice('upload');
      const got = await notifications(t, d.deviceId);
      const c = await open(t, world.deviceString(d), transport, Client, name === 'Http' ? { interval: 1 } : {});
      const content = randomBytes(9_000_000); // three blocks of what the SDK sends
      await c.uploadToBlob('logs/today.bin', Readable.from([content.subarray(0, 5_000_000), content.subarray(5_000_000)]), content.length);
      assert.ok((await read('uploads', `${d.deviceId}/logs/today.bin`)).equals(content));
      await world.until('the notification', () => got.length === 1);
      const [n] = got;
      assert.equal(n.blobName, `${d.deviceId}/logs/today.bin`);
      assert.equal(n.blobUri, `https://${world.host}/uploads/${d.deviceId}/logs/today.bin`);
      assert.equal(n.blobSizeInBytes, content.length);
      assert.ok(Math.abs(Date.parse(n.lastUpdatedTime) - Date.now()) < 60_000);
    });
  }

  test('a device takes the ticket and uploads by itself', async (t) => {
    const d = await world.createDevice('ticket');
    const got = await notifications(t, d.deviceId);
    const c = await open(t, world.deviceString(d), transports.Mqtt.transport);
    // The SDK tells the length of its request in characters, not in bytes.
    const f = await c.getBlobSharedAccessSignature('a b+c.txt');
    assert.equal(f.hostName, world.host);
    assert.equal(f.containerName, 'uploads');
    assert.equal(f.blobName, `${d.deviceId}/a b+c.txt`);
    const blob = new storage.BlockBlobClient(`https://${f.hostName}/${f.containerName}/${f.blobName.split('/').map(encodeURIComponent).join('/')}${f.sasToken}`);
    const up = await blob.uploadData(Buffer.from('hello'), { blobHTTPHeaders: { blobContentType: 'text/plain' } });
    assert.equal(up._response.status, 201);
    // The signature is for writing this one blob.
    await assert.rejects(blob.download(), { statusCode: 403, code: 'AuthorizationPermissionMismatch' });
    await assert.rejects(new storage.BlockBlobClient(`https://${f.hostName}/uploads/other/x${f.sasToken}`).upload('x', 1), { statusCode: 403, code: 'AuthenticationFailed' });
    await c.notifyBlobUploadStatus(f.correlationId, true, 201, 'done');
    await assert.rejects(c.notifyBlobUploadStatus(f.correlationId, true, 201, 'done'), { message: 'Bad Request' });
    await world.until('the notification', () => got.length === 1);
    assert.equal(new URL(got[0].blobUri).pathname, `/uploads/${d.deviceId}/a%20b+c.txt`);
    assert.equal((await read('uploads', f.blobName)).toString(), 'hello');
  });

  test('a failed upload is no file, and ten are the most at a time', async (t) => {
    const d = await world.createDevice('most');
    const got = await notifications(t, d.deviceId);
    const c = await open(t, world.deviceString(d), transports.Mqtt.transport);
    c.setRetryPolicy(new NoRetry());
    const f = await c.getBlobSharedAccessSignature('x');
    for (let i = 1; i < 10; i++) await c.getBlobSharedAccessSignature('x');
    await assert.rejects(c.getBlobSharedAccessSignature('x'), (e) => /DeviceMaximumActiveFileUploadLimitExceeded/.test(e.responseBody));
    await c.notifyBlobUploadStatus(f.correlationId, false, 500, 'no storage');
    await c.getBlobSharedAccessSignature('x');
    assert.equal(got.length, 0);
  });

  test('an upload that was begun before a crash is completed after it', async (t) => {
    const d = await world.createDevice('crash');
    const c = await open(t, world.deviceString(d), transports.Mqtt.transport);
    const f = await c.getBlobSharedAccessSignature('x');
    const blob = new storage.BlockBlobClient(`https://${f.hostName}/${f.containerName}/${f.blobName}${f.sasToken}`);
    const id = (n) => Buffer.from(`block ${n}`).toString('base64');
    await blob.stageBlock(id(1), 'before;', 7);
    await world.killAndRestart();
    await c.sendEvent(new Message('back')); // closed before it is back, the client's timers go on
    await blob.stageBlock(id(2), 'after', 5);
    await blob.commitBlockList([id(1), id(2)]);
    await c.notifyBlobUploadStatus(f.correlationId, true, 201, 'done');
    assert.equal((await read('uploads', f.blobName)).toString(), 'before;after');
    const got = await notifications(t, d.deviceId);
    await world.until('the notification', () => got.length === 1);
  });
});

describe('storage clients', () => {
  const container = async (t) => {
    const service = new storage.BlobServiceClient(await blobs('', 'racwdl'));
    const c = service.getContainerClient(world.unique('files'));
    await c.create();
    t.after(() => c.deleteIfExists());
    return c;
  };

  test('containers', async (t) => {
    const service = new storage.BlobServiceClient(await blobs('', 'racwdl'));
    const c = await container(t);
    assert.equal(await c.exists(), true);
    assert.equal((await c.createIfNotExists()).succeeded, false);
    await assert.rejects(c.create(), { statusCode: 409, code: 'ContainerAlreadyExists' });
    assert.ok((await c.getProperties()).etag);
    const names = [];
    for await (const x of service.listContainers()) names.push(x.name);
    assert.ok(names.includes(c.containerName));
    await c.delete();
    assert.equal(await c.exists(), false);
    await assert.rejects(c.getBlobClient('x').download(), { statusCode: 404, code: 'ContainerNotFound' });
  });

  test('block blobs: whole, in blocks, ranges, properties, conditions', async (t) => {
    const c = await container(t);
    const b = c.getBlockBlobClient('dir/ä b+c%.txt');
    await b.upload('hello', 5, { blobHTTPHeaders: { blobContentType: 'text/plain' }, metadata: { device: 'press-1' } });
    const p = await b.getProperties();
    assert.deepEqual([p.contentType, p.contentLength, p.metadata, p.blobType], ['text/plain', 5, { device: 'press-1' }, 'BlockBlob']);
    assert.equal((await b.downloadToBuffer()).toString(), 'hello');
    assert.equal((await b.downloadToBuffer(1, 3)).toString(), 'ell');
    await assert.rejects(b.upload('x', 1, { conditions: { ifNoneMatch: '*' } }), { statusCode: 409, code: 'BlobAlreadyExists' });
    await assert.rejects(b.upload('x', 1, { conditions: { ifMatch: '"0x1"' } }), { statusCode: 412, code: 'ConditionNotMet' });
    await b.setMetadata({ a: 'b' });
    await b.setHTTPHeaders({ blobContentType: 'text/csv' });
    const q = await b.getProperties();
    assert.deepEqual([q.contentType, q.metadata], ['text/csv', { a: 'b' }]);

    const large = randomBytes(20_000_000);
    await b.uploadStream(Readable.from(large), 1 << 20, 8);
    assert.ok((await b.downloadToBuffer()).equals(large));
    assert.equal((await b.getBlockList('all')).committedBlocks.length, 20);
    await b.uploadData(large, { blockSize: 3_000_000, maxSingleShotSize: 1, concurrency: 4 });
    assert.ok((await b.downloadToBuffer(0, undefined, { blockSize: 1 << 20 })).equals(large));
    const id = Buffer.from('one').toString('base64');
    await assert.rejects(b.commitBlockList([id]), { statusCode: 400, code: 'InvalidBlockList' });
    assert.equal((await b.deleteIfExists()).succeeded, true);
    assert.equal((await b.deleteIfExists()).succeeded, false);
    await assert.rejects(b.download(), { statusCode: 404, code: 'BlobNotFound' });
    assert.equal(await b.exists(), false);
  });

  test('append blobs', async (t) => {
    const c = await container(t);
    const a = c.getAppendBlobClient('log');
    await a.create({ blobHTTPHeaders: { blobContentType: 'text/plain' } });
    for (let i = 0; i < 5; i++) assert.equal((await a.appendBlock(`line ${i}\n`, 7)).blobAppendOffset, `${7 * i}`);
    await assert.rejects(a.appendBlock('x', 1, { conditions: { appendPosition: 7 } }), { statusCode: 412, code: 'AppendPositionConditionNotMet' });
    assert.equal((await a.downloadToBuffer()).toString(), 'line 0\nline 1\nline 2\nline 3\nline 4\n');
    const p = await a.getProperties();
    assert.deepEqual([p.blobType, p.blobCommittedBlockCount], ['AppendBlob', 5]);
  });

  test('lists: pages, prefix, delimiter, metadata', async (t) => {
    const c = await container(t);
    for (const n of ['a', 'b/1', 'b/2', 'b/c/3', 'd', 'é <&>']) await c.getBlockBlobClient(n).upload(n, Buffer.byteLength(n), { metadata: { n: `${n.length}` } });
    const flat = [];
    for await (const page of c.listBlobsFlat({ includeMetadata: true }).byPage({ maxPageSize: 2 })) {
      assert.ok(page.segment.blobItems.length <= 2);
      for (const b of page.segment.blobItems) {
        flat.push(b.name);
        assert.deepEqual(b.metadata, { n: `${b.name.length}` });
        assert.equal(b.properties.contentLength, Buffer.byteLength(b.name));
      }
    }
    assert.deepEqual(flat, ['a', 'b/1', 'b/2', 'b/c/3', 'd', 'é <&>']);
    const walk = async (prefix) => {
      const seen = [];
      for await (const x of c.listBlobsByHierarchy('/', { prefix })) seen.push(x.kind === 'prefix' ? `${x.name}…` : x.name);
      return seen.sort();
    };
    assert.deepEqual(await walk(''), ['a', 'b/…', 'd', 'é <&>']);
    assert.deepEqual(await walk('b/'), ['b/1', 'b/2', 'b/c/…']);
  });

  test('a signature for a container does what it says', async (t) => {
    const c = await container(t);
    await c.getBlockBlobClient('x').upload('hello', 5);
    const readOnly = new storage.ContainerClient(await blobs(c.containerName, 'rl'));
    assert.equal((await readOnly.getBlobClient('x').downloadToBuffer()).toString(), 'hello');
    await assert.rejects(readOnly.getBlockBlobClient('x').upload('x', 1), { statusCode: 403, code: 'AuthorizationPermissionMismatch' });
    await assert.rejects(readOnly.delete(), { statusCode: 403 });
    await assert.rejects(new storage.BlobClient(`https://${world.host}/causeway/${c.containerName}/x`).download(), { statusCode: 401 });
  });
});
