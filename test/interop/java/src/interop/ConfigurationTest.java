package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.Gson;
import com.google.gson.reflect.TypeToken;
import com.microsoft.azure.sdk.iot.service.configurations.Configuration;
import com.microsoft.azure.sdk.iot.service.configurations.ConfigurationContent;
import com.microsoft.azure.sdk.iot.service.configurations.ConfigurationMetrics;
import com.microsoft.azure.sdk.iot.service.configurations.ConfigurationsClient;
import com.microsoft.azure.sdk.iot.service.exceptions.IotHubBadFormatException;
import com.microsoft.azure.sdk.iot.service.exceptions.IotHubException;
import com.microsoft.azure.sdk.iot.service.exceptions.IotHubNotFoundException;
import com.microsoft.azure.sdk.iot.service.registry.Device;
import com.microsoft.azure.sdk.iot.service.twin.DeviceCapabilities;
import com.microsoft.azure.sdk.iot.service.twin.Twin;
import java.util.HashMap;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** Configurations and edge deployments with iot-service-client. */
class ConfigurationTest {
  private final ConfigurationsClient client = new ConfigurationsClient(World.OWNER);

  private static final String MANIFEST = """
      {"$edgeAgent":{"properties.desired":{"schemaVersion":"1.0","runtime":{"type":"docker","settings":{"minDockerVersion":"v1.25"}},
        "systemModules":{"edgeAgent":{"type":"docker","settings":{"image":"agent:1.5","createOptions":""}},
          "edgeHub":{"type":"docker","status":"running","restartPolicy":"always","settings":{"image":"hub:1.5"}}},
        "modules":{"sensor":{"type":"docker","status":"running","restartPolicy":"always","settings":{"image":"sensor:1"}}}}},
       "$edgeHub":{"properties.desired":{"schemaVersion":"1.0","routes":{},"storeAndForwardConfiguration":{"timeToLiveSecs":7200}}},
       "sensor":{"properties.desired":{"mode":"fast"}}}""";

  private static ConfigurationContent manifest() {
    Map<String, Map<String, Object>> modules = new Gson().fromJson(MANIFEST, new TypeToken<Map<String, Map<String, Object>>>() {}.getType());
    // Gson makes a fraction of every number.
    ConfigurationContent content = new ConfigurationContent();
    @SuppressWarnings("unchecked")
    Map<String, Object> hub = (Map<String, Object>) modules.get("$edgeHub").get("properties.desired");
    hub.put("storeAndForwardConfiguration", Map.of("timeToLiveSecs", 7200));
    content.setModulesContent(modules);
    return content;
  }

  @Test
  void devices() throws Exception {
    Device d = World.createDevice("javaconf");
    String id = World.unique("fan");
    Twin twin = World.twins.get(d.getDeviceId());
    twin.getTags().put("run", id);
    World.twins.patch(twin);

    Configuration c = new Configuration(id);
    c.setLabels(new HashMap<>(Map.of("App", "Fan")));
    c.setPriority(10);
    c.setTargetCondition("tags.run = '" + id + "'");
    ConfigurationContent content = new ConfigurationContent();
    content.setDeviceContent(new HashMap<>(Map.of("properties.desired.fan", new HashMap<>(Map.of("speed", 3)))));
    c.setContent(content);
    ConfigurationMetrics metrics = new ConfigurationMetrics();
    metrics.setQueries(new HashMap<>(Map.of("mine", "select deviceId from devices where tags.run = '" + id + "'")));
    c.setMetrics(metrics);
    Configuration created = client.create(c);
    assertEquals(id, created.getId());
    assertEquals("Fan", created.getLabels().get("App"));
    assertThrows(IotHubException.class, () -> client.create(c));

    World.until("the configuration in the twin", () -> {
      Twin t = World.twins.get(d.getDeviceId());
      // The status is null here: the service writes Applied, the SDK reads applied.
      return t.getConfigurations() != null && t.getConfigurations().containsKey(id) && t.getDesiredProperties().containsKey("fan") ? t : null;
    });
    Configuration got = client.get(id);
    assertEquals(1L, got.getSystemMetrics().getResults().get("appliedCount").longValue());
    assertEquals(1L, got.getMetrics().getResults().get("mine").longValue());
    assertTrue(client.get(100).stream().anyMatch(x -> x.getId().equals(id)));

    got.setPriority(11);
    assertEquals(11, client.replace(got).getPriority());
    Configuration other = client.get(id);
    ConfigurationContent different = new ConfigurationContent();
    different.setDeviceContent(new HashMap<>(Map.of("properties.desired.fan", 1)));
    other.setContent(different);
    assertThrows(IotHubBadFormatException.class, () -> client.replace(other));

    client.delete(id);
    assertThrows(IotHubNotFoundException.class, () -> client.get(id));
    World.until("the twin without it", () -> World.twins.get(d.getDeviceId()).getDesiredProperties().containsKey("fan") ? null : true);
  }

  @Test
  void edge() throws Exception {
    Device e = new Device(World.unique("javaedge"));
    e.setCapabilities(capabilities());
    World.registry.addDevice(e);
    client.applyConfigurationContentOnDevice(e.getDeviceId(), manifest());
    assertEquals("fast", World.twins.get(e.getDeviceId(), "sensor").getDesiredProperties().get("mode"));

    Configuration c = new Configuration(World.unique("base"));
    c.setContent(manifest());
    c.setTargetCondition("deviceId = '" + e.getDeviceId() + "'");
    c.setPriority(1);
    client.create(c);
    World.until("the deployment", () -> {
      Twin t = World.twins.get(e.getDeviceId(), "$edgeAgent");
      return t.getConfigurations() != null && t.getConfigurations().containsKey(c.getId()) ? t : null;
    });
    Configuration got = World.until("its metrics", () -> {
      Configuration x = client.get(c.getId());
      return x.getSystemMetrics().getResults().get("appliedCount") == 1L ? x : null;
    });
    assertEquals(0L, got.getSystemMetrics().getResults().get("reportedSuccessfulCount").longValue());
    client.delete(c.getId());
  }

  private static DeviceCapabilities capabilities() {
    DeviceCapabilities caps = new DeviceCapabilities();
    caps.setIotEdge(true);
    return caps;
  }
}
