package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.JsonParser;
import com.microsoft.azure.sdk.iot.service.exceptions.IotHubBadFormatException;
import com.microsoft.azure.sdk.iot.service.query.QueryClient;
import com.microsoft.azure.sdk.iot.service.query.QueryPageOptions;
import com.microsoft.azure.sdk.iot.service.query.RawQueryResponse;
import com.microsoft.azure.sdk.iot.service.query.SqlQueryBuilder;
import com.microsoft.azure.sdk.iot.service.query.TwinQueryResponse;
import com.microsoft.azure.sdk.iot.service.registry.Device;
import com.microsoft.azure.sdk.iot.service.registry.Module;
import com.microsoft.azure.sdk.iot.service.twin.Twin;
import java.util.Set;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;

/** Queries with iot-service-client: twins, modules, rows without a type, pages. */
class QueryTest {
  private final QueryClient client = new QueryClient(World.SERVICE);

  /** Makes devices with a tag of their own and returns the condition for it. */
  private static String tagged(Set<String> ids, int n) throws Exception {
    String run = World.unique("run");
    for (int i = 0; i < n; i++) {
      Device d = World.createDevice("javaq");
      Twin twin = World.twins.get(d.getDeviceId());
      twin.getTags().put("run", run);
      World.twins.patch(twin);
      ids.add(d.getDeviceId());
    }
    return "tags.run = '" + run + "'";
  }

  @Test
  void twinsInPages() throws Exception {
    Set<String> want = new TreeSet<>();
    String condition = tagged(want, 5);
    String query = SqlQueryBuilder.createSqlQuery("*", SqlQueryBuilder.FromType.DEVICES, condition, null);
    QueryPageOptions two = QueryPageOptions.builder().pageSize(2).build();
    TwinQueryResponse r = client.queryTwins(query, two);
    Set<String> got = new TreeSet<>();
    while (r.hasNext()) got.add(r.next(two).getDeviceId());
    assertEquals(want, got);
    // A token may be used again, by another client.
    TwinQueryResponse first = client.queryTwins(query, two);
    String token = first.getContinuationToken();
    for (int i = 0; i < 2; i++) {
      TwinQueryResponse rest = client.queryTwins(query, QueryPageOptions.builder().pageSize(10).continuationToken(token).build());
      int n = 0;
      for (; rest.hasNext(); n++) rest.next();
      assertEquals(3, n);
    }
  }

  @Test
  void modules() throws Exception {
    Device d = World.createDevice("javaqm");
    World.registry.addModule(new Module(d.getDeviceId(), "m1"));
    TwinQueryResponse r = client.queryTwins("select * from devices.modules where deviceId = '" + d.getDeviceId() + "'");
    assertTrue(r.hasNext());
    assertEquals("m1", r.next().getModuleId());
    assertFalse(r.hasNext());
  }

  @Test
  void raw() throws Exception {
    Set<String> ids = new TreeSet<>();
    String condition = tagged(ids, 3);
    RawQueryResponse r = client.queryRaw("select count() as n, status from devices where " + condition + " group by status");
    var row = JsonParser.parseString(r.next()).getAsJsonObject();
    assertEquals(3, row.get("n").getAsInt());
    assertEquals("enabled", row.get("status").getAsString());
    assertFalse(r.hasNext());
  }

  @Test
  void wrong() {
    assertThrows(IotHubBadFormatException.class, () -> client.queryRaw("select from devices"));
  }
}
