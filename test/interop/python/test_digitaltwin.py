"""Digital twins with azure-iot-hub and azure-iot-device."""

import unittest

from azure.iot.device import IoTHubDeviceClient, MethodResponse
from azure.iot.hub import DigitalTwinClient
from msrest.exceptions import HttpOperationError

import world

MODEL = "dtmi:com:example:TemperatureController;1"


class DigitalTwin(unittest.TestCase):
    def setUp(self):
        self.twins = DigitalTwinClient.from_connection_string(world.SERVICE)

    def status(self, code, fn, *args, **kwargs):
        with self.assertRaises(HttpOperationError) as caught:
            fn(*args, **kwargs)
        self.assertEqual(caught.exception.response.status_code, code, caught.exception)

    def device(self, prefix):
        d = world.create_device(prefix)
        c = IoTHubDeviceClient.create_from_connection_string(world.device_string(d), product_info=MODEL, server_verification_cert=world.CA)
        self.addCleanup(c.shutdown)
        c.connect()
        return d, c

    def test_properties(self):
        d, c = self.device("pypnp")
        c.patch_twin_reported_properties({"serialNumber": "x", "thermostat1": {"__t": "c", "max": 38.7}})
        before = self.twins.get_digital_twin(d.device_id)
        self.assertEqual(before["$dtId"], d.device_id)
        self.assertEqual(before["$metadata"]["$model"], MODEL)
        self.assertEqual(before["thermostat1"]["max"], 38.7)
        self.twins.update_digital_twin(d.device_id, [{"op": "add", "path": "/thermostat1/targetTemperature", "value": 21}])
        desired = c.get_twin()["desired"]
        self.assertEqual(desired["thermostat1"], {"__t": "c", "targetTemperature": 21})
        c.patch_twin_reported_properties(
            {"thermostat1": {"__t": "c", "targetTemperature": {"value": 21, "ac": 200, "av": desired["$version"], "ad": "ok"}}})
        after = self.twins.get_digital_twin(d.device_id)
        meta = after["thermostat1"]["$metadata"]["targetTemperature"]
        self.assertEqual((meta["desiredValue"], meta["ackCode"], meta["ackVersion"]), (21, 200, desired["$version"]))
        self.assertEqual(after["thermostat1"]["targetTemperature"], 21)
        etag = world.service.get_twin(d.device_id).etag
        self.twins.update_digital_twin(d.device_id, [{"op": "replace", "path": "/thermostat1/targetTemperature", "value": 22}], etag=etag)
        self.status(412, self.twins.update_digital_twin, d.device_id, [{"op": "remove", "path": "/thermostat1/targetTemperature"}], etag=etag)
        self.status(400, self.twins.update_digital_twin, d.device_id, [{"op": "test", "path": "/a", "value": 1}])
        self.status(404, self.twins.get_digital_twin, "no-such-device")

    def test_commands(self):
        d, c = self.device("pypnpcmd")
        called = []

        def answer(request):
            called.append((request.name, request.payload))
            c.send_method_response(MethodResponse.create_from_method_request(request, 200, {"of": request.name}))

        c.on_method_request_received = answer
        got = self.twins.invoke_command(d.device_id, "reboot", 5, connect_timeout_in_seconds=10, response_timeout_in_seconds=10)
        self.assertEqual(got, {"of": "reboot"})
        got = self.twins.invoke_component_command(d.device_id, "thermostat1", "report", {"since": "x"})
        self.assertEqual(got, {"of": "thermostat1*report"})
        self.assertEqual(called, [("reboot", 5), ("thermostat1*report", {"since": "x"})])
        self.status(404, self.twins.invoke_command, world.create_device("pypnpoff").device_id, "reboot", {})


if __name__ == "__main__":
    unittest.main()
