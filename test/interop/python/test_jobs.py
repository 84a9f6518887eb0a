"""Scheduled jobs with azure-iot-hub: twins, methods, typed errors."""

import datetime
import time
import unittest

from azure.iot.hub import IoTHubJobManager
from azure.iot.hub.models import CloudToDeviceMethod, JobRequest, QuerySpecification, Twin, TwinProperties
from msrest.exceptions import HttpOperationError

import world

jobs = IoTHubJobManager.from_connection_string(world.OWNER)


def ended(job, timeout=30):
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        j = jobs.get_scheduled_job(job)
        if j.status in ("completed", "failed", "cancelled"):
            return j
        time.sleep(0.1)
    raise AssertionError(f"job {job} does not end")


class Jobs(unittest.TestCase):
    def test_twins(self):
        d = world.create_device("job").device_id
        job = world.unique("job")
        created = jobs.create_scheduled_job(
            job,
            JobRequest(
                job_id=job,
                type="scheduleUpdateTwin",
                update_twin=Twin(etag="*", tags={"a": 1}, properties=TwinProperties(desired={"b": 2})),
                query_condition=f"deviceId = '{d}'",
                start_time=datetime.datetime.now(datetime.timezone.utc).isoformat(),
                max_execution_time_in_seconds=60,
            ),
        )
        self.assertEqual((created.job_id, created.type), (job, "scheduleUpdateTwin"))
        done = ended(job)
        self.assertEqual((done.status, done.device_job_statistics.succeeded_count), ("completed", 1))
        twin = world.registry.get_twin(d)
        self.assertEqual((twin.tags, twin.properties.desired["b"]), ({"a": 1}, 2))
        result = world.registry.query_iot_hub(QuerySpecification(query=f"SELECT * FROM devices.jobs WHERE devices.jobs.jobId = '{job}'"))
        self.assertEqual(len(result.items), 1)

    def test_methods(self):
        d = world.create_device("job").device_id
        job = world.unique("job")
        jobs.create_scheduled_job(
            job,
            JobRequest(
                job_id=job,
                type="scheduleDeviceMethod",
                cloud_to_device_method=CloudToDeviceMethod(method_name="m", payload={"x": 1}, response_timeout_in_seconds=5),
                query_condition=f"deviceId IN ['{d}']",
                max_execution_time_in_seconds=1,
            ),
        )
        done = ended(job)  # nobody is there
        self.assertEqual((done.status, done.device_job_statistics.failed_count), ("completed", 1))

    # query_scheduled_jobs expects an object where IoT Hub sends a list.
    def test_cancel(self):
        job = world.unique("job")
        later = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)).isoformat()
        request = JobRequest(job_id=job, type="scheduleUpdateTwin", update_twin=Twin(tags={"a": 1}), query_condition="*", start_time=later)
        jobs.create_scheduled_job(job, request)
        jobs.cancel_scheduled_job(job)
        self.assertEqual(jobs.get_scheduled_job(job).status, "cancelled")
        with self.assertRaises(HttpOperationError) as caught:
            jobs.create_scheduled_job(job, request)
        self.assertEqual(caught.exception.response.status_code, 409)
        with self.assertRaises(HttpOperationError) as caught:
            jobs.get_scheduled_job("nobody")
        self.assertEqual(caught.exception.response.status_code, 404)


if __name__ == "__main__":
    unittest.main()
