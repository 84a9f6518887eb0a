"""Bulk operations with azure-iot-hub: all import modes, failures in the result."""

import unittest

from azure.iot.hub.models import ExportImportDevice
from msrest.exceptions import HttpOperationError

import world


def apply(*items):
    return world.registry.bulk_create_or_update_devices(list(items))


class Bulk(unittest.TestCase):
    def test_modes(self):
        a, b = world.unique("bulk"), world.unique("bulk")
        r = apply(
            ExportImportDevice(id=a, import_mode="create", status="disabled", tags={"x": 1}),
            ExportImportDevice(id=a, module_id="m", import_mode="create"),
            ExportImportDevice(id=b),
        )
        self.assertTrue(r.is_successful)
        self.assertEqual(r.errors, [])
        self.assertEqual(world.registry.get_device(a).status, "disabled")
        self.assertEqual(world.registry.get_twin(a).tags, {"x": 1})
        self.assertEqual(world.registry.get_module(a, "m").module_id, "m")

        r = apply(
            ExportImportDevice(id=a, import_mode="update", status="enabled"),
            ExportImportDevice(id=b, import_mode="updateTwin", tags={"y": 2}),
        )
        self.assertTrue(r.is_successful)
        self.assertEqual(world.registry.get_device(a).status, "enabled")
        self.assertEqual(world.registry.get_twin(b).tags, {"y": 2})

        etag = world.registry.get_device(b).etag
        r = apply(
            ExportImportDevice(id=a, import_mode="create"),
            ExportImportDevice(id=b, e_tag=etag, import_mode="deleteIfMatchETag"),
        )
        self.assertFalse(r.is_successful)
        self.assertEqual([(e.device_id, e.error_code, e.operation) for e in r.errors], [(a, "DeviceAlreadyExists", "register")])
        with self.assertRaises(HttpOperationError):
            world.registry.get_device(b)
        self.assertTrue(apply(ExportImportDevice(id=a, import_mode="delete")).is_successful)


if __name__ == "__main__":
    unittest.main()
