package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.microsoft.azure.sdk.iot.provisioning.device.ProvisioningDeviceClient;
import com.microsoft.azure.sdk.iot.provisioning.device.ProvisioningDeviceClientTransportProtocol;
import com.microsoft.azure.sdk.iot.provisioning.security.SecurityProviderSymmetricKey;
import com.microsoft.azure.sdk.iot.provisioning.service.ProvisioningServiceClient;
import com.microsoft.azure.sdk.iot.provisioning.service.Query;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.AllocationPolicy;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.BulkOperationMode;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.DeviceCapabilities;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.DeviceRegistrationState;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.EnrollmentGroup;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.EnrollmentStatus;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.IndividualEnrollment;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.ProvisioningStatus;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.QueryResult;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.QueryResultType;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.QuerySpecification;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.QuerySpecificationBuilder;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.ReprovisionPolicy;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.SymmetricKeyAttestation;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.TwinCollection;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.TwinState;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.X509Attestation;
import com.microsoft.azure.sdk.iot.provisioning.service.exceptions.ProvisioningServiceClientBadFormatException;
import com.microsoft.azure.sdk.iot.provisioning.service.exceptions.ProvisioningServiceClientNotFoundException;
import com.microsoft.azure.sdk.iot.provisioning.service.exceptions.ProvisioningServiceClientPreconditionFailedException;
import com.microsoft.azure.sdk.iot.provisioning.service.exceptions.ProvisioningServiceClientUnathorizedException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;

/** Enrollments and registrations with provisioning-service-client. */
class EnrollmentsTest {
  private static final ProvisioningServiceClient back = new ProvisioningServiceClient(World.DPS);

  private static SymmetricKeyAttestation newKeys() {
    return new SymmetricKeyAttestation("", ""); // the service makes them
  }

  private static IndividualEnrollment make(String id) throws Exception {
    return back.createOrUpdateIndividualEnrollment(new IndividualEnrollment(id, newKeys()));
  }

  @Test
  void enrollment() throws Exception {
    String id = World.unique("Java-enroll");
    IndividualEnrollment e = new IndividualEnrollment(id, newKeys());
    e.setDeviceId(id + "-on-hub");
    e.setProvisioningStatus(ProvisioningStatus.DISABLED);
    e.setAllocationPolicy(AllocationPolicy.STATIC);
    e.setIotHubs(List.of(World.HOST));
    DeviceCapabilities edge = new DeviceCapabilities();
    edge.setIotEdge(true);
    e.setCapabilities(edge);
    ReprovisionPolicy reset = new ReprovisionPolicy();
    reset.setUpdateHubAssignment(true);
    reset.setMigrateDeviceData(false);
    e.setReprovisionPolicy(reset);
    TwinCollection tags = new TwinCollection();
    tags.put("site", "north");
    TwinCollection desired = new TwinCollection();
    desired.put("interval", 5);
    e.setInitialTwin(new TwinState(tags, desired));
    IndividualEnrollment made = back.createOrUpdateIndividualEnrollment(e);
    SymmetricKeyAttestation keys = (SymmetricKeyAttestation) made.getAttestation();
    assertEquals(64, java.util.Base64.getDecoder().decode(keys.getPrimaryKey()).length);

    IndividualEnrollment got = back.getIndividualEnrollment(id.toLowerCase());
    assertEquals(id, got.getRegistrationId());
    assertEquals(id + "-on-hub", got.getDeviceId());
    assertEquals(ProvisioningStatus.DISABLED, got.getProvisioningStatus());
    assertEquals(AllocationPolicy.STATIC, got.getAllocationPolicy());
    assertEquals(List.of(World.HOST), new ArrayList<>(got.getIotHubs()));
    assertTrue(got.getCapabilities().isIotEdge());
    assertTrue(got.getReprovisionPolicy().getUpdateHubAssignment());
    assertFalse(got.getReprovisionPolicy().getMigrateDeviceData());
    assertEquals("north", got.getInitialTwin().getTags().get("site"));
    assertEquals(5, ((Number) got.getInitialTwin().getDesiredProperties().get("interval")).intValue());
    assertEquals(EnrollmentStatus.UNASSIGNED, got.getDeviceRegistrationState().getStatus());
    assertNotNull(got.getCreatedDateTimeUtc());
    assertEquals(made.getEtag(), got.getEtag());
    var shown = back.getIndividualEnrollmentAttestationMechanism(id).getAttestation();
    assertEquals(keys.getPrimaryKey(), ((SymmetricKeyAttestation) shown).getPrimaryKey());

    // What was read goes back with a change: its etag is the condition.
    got.setProvisioningStatus(ProvisioningStatus.ENABLED);
    IndividualEnrollment changed = back.createOrUpdateIndividualEnrollment(got);
    assertEquals(ProvisioningStatus.ENABLED, changed.getProvisioningStatus());
    assertEquals("north", changed.getInitialTwin().getTags().get("site"));
    assertEquals(keys.getPrimaryKey(), ((SymmetricKeyAttestation) changed.getAttestation()).getPrimaryKey());
    assertNotEquals(got.getEtag(), changed.getEtag());
    assertThrows(ProvisioningServiceClientPreconditionFailedException.class, () -> back.createOrUpdateIndividualEnrollment(got));
    assertThrows(ProvisioningServiceClientPreconditionFailedException.class, () -> back.deleteIndividualEnrollment(got));
    assertThrows(ProvisioningServiceClientPreconditionFailedException.class, () -> back.deleteIndividualEnrollment(id, got.getEtag()));
    // Without its quotes it is the same.
    back.deleteIndividualEnrollment(id, changed.getEtag().replace("\"", ""));
    assertThrows(ProvisioningServiceClientNotFoundException.class, () -> back.getIndividualEnrollment(id));
    assertThrows(ProvisioningServiceClientNotFoundException.class, () -> back.deleteIndividualEnrollment(id));
  }

  @Test
  void certificates() throws Exception {
    String id = World.unique("java-cert");
    World.Proof one = World.certificate("self", id);
    World.Proof two = World.certificate("self", id);
    IndividualEnrollment e = back.createOrUpdateIndividualEnrollment(new IndividualEnrollment(
        id, X509Attestation.createFromClientCertificates(one.pem().get("cert").getAsString(), two.pem().get("cert").getAsString())));
    X509Attestation a = (X509Attestation) e.getAttestation();
    assertTrue(a.getPrimaryX509CertificateInfo().getSubjectName().contains(id));
    assertEquals(one.chain().get(0).getNotAfter(), a.getPrimaryX509CertificateInfo().getNotAfterUtc());
    assertNotEquals(a.getPrimaryX509CertificateInfo().getSha256Thumbprint(), a.getSecondaryX509CertificateInfo().getSha256Thumbprint());
    // A description of them goes back, and they stay.
    e.setDeviceId(id + "-on-hub");
    X509Attestation after = (X509Attestation) back.createOrUpdateIndividualEnrollment(e).getAttestation();
    assertEquals(a.getSecondaryX509CertificateInfo().getSha256Thumbprint(), after.getSecondaryX509CertificateInfo().getSha256Thumbprint());
    back.deleteIndividualEnrollment(id);
  }

  @Test
  void group() throws Exception {
    String id = World.unique("java-group");
    EnrollmentGroup g = new EnrollmentGroup(id, newKeys());
    g.setIotHubs(List.of(World.HOST));
    EnrollmentGroup made = back.createOrUpdateEnrollmentGroup(g);
    String key = ((SymmetricKeyAttestation) made.getAttestation()).getPrimaryKey();
    EnrollmentGroup got = back.getEnrollmentGroup(id);
    assertEquals(id, got.getEnrollmentGroupId());
    got.setProvisioningStatus(ProvisioningStatus.ENABLED);
    EnrollmentGroup changed = back.createOrUpdateEnrollmentGroup(got);
    assertThrows(ProvisioningServiceClientPreconditionFailedException.class, () -> back.createOrUpdateEnrollmentGroup(got));
    assertEquals(key, ((SymmetricKeyAttestation) back.getEnrollmentGroupAttestationMechanism(id).getAttestation()).getPrimaryKey());

    // Registrations of the group, in pages.
    Set<String> ids = new HashSet<>();
    for (int i = 0; i < 3; i++) {
      String device = World.unique("java-member");
      ids.add(device);
      byte[] derived = SecurityProviderSymmetricKey.ComputeDerivedSymmetricKey(key.getBytes(StandardCharsets.UTF_8), device);
      ProvisioningDeviceClient c = ProvisioningDeviceClient.create(
          World.DPS_HOST, World.DPS_SCOPE, ProvisioningDeviceClientTransportProtocol.HTTPS, new SecurityProviderSymmetricKey(derived, device));
      c.registerDeviceSync();
      c.close();
    }
    Set<String> found = new HashSet<>();
    int pages = 0;
    for (Query q = back.createEnrollmentGroupRegistrationStateQuery(all(QuerySpecificationBuilder.FromType.DEVICE_REGISTRATIONS), id, 2); q.hasNext(); pages++) {
      QueryResult page = q.next();
      assertEquals(QueryResultType.DEVICE_REGISTRATION, page.getType());
      for (Object o : page.getItems()) found.add(((DeviceRegistrationState) o).getRegistrationId());
    }
    assertEquals(ids, found);
    assertEquals(2, pages);

    String device = ids.iterator().next();
    DeviceRegistrationState state = back.getDeviceRegistrationState(device);
    assertEquals(EnrollmentStatus.ASSIGNED, state.getStatus());
    assertEquals(World.HOST, state.getAssignedHub());
    assertEquals(device, state.getDeviceId());
    assertThrows(ProvisioningServiceClientPreconditionFailedException.class, () -> back.deleteDeviceRegistrationState(device, "\"stale\""));
    back.deleteDeviceRegistrationState(state);
    assertThrows(ProvisioningServiceClientNotFoundException.class, () -> back.getDeviceRegistrationState(device));
    back.deleteEnrollmentGroup(changed);
    assertThrows(ProvisioningServiceClientNotFoundException.class, () -> back.getEnrollmentGroup(id));
  }

  private static QuerySpecification all(QuerySpecificationBuilder.FromType from) {
    return new QuerySpecificationBuilder("*", from).createSqlQuery();
  }

  /** Enrollments by ten, and all of them in pages of a hundred. */
  @Test
  void bulkAndPages() throws Exception {
    String prefix = World.unique("java-bulk");
    List<List<IndividualEnrollment>> batches = new ArrayList<>();
    Set<String> mine = new HashSet<>();
    for (int i = 0; i < 150; i++) {
      if (i % 10 == 0) batches.add(new ArrayList<>());
      IndividualEnrollment e = new IndividualEnrollment(String.format("%s-%03d", prefix, i), newKeys());
      batches.get(i / 10).add(e);
      mine.add(e.getRegistrationId());
    }
    for (var batch : batches) assertTrue(back.runBulkEnrollmentOperation(BulkOperationMode.CREATE, batch).getSuccessful());
    var again = back.runBulkEnrollmentOperation(BulkOperationMode.CREATE, batches.get(0).subList(0, 2));
    assertFalse(again.getSuccessful());
    assertEquals(2, again.getErrors().size());
    assertEquals(prefix + "-000", again.getErrors().get(0).getRegistrationId());
    assertEquals(409, again.getErrors().get(0).getErrorCode() / 1000);

    // Others make and delete enrollments meanwhile.
    List<String> seen = new ArrayList<>();
    int pages = 0;
    String continuation;
    Query q = back.createIndividualEnrollmentQuery(all(QuerySpecificationBuilder.FromType.ENROLLMENTS), 100);
    do {
      QueryResult page = q.next();
      pages++;
      continuation = page.getContinuationToken();
      assertEquals(QueryResultType.ENROLLMENT, page.getType());
      assertEquals(continuation != null, page.getItems().length == 100);
      assertEquals(continuation != null, q.hasNext());
      for (Object o : page.getItems()) seen.add(((IndividualEnrollment) o).getRegistrationId());
    } while (continuation != null);
    assertTrue(pages >= 2, "pages: " + pages);
    assertEquals(seen.size(), new HashSet<>(seen).size());
    assertTrue(seen.containsAll(mine));

    batches.get(0).get(0).setProvisioningStatus(ProvisioningStatus.DISABLED);
    assertTrue(back.runBulkEnrollmentOperation(BulkOperationMode.UPDATE, batches.get(0)).getSuccessful());
    assertEquals(ProvisioningStatus.DISABLED, back.getIndividualEnrollment(prefix + "-000").getProvisioningStatus());
    IndividualEnrollment stale = back.getIndividualEnrollment(prefix + "-001");
    assertTrue(back.runBulkEnrollmentOperation(BulkOperationMode.UPDATE_IF_MATCH_ETAG, List.of(stale)).getSuccessful());
    var late = back.runBulkEnrollmentOperation(BulkOperationMode.UPDATE_IF_MATCH_ETAG, List.of(stale));
    assertEquals(412, late.getErrors().get(0).getErrorCode() / 1000);
    for (var batch : batches) {
      for (IndividualEnrollment e : batch) e.setEtag(null);
      assertTrue(back.runBulkEnrollmentOperation(BulkOperationMode.DELETE, batch).getSuccessful());
    }
    assertThrows(ProvisioningServiceClientNotFoundException.class, () -> back.getIndividualEnrollment(prefix + "-149"));
  }

  @Test
  void refusals() throws Exception {
    String id = World.unique("java-refused");
    IndividualEnrollment e = new IndividualEnrollment(id, newKeys());
    e.setAllocationPolicy(AllocationPolicy.STATIC);
    e.setIotHubs(List.of("elsewhere.example.com"));
    assertThrows(ProvisioningServiceClientBadFormatException.class, () -> back.createOrUpdateIndividualEnrollment(e));
    assertThrows(ProvisioningServiceClientNotFoundException.class, () -> back.getDeviceRegistrationState(id));
    String wrong = World.DPS.replaceFirst("SharedAccessKey=.*", "SharedAccessKey=AAAA");
    ProvisioningServiceClient stranger = new ProvisioningServiceClient(wrong);
    assertThrows(ProvisioningServiceClientUnathorizedException.class, () -> stranger.getIndividualEnrollment(id));
    IndividualEnrollment made = make(id);
    assertNull(made.getDeviceRegistrationState().getAssignedHub());
    back.deleteIndividualEnrollment(made);
  }
}
