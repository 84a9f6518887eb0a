"""What `az iot` sends to a hub with --login.

The extension azure-iot of the Azure CLI is not in a package registry, so it cannot
be installed here. Its data plane is thin: a client generated from IoT Hub's API
description, which azure-iot-hub contains too, plain AMQP by uamqp and
azure-eventhub, and azure-iot-device. Here are its requests, made with those
clients: the same operations with the same arguments and headers, tokens and
addresses of the same form. Methods are named after commands and return JSON."""

import base64
import hashlib
import hmac
import json
import logging
import os
import time
import urllib.parse
import uuid
from collections import namedtuple

import certifi
import requests
from azure.iot.hub.protocol import models
from azure.iot.hub.protocol.iot_hub_gateway_service_ap_is import IotHubGatewayServiceAPIs
from msrest.authentication import Authentication

import world

# Nothing tells the CLI's clients whom to trust: REST goes by REQUESTS_CA_BUNDLE,
# devices by OpenSSL's SSL_CERT_FILE, and AMQP by certifi's bundle, where those who
# have an authority of their own must add it.
os.environ["SSL_CERT_FILE"] = world.CA_FILE
certifi.where = lambda: world.CA_FILE

import uamqp  # noqa: E402
from azure.eventhub import EventHubConsumerClient  # noqa: E402
from azure.eventhub._pyamqp import ReceiveClient  # noqa: E402
from azure.eventhub._pyamqp.authentication import _CBSAuth  # noqa: E402
from azure.eventhub._pyamqp.error import AMQPLinkRedirect  # noqa: E402

AccessToken = namedtuple("AccessToken", ["token", "expires_on"])


def token(uri, key, policy=None, duration=3600):
    """A token as the CLI writes it: members in this order, each encoded once."""
    expiry = int(time.time() + duration)
    text = f"{urllib.parse.quote_plus(uri)}\n{expiry}"
    mac = hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()
    members = {"sr": uri, "sig": base64.b64encode(mac), "se": str(expiry)}
    if policy:
        members["skn"] = policy
    return "SharedAccessSignature " + urllib.parse.urlencode(members)


class _Signed(Authentication):
    def __init__(self, *args):
        self.args = args

    def signed_session(self, session=None):
        session = session or super().signed_session()
        session.headers["Authorization"] = token(*self.args, duration=600)
        return session


logging.getLogger("msrest").setLevel("ERROR")  # it warns of times that have no zone


def _json(raw):
    return raw.response.json() if raw.response.content else None


def _job(job):
    """An import or export as the commands about jobs show it."""
    return {"jobId": job.job_id, "type": job.type, "status": job.status, "progress": job.progress, **job.additional_properties}


def _match(etag):
    """Quoted, any version too, which is what commands ask for when they get no --etag."""
    return {"If-Match": f'"{etag}"'}


class Az:
    """The commands, with the connection string of a hub."""

    def __init__(self, login):
        p = dict(x.split("=", 1) for x in login.split(";"))
        self.host, self.policy, self.key = p["HostName"], p["SharedAccessKeyName"], p["SharedAccessKey"]
        self.sdk = IotHubGatewayServiceAPIs(_Signed(self.host, self.key, self.policy), base_url=f"https://{self.host}")

    # iot hub query

    def query(self, command, top=None):
        spec = models.QuerySpecification(query=command)
        return self._pages(lambda headers: self.sdk.query.get_twins(spec, custom_headers=headers, raw=True).response, top)

    def _pages(self, page, top):
        """What a request has in pages, at most top of it."""
        headers = {"Cache-Control": "no-cache, must-revalidate"}
        if top:
            headers["x-ms-max-item-count"] = str(top)
        out = []
        while True:
            r = page(headers)
            out.extend(r.json())
            following = r.headers.get("x-ms-continuation")
            if not following or top and len(out) >= top:
                return out[:top] if top else out
            if top:
                headers["x-ms-max-item-count"] = str(top - len(out))
            headers["x-ms-continuation"] = following

    # iot hub device-identity

    def device_create(self, device_id, edge_enabled=False, auth=None, status="enabled", status_reason=None, scope=None):
        device = models.Device(
            device_id=device_id,
            authentication=auth or models.AuthenticationMechanism(symmetric_key=models.SymmetricKey(), type="sas"),
            capabilities=models.DeviceCapabilities(iot_edge=edge_enabled),
            status=status,
            status_reason=status_reason,
            device_scope=scope,
        )
        return _json(self.sdk.devices.create_or_update_identity(device_id, device, raw=True))

    def device_show(self, device_id):
        device = _json(self.sdk.devices.get_identity(device_id, raw=True))
        device["hub"] = self.host
        return device

    def device_update(self, device, etag="*"):
        """The whole device goes back as it was shown, `hub` included."""
        headers = _match(etag)
        return _json(self.sdk.devices.create_or_update_identity(device["deviceId"], device, custom_headers=headers, raw=True))

    def device_delete(self, device_id, etag="*"):
        self.sdk.devices.delete_identity(device_id, custom_headers=_match(etag))

    def renew_key(self, policy_key, *ids):
        """device-identity and module-identity renew-key: the client has no operation for it."""
        body = {"policyKey": policy_key, "devices": [{"id": d, "moduleId": m} if m else {"id": d} for d, m in ids]}
        r = self._rest("POST", "/devices/keys/regenerate", json=body)
        r.raise_for_status()
        return r.json()

    def parent_set(self, device_id, parent_id):
        child, parent = self.device_show(device_id), self.device_show(parent_id)
        if child["capabilities"]["iotEdge"]:
            child["parentScopes"] = [parent["deviceScope"]]
        else:
            child["deviceScope"] = parent["deviceScope"]
        return self.device_update(child, child["etag"])

    def parent_show(self, device_id):
        child = self.device_show(device_id)
        scopes = child.get("parentScopes") or [child["deviceScope"]]
        return self.device_show(scopes[0][len("ms-azure-iot-edge://") : scopes[0].rindex("-")])

    def children_list(self, device_id):
        scope = self.device_show(device_id)["deviceScope"]
        return self.query(f"select * from devices where array_contains(parentScopes, '{scope}')")

    def children_remove(self, device_id):
        child = self.device_show(device_id)
        if child["capabilities"]["iotEdge"]:
            child["parentScopes"] = []
        else:
            child["deviceScope"] = ""
        return self.device_update(child, child["etag"])

    def connection_string(self, entity, key_type="primary"):
        ids = f"DeviceId={entity['deviceId']}"
        if entity.get("moduleId"):
            ids += f";ModuleId={entity['moduleId']}"
        return f"HostName={self.host};{ids};SharedAccessKey={entity['authentication']['symmetricKey'][key_type + 'Key']}"

    # iot hub module-identity

    def module_create(self, device_id, module_id):
        module = models.Module(
            module_id=module_id,
            device_id=device_id,
            authentication=models.AuthenticationMechanism(symmetric_key=models.SymmetricKey(), type="sas"),
        )
        return _json(self.sdk.modules.create_or_update_identity(device_id, module_id, module, raw=True))

    def module_show(self, device_id, module_id):
        module = _json(self.sdk.modules.get_identity(device_id, module_id, raw=True))
        module["hub"] = self.host
        return module

    def module_list(self, device_id):
        return _json(self.sdk.modules.get_modules_on_device(device_id, raw=True))

    def module_update(self, module, etag="*"):
        ids, headers = (module["deviceId"], module["moduleId"]), _match(etag)
        return _json(self.sdk.modules.create_or_update_identity(*ids, module, custom_headers=headers, raw=True))

    def module_delete(self, device_id, module_id, etag="*"):
        self.sdk.modules.delete_identity(device_id, module_id, custom_headers=_match(etag))

    # iot hub device-twin, iot hub module-twin

    def _twins(self, ids):
        return self.sdk.modules if len(ids) == 2 else self.sdk.devices

    def twin_show(self, *ids):
        return _json(self._twins(ids).get_twin(*ids, raw=True))

    def twin_update(self, *ids, desired=None, tags=None, etag="*"):
        patch = {}
        if desired is not None:
            patch["properties"] = {"desired": desired}
        if tags is not None:
            patch["tags"] = tags
        return _json(self._twins(ids).update_twin(*ids, patch, custom_headers=_match(etag), raw=True))

    def twin_replace(self, *ids, twin, etag="*"):
        return _json(self._twins(ids).replace_twin(*ids, twin, custom_headers=_match(etag), raw=True))

    # iot hub invoke-device-method, invoke-module-method

    def invoke(self, *ids, name, payload=None, timeout=30, patience=None):
        """The CLI waits for the answer as long as the hub may wait for the device, and no longer, unless patience is given."""
        method = models.CloudToDeviceMethod(
            method_name=name,
            payload={} if payload is None else payload,
            response_timeout_in_seconds=timeout,
            connect_timeout_in_seconds=timeout,
        )
        return _json(self._twins(ids).invoke_method(*ids, method, timeout=patience or timeout, raw=True))

    # iot hub digital-twin

    def digital_twin_show(self, device_id):
        return _json(self.sdk.digital_twin.get_digital_twin(device_id, raw=True))

    def digital_twin_update(self, device_id, patch, etag="*"):
        self.sdk.digital_twin.update_digital_twin(device_id, patch, custom_headers=_match(etag))
        return self.digital_twin_show(device_id)

    def digital_twin_invoke(self, device_id, name, payload, component=None):
        timeouts = {"connect_timeout_in_seconds": 30, "response_timeout_in_seconds": 30, "raw": True}
        if component:
            r = self.sdk.digital_twin.invoke_component_command(device_id, component, name, payload, **timeouts)
        else:
            r = self.sdk.digital_twin.invoke_root_level_command(device_id, name, payload, **timeouts)
        return r.response.json(), r.response.headers.get("x-ms-command-statuscode")

    # iot hub job

    def job_create(self, job_id, job_type, condition, twin_patch=None, method_name=None, start_time=None, ttl=3600):
        request = models.JobRequest(
            job_id=job_id, type=job_type, start_time=start_time, max_execution_time_in_seconds=ttl, query_condition=condition
        )
        if twin_patch:
            request.update_twin = {**twin_patch, "etag": "*"}
        else:
            request.cloud_to_device_method = models.CloudToDeviceMethod(
                method_name=method_name, payload={}, connect_timeout_in_seconds=30, response_timeout_in_seconds=30
            )
        return _json(self.sdk.jobs.create_scheduled_job(job_id, request, raw=True))

    def job_show(self, job_id):
        job = _json(self.sdk.jobs.get_scheduled_job(job_id, raw=True))
        if job["status"] == "unknown":  # not one of this kind: an import or an export
            return _job(self.sdk.jobs.get_import_export_job(job_id))
        return job

    def job_list(self, job_type=None, job_status=None, top=None):
        out = []
        if job_type not in ("import", "export"):
            # The operation of azure-iot-hub takes the answer for an object and fails.
            query = {k: v for k, v in (("jobType", job_type), ("jobStatus", job_status)) if v}
            out += self._pages(lambda headers: self._rest("GET", "/jobs/v2/query", params=query, headers=headers), top)
        if not job_type or job_type in ("import", "export"):
            out += [_job(j) for j in self.sdk.jobs.get_import_export_jobs()]
        out = [j for j in out if job_type in (None, j["type"]) and job_status in (None, j["status"])]
        return out[:top] if top else out

    def job_cancel(self, job_id):
        if self.job_show(job_id)["type"] in ("import", "export"):
            return self.sdk.jobs.cancel_import_export_job(job_id)
        return _json(self.sdk.jobs.cancel_scheduled_job(job_id, raw=True))

    def device_export(self, container, include_keys=True):
        job = models.JobProperties(
            type="export",
            output_blob_container_uri=container,
            exclude_keys_in_export=not include_keys,
            storage_authentication_type="keyBased",
        )
        return self.sdk.jobs.create_import_export_job(job)

    def device_import(self, container):
        job = models.JobProperties(
            type="import", input_blob_container_uri=container, output_blob_container_uri=container, storage_authentication_type="keyBased"
        )
        return self.sdk.jobs.create_import_export_job(job)

    # iot hub configuration, iot edge deployment

    def configuration_create(self, config_id, content, target_condition="", priority=0, labels=None, metrics=None):
        config = models.Configuration(
            id=config_id.lower(),
            schema_version="2.0",
            labels=labels,
            content=models.ConfigurationContent(**content),
            metrics=models.ConfigurationMetrics(queries=metrics),
            target_condition=target_condition,
            etag="*",
            priority=priority,
        )
        return _json(self.sdk.configuration.create_or_update(config.id, config, raw=True))

    def configuration_show(self, config_id):
        return _json(self.sdk.configuration.get(config_id, raw=True))

    def configuration_list(self):
        return _json(self.sdk.configuration.get_configurations(raw=True))

    def configuration_update(self, shown, etag="*"):
        """Members that are not there end the command, so that a hub must show them all."""
        config = models.Configuration(
            id=shown["id"],
            schema_version=shown["schemaVersion"],
            labels=shown["labels"],
            content=shown["content"],
            metrics=shown["metrics"],
            target_condition=shown["targetCondition"],
            priority=shown["priority"],
        )
        return _json(self.sdk.configuration.create_or_update(shown["id"], config, custom_headers=_match(etag), raw=True))

    def configuration_delete(self, config_id, etag="*"):
        self.sdk.configuration.delete(config_id, custom_headers=_match(etag))

    def metric_show(self, config_id, metric_id, metric_type="user"):
        metrics = self.configuration_show(config_id)["systemMetrics" if metric_type == "system" else "metrics"]
        return self.query(metrics["queries"][metric_id])

    def set_modules(self, device_id, modules_content):
        self.sdk.configuration.apply_on_edge_device(device_id, models.ConfigurationContent(modules_content=modules_content))
        return self.module_list(device_id)

    def export_modules(self, device_id):
        out = {}
        for module in self.module_list(device_id):
            desired = self.twin_show(device_id, module["moduleId"])["properties"]["desired"]
            if desired:
                desired.pop("$metadata")
                desired.pop("$version")
                out[module["moduleId"]] = {"properties.desired": desired}
        return out

    # iot device c2d-message

    def _rest(self, method, path, **options):
        """A request that the client above has no operation for, with the token of the hub or of one device."""
        uri = self.host + options.pop("resource", "")
        headers = {"Authorization": token(uri, self.key, self.policy, 600), **options.pop("headers", {})}
        query = {"api-version": "2021-04-12", **options.pop("params", {})}
        return requests.request(method, f"https://{self.host}{path}", params=query, headers=headers, timeout=60, **options)

    def _device(self, method, device_id, path, **options):
        """Commands in a device's place: a token for the device, with the policy's key."""
        resource = f"/devices/{device_id}"
        return self._rest(method, resource + path, resource=resource, **options)

    def device_event(self, device_id, data, properties):
        """iot device simulate --protocol http: properties are headers as they are."""
        headers = {"content-type": "application/json", "content-encoding": "utf-8", **properties}
        self._device("POST", device_id, "/messages/events", json=data, headers=headers).raise_for_status()

    def _amqps(self, operation):
        user = f"{self.policy}@sas.root.{self.host.split('.')[0]}"
        secret = token(self.host, self.key, self.policy, 360)
        quote = urllib.parse.quote_plus
        return f"amqps://{quote(user)}:{quote(secret)}@{self.host}{operation}"

    def c2d_send(self, device_id, data, ack=None, properties=None, message_id=None, **system):
        props = uamqp.message.MessageProperties()
        props.to = f"/devices/{device_id}/messages/devicebound"
        props.message_id = message_id or str(uuid.uuid4())
        props.content_encoding = "utf-8"
        for name, value in system.items():
            setattr(props, name, value)
        message = uamqp.Message(
            body=data.encode(), properties=props, application_properties={**(properties or {}), "iothub-ack": ack or "none"}
        )
        client = uamqp.SendClient(target=self._amqps("/messages/devicebound"), client_name=f"az/{uuid.uuid4()}")
        client.queue_message(message)
        if any(s == uamqp.constants.MessageState.SendFailed for s in client.send_all_messages()):
            raise AssertionError("the message was not taken")
        return props.message_id.decode() if isinstance(props.message_id, bytes) else props.message_id

    def c2d_receive(self, device_id, lock_timeout=60):
        r = self._device("GET", device_id, "/messages/deviceBound", headers={"IotHub-MessageLockTimeout": str(lock_timeout)})
        if r.status_code == 204:
            return None
        r.raise_for_status()
        app = {k.lower()[len("iothub-app-") :]: v for k, v in r.headers.items() if k.lower().startswith("iothub-app-")}
        system = {k.lower(): v for k, v in r.headers.items() if k.lower().startswith("iothub-") and not k.lower().startswith("iothub-app-")}
        data = r.content.decode(r.headers.get("content-encoding", "utf-8"))
        return {"etag": r.headers["etag"].strip('"'), "data": data, "app": app, "system": system}

    def c2d_settle(self, device_id, etag, how):
        path = f"/messages/deviceBound/{etag}"
        if how == "abandon":
            r = self._device("POST", device_id, path + "/abandon")
        else:
            r = self._device("DELETE", device_id, path, params={"reject": ""} if how == "reject" else {})
        return r.status_code

    def c2d_purge(self, device_id):
        return _json(self.sdk.cloud_to_device_messages.purge_cloud_to_device_message_queue(device_id, raw=True))

    # iot device upload-file

    def upload_file(self, device_id, name, content, content_type):
        r = self._device("POST", device_id, "/files", json={"blobName": name})
        r.raise_for_status()
        meta = r.json()
        blob = "https://{hostName}/{containerName}/{blobName}{sasToken}".format(**meta)
        put = requests.put(blob, data=content, headers={"x-ms-blob-type": "BlockBlob", "Content-Type": content_type}, timeout=60)
        put.raise_for_status()
        done = {"correlationId": meta["correlationId"], "isSuccess": True, "statusCode": put.status_code, "statusDescription": put.reason}
        self._device("POST", device_id, "/files/notifications", json=done).raise_for_status()
        return blob

    # iot hub monitor-feedback

    def monitor_feedback(self, wait_on_id):
        client = uamqp.ReceiveClient(source=self._amqps("/messages/servicebound/feedback"), client_name=f"az/{uuid.uuid4()}", timeout=30000)
        try:
            for message in client.receive_messages_iter():
                for record in json.loads(next(message.get_data())):
                    if record["originalMessageId"] == wait_on_id:
                        message.accept()
                        return record
        finally:
            client.close()
        raise AssertionError(f"no feedback of {wait_on_id}")

    # iot hub monitor-events

    def events_endpoint(self):
        """Where the hub says that its events are, and under which name."""
        source = f"amqps://{self.host}/messages/events/$management"
        auth = _CBSAuth(
            uri=source,
            audience=self.host,
            token_type=b"servicebus.windows.net:sastoken",
            get_token=lambda: AccessToken(token(self.host, self.key, self.policy, 360), time.time() + 360),
            expires_in=360,
        )
        client = ReceiveClient(hostname=self.host, source=source, auth=auth, network_trace=False, timeout=30000, prefetch=1)
        try:
            client.open()
            client.receive_message_batch(max_batch_size=1, timeout=5000)
        except AMQPLinkRedirect as redirect:
            host = redirect.info.get(b"hostname") or redirect.info.get("hostname")
            address = redirect.info.get(b"address") or redirect.info.get("address")
            path = address.decode().replace("amqps://", "").split("/", 1)[1]
            return host.decode(), path.removesuffix("/$management")
        finally:
            client.close()
        raise AssertionError("the hub did not redirect")

    def monitor_events(self, enough, since, consumer_group="$Default", timeout=20):
        """Read the events from a time on until enough(list) holds."""
        host, path = self.events_endpoint()
        text = f"Endpoint=sb://{host}/;SharedAccessKeyName={self.policy};SharedAccessKey={self.key};EntityPath={path}"
        seen = []
        client = EventHubConsumerClient.from_connection_string(text, consumer_group=consumer_group, eventhub_name=path)
        deadline = time.monotonic() + timeout

        def on_event(_, event):
            if event is not None:
                seen.append(event)
            if enough(seen) or time.monotonic() > deadline:
                client.close()

        with client:
            client.receive(on_event, starting_position=since, max_wait_time=1)
        if not enough(seen):
            raise AssertionError(f"{len(seen)} events, and not the one that was sent")
        return seen
