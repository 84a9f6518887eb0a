"""Configurations and edge deployments with azure-iot-hub."""

import time
import unittest

from azure.iot.hub import IoTHubConfigurationManager
from azure.iot.hub.models import (
    Configuration,
    ConfigurationContent,
    ConfigurationMetrics,
    ConfigurationQueriesTestInput,
    Twin,
)
from msrest.exceptions import HttpOperationError

import world

configurations = IoTHubConfigurationManager.from_connection_string(world.OWNER)

DOCKER = {"type": "docker", "status": "running", "restartPolicy": "always"}
MANIFEST = {
    "$edgeAgent": {
        "properties.desired": {
            "schemaVersion": "1.0",
            "runtime": {"type": "docker", "settings": {"minDockerVersion": "v1.25", "loggingOptions": ""}},
            "systemModules": {
                "edgeAgent": {"type": "docker", "settings": {"image": "agent:1.5", "createOptions": ""}},
                "edgeHub": {**DOCKER, "settings": {"image": "hub:1.5", "createOptions": "{}"}},
            },
            "modules": {"sensor": {"version": "1.0", **DOCKER, "settings": {"image": "sensor:1", "createOptions": ""}}},
        }
    },
    "$edgeHub": {
        "properties.desired": {
            "schemaVersion": "1.0",
            "routes": {"up": "FROM /* INTO $upstream"},
            "storeAndForwardConfiguration": {"timeToLiveSecs": 7200},
        }
    },
    "sensor": {"properties.desired": {"interval": 5}},
}


class Configurations(unittest.TestCase):
    def status(self, code, fn, *args, **kwargs):
        with self.assertRaises(HttpOperationError) as caught:
            fn(*args, **kwargs)
        self.assertEqual(caught.exception.response.status_code, code, caught.exception)

    def until(self, what, fn, timeout=20):
        end = time.monotonic() + timeout
        while not fn():
            self.assertLess(time.monotonic(), end, what)
            time.sleep(0.1)

    def test_device(self):
        d, name = world.create_device("conf").device_id, world.unique("fan")
        world.registry.update_twin(d, Twin(tags={"run": name}))
        content = ConfigurationContent(device_content={"properties.desired.fan": {"speed": 1.5}})
        created = configurations.create_configuration(
            Configuration(
                id=name, schema_version="1.0", labels={"App": "Fan"}, content=content, target_condition=f"tags.run = '{name}'",
                priority=10, metrics=ConfigurationMetrics(queries={"mine": "select deviceId from devices where deviceId = 'nobody'"}),
            )
        )
        self.assertEqual((created.id, created.priority), (name, 10))
        self.assertEqual(created.labels, {"App": "Fan"})
        self.status(409, configurations.create_configuration, Configuration(id=name, content=content))
        desired = lambda: world.registry.get_twin(d).properties.desired
        self.until("the configuration in the twin", lambda: desired().get("fan") == {"speed": 1.5})
        self.until("its metrics", lambda: configurations.get_configuration(name).system_metrics.results == {"targetedCount": 1, "appliedCount": 1})
        got = configurations.get_configuration(name)
        self.assertEqual(got.metrics.results, {"mine": 0})
        self.assertIn(name, [c.id for c in configurations.get_configurations(100)])
        self.assertEqual(len(configurations.get_configurations(1)), 1)

        got.priority = 11
        changed = configurations.update_configuration(got, f'"{got.etag}"')
        self.assertEqual(changed.priority, 11)
        self.status(412, configurations.update_configuration, got, got.etag)
        got.content = ConfigurationContent(device_content={"properties.desired.fan": 1})
        self.status(400, configurations.update_configuration, got, "*")
        self.status(412, configurations.delete_configuration, name, '"other"')
        configurations.delete_configuration(name)
        self.status(404, configurations.get_configuration, name)
        self.until("the twin without it", lambda: "fan" not in desired())

    def test_queries(self):
        r = configurations.test_configuration_queries(
            ConfigurationQueriesTestInput(target_condition="tags.a = 1", custom_metric_queries={"m": "select deviceId from devices"})
        )
        self.assertIsNone(r.target_condition_error)
        self.assertEqual(r.custom_metric_query_errors, {})
        r = configurations.test_configuration_queries(
            ConfigurationQueriesTestInput(target_condition="tags.a == 1", custom_metric_queries={"m": "selec"})
        )
        self.assertIn("column", r.target_condition_error)
        self.assertIn("m", r.custom_metric_query_errors)

    def test_edge(self):
        d, name = world.unique("edge"), world.unique("base")
        world.registry.create_device_with_sas(d, "", "", "enabled", iot_edge=True)
        configurations.create_configuration(
            Configuration(id=name, content=ConfigurationContent(modules_content=MANIFEST), target_condition=f"deviceId = '{d}'", priority=1)
        )
        self.until("the deployment", lambda: "sensor" in [m.module_id for m in world.registry.get_modules(d)])
        self.until("its twin", lambda: world.registry.get_module_twin(d, "sensor").properties.desired.get("interval") == 5)
        configurations.delete_configuration(name)
        by_hand = {**MANIFEST, "sensor": {"properties.desired": {"interval": 6}}}
        configurations.apply_configuration_on_edge_device(d, ConfigurationContent(modules_content=by_hand))
        self.assertEqual(world.registry.get_module_twin(d, "sensor").properties.desired["interval"], 6)


if __name__ == "__main__":
    unittest.main()
