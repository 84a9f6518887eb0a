package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.microsoft.azure.sdk.iot.device.DeviceClient;
import com.microsoft.azure.sdk.iot.device.IotHubClientProtocol;
import com.microsoft.azure.sdk.iot.device.IotHubMessageResult;
import com.microsoft.azure.sdk.iot.device.Message;
import com.microsoft.azure.sdk.iot.device.twin.DirectMethodResponse;
import com.microsoft.azure.sdk.iot.service.exceptions.IotHubNotFoundException;
import com.microsoft.azure.sdk.iot.service.messaging.IotHubServiceClientProtocol;
import com.microsoft.azure.sdk.iot.service.messaging.MessagingClient;
import com.microsoft.azure.sdk.iot.service.registry.Device;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.parallel.Isolated;

/** Clients of all transports while the server ends, by force or in order, and is started again. */
@Isolated
class RestartTest {
  private static final List<IotHubClientProtocol> PROTOCOLS =
      List.of(IotHubClientProtocol.AMQPS, IotHubClientProtocol.AMQPS_WS, IotHubClientProtocol.MQTT, IotHubClientProtocol.MQTT_WS);

  private static final class Run {
    Device device;
    DeviceClient client;
    final Set<String> acknowledged = ConcurrentHashMap.newKeySet();
    final List<String> commands = Collections.synchronizedList(new ArrayList<>());
    final AtomicBoolean back = new AtomicBoolean();
    Thread sender;
    volatile Exception error;

    void send() {
      try {
        int after = 0;
        for (int n = 0; after < 20; n++) {
          if (back.get()) after++;
          String body = "m" + n;
          client.sendEvent(new Message(body), 60_000);
          acknowledged.add(body);
        }
      } catch (Exception e) {
        error = e;
      }
    }
  }

  private static void command(Device d, String body) throws Exception {
    MessagingClient s = new MessagingClient(World.SERVICE, IotHubServiceClientProtocol.AMQPS);
    s.open();
    try {
      s.send(d.getDeviceId(), new com.microsoft.azure.sdk.iot.service.messaging.Message(body));
    } finally {
      s.close();
    }
  }

  @Test
  void clientsComeBackAndNothingAcknowledgedIsLost() throws Exception {
    comeBack(World::killAndRestart);
  }

  @Test
  void clientsComeBackAfterAnOrderlyEnd() throws Exception {
    comeBack(World::stopAndRestart);
  }

  private interface End {
    void come() throws Exception;
  }

  private static void comeBack(End end) throws Exception {
    List<Run> runs = new ArrayList<>();
    try {
      for (IotHubClientProtocol p : PROTOCOLS) {
        Run r = new Run();
        r.device = World.createDevice("javakill");
        r.client = World.device(r.device, p);
        r.client.setMessageCallback((m, context) -> {
          r.commands.add(new String(m.getBytes()));
          return IotHubMessageResult.COMPLETE;
        }, null);
        r.client.open(true);
        r.client.subscribeToMethods((name, payload, context) -> new DirectMethodResponse(200, name), null);
        runs.add(r);
      }
      for (Run r : runs) {
        r.sender = new Thread(r::send);
        r.sender.start();
      }
      for (Run r : runs) World.until("some telemetry", () -> r.acknowledged.size() >= 50);
      end.come();
      for (Run r : runs) r.back.set(true);
      for (Run r : runs) {
        r.sender.join(90_000);
        if (r.error != null) throw r.error;
        World.events(r.device.getDeviceId(), l -> l.stream().map(e -> World.text(e, "body")).toList().containsAll(r.acknowledged));
        command(r.device, "after");
        World.until("a command after the restart", () -> r.commands.contains("after"));
        assertEquals("\"ping\"", World.until("the method", () -> {
          try {
            return World.methods.invoke(r.device.getDeviceId(), "ping").getPayloadAsJsonString();
          } catch (IotHubNotFoundException e) {
            return null;
          }
        }));
      }
    } finally {
      for (Run r : runs) r.client.close();
    }
  }
}
