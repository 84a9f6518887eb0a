package interop;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.azure.core.util.BinaryData;
import com.azure.storage.blob.BlobClient;
import com.azure.storage.blob.BlobClientBuilder;
import com.azure.storage.blob.BlobContainerClient;
import com.azure.storage.blob.BlobServiceClientBuilder;
import com.azure.storage.blob.models.BlobErrorCode;
import com.azure.storage.blob.models.BlobItem;
import com.azure.storage.blob.models.BlobRange;
import com.azure.storage.blob.models.BlobStorageException;
import com.azure.storage.blob.models.ParallelTransferOptions;
import com.azure.storage.blob.options.BlobParallelUploadOptions;
import com.azure.storage.blob.specialized.AppendBlobClient;
import com.azure.storage.blob.specialized.BlockBlobClient;
import com.microsoft.azure.sdk.iot.device.DeviceClient;
import com.microsoft.azure.sdk.iot.device.FileUploadCompletionNotification;
import com.microsoft.azure.sdk.iot.device.FileUploadSasUriRequest;
import com.microsoft.azure.sdk.iot.device.FileUploadSasUriResponse;
import com.microsoft.azure.sdk.iot.device.IotHubClientProtocol;
import com.microsoft.azure.sdk.iot.device.exceptions.IotHubClientException;
import com.microsoft.azure.sdk.iot.service.messaging.AcknowledgementType;
import com.microsoft.azure.sdk.iot.service.messaging.FileUploadNotification;
import com.microsoft.azure.sdk.iot.service.messaging.FileUploadNotificationProcessorClient;
import com.microsoft.azure.sdk.iot.service.messaging.IotHubServiceClientProtocol;
import com.microsoft.azure.sdk.iot.service.registry.Device;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collections;
import java.util.Date;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.parallel.Isolated;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** File upload with the device client and azure-storage-blob, and the storage with the latter. */
class FilesTest {
  private static byte[] random(int n) {
    byte[] b = new byte[n];
    new Random(n).nextBytes(b);
    return b;
  }

  private static byte[] read(String container, String name) throws Exception {
    return new BlobClientBuilder().endpoint(World.blobs(container, "r", name)).buildClient().downloadContent().toBytes();
  }

  @ParameterizedTest
  @EnumSource
  void upload(IotHubClientProtocol protocol) throws Exception {
    Device d = World.createDevice("javafile");
    DeviceClient c = World.device(d, protocol);
    String name = protocol + "/today.bin";
    FileUploadSasUriResponse f = c.getFileUploadSasUri(new FileUploadSasUriRequest(name));
    assertEquals(World.HOST, f.getHostName());
    assertEquals(d.getDeviceId() + "/" + name, f.getBlobName());
    byte[] content = random(5_000_000);
    // As Azure's own sample does it.
    BlobClient blob = new BlobClientBuilder().endpoint(f.getBlobUri().toString()).buildClient();
    ParallelTransferOptions parts = new ParallelTransferOptions().setBlockSizeLong(1L << 20).setMaxSingleUploadSizeLong(1L << 20).setMaxConcurrency(3);
    assertEquals(201, blob.uploadWithResponse(
        new BlobParallelUploadOptions(new ByteArrayInputStream(content)).setParallelTransferOptions(parts), null, null).getStatusCode());
    c.completeFileUpload(new FileUploadCompletionNotification(f.getCorrelationId(), true, 200, "done"));
    assertArrayEquals(content, read("uploads", f.getBlobName()));
    assertThrows(IotHubClientException.class, () -> c.completeFileUpload(new FileUploadCompletionNotification(f.getCorrelationId(), true)));
    FileUploadSasUriResponse g = c.getFileUploadSasUri(new FileUploadSasUriRequest("x"));
    c.completeFileUpload(new FileUploadCompletionNotification(g.getCorrelationId(), false, 500, "no storage"));
  }

  /** Receivers share what a hub has to say: not beside other tests of files. */
  @Isolated
  static class NotificationsTest {
    @ParameterizedTest
    @EnumSource
    void notifications(IotHubServiceClientProtocol p) throws Exception {
      Device d = World.createDevice("javanotice");
      List<FileUploadNotification> got = Collections.synchronizedList(new ArrayList<>());
      FileUploadNotificationProcessorClient f = new FileUploadNotificationProcessorClient(World.SERVICE, p, n -> {
        if (!n.getDeviceId().equals(d.getDeviceId())) return AcknowledgementType.COMPLETE;
        got.add(n);
        return got.size() == 1 ? AcknowledgementType.ABANDON : AcknowledgementType.COMPLETE;
      });
      f.start();
      try {
        DeviceClient c = World.device(d, IotHubClientProtocol.HTTPS);
        FileUploadSasUriResponse u = c.getFileUploadSasUri(new FileUploadSasUriRequest("a.jpg"));
        new BlobClientBuilder().endpoint(u.getBlobUri().toString()).buildClient().upload(BinaryData.fromBytes(random(1234)));
        c.completeFileUpload(new FileUploadCompletionNotification(u.getCorrelationId(), true));
        World.until("the notification, and again", () -> got.size() == 2);
        assertEquals(u.getBlobName(), got.get(1).getBlobName());
        assertEquals("https://" + World.HOST + "/uploads/" + u.getBlobName(), got.get(1).getBlobUri());
        assertEquals(1234L, got.get(1).getBlobSizeInBytes());
        assertFalse(got.get(1).getEnqueuedTimeUtcDate().before(new Date(System.currentTimeMillis() - 60_000)));
      } finally {
        f.stop();
      }
    }
  }

  private static void refused(int status, BlobErrorCode code, org.junit.jupiter.api.function.Executable f) {
    BlobStorageException e = assertThrows(BlobStorageException.class, f);
    assertEquals(status, e.getStatusCode());
    assertEquals(code, e.getErrorCode());
  }

  @Test
  void storage() throws Exception {
    String name = World.unique("javafiles");
    // This host has a point in it: clients take the first segment for a container.
    String account = World.blobs("", "racwdl", "").replace("/causeway?", "/?");
    BlobContainerClient c = new BlobServiceClientBuilder().endpoint(account).buildClient().getBlobContainerClient(name);
    c.create();
    try {
      assertTrue(c.exists());
      refused(409, BlobErrorCode.CONTAINER_ALREADY_EXISTS, c::create);
      BlobClient b = c.getBlobClient("dir/ä b+c%.txt");
      b.upload(BinaryData.fromString("hello"));
      assertEquals("hello", b.downloadContent().toString());
      assertEquals("application/octet-stream", b.getProperties().getContentType());
      refused(409, BlobErrorCode.BLOB_ALREADY_EXISTS, () -> b.upload(BinaryData.fromString("x")));
      b.setMetadata(java.util.Map.of("k", "v"));
      assertEquals("v", b.getProperties().getMetadata().get("k"));
      ByteArrayOutputStream part = new ByteArrayOutputStream();
      b.downloadStreamWithResponse(part, new BlobRange(1, 3L), null, null, false, null, null);
      assertEquals("ell", part.toString(StandardCharsets.UTF_8));

      BlockBlobClient blocks = c.getBlobClient("blocks").getBlockBlobClient();
      List<String> ids = new ArrayList<>();
      for (int i = 0; i < 3; i++) {
        String id = Base64.getEncoder().encodeToString(("block " + i).getBytes(StandardCharsets.UTF_8));
        blocks.stageBlock(id, BinaryData.fromString("part " + i + ";"));
        ids.add(id);
      }
      blocks.commitBlockList(ids);
      assertEquals("part 0;part 1;part 2;", blocks.downloadContent().toString());

      AppendBlobClient log = c.getBlobClient("log").getAppendBlobClient();
      log.create();
      for (int i = 0; i < 3; i++) log.appendBlock(new ByteArrayInputStream("line\n".getBytes(StandardCharsets.UTF_8)), 5);
      assertEquals("line\nline\nline\n", log.downloadContent().toString());

      List<String> names = new ArrayList<>();
      for (BlobItem i : c.listBlobs()) names.add(i.getName());
      assertEquals(List.of("blocks", "dir/ä b+c%.txt", "log"), names);
      names.clear();
      for (BlobItem i : c.listBlobsByHierarchy("/", null, null)) names.add(i.getName());
      assertEquals(List.of("blocks", "dir/", "log"), names.stream().sorted().toList());
      b.delete();
      assertFalse(b.exists());
      refused(404, BlobErrorCode.BLOB_NOT_FOUND, b::downloadContent);
    } finally {
      c.delete();
    }
  }
}
