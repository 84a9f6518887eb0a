package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;

import com.microsoft.azure.sdk.iot.device.DeviceClient;
import com.microsoft.azure.sdk.iot.device.IotHubClientProtocol;
import com.microsoft.azure.sdk.iot.device.IotHubMessageResult;
import com.microsoft.azure.sdk.iot.device.Message;
import com.microsoft.azure.sdk.iot.device.MultiplexingClient;
import com.microsoft.azure.sdk.iot.device.twin.DirectMethodResponse;
import com.microsoft.azure.sdk.iot.device.twin.TwinCollection;
import com.microsoft.azure.sdk.iot.service.messaging.IotHubServiceClientProtocol;
import com.microsoft.azure.sdk.iot.service.messaging.MessagingClient;
import com.microsoft.azure.sdk.iot.service.registry.Device;
import com.microsoft.azure.sdk.iot.service.registry.DeviceStatus;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Many devices on one connection. */
class MultiplexTest {
  private static final int DEVICES = 50;
  private static final int MESSAGES = 5;

  @ParameterizedTest
  @EnumSource(names = {"AMQPS", "AMQPS_WS"})
  void fiftyDevicesOnOneConnection(IotHubClientProtocol p) throws Exception {
    List<Device> devices = new ArrayList<>();
    List<DeviceClient> clients = new ArrayList<>();
    Map<String, String> commands = new ConcurrentHashMap<>();
    MultiplexingClient one = new MultiplexingClient(World.HOST, p);
    for (int i = 0; i < DEVICES; i++) {
      Device d = World.createDevice("mux");
      DeviceClient c = new DeviceClient(World.deviceString(d), p);
      c.setMessageCallback((m, context) -> {
        commands.put((String) context, new String(m.getBytes()));
        return IotHubMessageResult.COMPLETE;
      }, d.getDeviceId());
      devices.add(d);
      clients.add(c);
    }
    // Half of them before the connection is made, half on the open one.
    one.registerDeviceClients(clients.subList(0, DEVICES / 2));
    one.open(false);
    try {
      one.registerDeviceClients(clients.subList(DEVICES / 2, DEVICES));
      assertEquals(DEVICES, one.getRegisteredDeviceCount());

      CountDownLatch acknowledged = new CountDownLatch(DEVICES * MESSAGES);
      List<Exception> errors = new ArrayList<>();
      for (int i = 0; i < DEVICES; i++) {
        for (int n = 0; n < MESSAGES; n++) {
          Message m = new Message(devices.get(i).getDeviceId() + "/" + n);
          clients.get(i).sendEventAsync(m, (sent, e, context) -> {
            if (e != null) synchronized (errors) { errors.add(e); }
            acknowledged.countDown();
          }, null);
        }
      }
      assertEquals(true, acknowledged.await(60, TimeUnit.SECONDS), "all telemetry acknowledged");
      assertEquals(List.of(), errors);
      for (Device d : devices) {
        // The SDK puts back what it is given before a device's session stands, behind
        // what came since: only which messages arrived is sure, not their order.
        List<String> want = new ArrayList<>();
        for (int n = 0; n < MESSAGES; n++) want.add(d.getDeviceId() + "/" + n);
        List<String> got = World.events(d.getDeviceId(), MESSAGES).stream().map(e -> World.text(e, "body")).sorted().toList();
        assertEquals(want, got);
      }

      MessagingClient s = new MessagingClient(World.SERVICE, IotHubServiceClientProtocol.AMQPS);
      s.open();
      try {
        CountDownLatch sent = new CountDownLatch(DEVICES);
        for (Device d : devices) {
          s.sendAsync(d.getDeviceId(), new com.microsoft.azure.sdk.iot.service.messaging.Message("for " + d.getDeviceId()), r -> sent.countDown(), null);
        }
        sent.await(30, TimeUnit.SECONDS);
      } finally {
        s.close();
      }
      World.until("a command for each", () -> commands.size() == DEVICES);
      for (Device d : devices) assertEquals("for " + d.getDeviceId(), commands.get(d.getDeviceId()));

      // Methods and twins of some of them.
      for (int i = 0; i < DEVICES; i += 10) {
        String id = devices.get(i).getDeviceId();
        clients.get(i).subscribeToMethods((name, payload, context) -> new DirectMethodResponse(200, context), id);
        assertEquals("\"" + id + "\"", World.methods.invoke(id, "who").getPayloadAsJsonString());
        clients.get(i).subscribeToDesiredProperties((twin, context) -> {}, null);
        TwinCollection reported = new TwinCollection();
        reported.put("me", id);
        DeviceClient c = clients.get(i);
        World.twin(ms -> c.updateReportedProperties(reported, ms));
        assertEquals(id, World.twins.get(id).getReportedProperties().get("me"));
      }

      // What happens to one is nothing to the others. The one that leaves goes first: when
      // a session is ended, this SDK takes all of them for ones that it must open again,
      // and then waits in vain for one that it closes itself.
      one.unregisterDeviceClient(clients.get(9));
      assertFalse(one.isDeviceRegistered(devices.get(9).getDeviceId()));
      World.until("the other to be away", () -> World.registry.getDevice(devices.get(9).getDeviceId()).getConnectionState().toString().equals("Disconnected"));
      Device gone = devices.get(7);
      gone.setStatus(DeviceStatus.Disabled);
      World.registry.updateDevice(gone);
      for (int i = 10; i < DEVICES; i++) clients.get(i).sendEvent(new Message("still"));
      for (int i : new int[] {10, DEVICES - 1}) {
        String id = devices.get(i).getDeviceId();
        World.events(id, MESSAGES + 1);
        assertEquals("Connected", World.registry.getDevice(id).getConnectionState().toString());
      }
    } finally {
      one.close();
    }
  }
}
