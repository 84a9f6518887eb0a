"""Back ends with azure-iot-hub: registry, modules, twins, typed errors."""

import base64
import unittest

from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties
from msrest.exceptions import HttpOperationError

import world

KEY1 = base64.b64encode(b"1" * 32).decode()
KEY2 = base64.b64encode(b"2" * 32).decode()


class Registry(unittest.TestCase):
    def status(self, code, fn, *args, **kwargs):
        with self.assertRaises(HttpOperationError) as caught:
            fn(*args, **kwargs)
        self.assertEqual(caught.exception.response.status_code, code, caught.exception)

    def test_devices(self):
        r, d = world.registry, world.unique("reg")
        created = r.create_device_with_sas(d, KEY1, KEY2, "enabled", status_reason="new")
        self.assertEqual(created.authentication.symmetric_key.primary_key, KEY1)
        got = r.get_device(d)
        self.assertEqual(got.etag, created.etag)
        self.assertEqual(got.connection_state, "Disconnected")
        updated = r.update_device_with_sas(d, got.etag, KEY2, KEY1, "disabled", status_reason="maintenance")
        self.assertEqual((updated.status, updated.status_reason), ("disabled", "maintenance"))
        self.assertNotEqual(updated.etag, got.etag)
        self.assertEqual(updated.generation_id, got.generation_id)
        self.status(412, r.update_device_with_sas, d, got.etag, KEY1, KEY2, "enabled")
        self.assertIn(d, [x.device_id for x in r.get_devices(1000)])
        self.status(412, r.delete_device, d, got.etag)
        r.delete_device(d, updated.etag)
        self.status(404, r.get_device, d)

    def test_x509(self):
        r, d = world.registry, world.unique("x509")
        thumb = "AB" * 32
        created = r.create_device_with_x509(d, thumb, thumb, "enabled")
        self.assertEqual(created.authentication.type, "selfSigned")
        self.assertEqual(created.authentication.x509_thumbprint.primary_thumbprint.upper(), thumb)
        ca = r.create_device_with_certificate_authority(world.unique("ca"), "enabled")
        self.assertEqual(ca.authentication.type, "certificateAuthority")

    def test_edge(self):
        r, d = world.registry, world.unique("edge")
        created = r.create_device_with_sas(d, "", "", "enabled", iot_edge=True)
        self.assertTrue(created.device_scope.startswith(f"ms-azure-iot-edge://{d}-"))
        self.assertEqual(sorted(m.module_id for m in r.get_modules(d)), ["$edgeAgent", "$edgeHub"])

    def test_modules(self):
        r = world.registry
        d = world.create_device("mods").device_id
        m = r.create_module_with_sas(d, "one", "me", KEY1, KEY2)
        self.assertEqual((m.module_id, m.managed_by), ("one", "me"))
        self.assertEqual(r.get_module(d, "one").etag, m.etag)
        u = r.update_module_with_sas(d, "one", "you", m.etag, KEY2, KEY1)
        self.assertEqual(u.managed_by, "you")
        self.status(409, r.create_module_with_sas, d, "one", "", KEY1, KEY2)
        self.status(412, r.update_module_with_sas, d, "one", "you", m.etag, KEY2, KEY1)
        self.assertEqual([x.module_id for x in r.get_modules(d)], ["one"])
        r.delete_module(d, "one")
        self.status(404, r.get_module, d, "one")
        self.status(404, r.get_modules, "no-such-device")

    def test_twins(self):
        r = world.service
        d = world.create_device("twin").device_id
        twin = r.get_twin(d)
        self.assertEqual(twin.properties.desired["$version"], 1)
        patched = r.update_twin(d, Twin(tags={"a": {"b": 1}}, properties=TwinProperties(desired={"x": 1, "y": [1, {"z": 2}]})), twin.etag)
        self.assertEqual(patched.tags, {"a": {"b": 1}})
        self.assertEqual(patched.properties.desired["y"], [1, {"z": 2}])
        self.assertEqual(patched.properties.desired["$version"], 2)
        self.status(412, r.update_twin, d, Twin(tags={"late": True}), twin.etag)
        replaced = r.replace_twin(d, Twin(tags={"c": "ü"}, properties=TwinProperties(desired={"n": 2})), patched.etag)
        self.assertEqual(replaced.tags, {"c": "ü"})
        self.assertNotIn("x", replaced.properties.desired)
        self.status(404, r.get_twin, "no-such-device")
        self.status(400, r.update_twin, d, Twin(properties=TwinProperties(desired={"bad.key": 1})))
        self.status(400, r.update_twin, d, Twin(properties=TwinProperties(desired={"big": "x" * 5000})))

    def test_module_twins(self):
        r = world.service
        d = world.create_device("mtwin").device_id
        world.registry.create_module_with_sas(d, "one", "", KEY1, KEY2)
        twin = r.get_module_twin(d, "one")
        self.assertEqual(twin.module_id, "one")
        patched = r.update_module_twin(d, "one", Twin(tags={"a": 1}, properties=TwinProperties(desired={"x": 1})), twin.etag)
        self.assertEqual((patched.tags, patched.properties.desired["x"]), ({"a": 1}, 1))
        self.status(412, r.update_module_twin, d, "one", Twin(tags={"late": True}), twin.etag)
        replaced = r.replace_module_twin(d, "one", Twin(tags={"c": 1}, properties=TwinProperties(desired={})), patched.etag)
        self.assertEqual(replaced.tags, {"c": 1})
        self.assertNotIn("x", replaced.properties.desired)
        self.assertEqual(r.get_twin(d).tags, {})
        self.status(404, r.get_module_twin, d, "none")

    def test_method_errors(self):
        # What a device answers is in test_device.
        d = world.create_device("call").device_id
        call = CloudToDeviceMethod(method_name="x", payload=None, response_timeout_in_seconds=5, connect_timeout_in_seconds=0)
        self.status(404, world.service.invoke_device_method, d, call)
        self.status(404, world.service.invoke_device_method, "no-such-device", call)
        self.status(404, world.service.invoke_device_module_method, d, "none", call)
        self.status(400, world.service.invoke_device_method, d, CloudToDeviceMethod(method_name="x", response_timeout_in_seconds=1000))

    def test_errors(self):
        r = world.registry
        d = world.create_device("conflict").device_id
        self.status(409, r.create_device_with_sas, d, KEY1, KEY2, "enabled")
        self.status(404, r.delete_device, "no-such-device")
        self.status(400, r.create_device_with_sas, "bad id", KEY1, KEY2, "enabled")
        self.status(400, r.create_device_with_sas, world.unique("half"), KEY1, "", "enabled")
        self.status(401, world.service.create_device_with_sas, world.unique("no"), KEY1, KEY2, "enabled")
        p = dict(x.split("=", 1) for x in world.OWNER.split(";"))
        wrong = IoTHubRegistryManager.from_connection_string(
            f"HostName={p['HostName']};SharedAccessKeyName={p['SharedAccessKeyName']};SharedAccessKey={KEY1}")
        self.status(401, wrong.get_device, d)

    def test_statistics(self):
        s = world.registry.get_device_registry_statistics()
        self.assertEqual(s.total_device_count, s.enabled_device_count + s.disabled_device_count)
        world.registry.get_service_statistics()
