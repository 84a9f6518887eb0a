package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.microsoft.azure.sdk.iot.device.DeviceClient;
import com.microsoft.azure.sdk.iot.device.IotHubClientProtocol;
import com.microsoft.azure.sdk.iot.device.IotHubMessageResult;
import com.microsoft.azure.sdk.iot.service.exceptions.IotHubDeviceMaximumQueueDepthExceededException;
import com.microsoft.azure.sdk.iot.service.exceptions.IotHubMessageTooLargeException;
import com.microsoft.azure.sdk.iot.service.exceptions.IotHubNotFoundException;
import com.microsoft.azure.sdk.iot.service.exceptions.IotHubPreconditionFailedException;
import com.microsoft.azure.sdk.iot.service.exceptions.IotHubUnauthorizedException;
import com.microsoft.azure.sdk.iot.service.messaging.AcknowledgementType;
import com.microsoft.azure.sdk.iot.service.messaging.DeliveryAcknowledgement;
import com.microsoft.azure.sdk.iot.service.messaging.FeedbackRecord;
import com.microsoft.azure.sdk.iot.service.messaging.FeedbackStatusCode;
import com.microsoft.azure.sdk.iot.service.messaging.IotHubServiceClientProtocol;
import com.microsoft.azure.sdk.iot.service.messaging.Message;
import com.microsoft.azure.sdk.iot.service.messaging.MessageFeedbackProcessorClient;
import com.microsoft.azure.sdk.iot.service.messaging.MessagingClient;
import com.microsoft.azure.sdk.iot.service.methods.DirectMethodRequestOptions;
import com.microsoft.azure.sdk.iot.service.registry.Device;
import com.microsoft.azure.sdk.iot.service.registry.DeviceStatus;
import com.microsoft.azure.sdk.iot.service.registry.Module;
import com.microsoft.azure.sdk.iot.service.registry.RegistryClient;
import com.microsoft.azure.sdk.iot.service.twin.Twin;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Date;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.parallel.ResourceLock;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Back ends with iot-service-client. */
class ServiceTest {
  @Test
  void registry() throws Exception {
    Device d = World.createDevice("javareg");
    assertNotNull(d.getPrimaryKey());
    Device got = World.registry.getDevice(d.getDeviceId());
    assertEquals(d.getETag(), got.getETag());
    assertEquals("Disconnected", got.getConnectionState().toString());
    got.setStatus(DeviceStatus.Disabled);
    Device updated = World.registry.updateDevice(got);
    assertEquals(DeviceStatus.Disabled, updated.getStatus());
    assertEquals(got.getGenerationId(), updated.getGenerationId());
    Module m = World.registry.addModule(new Module(d.getDeviceId(), "m1"));
    assertEquals("m1", World.registry.getModule(d.getDeviceId(), "m1").getId());
    assertEquals(1, World.registry.getModulesOnDevice(d.getDeviceId()).size());
    World.registry.removeModule(m);
    assertEquals(0, World.registry.getModulesOnDevice(d.getDeviceId()).size());
    World.registry.removeDevice(d.getDeviceId());
    assertThrows(IotHubNotFoundException.class, () -> World.registry.getDevice(d.getDeviceId()));
    var statistics = World.registry.getStatistics();
    assertTrue(statistics.getTotalDeviceCount() >= 0);
    String wrong = World.OWNER.replaceAll("SharedAccessKey=.*", "SharedAccessKey=AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=");
    assertThrows(IotHubUnauthorizedException.class, () -> new RegistryClient(wrong).getDevice("x"));
  }

  @Test
  void twins() throws Exception {
    Device d = World.createDevice("javastwin");
    Twin twin = World.twins.get(d.getDeviceId());
    String etag = twin.getETag();
    twin.getTags().put("site", "ü");
    twin.getDesiredProperties().put("x", Map.of("y", 1));
    Twin patched = World.twins.patch(twin, etag);
    assertEquals("ü", patched.getTags().get("site"));
    assertEquals(2, patched.getDesiredProperties().getVersion());
    assertThrows(IotHubPreconditionFailedException.class, () -> World.twins.patch(twin, etag));
    Twin replacement = new Twin(d.getDeviceId());
    replacement.getTags().put("other", true);
    Twin replaced = World.twins.replace(replacement);
    assertEquals(Map.of("other", true), replaced.getTags());
    assertThrows(IotHubNotFoundException.class, () -> World.twins.get("no-such-device"));
  }

  @Test
  void methodsOfNobody() throws Exception {
    Device d = World.createDevice("javacall");
    var options = DirectMethodRequestOptions.builder().methodConnectTimeoutSeconds(0).methodResponseTimeoutSeconds(5).build();
    assertThrows(IotHubNotFoundException.class, () -> World.methods.invoke(d.getDeviceId(), "x", options));
    assertThrows(IotHubNotFoundException.class, () -> World.methods.invoke("no-such-device", "x", options));
  }

  private static Message message(String body, String id) {
    Message m = new Message(body);
    m.setMessageId(id);
    return m;
  }

  private interface Sending {
    void with(MessagingClient s) throws Exception;
  }

  private static void sending(IotHubServiceClientProtocol p, Sending f) throws Exception {
    MessagingClient s = new MessagingClient(World.SERVICE, p);
    s.open();
    try {
      f.with(s);
    } finally {
      s.close();
    }
  }

  @ParameterizedTest
  @EnumSource
  void commandsAndTheirErrors(IotHubServiceClientProtocol p) throws Exception {
    Device d = World.createDevice("javasend");
    sending(p, s -> {
      // All that belongs to the message counts: its id, and that no feedback is wanted.
      s.send(d.getDeviceId(), message("x".repeat(64 * 1024 - 100), "1"));
      assertThrows(IotHubNotFoundException.class, () -> s.send("no-such-device", message("x", "1")));
      assertThrows(IotHubMessageTooLargeException.class, () -> s.send(d.getDeviceId(), message("x".repeat(64 * 1024 + 1), "1")));
      var done = new java.util.concurrent.CountDownLatch(49);
      for (int i = 0; i < 49; i++) s.sendAsync(d.getDeviceId(), message("x", "n" + i), r -> done.countDown(), null);
      assertTrue(done.await(30, java.util.concurrent.TimeUnit.SECONDS));
      assertThrows(IotHubDeviceMaximumQueueDepthExceededException.class, () -> s.send(d.getDeviceId(), message("x", "51")));
      // A refusal does not cost the connection.
      s.send(World.createDevice("javasend2").getDeviceId(), message("x", "1"));
    });
    assertEquals(50, World.registry.getDevice(d.getDeviceId()).getCloudToDeviceMessageCount());
    String wrong = World.SERVICE.replaceAll("SharedAccessKey=.*", "SharedAccessKey=AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=");
    assertThrows(IotHubUnauthorizedException.class, () -> new MessagingClient(wrong, p).open());
  }

  @Test
  void commandsOfModulesHaveTheirOwnQueue() throws Exception {
    Device d = World.createDevice("javamodc2d");
    World.registry.addModule(new Module(d.getDeviceId(), "m1"));
    sending(IotHubServiceClientProtocol.AMQPS, s -> {
      s.send(d.getDeviceId(), "m1", message("for the module", "1"));
      assertThrows(IotHubNotFoundException.class, () -> s.send(d.getDeviceId(), "none", message("x", "1")));
    });
    assertEquals(0, World.registry.getDevice(d.getDeviceId()).getCloudToDeviceMessageCount());
    assertEquals(1, World.registry.getModule(d.getDeviceId(), "m1").getCloudToDeviceMessageCount());
  }

  @ParameterizedTest
  @EnumSource
  @ResourceLock("feedback") // receivers of one hub share its feedback
  void feedback(IotHubServiceClientProtocol p) throws Exception {
    Device d = World.createDevice("javafb");
    List<FeedbackRecord> records = Collections.synchronizedList(new ArrayList<>());
    int[] batches = new int[1];
    MessageFeedbackProcessorClient f = new MessageFeedbackProcessorClient(World.SERVICE, p, batch -> {
      var mine = batch.getRecords().stream().filter(r -> r.getDeviceId().equals(d.getDeviceId())).toList();
      // Feedback of other tests is for others, but there are none: take it.
      if (mine.isEmpty()) return AcknowledgementType.COMPLETE;
      if (++batches[0] == 1) return AcknowledgementType.ABANDON; // it must come again
      records.addAll(mine);
      return AcknowledgementType.COMPLETE;
    });
    f.start();
    DeviceClient c = World.device(d, IotHubClientProtocol.AMQPS);
    c.setMessageCallback((m, context) -> new String(m.getBytes()).equals("no") ? IotHubMessageResult.REJECT : IotHubMessageResult.COMPLETE, null);
    c.open(false);
    try {
      sending(p, s -> {
        for (DeliveryAcknowledgement ack : DeliveryAcknowledgement.values()) {
          for (String body : List.of("ok", "no")) {
            Message m = message(body, body + "-" + ack);
            m.setDeliveryAcknowledgement(ack);
            s.send(d.getDeviceId(), m);
          }
        }
        Device away = World.createDevice("javafbaway");
        Message late = message("late", "late");
        late.setExpiryTimeUtc(new Date(System.currentTimeMillis() + 60_000));
        s.send(away.getDeviceId(), late);
      });
      World.until("the feedback", 60, () -> records.size() >= 4);
      Map<String, FeedbackStatusCode> want = Map.of("ok-Full", FeedbackStatusCode.success, "no-Full", FeedbackStatusCode.rejected,
          "ok-PositiveOnly", FeedbackStatusCode.success, "no-NegativeOnly", FeedbackStatusCode.rejected);
      Map<String, FeedbackStatusCode> got = new java.util.HashMap<>();
      for (FeedbackRecord r : records) {
        got.put(r.getOriginalMessageId(), r.getStatusCode());
        assertEquals(d.getGenerationId(), r.getDeviceGenerationId());
        assertTrue(Math.abs(r.getEnqueuedTimeUtc().getTime() - System.currentTimeMillis()) < 300_000);
      }
      assertEquals(want, got);
    } finally {
      c.close();
      f.stop();
    }
  }
}
