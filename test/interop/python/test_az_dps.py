"""The data plane of `az iot dps … --login`: see az_dps.py."""

import os
import tempfile
import unittest

from azure.core.exceptions import HttpResponseError
from azure.iot.device.exceptions import ClientError

import az_dps
import world

DPS = az_dps.AzDps(world.DPS)
HUB = world.HOST


class Case(unittest.TestCase):
    def enroll(self, attestation=None, **options):
        return self._made(DPS.enrollment, DPS.enrollment.create(world.unique("az"), attestation or az_dps.symmetric(), **options), "registrationId")

    def group(self, attestation=None, **options):
        return self._made(DPS.group, DPS.group.create(world.unique("az"), attestation or az_dps.symmetric(), **options), "enrollmentGroupId")

    def _made(self, commands, e, member):
        self.addCleanup(self._forget, commands, e[member])
        return e

    def _forget(self, commands, enrollment_id):
        try:
            commands.delete(enrollment_id)
        except HttpResponseError:
            pass  # the case has deleted it

    def status(self, code, fn, *args, **kwargs):
        with self.assertRaises(HttpResponseError) as caught:
            fn(*args, **kwargs)
        self.assertEqual(caught.exception.status_code, code, caught.exception)
        # What the CLI shows of an error.
        body = caught.exception.response.json()
        self.assertTrue(body["message"] and body["trackingId"])
        self.assertEqual(body["errorCode"] // 1000, code)


class Enrollments(Case):
    def test_enrollment(self):
        e = self.enroll(
            tags={"site": "north"}, properties={"interval": 5}, reprovision="never", edge_enabled=True, deviceId=world.unique("dev"),
            provisioningStatus="disabled", allocationPolicy="static", iotHubs=[HUB], optionalDeviceInformation={"serial": "4711"},
        )
        rid = e["registrationId"]
        self.assertTrue(e["attestation"]["symmetricKey"]["primaryKey"])
        shown = DPS.enrollment.show(rid)
        self.assertFalse(shown["attestation"].get("symmetricKey"))
        self.assertEqual(
            {k: shown[k] for k in ("provisioningStatus", "allocationPolicy", "iotHubs", "reprovisionPolicy", "capabilities", "initialTwin", "optionalDeviceInformation")},
            {
                "provisioningStatus": "disabled", "allocationPolicy": "static", "iotHubs": [HUB], "reprovisionPolicy": az_dps.REPROVISION["never"],
                "capabilities": {"iotEdge": True}, "initialTwin": {"tags": {"site": "north"}, "properties": {"desired": {"interval": 5}}},
                "optionalDeviceInformation": {"serial": "4711"},
            },
        )
        self.assertEqual(shown["registrationState"]["status"], "unassigned")
        # --show-keys: the attestation is replaced as a whole.
        keys = DPS.enrollment.show(rid, show_keys=True)["attestation"]
        self.assertEqual(keys, e["attestation"])
        self.assertEqual(set(keys), {"type", "symmetricKey"})

        updated = DPS.enrollment.update(rid, lambda e: e.update(provisioningStatus="enabled", deviceId=rid))
        self.assertEqual((updated["provisioningStatus"], updated["deviceId"]), ("enabled", rid))
        self.assertEqual(updated["initialTwin"], shown["initialTwin"])
        self.assertEqual(updated["attestation"], keys)
        key = "AAECAwQFBgcICQoLDA0ODw=="
        updated = DPS.enrollment.update(rid, lambda e: e["attestation"]["symmetricKey"].update(primaryKey=key))
        self.assertEqual(updated["attestation"]["symmetricKey"], {"primaryKey": key, "secondaryKey": keys["symmetricKey"]["secondaryKey"]})
        # --etag as it was shown, with its quotes, and without.
        self.status(412, DPS.enrollment.update, rid, lambda e: None, etag=shown["etag"])
        DPS.enrollment.update(rid, lambda e: None, etag=updated["etag"])
        self.status(412, DPS.enrollment.delete, rid, etag=updated["etag"])
        DPS.enrollment.delete(rid, etag=DPS.enrollment.show(rid)["etag"].strip('"'))
        self.status(404, DPS.enrollment.show, rid)
        self.status(404, DPS.enrollment.delete, rid)

    def test_enrollment_x509(self):
        first, second = (world.self_signed(world.unique("cert"))["cert"] for _ in range(2))
        e = self.enroll(az_dps.x509(first))
        rid, pair = e["registrationId"], e["attestation"]["x509"]["clientCertificates"]
        info = pair["primary"]["info"]
        self.assertEqual(len(info["sha256Thumbprint"]), 64)
        self.assertNotIn("certificate", pair["primary"])

        def pair_of(e):
            return e["attestation"]["x509"]["clientCertificates"]

        # --secondary-certificate-path: of the first, its description goes back.
        e = DPS.enrollment.update(rid, lambda e: pair_of(e).update(secondary={"certificate": second}))
        self.assertEqual(pair_of(e)["primary"]["info"], info)
        other = pair_of(e)["secondary"]["info"]
        self.assertNotEqual(other["sha1Thumbprint"], info["sha1Thumbprint"])
        # --remove-certificate
        e = DPS.enrollment.update(rid, lambda e: pair_of(e).pop("primary"))
        self.assertEqual(pair_of(e), {"primary": {"info": other}})

    def test_enrollment_list(self):
        made = sorted(self.enroll()["registrationId"] for _ in range(3))
        listed = DPS.enrollment.list()
        self.assertLessEqual(set(made), {e["registrationId"] for e in listed})
        self.assertFalse([e for e in listed if "primaryKey" in str(e)])
        self.assertEqual(len(DPS.enrollment.list(top=2)), 2)

    def test_enrollment_refused(self):
        self.status(400, self.enroll, {"type": "none"})
        self.status(400, self.enroll, iotHubs=["elsewhere.example.com"], allocationPolicy="static")
        stranger = az_dps.AzDps(world.with_key(world.DPS, "AAAA"))
        self.status(401, stranger.enrollment.list)


class Groups(Case):
    def test_enrollment_group(self):
        g = self.group(tags={"site": "north"}, allocationPolicy="hashed", edge_enabled=True)
        gid = g["enrollmentGroupId"]
        self.assertIn(gid, {x["enrollmentGroupId"] for x in DPS.group.list()})
        self.assertEqual(DPS.group.show(gid, show_keys=True)["attestation"], g["attestation"])
        updated = DPS.group.update(gid, lambda e: e.update(allocationPolicy="geoLatency", provisioningStatus="disabled"))
        self.assertEqual((updated["allocationPolicy"], updated["provisioningStatus"]), ("geoLatency", "disabled"))
        self.assertEqual(updated["attestation"], g["attestation"])
        self.status(412, DPS.group.delete, gid, etag=g["etag"])
        DPS.group.delete(gid)
        self.status(404, DPS.group.show, gid)

    def test_enrollment_group_x509(self):
        g = self.group(az_dps.signed(world.CA))
        certificates = g["attestation"]["x509"]["signingCertificates"]
        self.assertIn("Causeway", certificates["primary"]["info"]["subjectName"])
        updated = DPS.group.update(g["enrollmentGroupId"], lambda e: e.update(provisioningStatus="disabled"))
        self.assertEqual(updated["attestation"], g["attestation"])
        self.status(400, self.group, az_dps.signed(world.self_signed("leaf")["cert"]))
        self.status(400, self.group, {"type": "x509", "x509": {"caReferences": {"primary": world.unique("nobody")}}})

    def test_compute_device_key(self):
        g = self.group()
        rid = world.unique("Dev")
        key = DPS.compute_device_key(g["enrollmentGroupId"], rid)
        self.assertEqual(key, az_dps.compute_device_key(g["attestation"]["symmetricKey"]["primaryKey"], rid))
        # The key that the server derives is the same: the device is admitted.
        self.assertEqual(DPS.device_registration_create(rid, g["enrollmentGroupId"]).status, "assigned")


class Registrations(Case):
    def test_registration(self):
        g = self.group(allocationPolicy="static", iotHubs=[HUB])["enrollmentGroupId"]
        ids = sorted(world.unique("az") for _ in range(3))
        for rid in ids:
            r = DPS.device_registration_create(rid, g)
            self.assertEqual((r.status, r.registration_state.assigned_hub, r.registration_state.device_id), ("assigned", HUB, rid))
        listed = DPS.registration_list(g)
        self.assertEqual([r["registrationId"] for r in listed], ids)
        self.assertEqual(len(DPS.registration_list(g, top=2)), 2)
        shown = DPS.registration_show(ids[0])
        self.assertEqual(shown, listed[0])
        self.assertEqual((shown["status"], shown["substatus"], shown["enrollmentGroupId"]), ("assigned", "initialAssignment", g))
        self.status(412, DPS.registration_delete, ids[0], etag="stale")
        DPS.registration_delete(ids[0], etag=shown["etag"])
        self.status(404, DPS.registration_show, ids[0])
        self.assertEqual(DPS.device_registration_create(ids[0], g).registration_state.sub_status, "initialAssignment")

    def test_registration_of_an_enrollment(self):
        e = self.enroll(deviceId=world.unique("dev"))
        rid = e["registrationId"]
        self.status(404, DPS.registration_show, rid)
        self.assertEqual(DPS.device_registration_create(rid, payload={"line": 7}).registration_state.device_id, e["deviceId"])
        self.assertEqual(DPS.enrollment.show(rid)["registrationState"]["status"], "assigned")
        # A device that is kept out: what the CLI knows it by.
        DPS.enrollment.update(rid, lambda e: e.update(provisioningStatus="disabled"))
        with self.assertRaises(ClientError) as caught:
            DPS.device_registration_create(rid)
        self.assertIn("invalid registration status disabled with a status code of 200", str(caught.exception.__cause__ or caught.exception))

    def test_registration_x509(self):
        rid = world.unique("az")
        c = world.self_signed(rid)
        with tempfile.TemporaryDirectory() as d:
            for name in ("cert", "key"):
                with open(os.path.join(d, name), "w", encoding="ascii") as f:
                    f.write(c[name])
            DPS.enrollment.create(rid, az_dps.x509(c["cert"]))
            self.addCleanup(self._forget, DPS.enrollment, rid)
            r = DPS.device_registration_create(rid, certificate=(os.path.join(d, "cert"), os.path.join(d, "key")))
        self.assertEqual(r.status, "assigned")
