package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.microsoft.azure.sdk.iot.device.ClientOptions;
import com.microsoft.azure.sdk.iot.device.DeviceClient;
import com.microsoft.azure.sdk.iot.device.IotHubClientProtocol;
import com.microsoft.azure.sdk.iot.device.IotHubMessageResult;
import com.microsoft.azure.sdk.iot.device.IotHubStatusCode;
import com.microsoft.azure.sdk.iot.device.Message;
import com.microsoft.azure.sdk.iot.device.ModuleClient;
import com.microsoft.azure.sdk.iot.device.exceptions.IotHubClientException;
import com.microsoft.azure.sdk.iot.device.transport.IotHubConnectionStatus;
import com.microsoft.azure.sdk.iot.device.transport.NoRetry;
import com.microsoft.azure.sdk.iot.device.twin.DirectMethodResponse;
import com.microsoft.azure.sdk.iot.device.twin.TwinCollection;
import com.microsoft.azure.sdk.iot.service.auth.AuthenticationType;
import com.microsoft.azure.sdk.iot.service.messaging.IotHubServiceClientProtocol;
import com.microsoft.azure.sdk.iot.service.messaging.MessagingClient;
import com.microsoft.azure.sdk.iot.service.methods.DirectMethodRequestOptions;
import com.microsoft.azure.sdk.iot.service.registry.Device;
import com.microsoft.azure.sdk.iot.service.registry.Module;
import com.microsoft.azure.sdk.iot.service.twin.Twin;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Devices and modules with iot-device-client over all its transports but HTTPS. */
class DeviceTest {
  private static boolean amqp(IotHubClientProtocol p) {
    return p == IotHubClientProtocol.AMQPS || p == IotHubClientProtocol.AMQPS_WS;
  }

  /** Runs f with an open client. */
  private interface With<C> {
    void run(C c) throws Exception;
  }

  private static void open(DeviceClient c, With<DeviceClient> f) throws Exception {
    c.open(false);
    try {
      f.run(c);
    } finally {
      c.close();
    }
  }

  private static void command(String device, String body, Map<String, String> properties) throws Exception {
    MessagingClient s = new MessagingClient(World.SERVICE, IotHubServiceClientProtocol.AMQPS);
    s.open();
    try {
      var m = new com.microsoft.azure.sdk.iot.service.messaging.Message(body);
      m.setMessageId("id-" + body);
      m.setCorrelationId("k/1");
      m.setUserId("me");
      m.setProperties(properties);
      s.send(device, m);
    } finally {
      s.close();
    }
  }

  @ParameterizedTest
  @EnumSource(names = "HTTPS", mode = EnumSource.Mode.EXCLUDE)
  void telemetryArrivesWithItsProperties(IotHubClientProtocol p) throws Exception {
    Device d = World.createDevice("java");
    ClientOptions options = ClientOptions.builder().modelId("dtmi:com:example:Thermostat;1").build();
    open(World.device(d, p, options), c -> {
      Message m = new Message("{\"t\":21.5}");
      m.setMessageId("mid-1");
      m.setCorrelationId("cid/ä 1");
      m.setContentType("application/json");
      m.setContentEncoding("utf-8");
      m.setProperty("plain", "value");
      m.setProperty("with-many", "sign/ü?#+ %20 & =");
      m.setComponentName("thermostat1");
      c.sendEvent(m);
      Message security = new Message("s");
      security.setAsSecurityMessage();
      c.sendEvent(security);
      if (amqp(p)) c.sendEvent(new Message("")); // over MQTT the SDK refuses it
    });
    List<JsonObject> l = World.events(d.getDeviceId(), amqp(p) ? 3 : 2);
    JsonObject e = l.get(0);
    assertEquals("mid-1", World.text(e, "systemProperties", "message-id"));
    assertEquals("cid/ä 1", World.text(e, "systemProperties", "correlation-id"));
    assertEquals("application/json", World.text(e, "systemProperties", "content-type"));
    assertEquals("utf-8", World.text(e, "systemProperties", "content-encoding"));
    assertEquals("thermostat1", World.text(e, "annotations", "dt-subject"));
    assertEquals("dtmi:com:example:Thermostat;1", World.text(e, "annotations", "dt-dataschema"));
    assertEquals(d.getDeviceId(), World.text(e, "annotations", "iothub-connection-device-id"));
    assertEquals(d.getGenerationId(), World.text(e, "annotations", "iothub-connection-auth-generation-id"));
    // The SDK sends the sender's ids along with the application's properties.
    assertEquals(JsonParser.parseString("{\"plain\":\"value\",\"with-many\":\"sign/ü?#+ %20 & =\"}"), e.get("properties"));
    assertEquals("{\"t\":21.5}", World.text(e, "body"));
    assertEquals("urn:azureiot:Security:SecurityAgent:1", World.text(l.get(1), "annotations", "iothub-interface-id"));
    if (amqp(p)) assertEquals("", World.text(l.get(2), "body"));
  }

  @ParameterizedTest
  @EnumSource(names = "HTTPS", mode = EnumSource.Mode.EXCLUDE)
  void largestMessageAndOneByteMore(IotHubClientProtocol p) throws Exception {
    Device d = World.createDevice("javasize");
    byte[] big = new byte[256 * 1024 - 72]; // the SDK makes up a message id and a correlation id
    Arrays.fill(big, (byte) 'x');
    open(World.device(d, p), c -> {
      c.sendEvent(new Message(big));
      if (amqp(p)) { // over MQTT the hub can only hang up, and the SDK sends it again for ever
        IotHubClientException e = assertThrows(IotHubClientException.class, () -> c.sendEvent(new Message(Arrays.copyOf(big, big.length + 1))));
        assertEquals(IotHubStatusCode.REQUEST_ENTITY_TOO_LARGE, e.getStatusCode());
        c.sendEvent(new Message("after"));
      }
    });
    List<JsonObject> l = World.events(d.getDeviceId(), amqp(p) ? 2 : 1);
    assertEquals(big.length, World.text(l.get(0), "body").length());
  }

  @ParameterizedTest
  @EnumSource(names = "HTTPS", mode = EnumSource.Mode.EXCLUDE)
  void commandsAreCompletedAbandonedAndRejected(IotHubClientProtocol p) throws Exception {
    Device d = World.createDevice("javac2d");
    List<Message> got = Collections.synchronizedList(new ArrayList<>());
    DeviceClient client = World.device(d, p);
    client.setMessageCallback((m, context) -> {
      got.add(m);
      String body = new String(m.getBytes());
      if (body.equals("again") && got.stream().filter(x -> new String(x.getBytes()).equals("again")).count() < 3) return IotHubMessageResult.ABANDON;
      return body.equals("no") ? IotHubMessageResult.REJECT : IotHubMessageResult.COMPLETE;
    }, null);
    command(d.getDeviceId(), "offline", Map.of("colour", "bläulich & rot"));
    open(client, c -> {
      World.until("the queued command", () -> got.size() == 1);
      for (int i = 0; i < 3; i++) command(d.getDeviceId(), "n" + i, Map.of());
      World.until("all commands", () -> got.size() == 4);
      List<String> bodies = new ArrayList<>();
      for (Message m : got) bodies.add(new String(m.getBytes()));
      assertEquals(List.of("offline", "n0", "n1", "n2"), bodies);
      Message first = got.get(0);
      assertEquals("id-offline", first.getMessageId());
      assertEquals("k/1", first.getCorrelationId());
      assertEquals("bläulich & rot", first.getProperty("colour"));
      if (amqp(p)) { // over MQTT the SDK can only complete
        command(d.getDeviceId(), "again", Map.of());
        World.until("the third delivery", () -> got.size() == 7);
        command(d.getDeviceId(), "no", Map.of());
        World.until("the refused command", () -> got.size() == 8);
      }
      World.until("an empty queue", () -> World.registry.getDevice(d.getDeviceId()).getCloudToDeviceMessageCount() == 0);
    });
  }

  @ParameterizedTest
  @EnumSource(names = "HTTPS", mode = EnumSource.Mode.EXCLUDE)
  void methodsAreAnswered(IotHubClientProtocol p) throws Exception {
    Device d = World.createDevice("javamethod");
    open(World.device(d, p), c -> {
      c.subscribeToMethods((name, payload, context) -> switch (name) {
        case "echo" -> new DirectMethodResponse(201, payload.getPayloadAsJsonElement());
        case "nothing" -> new DirectMethodResponse(204, null);
        default -> new DirectMethodResponse(404, "no such method");
      }, null);
      var payload = Map.of("a", List.of(1, "zwei", Map.of("b", 1.25)));
      var options = DirectMethodRequestOptions.builder().payload(payload).methodResponseTimeoutSeconds(10).methodConnectTimeoutSeconds(10).build();
      var r = World.methods.invoke(d.getDeviceId(), "echo", options);
      assertEquals(201, r.getStatus());
      assertEquals(JsonParser.parseString("{\"a\":[1,\"zwei\",{\"b\":1.25}]}"), r.getPayloadAsJsonElement());
      assertEquals(204, World.methods.invoke(d.getDeviceId(), "nothing").getStatus());
      var other = World.methods.invoke(d.getDeviceId(), "other");
      assertEquals(404, other.getStatus());
      assertEquals("\"no such method\"", other.getPayloadAsJsonString());
    });
  }

  @ParameterizedTest
  @EnumSource(names = "HTTPS", mode = EnumSource.Mode.EXCLUDE)
  void twinIsReadReportedAndWatched(IotHubClientProtocol p) throws Exception {
    Device d = World.createDevice("javatwin");
    Twin wanted = new Twin(d.getDeviceId());
    wanted.getDesiredProperties().put("interval", 5);
    wanted.getDesiredProperties().put("nested", Map.of("a", 1, "b", 2));
    World.twins.patch(wanted);
    open(World.device(d, p), c -> {
      List<com.microsoft.azure.sdk.iot.device.twin.Twin> changes = Collections.synchronizedList(new ArrayList<>());
      c.subscribeToDesiredProperties((twin, context) -> changes.add(twin), null);
      var twin = World.twin(c::getTwin);
      assertEquals(5, ((Number) twin.getDesiredProperties().get("interval")).intValue());
      assertEquals(2, twin.getDesiredProperties().getVersion());
      assertEquals(1, twin.getReportedProperties().getVersion());
      TwinCollection reported = new TwinCollection();
      reported.put("fw", "1.0");
      reported.put("deep", new HashMap<>(Map.of("x", "ü")));
      int first = World.twin(ms -> c.updateReportedProperties(reported, ms)).getVersion();
      TwinCollection removed = new TwinCollection();
      removed.put("fw", null);
      int second = World.twin(ms -> c.updateReportedProperties(removed, ms)).getVersion();
      assertTrue(1 < first && first < second);
      Twin stored = World.twins.get(d.getDeviceId());
      assertEquals(second, stored.getReportedProperties().getVersion());
      assertEquals(Map.of("x", "ü"), stored.getReportedProperties().get("deep"));
      assertNull(stored.getReportedProperties().get("fw"));

      Twin change = new Twin(d.getDeviceId());
      change.getDesiredProperties().put("interval", 6);
      World.twins.patch(change);
      World.until("the notification", () -> changes.size() == 1);
      assertEquals(6, ((Number) changes.get(0).getDesiredProperties().get("interval")).intValue());
      assertEquals(3, changes.get(0).getDesiredProperties().getVersion());

      TwinCollection big = new TwinCollection();
      big.put("big", "x".repeat(4000)); // the SDK refuses longer ones itself
      for (int i = 0; i < 10; i++) big.put("big" + i, "x".repeat(4000));
      IotHubClientException e = assertThrows(IotHubClientException.class, () -> World.twin(ms -> c.updateReportedProperties(big, ms)));
      assertEquals(IotHubStatusCode.BAD_FORMAT, e.getStatusCode(), e.toString());
    });
  }

  @ParameterizedTest
  @EnumSource(names = "HTTPS", mode = EnumSource.Mode.EXCLUDE)
  void module(IotHubClientProtocol p) throws Exception {
    Device d = World.createDevice("javamod");
    Module m = World.registry.addModule(new Module(d.getDeviceId(), "m1"));
    ModuleClient c = new ModuleClient(World.moduleString(m), p);
    c.open(false);
    try {
      c.sendEvent(new Message("from module"));
      JsonObject e = World.events(d.getDeviceId(), 1).get(0);
      assertEquals("m1", World.text(e, "moduleId"));
      assertEquals("m1", World.text(e, "annotations", "iothub-connection-module-id"));
      assertEquals("{}", World.text(e, "properties"));
      c.subscribeToMethods((name, payload, context) -> new DirectMethodResponse(200, name), null);
      assertEquals("\"ping\"", World.methods.invoke(d.getDeviceId(), "m1", "ping").getPayloadAsJsonString());
      c.subscribeToDesiredProperties((twin, context) -> {}, null);
      TwinCollection reported = new TwinCollection();
      reported.put("alive", true);
      World.twin(ms -> c.updateReportedProperties(reported, ms));
      assertEquals(true, World.twins.get(d.getDeviceId(), "m1").getReportedProperties().get("alive"));
    } finally {
      c.close();
    }
  }

  @ParameterizedTest
  @EnumSource(names = {"AMQPS", "MQTT"}) // the SDK has no certificates over WebSockets
  void certificates(IotHubClientProtocol p) throws Exception {
    for (String kind : List.of("self", "ca")) {
      String id = World.unique("javax509");
      Device d = new Device(id, kind.equals("self") ? AuthenticationType.SELF_SIGNED : AuthenticationType.CERTIFICATE_AUTHORITY);
      World.Proof proof = World.certificate(kind, id);
      if (kind.equals("self")) d.setThumbprint(proof.thumbprint(), proof.thumbprint());
      World.registry.addDevice(d);
      String cs = "HostName=" + World.HOST + ";DeviceId=" + id + ";x509=true";
      open(new DeviceClient(cs, p, ClientOptions.builder().sslContext(proof.context()).build()), c -> c.sendEvent(new Message("x")));
      assertTrue(World.text(World.events(id, 1).get(0), "annotations", "iothub-connection-auth-method").contains("\"x509\""));
      World.Proof other = World.certificate(kind, kind.equals("self") ? id : id + "-other");
      DeviceClient wrong = new DeviceClient(cs, p, ClientOptions.builder().sslContext(other.context()).build());
      wrong.setRetryPolicy(new NoRetry());
      assertThrows(IotHubClientException.class, () -> wrong.open(false));
    }
  }

  @ParameterizedTest
  @EnumSource(names = "HTTPS", mode = EnumSource.Mode.EXCLUDE)
  void refusals(IotHubClientProtocol p) throws Exception {
    Device d = World.createDevice("javarefuse");
    String wrong = "HostName=" + World.HOST + ";DeviceId=" + d.getDeviceId() + ";SharedAccessKey=AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    for (String cs : List.of(wrong, wrong.replace(d.getDeviceId(), "no-such-device"))) {
      IotHubClientException e;
      int tries = 0;
      do {
        DeviceClient c = new DeviceClient(cs, p);
        c.setRetryPolicy(new NoRetry());
        e = assertThrows(IotHubClientException.class, () -> c.open(false));
        // Of a WebSocket, Paho may see the end before the CONNACK that came with it.
      } while (p == IotHubClientProtocol.MQTT_WS && e.getStatusCode() != IotHubStatusCode.UNAUTHORIZED && ++tries < 10);
      assertEquals(IotHubStatusCode.UNAUTHORIZED, e.getStatusCode(), e.toString());
    }
    DeviceClient c = new DeviceClient(World.deviceString(d), p);
    c.setRetryPolicy(new NoRetry());
    AtomicReference<IotHubConnectionStatus> status = new AtomicReference<>();
    c.setConnectionStatusChangeCallback(change -> status.set(change.getNewStatus()), null);
    open(c, open -> {
      d.setStatus(com.microsoft.azure.sdk.iot.service.registry.DeviceStatus.Disabled);
      World.registry.updateDevice(d);
      World.until("the connection to drop", () -> status.get() == IotHubConnectionStatus.DISCONNECTED);
    });
    DeviceClient again = new DeviceClient(World.deviceString(d), p);
    again.setRetryPolicy(new NoRetry());
    assertThrows(IotHubClientException.class, () -> again.open(false));
  }

  @ParameterizedTest
  @EnumSource(names = "HTTPS", mode = EnumSource.Mode.EXCLUDE)
  void tokensAreRenewedWithoutLoss(IotHubClientProtocol p) throws Exception {
    Device d = World.createDevice("javarenew");
    // Over AMQP the SDK renews a token when 85 % of its time is over, on the
    // connection that stands; over MQTT it connects again.
    open(World.device(d, p, ClientOptions.builder().sasTokenExpiryTime(2).build()), c -> {
      List<String> sent = new ArrayList<>();
      long end = System.currentTimeMillis() + 5000;
      while (System.currentTimeMillis() < end) {
        String body = "m" + sent.size();
        c.sendEvent(new Message(body));
        sent.add(body);
        Thread.sleep(20);
      }
      World.events(d.getDeviceId(), l -> sent.stream().allMatch(b -> l.stream().anyMatch(e -> b.equals(World.text(e, "body")))));
    });
  }
}
