package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.JsonElement;
import com.google.gson.JsonParser;
import com.microsoft.azure.sdk.iot.device.ClientOptions;
import com.microsoft.azure.sdk.iot.device.DeviceClient;
import com.microsoft.azure.sdk.iot.device.IotHubClientProtocol;
import com.microsoft.azure.sdk.iot.device.Message;
import com.microsoft.azure.sdk.iot.provisioning.device.AdditionalData;
import com.microsoft.azure.sdk.iot.provisioning.device.ProvisioningDeviceClient;
import com.microsoft.azure.sdk.iot.provisioning.device.ProvisioningDeviceClientRegistrationResult;
import com.microsoft.azure.sdk.iot.provisioning.device.ProvisioningDeviceClientStatus;
import com.microsoft.azure.sdk.iot.provisioning.device.ProvisioningDeviceClientSubstatus;
import com.microsoft.azure.sdk.iot.provisioning.device.ProvisioningDeviceClientTransportProtocol;
import com.microsoft.azure.sdk.iot.provisioning.security.SecurityProvider;
import com.microsoft.azure.sdk.iot.provisioning.security.SecurityProviderSymmetricKey;
import com.microsoft.azure.sdk.iot.provisioning.security.SecurityProviderX509;
import com.microsoft.azure.sdk.iot.provisioning.service.ProvisioningServiceClient;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.AllocationPolicy;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.Attestation;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.CustomAllocationDefinition;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.EnrollmentGroup;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.IndividualEnrollment;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.ProvisioningStatus;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.SymmetricKeyAttestation;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.X509Attestation;
import com.sun.net.httpserver.HttpServer;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.security.Key;
import java.security.SecureRandom;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collection;
import java.util.Collections;
import java.util.List;
import java.util.function.Consumer;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * Devices that are provisioned with provisioning-device-client, over each of its
 * transports; who was assigned then sends to its hub.
 */
class ProvisioningTest {
  private static final ProvisioningServiceClient back = new ProvisioningServiceClient(World.DPS);

  /** The transports of the cases below. */
  @ParameterizedTest
  @EnumSource(names = {"HTTPS", "MQTT", "MQTT_WS", "AMQPS", "AMQPS_WS"})
  @Retention(RetentionPolicy.RUNTIME)
  private @interface OverEachTransport {}

  private static ProvisioningDeviceClientRegistrationResult register(
      ProvisioningDeviceClientTransportProtocol p, SecurityProvider proof, String payload, String scope) throws Exception {
    ProvisioningDeviceClient c = ProvisioningDeviceClient.create(World.DPS_HOST, scope, p, proof);
    try {
      AdditionalData data = new AdditionalData();
      data.setProvisioningPayload(payload);
      return c.registerDeviceSync(data);
    } finally {
      c.close();
    }
  }

  private static ProvisioningDeviceClientRegistrationResult register(ProvisioningDeviceClientTransportProtocol p, SecurityProvider proof) throws Exception {
    return register(p, proof, null, World.DPS_SCOPE);
  }

  private static SecurityProvider key(String id, String key) {
    return new SecurityProviderSymmetricKey(key.getBytes(StandardCharsets.UTF_8), id);
  }

  private static SecurityProvider certificate(String id, World.Proof proof) {
    return new SecurityProviderX509() {
      @Override
      public String getClientCertificateCommonName() {
        return id;
      }

      @Override
      public X509Certificate getClientCertificate() {
        return proof.chain().get(0);
      }

      @Override
      public Key getClientPrivateKey() {
        return proof.key();
      }

      @Override
      public Collection<X509Certificate> getIntermediateCertificatesChain() {
        return proof.chain().subList(1, proof.chain().size());
      }
    };
  }

  private static SymmetricKeyAttestation newKeys() {
    byte[] key = new byte[32];
    new SecureRandom().nextBytes(key);
    String primary = Base64.getEncoder().encodeToString(key);
    new SecureRandom().nextBytes(key);
    return new SymmetricKeyAttestation(primary, Base64.getEncoder().encodeToString(key));
  }

  private static String derived(String key, String id) throws Exception {
    return new String(SecurityProviderSymmetricKey.ComputeDerivedSymmetricKey(key.getBytes(StandardCharsets.UTF_8), id), StandardCharsets.UTF_8);
  }

  private static void enroll(String id, Attestation a, Consumer<IndividualEnrollment> change) throws Exception {
    IndividualEnrollment e = new IndividualEnrollment(id, a);
    e.setIotHubs(List.of(World.HOST));
    change.accept(e);
    back.createOrUpdateIndividualEnrollment(e);
  }

  private static void enroll(String id, Attestation a) throws Exception {
    enroll(id, a, e -> {});
  }

  /** Runs f while there is a group. */
  private static void group(Attestation a, World.TwinOperation<Void> f) throws Exception {
    EnrollmentGroup g = new EnrollmentGroup(World.unique("java-group"), a);
    g.setIotHubs(List.of(World.HOST));
    back.createOrUpdateEnrollmentGroup(g);
    try {
      f.run(0);
    } finally {
      back.deleteEnrollmentGroup(g.getEnrollmentGroupId());
    }
  }

  /** Has a device that was assigned send to its hub, in the way it was provisioned. */
  private static void sends(ProvisioningDeviceClientTransportProtocol p, ProvisioningDeviceClientRegistrationResult r, String credentials, ClientOptions options)
      throws Exception {
    assertEquals(ProvisioningDeviceClientStatus.PROVISIONING_DEVICE_STATUS_ASSIGNED, r.getProvisioningDeviceClientStatus());
    IotHubClientProtocol hub = p == ProvisioningDeviceClientTransportProtocol.HTTPS ? IotHubClientProtocol.MQTT : IotHubClientProtocol.valueOf(p.name());
    DeviceClient c = new DeviceClient("HostName=" + r.getIothubUri() + ";DeviceId=" + r.getDeviceId() + ";" + credentials, hub, options);
    c.open(false);
    try {
      c.sendEvent(new Message("from " + r.getDeviceId()));
    } finally {
      c.close();
    }
    World.events(r.getDeviceId(), 1);
  }

  private static void sends(ProvisioningDeviceClientTransportProtocol p, ProvisioningDeviceClientRegistrationResult r, String key) throws Exception {
    sends(p, r, "SharedAccessKey=" + key, ClientOptions.builder().build());
  }

  @OverEachTransport
  void keyOfItsOwn(ProvisioningDeviceClientTransportProtocol p) throws Exception {
    String id = World.unique("Java-own");
    SymmetricKeyAttestation keys = newKeys();
    enroll(id, keys, e -> e.setDeviceId(id + "-on-hub"));
    for (String key : List.of(keys.getPrimaryKey(), keys.getSecondaryKey())) {
      var r = register(p, key(id, key));
      assertEquals(World.HOST, r.getIothubUri());
      assertEquals(id + "-on-hub", r.getDeviceId());
      assertEquals(id, r.getRegistrationId());
      assertEquals(ProvisioningDeviceClientSubstatus.INITIAL_ASSIGNMENT, r.getSubstatus());
      sends(p, r, key);
    }
  }

  @OverEachTransport
  void keyOfAGroup(ProvisioningDeviceClientTransportProtocol p) throws Exception {
    SymmetricKeyAttestation keys = newKeys();
    group(keys, unused -> {
      for (String key : List.of(keys.getPrimaryKey(), keys.getSecondaryKey())) {
        String id = World.unique("java-member");
        var r = register(p, key(id, derived(key, id)));
        assertEquals(id, r.getDeviceId());
        sends(p, r, derived(key, id));
      }
      return null;
    });
  }

  @OverEachTransport
  void certificateOfItsOwn(ProvisioningDeviceClientTransportProtocol p) throws Exception {
    String id = World.unique("java-leaf");
    World.Proof one = World.certificate("self", id);
    World.Proof two = World.certificate("self", id);
    enroll(id, X509Attestation.createFromClientCertificates(one.pem().get("cert").getAsString(), two.pem().get("cert").getAsString()));
    for (World.Proof proof : List.of(one, two)) {
      var r = register(p, certificate(id, proof));
      sends(p, r, "x509=true", ClientOptions.builder().sslContext(proof.context()).build());
    }
    refused(says(p, "401"), () -> register(p, certificate(id, World.certificate("self", id))));
  }

  @OverEachTransport
  void certificateOfAGroup(ProvisioningDeviceClientTransportProtocol p) throws Exception {
    String id = World.unique("java-chain");
    World.Proof proof = World.certificate("chain", id);
    // By the root, so that it takes the certificate between the two.
    group(X509Attestation.createFromRootCertificates(proof.pem().get("root").getAsString()), unused -> {
      var r = register(p, certificate(id, proof));
      assertEquals(id, r.getDeviceId());
      sends(p, r, "x509=true", ClientOptions.builder().sslContext(proof.context()).build());
      String other = World.unique("java-chain");
      refused(says(p, "401"), () -> register(p, certificate(other, proof)));
      return null;
    });
  }

  /** A webhook, and what it was asked. */
  private record Hook(HttpServer server, List<JsonElement> asked) implements AutoCloseable {
    static Hook answering(int status, String body) throws Exception {
      List<JsonElement> asked = Collections.synchronizedList(new ArrayList<>());
      HttpServer s = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
      s.createContext("/", x -> {
        asked.add(JsonParser.parseString(new String(x.getRequestBody().readAllBytes(), StandardCharsets.UTF_8)));
        byte[] b = body.getBytes(StandardCharsets.UTF_8);
        x.sendResponseHeaders(status, b.length);
        x.getResponseBody().write(b);
        x.close();
      });
      s.start();
      return new Hook(s, asked);
    }

    void allocates(IndividualEnrollment e) {
      CustomAllocationDefinition d = new CustomAllocationDefinition();
      d.setWebhookUrl("http://127.0.0.1:" + server.getAddress().getPort() + "/");
      d.setApiVersion("2019-03-31");
      e.setAllocationPolicy(AllocationPolicy.CUSTOM);
      e.setCustomAllocationDefinition(d);
    }

    @Override
    public void close() {
      server.stop(0);
    }
  }

  @OverEachTransport
  void customAllocation(ProvisioningDeviceClientTransportProtocol p) throws Exception {
    try (Hook hook = Hook.answering(200, "{\"iotHubHostName\":\"" + World.HOST + "\",\"payload\":{\"a\":1}}")) {
      String id = World.unique("java-custom");
      SymmetricKeyAttestation keys = newKeys();
      enroll(id, keys, hook::allocates);
      var r = register(p, key(id, keys.getPrimaryKey()), "{\"site\":\"a\"}", World.DPS_SCOPE);
      assertEquals(JsonParser.parseString("{\"a\":1}"), JsonParser.parseString(r.getProvisioningPayload()));
      // What it is given, the SDK sends as a string.
      assertEquals("{\"site\":\"a\"}", World.text(hook.asked().get(0).getAsJsonObject(), "deviceRuntimeContext", "payload"));
      assertEquals(1, hook.asked().size());
      sends(p, r, keys.getPrimaryKey());
    }
  }

  @OverEachTransport
  void failedAndDisabled(ProvisioningDeviceClientTransportProtocol p) throws Exception {
    SymmetricKeyAttestation keys = newKeys();
    try (Hook hook = Hook.answering(400, "{}")) {
      String id = World.unique("java-failed");
      enroll(id, keys, hook::allocates);
      refused("Custom allocation failed with status code: 400", () -> register(p, key(id, keys.getPrimaryKey())));
    }
    String blocked = World.unique("java-blocked");
    enroll(blocked, keys, e -> e.setProvisioningStatus(ProvisioningStatus.DISABLED));
    refused("the enrollment is disabled", () -> register(p, key(blocked, keys.getPrimaryKey())));
  }

  @OverEachTransport
  void refusals(ProvisioningDeviceClientTransportProtocol p) throws Exception {
    String id = World.unique("java-refused");
    SymmetricKeyAttestation keys = newKeys();
    enroll(id, keys);
    refused(says(p, "401"), () -> register(p, key(id, newKeys().getPrimaryKey())));
    refused(says(p, "404"), () -> register(p, key(id, keys.getPrimaryKey()), null, "0ne00000000"));
  }

  /** Over AMQP the SDK keeps to itself why a request was rejected. */
  private static String says(ProvisioningDeviceClientTransportProtocol p, String status) {
    return p.name().startsWith("AMQPS") ? "Rejected" : status;
  }

  /** Expects an exception that has a text in it, or in one of its causes. */
  private static void refused(String text, Executable f) {
    StringBuilder all = new StringBuilder();
    for (Throwable e = assertThrows(Exception.class, f); e != null; e = e.getCause()) all.append(e).append('\n');
    assertTrue(all.toString().contains(text), all::toString);
  }
}
