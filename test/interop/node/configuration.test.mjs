// Configurations and edge deployments with azure-iothub.
import { test, describe } from 'node:test';
import assert from 'node:assert/strict';
import * as world from './world.mjs';

const { registry } = world;
const body = (r) => r.responseBody ?? r;

const manifest = (image) => ({
  modulesContent: {
    $edgeAgent: {
      'properties.desired': {
        schemaVersion: '1.0',
        runtime: { type: 'docker', settings: { minDockerVersion: 'v1.25', loggingOptions: '' } },
        systemModules: {
          edgeAgent: { type: 'docker', settings: { image: 'mcr.microsoft.com/azureiotedge-agent:1.5', createOptions: '' } },
          edgeHub: { type: 'docker', status: 'running', restartPolicy: 'always', settings: { image: 'mcr.microsoft.com/azureiotedge-hub:1.5', createOptions: '{}' } },
        },
        modules: { sensor: { version: '1.0', type: 'docker', status: 'running', restartPolicy: 'always', settings: { image, createOptions: '' } } },
      },
    },
    $edgeHub: { 'properties.desired': { schemaVersion: '1.0', routes: { up: 'FROM /* INTO $upstream' }, storeAndForwardConfiguration: { timeToLiveSecs: 7200 } } },
    sensor: { 'properties.desired': { interval: 5 } },
  },
});

const twin = async (d, m) => body(await (m ? registry.getModuleTwin(d, m) : registry.getTwin(d)));

describe('configurations', () => {
  test('a configuration of devices, from its creation to its end', async () => {
    const d = (await world.createDevice('conf')).deviceId;
    const id = world.unique('fan');
    await registry.updateTwin(d, { tags: { run: id } }, '*');
    const created = body(await registry.addConfiguration({
      id, labels: { App: 'Fan' }, priority: 10, targetCondition: `tags.run = '${id}'`,
      content: { deviceContent: { 'properties.desired.fan': { speed: 3 } } },
      metrics: { queries: { mine: `select deviceId from devices where tags.run = '${id}'` } },
    }));
    assert.equal(created.id, id);
    assert.equal(created.contentType, 'assignment');
    assert.deepEqual(created.content, { deviceContent: { 'properties.desired.fan': { speed: 3 } } });
    await assert.rejects(registry.addConfiguration({ id, content: created.content }), { name: 'DeviceAlreadyExistsError' });

    await world.until('the configuration in the twin', async () => (await twin(d)).configurations?.[id]?.status === 'Applied');
    assert.deepEqual((await twin(d)).properties.desired.fan, { speed: 3 });
    const got = body(await registry.getConfiguration(id));
    assert.deepEqual(got.systemMetrics.results, { targetedCount: 1, appliedCount: 1 });
    assert.deepEqual(got.metrics.results, { mine: 1 });
    for (const sql of Object.values(got.systemMetrics.queries)) {
      assert.deepEqual((await registry.createQuery(sql).next()).result, [{ deviceId: d }]);
    }
    assert.ok(body(await registry.getConfigurations()).some((c) => c.id === id));

    // A change with the etag, one without knowing it, and one that comes too late.
    got.priority = 11;
    const changed = body(await registry.updateConfiguration(got));
    assert.equal(changed.priority, 11);
    await assert.rejects(registry.updateConfiguration(got), { name: 'InvalidEtagError' });
    await registry.updateConfiguration({ ...got, targetCondition: 'tags.run = 1' }, true);
    await world.until('the twin without it', async () => (await twin(d)).properties.desired.fan === undefined);
    await assert.rejects(registry.updateConfiguration({ ...got, content: { deviceContent: { 'properties.desired.x': 1 } } }, true), (e) => {
      assert.equal(e.name, 'ArgumentError');
      assert.match(e.responseBody, /CannotModifyImmutableConfigurationContent/);
      return true;
    });

    await registry.removeConfiguration(id);
    await assert.rejects(registry.getConfiguration(id), (e) => {
      assert.match(e.responseBody, /ConfigurationNotFound/);
      return true;
    });
  });

  test('an edge deployment, and a content by hand', async () => {
    const d = world.unique('edge');
    await registry.create({ deviceId: d, capabilities: { iotEdge: true } });
    const id = world.unique('base');
    await registry.addConfiguration({ id, priority: 1, targetCondition: `deviceId = '${d}'`, content: manifest('sensor:1') });
    await world.until('the deployment', async () => (await twin(d, '$edgeAgent')).configurations?.[id]?.status === 'Applied');
    assert.equal((await twin(d, '$edgeAgent')).properties.desired.modules.sensor.settings.image, 'sensor:1');
    assert.equal((await twin(d, 'sensor')).properties.desired.interval, 5);
    const got = body(await registry.getConfiguration(id));
    assert.deepEqual(got.systemMetrics.results, { targetedCount: 1, appliedCount: 1, reportedSuccessfulCount: 0, reportedFailedCount: 0 });
    await registry.removeConfiguration(id);

    await registry.applyConfigurationContentOnDevice(d, manifest('sensor:2'));
    assert.equal((await twin(d, '$edgeAgent')).properties.desired.modules.sensor.settings.image, 'sensor:2');
    await assert.rejects(registry.applyConfigurationContentOnDevice(d, { modulesContent: { $edgeAgent: { 'properties.desired': {} } } }), { name: 'ArgumentError' });
  });
});
