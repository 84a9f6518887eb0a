package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.microsoft.azure.sdk.iot.service.exceptions.IotHubNotFoundException;
import com.microsoft.azure.sdk.iot.service.registry.Device;
import com.microsoft.azure.sdk.iot.service.registry.RegistryJob;
import org.junit.jupiter.api.Test;

/** Imports and exports of identities with iot-service-client, by the hub's own storage. */
class TransferTest {
  private RegistryJob ended(String id) throws Exception {
    for (int i = 0; i < 600; i++) {
      RegistryJob j = World.registry.getJob(id);
      switch (j.getStatus()) {
        case COMPLETED:
        case FAILED:
        case CANCELLED:
          return j;
        default:
          Thread.sleep(100);
      }
    }
    throw new AssertionError("job " + id + " does not end");
  }

  private String at(String container, String name) {
    return container.replace("?", "/" + name + "?");
  }

  @Test
  void exportAndImport() throws Exception {
    String container = World.container("javatransfer");
    Device d = World.createDevice("javatransfer");
    RegistryJob done = ended(World.registry.exportDevices(container, false).getJobId());
    assertEquals(RegistryJob.JobStatus.COMPLETED, done.getStatus(), done.getFailureReason());
    assertEquals(100, done.getProgress());
    assertNotNull(done.getEndTimeUtc());
    String text = World.blob("GET", at(container, "devices.txt"), null);
    assertTrue(text.contains("\"id\":\"" + d.getDeviceId() + "\""), text);
    assertTrue(text.contains(d.getPrimaryKey()));

    World.blob("PUT", at(container, "devices.txt"), "{\"id\":\"" + d.getDeviceId() + "\",\"importMode\":\"delete\"}\n");
    done = ended(World.registry.importDevices(container, container).getJobId());
    assertEquals(RegistryJob.JobStatus.COMPLETED, done.getStatus(), done.getFailureReason());
    assertThrows(IotHubNotFoundException.class, () -> World.registry.getDevice(d.getDeviceId()));
    assertThrows(IotHubNotFoundException.class, () -> World.registry.getJob("nobody"));
  }
}
