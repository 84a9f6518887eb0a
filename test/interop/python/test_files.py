"""File upload with azure-iot-device and azure-storage-blob, and the storage with
the latter."""

import json
import os
import unittest
import urllib.request
from urllib.parse import quote, urlencode

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.iot.device import IoTHubDeviceClient
from azure.iot.device.aio import IoTHubDeviceClient as AioClient
from azure.storage.blob import BlobClient, BlobServiceClient, BlobType, ContainerClient, ContentSettings

import world


def address(container, permissions, blob=""):
    """Return an address with a signature, for the account, a container or a blob."""
    q = urlencode({"hub": "localhost", "container": container, "permissions": permissions, "blob": blob})
    with urllib.request.urlopen(urllib.request.Request(f"{world.CONTROL_URL}/sas?{q}", method="POST"), timeout=60) as r:
        a = json.loads(r.read())
    return f"https://{world.HOST}{a['path']}?{a['query']}"


def read(container, name):
    return BlobClient.from_blob_url(address(container, "r", name), connection_verify=world.CA_FILE).download_blob().readall()


class Upload(unittest.IsolatedAsyncioTestCase):
    async def _upload(self, create, content, name):
        d = world.create_device("pyfile")
        c = create(world.device_string(d), server_verification_cert=world.CA)
        self.addAsyncCleanup(c.shutdown)
        info = await c.get_storage_info_for_blob(name)
        self.assertEqual(info["hostName"], world.HOST)
        self.assertEqual(info["blobName"], f"{d.device_id}/{name}")
        # As Azure's own samples do it.
        url = f"https://{info['hostName']}/{info['containerName']}/{quote(info['blobName'])}{info['sasToken']}"
        with BlobClient.from_blob_url(url, connection_verify=world.CA_FILE, max_single_put_size=1 << 20, max_block_size=1 << 20) as blob:
            result = blob.upload_blob(content, overwrite=True)
        self.assertTrue(result["etag"])
        await c.notify_blob_upload_status(info["correlationId"], True, 200, f"OK: {name}")
        self.assertEqual(read("uploads", info["blobName"]), content)
        with self.assertRaises(Exception):
            await c.notify_blob_upload_status(info["correlationId"], True, 200, "again")
        return c

    async def test_sync_client(self):
        def create(cs, **kwargs):
            return world.SyncClient(IoTHubDeviceClient.create_from_connection_string(cs, **kwargs))

        await self._upload(create, os.urandom(3_500_000), "logs/today.bin")

    async def test_aio_client(self):
        c = await self._upload(AioClient.create_from_connection_string, b"hello", "ä b+c.txt")
        info = await c.get_storage_info_for_blob("failed.txt")
        await c.notify_blob_upload_status(info["correlationId"], False, 500, "no storage")

    async def test_url_of_parts(self):
        d = world.create_device("pyparts")
        c = AioClient.create_from_connection_string(world.device_string(d), server_verification_cert=world.CA)
        self.addAsyncCleanup(c.shutdown)
        info = await c.get_storage_info_for_blob("a/b/c.txt")
        blob = BlobClient(f"https://{info['hostName']}", info["containerName"], info["blobName"], credential=info["sasToken"][1:], connection_verify=world.CA_FILE)
        blob.upload_blob(b"hello")
        with self.assertRaises(HttpResponseError) as e:
            blob.download_blob()
        self.assertEqual((e.exception.status_code, e.exception.error_code), (403, "AuthorizationPermissionMismatch"))
        await c.notify_blob_upload_status(info["correlationId"], True, 200, "OK")
        self.assertEqual(read("uploads", info["blobName"]), b"hello")


class Storage(unittest.TestCase):
    def container(self):
        service = BlobServiceClient(address("", "racwdl"), connection_verify=world.CA_FILE)
        c = service.create_container(world.unique("pyfiles"))
        self.addCleanup(lambda: c.exists() and c.delete_container())
        return c

    def refused(self, status, code, f, *args, **kwargs):
        with self.assertRaises(HttpResponseError) as e:
            f(*args, **kwargs)
        self.assertEqual((e.exception.status_code, str(getattr(e.exception.error_code, "value", e.exception.error_code))), (status, code))

    def test_containers(self):
        c = self.container()
        self.assertTrue(c.exists())
        self.refused(409, "ContainerAlreadyExists", c.create_container)
        service = BlobServiceClient(address("", "racwdl"), connection_verify=world.CA_FILE)
        self.assertIn(c.container_name, [x.name for x in service.list_containers()])
        c.delete_container()
        self.assertFalse(c.exists())

    def test_block_blobs(self):
        c = self.container()
        b = c.upload_blob("dir/ä b+c%.txt", b"hello", metadata={"device": "press-1"}, content_settings=ContentSettings(content_type="text/plain"))
        p = b.get_blob_properties()
        self.assertEqual((p.size, p.metadata, p.content_settings.content_type), (5, {"device": "press-1"}, "text/plain"))
        with self.assertRaises(ResourceExistsError):
            c.upload_blob("dir/ä b+c%.txt", b"x")
        self.refused(412, "ConditionNotMet", c.upload_blob, "dir/ä b+c%.txt", b"x", overwrite=True, etag='"0x1"', match_condition=MatchConditions.IfNotModified)
        b.set_blob_metadata({"k": "v"})
        b.set_http_headers(ContentSettings(content_type="text/csv"))
        p = b.get_blob_properties()
        self.assertEqual((p.metadata, p.content_settings.content_type), ({"k": "v"}, "text/csv"))
        large = os.urandom(9_000_000)
        url = address(c.container_name, "racwdl", "large")
        sizes = {"max_block_size": 1 << 20, "max_single_put_size": 1 << 20, "max_chunk_get_size": 1 << 20, "max_single_get_size": 1 << 20}
        big = BlobClient.from_blob_url(url, connection_verify=world.CA_FILE, **sizes)
        big.upload_blob(large, max_concurrency=4)
        self.assertEqual(len(big.get_block_list()[0]), 9)
        self.assertEqual(big.download_blob(max_concurrency=4).readall(), large)
        self.assertEqual(big.download_blob(offset=100, length=2_000_000).readall(), large[100:2_000_100])
        big.upload_blob(large, overwrite=True, validate_content=True)
        self.assertEqual(big.download_blob(validate_content=True).readall(), large)
        c.upload_blob("empty", b"")
        self.assertEqual(c.download_blob("empty").readall(), b"")
        c.delete_blob("empty")
        with self.assertRaises(ResourceNotFoundError):
            c.delete_blob("empty")
        self.assertFalse(c.get_blob_client("empty").exists())

    def test_append_blobs(self):
        c = self.container()
        b = c.get_blob_client("log")
        b.create_append_blob()
        self.assertEqual([b.append_block(f"line {i}\n")["blob_append_offset"] for i in range(3)], ["0", "7", "14"])
        self.refused(412, "AppendPositionConditionNotMet", b.append_block, b"x", appendpos_condition=7)
        self.assertEqual(b.download_blob().readall(), b"line 0\nline 1\nline 2\n")
        content = os.urandom(5_000_000)
        c.upload_blob("large", content, blob_type=BlobType.APPENDBLOB)
        self.assertEqual(c.download_blob("large").readall(), content)

    def test_lists(self):
        c = self.container()
        names = ["a", "b/1", "b/2", "b/c/3", "d", "é <&>"]
        for n in names:
            c.upload_blob(n, n.encode(), metadata={"n": str(len(n))})
        self.assertEqual([x.name for x in c.list_blobs(results_per_page=2)], names)
        self.assertEqual([(x.name, x.metadata) for x in c.list_blobs(name_starts_with="b/", include=["metadata"])],
                         [("b/1", {"n": "3"}), ("b/2", {"n": "3"}), ("b/c/3", {"n": "5"})])
        self.assertEqual(sorted(x.name for x in c.walk_blobs(delimiter="/")), ["a", "b/", "d", "é <&>"])

    def test_signatures(self):
        c = self.container()
        c.upload_blob("x", b"hello")
        only = ContainerClient.from_container_url(address(c.container_name, "rl"), connection_verify=world.CA_FILE)
        self.assertEqual(only.download_blob("x").readall(), b"hello")
        self.refused(403, "AuthorizationPermissionMismatch", only.upload_blob, "y", b"x")
        none = BlobClient.from_blob_url(f"https://{world.HOST}/causeway/{c.container_name}/x", connection_verify=world.CA_FILE)
        self.refused(401, "NoAuthenticationInformation", none.download_blob)
