package interop;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.microsoft.azure.sdk.iot.device.ClientOptions;
import com.microsoft.azure.sdk.iot.device.DeviceClient;
import com.microsoft.azure.sdk.iot.device.IotHubClientProtocol;
import com.microsoft.azure.sdk.iot.device.IotHubStatusCode;
import com.microsoft.azure.sdk.iot.device.exceptions.IotHubClientException;
import com.microsoft.azure.sdk.iot.device.transport.ExponentialBackoffWithJitter;
import com.microsoft.azure.sdk.iot.service.methods.DirectMethodsClient;
import com.microsoft.azure.sdk.iot.service.registry.Device;
import com.microsoft.azure.sdk.iot.service.registry.Module;
import com.microsoft.azure.sdk.iot.service.registry.RegistryClient;
import com.microsoft.azure.sdk.iot.service.twin.TwinClient;
import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.PKCS8EncodedKeySpec;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.Callable;
import java.util.function.Predicate;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import org.junit.jupiter.api.Assumptions;

/**
 * What the tests share: the hub under test as the environment describes it,
 * reading stored telemetry, and controlling the server.
 */
final class World {
  // The SDKs trust what the JVM trusts: the hub's authority, in a store of its own.
  static {
    try (InputStream in = Files.newInputStream(Path.of(env("CA_FILE")))) {
      KeyStore store = KeyStore.getInstance("PKCS12");
      store.load(null, null);
      int n = 0;
      for (Certificate c : CertificateFactory.getInstance("X.509").generateCertificates(in)) store.setCertificateEntry("ca" + n++, c);
      Path file = Files.createTempFile("causeway-trust", ".p12");
      file.toFile().deleteOnExit();
      try (OutputStream out = Files.newOutputStream(file)) {
        store.store(out, "changeit".toCharArray());
      }
      System.setProperty("javax.net.ssl.trustStore", file.toString());
      System.setProperty("javax.net.ssl.trustStorePassword", "changeit");
      System.setProperty("javax.net.ssl.trustStoreType", "PKCS12");
    } catch (Exception e) {
      throw new ExceptionInInitializerError(e);
    }
  }

  static final String HUB = env("HUB_NAME");
  static final String HOST = env("HUB_HOST");
  static final String OWNER = env("OWNER_CONNECTION_STRING");
  static final String SERVICE = env("SERVICE_CONNECTION_STRING");
  static final String DPS_HOST = env("DPS_HOST");
  static final String DPS_SCOPE = env("DPS_ID_SCOPE");
  static final String DPS = env("DPS_CONNECTION_STRING");
  static final RegistryClient registry = new RegistryClient(OWNER);
  static final TwinClient twins = new TwinClient(SERVICE);
  static final DirectMethodsClient methods = new DirectMethodsClient(SERVICE);
  private static final HttpClient http = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();

  private World() {}

  private static String env(String name) {
    String v = System.getenv(name);
    if (v == null || v.isEmpty()) throw new IllegalStateException(name + " is not set: run these tests through test/interop/run");
    return v;
  }

  static String unique(String prefix) {
    return prefix + "-" + UUID.randomUUID().toString().substring(0, 8);
  }

  static Device createDevice(String prefix) throws Exception {
    return registry.addDevice(new Device(unique(prefix)));
  }

  static String deviceString(Device d) {
    return "HostName=" + HOST + ";DeviceId=" + d.getDeviceId() + ";SharedAccessKey=" + d.getPrimaryKey();
  }

  static String moduleString(Module m) {
    return "HostName=" + HOST + ";DeviceId=" + m.getDeviceId() + ";ModuleId=" + m.getId() + ";SharedAccessKey=" + m.getPrimaryKey();
  }

  /** Returns a client of a device that gives up soon, so that refusals are seen. */
  static DeviceClient device(Device d, IotHubClientProtocol protocol, ClientOptions options) {
    DeviceClient c = new DeviceClient(deviceString(d), protocol, options);
    c.setRetryPolicy(new ExponentialBackoffWithJitter(Integer.MAX_VALUE, 100, 1000, 100, true));
    return c;
  }

  static DeviceClient device(Device d, IotHubClientProtocol protocol) {
    return device(d, protocol, ClientOptions.builder().build());
  }

  private static String quote(String s) {
    return URLEncoder.encode(s, StandardCharsets.UTF_8).replace("+", "%20");
  }

  /** Returns the authorization of a policy's connection string. */
  static String token(String connectionString) throws Exception {
    Map<String, String> p = new HashMap<>();
    for (String part : connectionString.split(";")) p.put(part.substring(0, part.indexOf('=')), part.substring(part.indexOf('=') + 1));
    String sr = quote(p.get("HostName"));
    long se = Instant.now().getEpochSecond() + 3600;
    Mac mac = Mac.getInstance("HmacSHA256");
    mac.init(new SecretKeySpec(Base64.getDecoder().decode(p.get("SharedAccessKey")), "HmacSHA256"));
    String sig = quote(Base64.getEncoder().encodeToString(mac.doFinal((sr + "\n" + se).getBytes(StandardCharsets.UTF_8))));
    return "SharedAccessSignature sr=" + sr + "&sig=" + sig + "&se=" + se + "&skn=" + p.get("SharedAccessKeyName");
  }

  /** Returns the stored telemetry of a device once enough holds, from the start of the log. */
  static List<JsonObject> events(String device, Predicate<List<JsonObject>> enough) throws Exception {
    List<JsonObject> seen = new ArrayList<>();
    HttpRequest req = HttpRequest.newBuilder(URI.create(env("ADMIN_URL") + "/hubs/" + HUB + "/events?from=earliest&device=" + quote(device)))
        .header("Authorization", token(SERVICE)).build();
    HttpResponse<InputStream> res = http.send(req, HttpResponse.BodyHandlers.ofInputStream());
    if (res.statusCode() != 200) throw new AssertionError("event stream: " + res.statusCode());
    Instant end = Instant.now().plusSeconds(20);
    try (BufferedReader r = new BufferedReader(new InputStreamReader(res.body(), StandardCharsets.UTF_8))) {
      // The stream has heartbeats, so that reading it does not wait for ever.
      for (String line; (line = r.readLine()) != null && Instant.now().isBefore(end); ) {
        if (line.isBlank()) continue;
        JsonObject e = JsonParser.parseString(line).getAsJsonObject();
        if (!e.has("deviceId") || e.get("deviceId").getAsString().isEmpty()) continue;
        seen.add(e);
        if (enough.test(seen)) return seen;
      }
    }
    throw new AssertionError("telemetry of " + device + ": only " + seen.size() + " messages: " + seen);
  }

  static List<JsonObject> events(String device, int n) throws Exception {
    return events(device, l -> l.size() >= n);
  }

  static String text(JsonObject e, String... path) {
    JsonElement v = e;
    for (String p : path) {
      if (v == null || !v.isJsonObject()) return null;
      v = v.getAsJsonObject().get(p);
    }
    return v == null ? null : v.isJsonPrimitive() ? v.getAsString() : v.toString();
  }

  /** Makes a container of the hub's storage, or signs it, and returns its address. */
  private static String sign(String grant) throws Exception {
    HttpRequest req = HttpRequest.newBuilder(URI.create(env("ADMIN_URL") + "/hubs/" + HUB + "/blob-signatures"))
        .header("Authorization", token(OWNER)).header("Content-Type", "application/json")
        .POST(HttpRequest.BodyPublishers.ofString(grant)).build();
    HttpResponse<String> res = http.send(req, HttpResponse.BodyHandlers.ofString());
    if (res.statusCode() != 200) throw new AssertionError("sign: " + res.statusCode() + " " + res.body());
    JsonObject a = JsonParser.parseString(res.body()).getAsJsonObject();
    return "https://" + HOST + a.get("path").getAsString() + "?" + a.get("query").getAsString();
  }

  /** Returns the address of a new container of the hub's storage. */
  static String container(String prefix) throws Exception {
    String name = unique(prefix);
    String account = sign("{\"permissions\":\"c\",\"seconds\":600}");
    blob("PUT", account.replace("?", "/" + name + "?restype=container&"), null);
    return sign("{\"container\":\"" + name + "\",\"permissions\":\"rcwl\",\"seconds\":600}");
  }

  /** Reads or writes a blob by its address. */
  static String blob(String method, String address, String text) throws Exception {
    HttpRequest.BodyPublisher body = text == null ? HttpRequest.BodyPublishers.noBody() : HttpRequest.BodyPublishers.ofString(text);
    HttpRequest req = HttpRequest.newBuilder(URI.create(address)).header("x-ms-version", "2021-12-02")
        .header("x-ms-blob-type", "BlockBlob").method(method, body).build();
    HttpResponse<String> res = http.send(req, HttpResponse.BodyHandlers.ofString());
    if (res.statusCode() >= 300) throw new AssertionError(method + ": " + res.statusCode() + " " + res.body());
    return res.body();
  }

  private static String control(String path, String body) throws Exception {
    HttpRequest req = HttpRequest.newBuilder(URI.create(env("CONTROL_URL") + path)).timeout(Duration.ofSeconds(60))
        .POST(HttpRequest.BodyPublishers.ofString(body)).build();
    HttpResponse<String> res = http.send(req, HttpResponse.BodyHandlers.ofString());
    Assumptions.assumeTrue(res.statusCode() != 501 || System.getenv("CI") != null, res::body);
    if (res.statusCode() != 200) throw new AssertionError(path + ": " + res.statusCode() + " " + res.body());
    return res.body();
  }

  static void killAndRestart() throws Exception {
    control("/restart", "");
  }

  /** Has the server end in order, as Ctrl-C does, and start again. */
  static void stopAndRestart() throws Exception {
    control("/restart?how=in-order", "");
  }

  /** Returns an address with a signature, for a container or a blob. */
  static String blobs(String container, String permissions, String blob) throws Exception {
    String query = "hub=" + HUB + "&container=" + quote(container) + "&permissions=" + permissions + "&blob=" + quote(blob);
    JsonObject a = JsonParser.parseString(control("/sas?" + query, "")).getAsJsonObject();
    return "https://" + HOST + a.get("path").getAsString() + "?" + a.get("query").getAsString();
  }

  /**
   * A TPM behind the protocol of the simulator; it ends when it is closed. Without
   * the program that it is, the test is skipped.
   */
  record Tpm(String id, int port) implements AutoCloseable {
    static Tpm start() throws Exception {
      JsonObject started = JsonParser.parseString(control("/tpm", "")).getAsJsonObject();
      return new Tpm(text(started, "id"), started.get("port").getAsInt());
    }

    /** Takes its power away for a moment. */
    void restart() throws Exception {
      control("/tpm/restart?id=" + id, "");
    }

    /** Gives it other keys of its owner. */
    void clear() throws Exception {
      control("/tpm/clear?id=" + id, "");
    }

    @Override
    public void close() throws Exception {
      control("/tpm/stop?id=" + id, "");
    }
  }

  /**
   * A certificate of a device followed by those that vouch for it, its key, and a context
   * that shows them; pem is what the control has said of it.
   */
  record Proof(String thumbprint, SSLContext context, PrivateKey key, List<X509Certificate> chain, JsonObject pem) {}

  static Proof certificate(String kind, String cn) throws Exception {
    JsonObject c = JsonParser.parseString(control("/certificate?kind=" + kind + "&cn=" + quote(cn), "")).getAsJsonObject();
    String pem = c.get("pkcs8").getAsString().replaceAll("-----[A-Z ]+-----", "").replaceAll("\\s", "");
    PrivateKey key = KeyFactory.getInstance("EC").generatePrivate(new PKCS8EncodedKeySpec(Base64.getDecoder().decode(pem)));
    Certificate[] chain = CertificateFactory.getInstance("X.509")
        .generateCertificates(new ByteArrayInputStream(c.get("cert").getAsString().getBytes(StandardCharsets.US_ASCII))).toArray(new Certificate[0]);
    KeyStore store = KeyStore.getInstance("PKCS12");
    store.load(null, null);
    char[] password = "x".toCharArray();
    store.setKeyEntry("device", key, password, chain);
    KeyManagerFactory keys = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
    keys.init(store, password);
    SSLContext context = SSLContext.getInstance("TLS");
    context.init(keys.getKeyManagers(), null, null);
    return new Proof(c.get("thumbprint").getAsString(), context, key, Arrays.stream(chain).map(x -> (X509Certificate) x).toList(), c);
  }

  /** An operation on a twin, with the milliseconds it may take. */
  interface TwinOperation<T> {
    T run(int timeout) throws Exception;
  }

  /**
   * Runs an operation on a twin of a device again when it gets no answer: the SDK
   * forgets whom an answer is for when its receiving thread is quicker than the
   * thread of its network, which happens on a busy machine.
   */
  static <T> T twin(TwinOperation<T> f) throws Exception {
    for (int tries = 1; ; tries++) {
      try {
        return f.run(2000);
      } catch (IotHubClientException e) {
        if (e.getStatusCode() != IotHubStatusCode.DEVICE_OPERATION_TIMED_OUT || tries == 10) throw e;
      }
    }
  }

  /** Polls until f returns something that is not null and not false. */
  static <T> T until(String what, Callable<T> f) throws Exception {
    return until(what, 60, f);
  }

  static <T> T until(String what, int seconds, Callable<T> f) throws Exception {
    Instant end = Instant.now().plusSeconds(seconds);
    while (true) {
      T v = f.call();
      if (v != null && !Boolean.FALSE.equals(v)) return v;
      if (Instant.now().isAfter(end)) throw new AssertionError("timed out waiting for " + what);
      Thread.sleep(20);
    }
  }
}
