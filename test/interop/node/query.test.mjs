// Queries with azure-iothub: twins, modules, rows without a type; pages.
import { test, before, describe } from 'node:test';
import assert from 'node:assert/strict';
import * as world from './world.mjs';

const { registry } = world;

describe('query', () => {
  const run = world.unique('run');
  const ids = Array.from({ length: 5 }, (_, i) => `${run}-${i}`);
  const where = `where tags.run = '${run}'`;

  before(async () => {
    await registry.addDevices(ids.map((deviceId, i) => ({ deviceId, status: i ? 'enabled' : 'disabled' })));
    for (const [i, deviceId] of ids.entries()) {
      await registry.updateTwin(deviceId, { tags: { run, n: i }, properties: { desired: { speed: i * 1.5 } } }, '*');
    }
    await registry.addModule({ deviceId: ids[0], moduleId: 'm1' });
  });

  async function all(q, next = () => q.next()) {
    const pages = [];
    do {
      const r = await next();
      pages.push({ items: r.result ?? r.responseBody ?? r, type: r.message?.headers['x-ms-item-type'] });
    } while (q.hasMoreResults);
    return pages;
  }

  test('twins in pages', async () => {
    const q = registry.createQuery(`select * from devices ${where}`, 2);
    const pages = await all(q, () => q.nextAsTwin());
    assert.deepEqual(pages.map((p) => p.items.length), [2, 2, 1]);
    const twins = pages.flatMap((p) => p.items);
    assert.deepEqual(twins.map((t) => t.deviceId).sort(), ids);
    // They are twins with a registry behind them.
    await twins[0].update({ tags: { seen: true } });
    assert.equal((await registry.getTwin(twins[0].deviceId)).responseBody.tags.seen, true);
  });

  test('a token serves again', async () => {
    const q = registry.createQuery(`select * from devices ${where}`, 3);
    await q.next();
    const token = q.continuationToken;
    for (let i = 0; i < 2; i++) {
      const again = registry.createQuery(`select * from devices ${where}`, 3);
      assert.equal((await again.next(token)).result.length, 2);
      assert.equal(again.hasMoreResults, false);
    }
  });

  test('rows, groups and modules', async () => {
    const rows = async (sql) => (await all(registry.createQuery(sql))).flatMap((p) => p.items);
    assert.deepEqual(await rows(`select deviceId, properties.desired.speed as speed from devices ${where} and tags.n = 2`), [{ deviceId: ids[2], speed: 3 }]);
    const groups = await rows(`select status, count() as n, max(tags.n) as most from devices ${where} group by status`);
    assert.deepEqual(groups.sort((a, b) => a.n - b.n), [{ status: 'disabled', n: 1, most: 0 }, { status: 'enabled', n: 4, most: 4 }]);
    assert.deepEqual((await rows(`select * from devices.modules where deviceId = '${ids[0]}'`)).map((m) => m.moduleId), ['m1']);
  });

  test('what is wrong is said with its place', async () => {
    await assert.rejects(registry.createQuery('select * from devices where').next(), (e) => {
      assert.equal(e.name, 'ArgumentError');
      assert.match(e.responseBody, /column/i);
      return true;
    });
  });
});
