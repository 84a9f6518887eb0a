"""The data plane of the Azure CLI, `az iot … --login`: see az.py."""

import json
import os
import tempfile
import threading
import time
import unittest
from datetime import datetime, timedelta, timezone

from azure.iot.device import X509, IoTHubDeviceClient, IoTHubModuleClient, Message, MethodResponse
from azure.iot.hub.protocol import models
from msrest.exceptions import HttpOperationError

import az
import world

OWNER = az.Az(world.OWNER)


class Case(unittest.TestCase):
    def device(self, **options):
        d = OWNER.device_create(world.unique("az"), **options)
        self.addCleanup(self.forget, d["deviceId"])
        return d["deviceId"]

    def forget(self, device_id):
        try:
            OWNER.device_delete(device_id)
        except HttpOperationError:
            pass  # the case has deleted it

    def connect(self, entity, kind=IoTHubDeviceClient):
        client = kind.create_from_connection_string(OWNER.connection_string(entity), websockets=True)
        self.addCleanup(client.shutdown)
        return client

    def echo(self, client):
        def answer(request):
            client.send_method_response(MethodResponse.create_from_method_request(request, 200, {"got": request.payload}))

        client.on_method_request_received = answer

    def status(self, code, fn, *args, **kwargs):
        with self.assertRaises(HttpOperationError) as caught:
            fn(*args, **kwargs)
        self.assertEqual(caught.exception.response.status_code, code, caught.exception)
        # The CLI shows this member, and calls the error unknown without it.
        self.assertTrue(json.loads(caught.exception.response.text)["Message"])


class Identities(Case):
    def test_device_identity(self):
        created = OWNER.device_create(world.unique("az"), status="disabled", status_reason="not yet")
        d = created["deviceId"]
        shown = OWNER.device_show(d)
        self.assertEqual({**created, "hub": world.HOST}, shown)
        shown["status"], shown["statusReason"] = "enabled", ""
        updated = OWNER.device_update(shown)
        self.assertEqual((updated["status"], updated["statusReason"]), ("enabled", None))
        self.assertEqual(updated["authentication"], created["authentication"])
        self.status(412, OWNER.device_update, shown, shown["etag"])
        self.status(412, OWNER.device_delete, d, shown["etag"])
        self.assertEqual(
            OWNER.connection_string(shown),
            f"HostName={world.HOST};DeviceId={d};SharedAccessKey={created['authentication']['symmetricKey']['primaryKey']}",
        )
        OWNER.device_delete(d)
        self.status(404, OWNER.device_show, d)

    def test_device_identity_x509(self):
        mine = models.AuthenticationMechanism(
            x509_thumbprint=models.X509Thumbprint(primary_thumbprint="AB" * 20, secondary_thumbprint="CD" * 20), type="selfSigned"
        )
        d = OWNER.device_show(self.device(auth=mine))
        self.assertEqual(d["authentication"]["x509Thumbprint"]["primaryThumbprint"], "AB" * 20)
        d = OWNER.device_show(self.device(auth=models.AuthenticationMechanism(type="certificateAuthority")))
        self.assertEqual(d["authentication"]["type"], "certificateAuthority")
        # device-identity update --auth-method changes the type.
        d["authentication"] = {"type": "sas", "symmetricKey": {"primaryKey": "", "secondaryKey": ""}}
        self.assertTrue(OWNER.device_update(d)["authentication"]["symmetricKey"]["primaryKey"])

    def test_renew_key(self):
        d = self.device()
        OWNER.module_create(d, "m")
        keys = OWNER.device_show(d)["authentication"]["symmetricKey"]
        swapped = OWNER.renew_key("swap", (d, None))
        self.assertEqual(swapped["rotatedKeys"][0]["primaryKey"], keys["secondaryKey"])
        OWNER.renew_key("primary", (d, None), (d, "m"))
        after = OWNER.device_show(d)["authentication"]["symmetricKey"]
        self.assertEqual(after["secondaryKey"], keys["primaryKey"])
        self.assertNotIn(after["primaryKey"], keys.values())

    def test_parents(self):
        edge, lower, leaf = self.device(edge_enabled=True), self.device(edge_enabled=True), self.device()
        scope = OWNER.device_show(edge)["deviceScope"]
        child = OWNER.parent_set(leaf, edge)
        self.assertEqual((child["deviceScope"], child["parentScopes"]), (scope, [scope]))
        child = OWNER.parent_set(lower, edge)
        self.assertEqual(child["parentScopes"], [scope])
        self.assertNotEqual(child["deviceScope"], scope)
        for d in (leaf, lower):
            self.assertEqual(OWNER.parent_show(d)["deviceId"], edge)
        self.assertEqual(OWNER.children_remove(leaf).get("deviceScope") or "", "")
        self.assertFalse(OWNER.children_remove(lower).get("parentScopes"))
        self.assertEqual(OWNER.device_show(self.device(scope=scope))["parentScopes"], [scope])

    def test_module_identity(self):
        d = self.device()
        m = OWNER.module_create(d, "one")
        shown = OWNER.module_show(d, "one")
        self.assertEqual({**m, "hub": world.HOST}, shown)
        shown["managedBy"] = "me"
        self.assertEqual(OWNER.module_update(shown)["managedBy"], "me")
        self.status(412, OWNER.module_update, shown, shown["etag"])
        self.status(412, OWNER.module_delete, d, "one", shown["etag"])
        self.assertEqual([x["moduleId"] for x in OWNER.module_list(d)], ["one"])
        self.assertIn(f"DeviceId={d};ModuleId=one;", OWNER.connection_string(shown, "secondary"))
        OWNER.module_delete(d, "one")
        self.status(404, OWNER.module_show, d, "one")


class Twins(Case):
    def check(self, *ids):
        self.assertEqual(OWNER.twin_show(*ids)["deviceId"], ids[0])
        twin = OWNER.twin_update(*ids, desired={"a": {"b": 1}}, tags={"city": "Ulm"})
        self.assertEqual((twin["tags"], twin["properties"]["desired"]["a"]), ({"city": "Ulm"}, {"b": 1}))
        self.status(412, OWNER.twin_update, *ids, tags={}, etag="AAAAAAAAAAE=")
        self.status(412, OWNER.twin_replace, *ids, twin={}, etag="AAAAAAAAAAE=")
        replaced = OWNER.twin_replace(*ids, twin={"tags": {"x": 1}, "properties": {"desired": {"c": 2}}})
        self.assertEqual(replaced["tags"], {"x": 1})
        self.assertNotIn("a", replaced["properties"]["desired"])

    def test_device_twin(self):
        self.check(self.device())

    def test_module_twin(self):
        d = self.device()
        OWNER.module_create(d, "m")
        self.check(d, "m")


class Devices(Case):
    """Commands that play a device, or need one."""

    def test_invoke_device_method(self):
        d = self.device()
        client = self.connect(OWNER.device_show(d))
        self.echo(client)
        self.assertEqual(OWNER.invoke(d, name="reboot"), {"status": 200, "payload": {"got": {}}})
        self.assertEqual(OWNER.invoke(d, name="set", payload={"a": [1]})["payload"], {"got": {"a": [1]}})
        self.status(404, OWNER.invoke, self.device(), name="x", timeout=10, patience=40)

    def test_invoke_module_method(self):
        d = self.device()
        client = self.connect(OWNER.module_create(d, "m"), IoTHubModuleClient)
        self.echo(client)
        self.assertEqual(OWNER.invoke(d, "m", name="reboot")["status"], 200)

    def test_simulate(self):
        """iot device simulate and send-d2c-message: MQTT over WebSocket, content type and encoding as properties."""
        d, since = self.device(), datetime.now(timezone.utc)
        client = self.connect(OWNER.device_show(d))
        changed, received = threading.Event(), threading.Event()

        def patch(p):
            client.patch_twin_reported_properties({k: v for k, v in p.items() if not k.startswith("$")})
            changed.set()

        client.on_twin_desired_properties_patch_received = patch
        client.on_message_received = lambda m: received.set()
        message = Message(json.dumps({"n": 1}))
        message.custom_properties = {"$.ct": "application/json", "$.ce": "utf-8", "k": "v"}
        client.send_message(message)
        events = OWNER.monitor_events(lambda seen: any(of(e) == d for e in seen), since)
        event = next(e for e in events if of(e) == d)
        self.assertEqual((event.body_as_json(), event.properties[b"k"]), ({"n": 1}, b"v"))
        self.assertEqual(event.system_properties[b"content-type"], b"application/json")
        OWNER.twin_update(d, desired={"speed": 3})
        OWNER.c2d_send(d, "hello")
        self.assertTrue(changed.wait(20) and received.wait(20))
        self.assertEqual(OWNER.twin_show(d)["properties"]["reported"]["speed"], 3)


    def test_simulate_x509(self):
        """--certificate-file and --key-file, over WebSocket too."""
        name, since = world.unique("az"), datetime.now(timezone.utc)
        c = world.self_signed(name)
        thumbs = models.X509Thumbprint(primary_thumbprint=c["thumbprint"], secondary_thumbprint=c["thumbprint"])
        OWNER.device_create(name, auth=models.AuthenticationMechanism(x509_thumbprint=thumbs, type="selfSigned"))
        self.addCleanup(self.forget, name)
        with tempfile.TemporaryDirectory() as folder:
            files = {k: os.path.join(folder, k) for k in ("cert", "key")}
            for k, path in files.items():
                with open(path, "w", encoding="ascii") as f:
                    f.write(c[k])
            client = IoTHubDeviceClient.create_from_x509_certificate(
                x509=X509(cert_file=files["cert"], key_file=files["key"], pass_phrase=None),
                hostname=world.HOST,
                device_id=name,
                websockets=True,
            )
            self.addCleanup(client.shutdown)
            client.send_message(Message("x"))
        OWNER.monitor_events(lambda seen: any(of(e) == name for e in seen), since)

    def test_simulate_https(self):
        d, since = self.device(), datetime.now(timezone.utc)
        OWNER.c2d_send(d, "hello")
        OWNER.device_event(d, {"n": 1}, {"iothub-app-k": "v", "iothub-messageid": "m1", "iothub-contenttype": "application/json"})
        self.assertEqual(OWNER.c2d_settle(d, OWNER.c2d_receive(d)["etag"], "complete"), 204)
        events = OWNER.monitor_events(lambda seen: any(of(e) == d for e in seen), since)
        event = next(e for e in events if of(e) == d)
        self.assertEqual((event.body_as_json(), event.properties[b"k"], event.message_id), ({"n": 1}, b"v", "m1"))
        self.assertEqual(event.system_properties[b"content-type"], b"application/json")


def of(event):
    return event.system_properties[b"iothub-connection-device-id"].decode()


class Commands(Case):
    def test_settle(self):
        d = self.device()
        OWNER.c2d_send(d, "größe", properties={"k": "v"}, message_id="m1", correlation_id="c1", user_id=b"u1", content_type="text/plain")
        got = OWNER.c2d_receive(d)
        self.assertEqual((got["data"], got["app"]), ("größe", {"k": "v"}))
        system = {"messageid": "m1", "correlationid": "c1", "userid": "u1", "deliverycount": "0", "to": f"/devices/{d}/messages/devicebound"}
        for name, want in system.items():
            self.assertEqual(got["system"]["iothub-" + name].lower(), want.lower(), name)
        self.assertEqual(OWNER.c2d_settle(d, got["etag"], "abandon"), 204)
        got = OWNER.c2d_receive(d, lock_timeout=30)
        self.assertEqual(got["system"]["iothub-deliverycount"], "1")
        self.assertEqual(OWNER.c2d_settle(d, got["etag"], "complete"), 204)
        self.assertIsNone(OWNER.c2d_receive(d))
        self.assertEqual(OWNER.c2d_settle(d, got["etag"], "complete"), 412)

    def test_purge(self):
        d = self.device()
        for _ in range(2):
            OWNER.c2d_send(d, "x")
        self.assertEqual(OWNER.c2d_purge(d)["totalMessagesPurged"], 2)

    def test_feedback(self):
        """c2d-message send --wait, which is monitor-feedback until the message is told of."""
        d = self.device()
        sent = OWNER.c2d_send(d, "x", ack="full")
        OWNER.c2d_settle(d, OWNER.c2d_receive(d)["etag"], "reject")
        record = OWNER.monitor_feedback(sent)
        self.assertEqual((record["deviceId"], record["statusCode"]), (d, "Rejected"))

    def test_unknown_device(self):
        with self.assertRaises(AssertionError):
            OWNER.c2d_send("no-such-device", "x")


class Tokens(Case):
    def test_generate_sas_token(self):
        d = OWNER.device_show(self.device())
        m = OWNER.module_create(d["deviceId"], "m")
        own = d["authentication"]["symmetricKey"]["secondaryKey"]
        path = f"/devices/{d['deviceId']}"
        for want, sas, target in (
            (200, az.token(world.HOST, OWNER.key, OWNER.policy), path),
            (204, az.token(world.HOST + path, own), path + "/messages/deviceBound"),
            (401, az.token(world.HOST + path, own), path),
            (401, az.token(world.HOST, OWNER.key, OWNER.policy, -3600), path),
        ):
            r = az.requests.get(f"https://{world.HOST}{target}?api-version=2021-04-12", headers={"Authorization": sas}, timeout=20)
            self.assertEqual(r.status_code, want, (target, r.text))
        sas = az.token(f"{world.HOST}{path}/modules/m", m["authentication"]["symmetricKey"]["primaryKey"])
        module = IoTHubModuleClient.create_from_sastoken(sas)
        self.addCleanup(module.shutdown)
        self.assertEqual(module.get_twin()["desired"]["$version"], 1)


class Queries(Case):
    def test_query(self):
        one, two, edge = self.device(), self.device(), self.device(edge_enabled=True)
        tag = world.unique("q")
        for d in (one, two, edge):
            OWNER.twin_update(d, tags={"run": tag})
        where = f"where tags.run = '{tag}'"
        self.assertEqual({t["deviceId"] for t in OWNER.query(f"select * from devices {where}")}, {one, two, edge})
        self.assertEqual(len(OWNER.query(f"select * from devices {where}", top=2)), 2)
        self.assertEqual(OWNER.query(f"select count() as n from devices {where}"), [{"n": 3}])
        self.assertEqual(OWNER.query(f"select deviceId from devices {where} and capabilities.iotEdge = true"), [{"deviceId": edge}])
        OWNER.module_create(one, "m")
        self.assertEqual([m["moduleId"] for m in OWNER.query(f"select * from devices.modules where devices.deviceId = '{one}'")], ["m"])
        self.status(400, OWNER.query, "select from devices")

    def test_lists(self):
        """device-identity list and device-twin list; children list and remove --remove-all; edge devices create asks first."""
        edge, leaf, lower = self.device(edge_enabled=True), self.device(), self.device(edge_enabled=True)
        ids = {t["deviceId"] for t in OWNER.query("select * from devices")}
        self.assertLessEqual({edge, leaf, lower}, ids)
        self.assertNotIn(leaf, {t["deviceId"] for t in OWNER.query("select * from devices where capabilities.iotEdge = true")})
        for d in (leaf, lower):
            OWNER.parent_set(d, edge)
        self.assertEqual({t["deviceId"] for t in OWNER.children_list(edge)}, {leaf, lower})
        for t in OWNER.children_list(edge):
            OWNER.children_remove(t["deviceId"])
        self.assertEqual(OWNER.children_list(edge), [])
        self.assertIn({"deviceId": leaf}, OWNER.query("SELECT deviceId FROM devices"))


class Files(Case):
    def test_upload(self):
        d = self.device()
        blob = OWNER.upload_file(d, "log.txt", b"hello", "text/plain")
        self.assertIn(f"/{d}/log.txt?", blob)


class DigitalTwins(Case):
    def test_digital_twin(self):
        d = self.device()
        shown = OWNER.digital_twin_show(d)
        self.assertEqual(shown["$dtId"], d)
        patched = OWNER.digital_twin_update(d, [{"op": "add", "path": "/target", "value": 21}])
        self.assertEqual(patched["$metadata"]["target"]["desiredValue"], 21)
        client = self.connect(OWNER.device_show(d))
        self.echo(client)
        result, status = OWNER.digital_twin_invoke(d, "reboot", {"delay": 1})
        self.assertEqual((result, status), ({"got": {"delay": 1}}, "200"))
        result, _ = OWNER.digital_twin_invoke(d, "reset", 1, component="thermostat1")
        self.assertEqual(result, {"got": 1})


class Jobs(Case):
    def done(self, job_id):
        deadline = time.monotonic() + 30
        while True:
            job = OWNER.job_show(job_id)
            if job["status"] in ("completed", "failed", "cancelled"):
                return job
            self.assertLess(time.monotonic(), deadline, job)
            time.sleep(0.1)

    def test_update_twin(self):
        d, job = self.device(), world.unique("job")
        made = OWNER.job_create(job, "scheduleUpdateTwin", f"deviceId = '{d}'", twin_patch={"tags": {"a": 1}})
        self.assertEqual((made["jobId"], made["type"]), (job, "scheduleUpdateTwin"))
        done = self.done(job)
        self.assertEqual((done["status"], done["deviceJobStatistics"]["succeededCount"]), ("completed", 1))
        self.assertEqual(OWNER.twin_show(d)["tags"], {"a": 1})
        self.assertIn(job, [j["jobId"] for j in OWNER.job_list("scheduleUpdateTwin", "completed")])
        self.assertEqual(len(OWNER.job_list("scheduleUpdateTwin", top=1)), 1)

    def test_method_and_cancel(self):
        job, later = world.unique("job"), (datetime.now(timezone.utc) + timedelta(hours=1)).isoformat()
        OWNER.job_create(job, "scheduleDeviceMethod", "*", method_name="reboot", start_time=later)
        self.assertEqual(OWNER.job_show(job)["status"], "scheduled")
        OWNER.job_cancel(job)
        self.assertEqual(self.done(job)["status"], "cancelled")
        self.status(404, OWNER.job_show, "no-such-job")


class Configurations(Case):
    def make(self, content, **options):
        name = world.unique("Az")
        made = OWNER.configuration_create(name, content, **options)
        self.addCleanup(OWNER.configuration_delete, name.lower())
        self.assertEqual(made["id"], name.lower())
        return name.lower()

    def applied(self, config, n):
        deadline = time.monotonic() + 30
        while len(OWNER.metric_show(config, "appliedCount", "system")) != n:
            self.assertLess(time.monotonic(), deadline, OWNER.configuration_show(config))
            time.sleep(0.1)

    def test_configuration(self):
        d, tag = self.device(), world.unique("c")
        OWNER.twin_update(d, tags={"run": tag})
        name = self.make(
            {"device_content": {"properties.desired.fan": {"speed": 3}}},
            target_condition=f"tags.run = '{tag}'",
            priority=3,
            labels={"team": "one"},
            metrics={"mine": f"select deviceId from devices where tags.run = '{tag}'"},
        )
        self.applied(name, 1)
        self.assertEqual(OWNER.twin_show(d)["properties"]["desired"]["fan"], {"speed": 3})
        self.assertEqual(OWNER.metric_show(name, "mine"), [{"deviceId": d}])
        shown = OWNER.configuration_show(name)
        shown["priority"], shown["labels"] = 4, {"team": "two"}
        updated = OWNER.configuration_update(shown)
        self.assertEqual((updated["priority"], updated["labels"]), (4, {"team": "two"}))
        self.status(412, OWNER.configuration_update, shown, "MTIz")
        self.assertIn(name, [c["id"] for c in OWNER.configuration_list() if c["content"].get("deviceContent") is not None])
        self.status(404, OWNER.configuration_show, "no-such-configuration")

    def test_bare(self):
        """Without labels and metrics, the update must find the members all the same."""
        name = self.make({"device_content": {"properties.desired.a": 1}})
        shown = OWNER.configuration_show(name)
        self.assertIsInstance(shown["metrics"]["queries"], dict)
        self.assertEqual(OWNER.configuration_update(shown)["targetCondition"], shown["targetCondition"])

    def test_module_configuration(self):
        d = self.device()
        OWNER.module_create(d, "m")
        where = f"from devices.modules where devices.deviceId = '{d}'"
        name = self.make({"module_content": {"properties.desired.a": 1}}, target_condition=where)
        self.applied(name, 1)
        self.assertEqual(OWNER.twin_show(d, "m")["properties"]["desired"]["a"], 1)

    def test_edge(self):
        d, tag = self.device(edge_enabled=True), world.unique("e")
        OWNER.twin_update(d, tags={"run": tag})
        modules = edge_modules("one")
        self.assertIn("one", [m["moduleId"] for m in OWNER.set_modules(d, modules)])
        self.assertEqual(OWNER.export_modules(d)["one"], modules["one"])
        name = self.make({"modules_content": edge_modules("two")}, target_condition=f"tags.run = '{tag}'", priority=1)
        self.applied(name, 1)
        agent = OWNER.twin_show(d, "$edgeAgent")["properties"]["desired"]
        self.assertEqual(list(agent["modules"]), ["two"])
        # deployment create --layered
        layer = {
            "$edgeAgent": {"properties.desired.modules.three": edge_module("three")},
            "two": {"properties.desired.interval": 6},
        }
        layered = self.make({"modules_content": layer}, target_condition=f"tags.run = '{tag}'", priority=2)
        self.applied(layered, 1)
        agent = OWNER.twin_show(d, "$edgeAgent")["properties"]["desired"]
        self.assertEqual(sorted(agent["modules"]), ["three", "two"])
        self.assertEqual(OWNER.twin_show(d, "two")["properties"]["desired"]["interval"], 6)
        self.assertIn(name, [c["id"] for c in OWNER.configuration_list() if c["content"].get("modulesContent") is not None])


def edge_module(name):
    settings = {"image": name, "createOptions": "{}"}
    return {"version": "1.0", "type": "docker", "status": "running", "restartPolicy": "always", "settings": settings}


def edge_modules(name):
    system = {"type": "docker", "settings": {"image": "agent", "createOptions": "{}"}}
    return {
        "$edgeAgent": {
            "properties.desired": {
                "schemaVersion": "1.1",
                "runtime": {"type": "docker", "settings": {"minDockerVersion": "v1.25"}},
                "systemModules": {"edgeAgent": system, "edgeHub": {**system, "status": "running", "restartPolicy": "always"}},
                "modules": {name: edge_module(name)},
            }
        },
        "$edgeHub": {
            "properties.desired": {"schemaVersion": "1.1", "routes": {}, "storeAndForwardConfiguration": {"timeToLiveSecs": 7200}}
        },
        name: {"properties.desired": {"interval": 5}},
    }


class Transfers(Case):
    """device-identity export and import, with a container of the hub's own storage."""

    def signed(self, container=None):
        grant = {"permissions": "racwdl", "seconds": 600, **({"container": container} if container else {})}
        headers = {"Authorization": az.token(world.HOST, OWNER.key, OWNER.policy)}
        r = az.requests.post(f"{world.ADMIN_URL}/hubs/localhost/blob-signatures", json=grant, headers=headers, timeout=20)
        r.raise_for_status()
        return f"https://{world.HOST}{r.json()['path'].rstrip('/')}", r.json()["query"]

    def container(self):
        name = world.unique("az")
        base, query = self.signed()
        az.requests.put(f"{base}/{name}?restype=container&{query}", timeout=20).raise_for_status()
        return "{}?{}".format(*self.signed(name))

    def done(self, job_id):
        deadline = time.monotonic() + 60
        while True:
            job = OWNER.job_show(job_id)  # shown as unknown among the scheduled ones, then found
            if job["status"] in ("completed", "failed", "cancelled"):
                return job
            self.assertLess(time.monotonic(), deadline, job)
            time.sleep(0.1)

    def test_export_import(self):
        d, url = self.device(), self.container()
        made = OWNER.device_export(url)
        self.assertEqual(self.done(made.job_id)["status"], "completed")
        self.assertIn(made.job_id, [j["jobId"] for j in OWNER.job_list()])
        base, query = url.split("?", 1)
        lines = az.requests.get(f"{base}/devices.txt?{query}", timeout=20).text.splitlines()
        mine = next(json.loads(line) for line in lines if json.loads(line)["id"] == d)
        key = OWNER.device_show(d)["authentication"]["symmetricKey"]["primaryKey"]
        self.assertEqual(mine["authentication"]["symmetricKey"]["primaryKey"], key)
        OWNER.device_delete(d)
        put = az.requests.put(
            f"{base}/devices.txt?{query}", data=json.dumps({**mine, "importMode": "create"}), headers={"x-ms-blob-type": "BlockBlob"}, timeout=20
        )
        put.raise_for_status()
        made = OWNER.device_import(url)
        job = self.done(made.job_id)
        self.assertEqual((job["type"], job["status"]), ("import", "completed"))
        self.assertEqual(OWNER.device_show(d)["authentication"]["symmetricKey"]["primaryKey"], key)


if __name__ == "__main__":
    unittest.main()
