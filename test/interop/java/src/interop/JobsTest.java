package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.microsoft.azure.sdk.iot.service.exceptions.IotHubConflictException;
import com.microsoft.azure.sdk.iot.service.exceptions.IotHubNotFoundException;
import com.microsoft.azure.sdk.iot.service.jobs.DirectMethodsJobOptions;
import com.microsoft.azure.sdk.iot.service.jobs.ScheduledJob;
import com.microsoft.azure.sdk.iot.service.jobs.ScheduledJobStatus;
import com.microsoft.azure.sdk.iot.service.jobs.ScheduledJobType;
import com.microsoft.azure.sdk.iot.service.jobs.ScheduledJobsClient;
import com.microsoft.azure.sdk.iot.service.query.JobQueryResponse;
import com.microsoft.azure.sdk.iot.service.twin.Twin;
import java.util.Date;
import org.junit.jupiter.api.Test;

/** Scheduled jobs with iot-service-client. */
class JobsTest {
  private final ScheduledJobsClient jobs = new ScheduledJobsClient(World.SERVICE);

  private ScheduledJob ended(String id) throws Exception {
    for (int i = 0; i < 300; i++) {
      ScheduledJob j = jobs.get(id);
      switch (j.getJobStatus()) {
        case completed:
        case failed:
        case cancelled:
          return j;
        default:
          Thread.sleep(100);
      }
    }
    throw new AssertionError("job " + id + " does not end");
  }

  @Test
  void twins() throws Exception {
    String device = World.createDevice("javajob").getDeviceId();
    String id = World.unique("job");
    Twin change = new Twin();
    change.setETag("*");
    change.getTags().put("java", "yes");
    change.getDesiredProperties().put("interval", 7);
    ScheduledJob created = jobs.scheduleUpdateTwin(id, "deviceId='" + device + "'", change, new Date(), 60);
    assertEquals(id, created.getJobId());
    assertEquals(ScheduledJobType.scheduleUpdateTwin, created.getJobType());
    ScheduledJob done = ended(id);
    assertEquals(ScheduledJobStatus.completed, done.getJobStatus());
    assertEquals(1, done.getJobStatistics().getSucceededCount());
    assertNotNull(done.getEndTime());
    assertThrows(IotHubConflictException.class, () -> jobs.scheduleUpdateTwin(id, "*", change, new Date(), 60));

    JobQueryResponse rows = jobs.query("SELECT * FROM devices.jobs WHERE devices.jobs.jobId = '" + id + "'");
    assertTrue(rows.hasNext());
    ScheduledJob row = rows.next();
    assertEquals(device, row.getDeviceId());
    assertEquals(ScheduledJobStatus.completed, row.getJobStatus());
  }

  @Test
  void methodsListsAndCancel() throws Exception {
    String device = World.createDevice("javajob").getDeviceId();
    String id = World.unique("job");
    DirectMethodsJobOptions options = DirectMethodsJobOptions.builder().payload("x").maxExecutionTimeSeconds(3600).build();
    ScheduledJob created = jobs.scheduleDirectMethod(id, "deviceId='" + device + "'", "reboot", new Date(), options);
    assertEquals(ScheduledJobType.scheduleDeviceMethod, created.getJobType());
    boolean found = false;
    JobQueryResponse list = jobs.query(ScheduledJobType.scheduleDeviceMethod, ScheduledJobStatus.running);
    while (list.hasNext()) {
      found |= list.next().getJobId().equals(id);
    }
    assertTrue(found || jobs.get(id).getJobStatus() == ScheduledJobStatus.queued, "the job is not listed");
    assertEquals(ScheduledJobStatus.cancelled, jobs.cancel(id).getJobStatus());
    assertEquals(ScheduledJobStatus.cancelled, ended(id).getJobStatus());
    assertThrows(IotHubNotFoundException.class, () -> jobs.get("nobody"));
  }
}
