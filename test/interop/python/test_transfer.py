"""Imports and exports of identities with azure-iot-hub, by the hub's own storage."""

import json
import time
import unittest

from azure.iot.hub import IoTHubJobManager
from azure.iot.hub.models import JobProperties
from msrest.exceptions import HttpOperationError

import world

jobs = IoTHubJobManager.from_connection_string(world.OWNER)


def ended(job, timeout=60):
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        j = jobs.get_import_export_job(job)
        if j.status in ("completed", "failed", "cancelled"):
            return j
        time.sleep(0.1)
    raise AssertionError(f"job {job} does not end")


class Transfer(unittest.TestCase):
    def test_export_and_import(self):
        c = world.Container("transfer")
        d = world.create_device("transfer")
        created = jobs.create_import_export_job(
            JobProperties(type="export", output_blob_container_uri=c.uri, output_blob_name="all.txt", exclude_keys_in_export=False)
        )
        done = ended(created.job_id)
        self.assertEqual((done.type, done.status, done.progress), ("export", "completed", 100))
        self.assertIsNotNone(done.end_time_utc)
        lines = [json.loads(line) for line in c.get("all.txt").splitlines()]
        line = next(x for x in lines if x["id"] == d.device_id)
        self.assertEqual(line["authentication"]["symmetricKey"]["primaryKey"], d.authentication.symmetric_key.primary_key)

        c.put("some.txt", json.dumps({"id": d.device_id, "importMode": "delete"}) + "\n" + json.dumps({"id": d.device_id, "importMode": "delete"}) + "\n")
        created = jobs.create_import_export_job(
            JobProperties(type="import", input_blob_container_uri=c.uri, input_blob_name="some.txt", output_blob_container_uri=c.uri)
        )
        self.assertEqual(ended(created.job_id).status, "completed")
        with self.assertRaises(HttpOperationError):
            world.registry.get_device(d.device_id)
        self.assertEqual([json.loads(e)["errorCode"] for e in c.get("importErrors.log").splitlines()], ["DeviceNotFound"])
        self.assertIn(created.job_id, [j.job_id for j in jobs.get_import_export_jobs()])
        jobs.cancel_import_export_job(created.job_id)

    def test_errors(self):
        with self.assertRaises(HttpOperationError) as caught:
            jobs.create_import_export_job(JobProperties(type="export", output_blob_container_uri="https://storage.invalid/c"))
        self.assertEqual(caught.exception.response.status_code, 400)
        with self.assertRaises(HttpOperationError) as caught:
            jobs.get_import_export_job("nobody")
        self.assertEqual(caught.exception.response.status_code, 404)


if __name__ == "__main__":
    unittest.main()
