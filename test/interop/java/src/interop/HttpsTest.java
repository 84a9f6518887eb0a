package interop;

import static org.junit.jupiter.api.Assertions.*;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.microsoft.azure.sdk.iot.device.ClientOptions;
import com.microsoft.azure.sdk.iot.device.DeviceClient;
import com.microsoft.azure.sdk.iot.device.IotHubClientProtocol;
import com.microsoft.azure.sdk.iot.device.IotHubMessageResult;
import com.microsoft.azure.sdk.iot.device.IotHubStatusCode;
import com.microsoft.azure.sdk.iot.device.Message;
import com.microsoft.azure.sdk.iot.device.exceptions.IotHubClientException;
import com.microsoft.azure.sdk.iot.device.transport.NoRetry;
import com.microsoft.azure.sdk.iot.service.auth.AuthenticationType;
import com.microsoft.azure.sdk.iot.service.messaging.IotHubServiceClientProtocol;
import com.microsoft.azure.sdk.iot.service.messaging.MessagingClient;
import com.microsoft.azure.sdk.iot.service.registry.Device;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** Devices with iot-device-client over HTTPS. */
class HttpsTest {
  private interface Body {
    void run(DeviceClient c) throws Exception;
  }

  private static void open(DeviceClient c, Body body) throws Exception {
    c.open(false);
    try {
      body.run(c);
    } finally {
      c.close();
    }
  }

  private static ClientOptions polling() {
    return ClientOptions.builder().receiveInterval(200).httpsReadTimeout(20000).build();
  }

  @Test
  void telemetryArrivesWithItsProperties() throws Exception {
    Device d = World.createDevice("javahttps");
    open(World.device(d, IotHubClientProtocol.HTTPS), c -> {
      Message m = new Message("{\"t\":21.5}");
      m.setMessageId("mid-1");
      m.setCorrelationId("cid-1");
      m.setContentType("application/json");
      m.setContentEncoding("utf-8");
      m.setProperty("plain", "value");
      c.sendEvent(m);
      List<Message> batch = new ArrayList<>();
      for (int i = 0; i < 10; i++) {
        Message b = new Message("n" + i);
        b.setProperty("index", "" + i);
        batch.add(b);
      }
      c.sendEvents(batch);
    });
    List<JsonObject> l = World.events(d.getDeviceId(), 11);
    JsonObject e = l.get(0);
    assertEquals("mid-1", World.text(e, "systemProperties", "message-id"));
    assertEquals("cid-1", World.text(e, "systemProperties", "correlation-id"));
    assertEquals("application/json", World.text(e, "systemProperties", "content-type"));
    assertEquals("utf-8", World.text(e, "systemProperties", "content-encoding"));
    assertEquals(JsonParser.parseString("{\"plain\":\"value\"}"), e.get("properties"));
    assertEquals("{\"t\":21.5}", World.text(e, "body"));
    for (int i = 0; i < 10; i++) {
      assertEquals("n" + i, World.text(l.get(i + 1), "body"));
      assertEquals("" + i, World.text(l.get(i + 1), "properties", "index"));
    }
  }

  @Test
  void commandsAreCompletedAbandonedAndRejected() throws Exception {
    Device d = World.createDevice("javahttpsc2d");
    List<Message> got = Collections.synchronizedList(new ArrayList<>());
    DeviceClient client = World.device(d, IotHubClientProtocol.HTTPS, polling());
    client.setMessageCallback((m, context) -> {
      got.add(m);
      String body = new String(m.getBytes());
      if (body.equals("again") && got.stream().filter(x -> new String(x.getBytes()).equals("again")).count() < 3) return IotHubMessageResult.ABANDON;
      return body.equals("no") ? IotHubMessageResult.REJECT : IotHubMessageResult.COMPLETE;
    }, null);
    MessagingClient s = new MessagingClient(World.SERVICE, IotHubServiceClientProtocol.AMQPS);
    s.open();
    try {
      var m = new com.microsoft.azure.sdk.iot.service.messaging.Message("first");
      m.setMessageId("id-1");
      m.setCorrelationId("k1");
      m.setProperties(Map.of("colour", "red"));
      s.send(d.getDeviceId(), m);
      for (String body : List.of("again", "no")) s.send(d.getDeviceId(), new com.microsoft.azure.sdk.iot.service.messaging.Message(body));
    } finally {
      s.close();
    }
    open(client, c -> {
      World.until("all deliveries", 60, () -> got.size() == 5);
      assertEquals("id-1", got.get(0).getMessageId());
      assertEquals("k1", got.get(0).getCorrelationId());
      assertEquals("red", got.get(0).getProperty("colour"));
      World.until("an empty queue", () -> World.registry.getDevice(d.getDeviceId()).getCloudToDeviceMessageCount() == 0);
    });
  }

  @Test
  void certificates() throws Exception {
    for (String kind : List.of("self", "ca")) {
      String id = World.unique("javahttpsx509");
      Device d = new Device(id, kind.equals("self") ? AuthenticationType.SELF_SIGNED : AuthenticationType.CERTIFICATE_AUTHORITY);
      World.Proof proof = World.certificate(kind, id);
      if (kind.equals("self")) d.setThumbprint(proof.thumbprint(), proof.thumbprint());
      World.registry.addDevice(d);
      String cs = "HostName=" + World.HOST + ";DeviceId=" + id + ";x509=true";
      // It shows no certificate unless its context trusts the hub, too.
      open(new DeviceClient(cs, IotHubClientProtocol.HTTPS, ClientOptions.builder().sslContext(proof.context()).build()), c -> c.sendEvent(new Message("x")));
      assertTrue(World.text(World.events(id, 1).get(0), "annotations", "iothub-connection-auth-method").contains("\"x509\""));
    }
  }

  @Test
  void refusals() throws Exception {
    Device d = World.createDevice("javahttpsrefuse");
    String wrong = "HostName=" + World.HOST + ";DeviceId=" + d.getDeviceId() + ";SharedAccessKey=AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    for (String cs : List.of(wrong, wrong.replace(d.getDeviceId(), "no-such-device"))) {
      DeviceClient c = new DeviceClient(cs, IotHubClientProtocol.HTTPS);
      c.setRetryPolicy(new NoRetry());
      open(c, x -> {
        IotHubClientException e = assertThrows(IotHubClientException.class, () -> x.sendEvent(new Message("x")));
        assertEquals(IotHubStatusCode.UNAUTHORIZED, e.getStatusCode(), e.toString());
      });
    }
  }
}
