package interop;

import static org.junit.jupiter.api.Assertions.*;

import com.google.gson.JsonParser;
import com.microsoft.azure.sdk.iot.device.ClientOptions;
import com.microsoft.azure.sdk.iot.device.DeviceClient;
import com.microsoft.azure.sdk.iot.device.IotHubClientProtocol;
import com.microsoft.azure.sdk.iot.device.twin.DirectMethodResponse;
import com.microsoft.azure.sdk.iot.service.digitaltwin.DigitalTwinClient;
import com.microsoft.azure.sdk.iot.service.digitaltwin.UpdateOperationUtility;
import com.microsoft.azure.sdk.iot.service.digitaltwin.models.DigitalTwinInvokeCommandRequestOptions;
import com.microsoft.azure.sdk.iot.service.digitaltwin.models.DigitalTwinUpdateRequestOptions;
import com.microsoft.azure.sdk.iot.service.digitaltwin.serialization.BasicDigitalTwin;
import com.microsoft.azure.sdk.iot.service.registry.Device;
import java.util.HashMap;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** Digital twins with the DigitalTwinClient. */
class DigitalTwinTest {
  private static final String MODEL = "dtmi:com:example:TemperatureController;1";
  private static final DigitalTwinClient twins = new DigitalTwinClient(World.SERVICE);

  private static DeviceClient open(Device d) throws Exception {
    DeviceClient c = World.device(d, IotHubClientProtocol.AMQPS, ClientOptions.builder().modelId(MODEL).build());
    c.open(false);
    return c;
  }

  @Test
  void propertiesAreReadAndChanged() throws Exception {
    Device d = World.createDevice("javapnp");
    DeviceClient c = open(d);
    try {
      c.subscribeToDesiredProperties((twin, context) -> {}, null);
      var reported = new com.microsoft.azure.sdk.iot.device.twin.TwinCollection();
      reported.put("serialNumber", "x");
      reported.put("thermostat1", new HashMap<>(Map.of("__t", "c", "max", 38.5)));
      World.twin(ms -> c.updateReportedProperties(reported, ms));
      BasicDigitalTwin before = twins.getDigitalTwin(d.getDeviceId(), BasicDigitalTwin.class);
      assertEquals(d.getDeviceId(), before.getId());
      assertEquals(MODEL, before.getMetadata().getModelId());
      assertEquals("x", before.getCustomProperties().get("serialNumber"));

      UpdateOperationUtility patch = new UpdateOperationUtility();
      patch.appendAddPropertyOperation("/interval", 5);
      patch.appendAddComponentOperation("/thermostat2", new HashMap<>(Map.of("targetTemperature", 21)));
      var done = twins.updateDigitalTwinWithResponse(d.getDeviceId(), patch.getUpdateOperations());
      assertEquals(202, done.response().code());
      assertTrue(done.headers().location().endsWith("/digitaltwins/" + d.getDeviceId()), done.headers().location());
      var got = twins.getDigitalTwinWithResponse(d.getDeviceId(), String.class);
      assertEquals(done.headers().eTag(), got.headers().eTag());
      var doc = JsonParser.parseString(got.body()).getAsJsonObject();
      assertEquals("21", World.text(doc, "thermostat2", "$metadata", "targetTemperature", "desiredValue"));
      assertEquals("5", World.text(doc, "$metadata", "interval", "desiredValue"));

      UpdateOperationUtility remove = new UpdateOperationUtility();
      remove.appendRemoveComponentOperation("/thermostat2");
      twins.updateDigitalTwinWithResponse(d.getDeviceId(), remove.getUpdateOperations(), new DigitalTwinUpdateRequestOptions().setIfMatch(got.headers().eTag()));
      assertFalse(JsonParser.parseString(twins.getDigitalTwin(d.getDeviceId(), String.class)).getAsJsonObject().has("thermostat2"));
      // What is gone cannot be removed, nor by the etag of before.
      assertThrows(Exception.class, () -> twins.updateDigitalTwin(d.getDeviceId(), remove.getUpdateOperations()));
      assertThrows(Exception.class, () -> twins.updateDigitalTwinWithResponse(
          d.getDeviceId(), patch.getUpdateOperations(), new DigitalTwinUpdateRequestOptions().setIfMatch(got.headers().eTag())));
    } finally {
      c.close();
    }
  }

  @Test
  void commandsAreAnswered() throws Exception {
    Device d = World.createDevice("javapnpcmd");
    DeviceClient c = open(d);
    try {
      c.subscribeToMethods((name, payload, context) -> new DirectMethodResponse(name.equals("reboot") ? 202 : 200, Map.of("of", name, "got", payload.getPayloadAsJsonElement())), null);
      var options = new DigitalTwinInvokeCommandRequestOptions();
      options.setConnectTimeoutInSeconds(10);
      options.setResponseTimeoutInSeconds(10);
      var r = twins.invokeCommandWithResponse(d.getDeviceId(), "reboot", "5", options);
      assertEquals(202, r.body().getStatus());
      var report = twins.invokeComponentCommand(d.getDeviceId(), "thermostat1", "report", "{\"since\":\"x\"}");
      assertEquals(200, report.getStatus());
      assertTrue(report.getPayloadAsJsonString().contains("thermostat1*report"), report.getPayloadAsJsonString());
      assertThrows(Exception.class, () -> twins.invokeCommand(World.createDevice("javapnpoff").getDeviceId(), "reboot"));
    } finally {
      c.close();
    }
  }
}
