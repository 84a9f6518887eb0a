"""What `az iot dps` and `az iot device registration` send to a provisioning service
with --login: see az.py.

The client is generated from the API description of the service, and the same
operations, headers and bodies go out. Methods are named after commands and return
JSON."""

import base64
import hashlib
import hmac

from azure.core.exceptions import HttpResponseError  # noqa: F401 (what commands report)
from azure.iot.device import X509, ProvisioningDeviceClient
from azure.iot.deviceprovisioning import DeviceProvisioningClient

import az  # noqa: F401 (says whom clients trust)
import world

# What --reprovision-policy means.
REPROVISION = {
    "reprovisionandmigratedata": {"updateHubAssignment": True, "migrateDeviceData": True},
    "reprovisionandresetdata": {"updateHubAssignment": True, "migrateDeviceData": False},
    "never": {"updateHubAssignment": False, "migrateDeviceData": False},
}


def compute_device_key(key, registration_id):
    """compute-device-key --symmetric-key: nothing is asked of anybody."""
    mac = hmac.new(base64.b64decode(key), registration_id.encode(), hashlib.sha256)
    return base64.b64encode(mac.digest()).decode()


def _twin(tags=None, properties=None):
    """Both parts are there, empty ones too."""
    return {"tags": tags or {}, "properties": {"desired": properties or {}}}


def _certificate(pem):
    return {"certificate": pem} if pem else None


def _pair(pems):
    return {k: _certificate(pem) for k, pem in zip(("primary", "secondary"), pems) if pem}


def x509(*pems):
    """enrollment create --attestation-type x509"""
    return {"type": "x509", "x509": {"clientCertificates": _pair(pems)}}


def signed(*pems):
    """enrollment-group create --certificate-path"""
    return {"type": "x509", "x509": {"signingCertificates": _pair(pems)}}


def symmetric(primary=None, secondary=None):
    keys = {k: v for k, v in (("primaryKey", primary), ("secondaryKey", secondary)) if v}
    return {"type": "symmetricKey", "symmetricKey": keys}


class _Enrollments:
    """enrollment or enrollment-group."""

    def __init__(self, operations, member):
        self._sdk, self._member = operations, member

    def create(self, enrollment_id, attestation, tags=None, properties=None, reprovision="reprovisionandmigratedata", edge_enabled=False, **more):
        body = {
            self._member: enrollment_id,
            "attestation": attestation,
            "capabilities": {"iotEdge": edge_enabled},
            "initialTwin": _twin(tags, properties),
            "reprovisionPolicy": REPROVISION[reprovision],
            **more,
        }
        return self._sdk.create_or_update(enrollment_id, body)

    def show(self, enrollment_id, show_keys=False):
        e = self._sdk.get(enrollment_id)
        if show_keys and e["attestation"]["type"] == "symmetricKey":
            e["attestation"] = self._sdk.get_attestation_mechanism(enrollment_id)
        return e

    def update(self, enrollment_id, change, etag=None):
        """All that was read goes back, but for what only the service writes."""
        e = self._sdk.get(enrollment_id)
        if e["attestation"]["type"] == "symmetricKey":
            e["attestation"] = self._sdk.get_attestation_mechanism(enrollment_id)
        for read_only in ("registrationState", "createdDateTimeUtc", "lastUpdatedDateTimeUtc"):
            e.pop(read_only, None)
        e["initialTwin"] = e.get("initialTwin") or _twin()
        change(e)
        return self._sdk.create_or_update(enrollment_id, e, if_match=etag or "*")

    def list(self, top=None):
        return _pages(lambda **how: self._sdk.query({"query": "SELECT *"}, **how), top)

    def delete(self, enrollment_id, etag=None):
        self._sdk.delete(enrollment_id, if_match=etag or "*")


def _pages(query, top):
    """What a query has in pages, at most top of it."""
    headers = {"Cache-Control": "no-cache, must-revalidate"}
    items = []
    for item in query(top=top, headers=headers):
        items.append(item)
        if len(items) == top:
            break
    return items


class AzDps:
    """The commands, with the connection string of a service."""

    def __init__(self, login):
        self._client = DeviceProvisioningClient.from_connection_string(login)
        self.enrollment = _Enrollments(self._client.enrollment, "registrationId")
        self.group = _Enrollments(self._client.enrollment_group, "enrollmentGroupId")
        self._state = self._client.device_registration_state

    def compute_device_key(self, group_id, registration_id):
        """enrollment-group compute-device-key"""
        a = self._client.enrollment_group.get_attestation_mechanism(group_id)
        return compute_device_key(a["symmetricKey"]["primaryKey"], registration_id)

    def registration_list(self, group_id, top=None):
        return _pages(lambda **how: self._state.query(group_id, **how), top)

    def registration_show(self, registration_id):
        return self._state.get(registration_id)

    def registration_delete(self, registration_id, etag=None):
        self._state.delete(registration_id, if_match=etag or "*")

    def device_registration_create(self, registration_id, group_id=None, certificate=None, payload=None):
        """az iot device registration create: the key comes from the service."""
        if certificate:
            return _register(registration_id, payload, x509=X509(*certificate))
        if group_id:
            key = self.compute_device_key(group_id, registration_id)
        else:
            key = self.enrollment.show(registration_id, show_keys=True)["attestation"]["symmetricKey"]["primaryKey"]
        return _register(registration_id, payload, symmetric_key=key)


def _register(registration_id, payload, **proof):
    make = ProvisioningDeviceClient.create_from_x509_certificate if "x509" in proof else ProvisioningDeviceClient.create_from_symmetric_key
    client = make(provisioning_host=world.DPS_HOST, registration_id=registration_id, id_scope=world.DPS_ID_SCOPE, websockets=True, **proof)
    client.provisioning_payload = payload
    return client.register()
