package job_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/job"
	"github.com/causeway-iot/causeway/internal/cloud/job/jobtest"
)

func TestJSON(t *testing.T) {
	at := time.Date(2024, 1, 31, 12, 0, 0, 120000000, time.UTC)
	j := jobtest.Job("plant", "j1", 0)
	j.Created, j.Start = at, at.Add(time.Hour)
	j.Statistics = job.Statistics{Devices: 9, Pending: 1, Running: 2, Succeeded: 3, Failed: 2}
	m := jobtest.Job("plant", "j2", 1)
	m.Created, m.Start, m.Finished, m.Status, m.Reason = at, at, at.Add(time.Minute), job.Failed, "why"
	row := job.DeviceJob{Row: job.Row{ID: dev("d1"), Job: "j1", Created: at, Updated: at}, Type: job.UpdateTwin}
	answered := row
	answered.Type, answered.Status, answered.Started, answered.Ended = job.DeviceMethod, job.RowCompleted, at, at
	answered.Answered, answered.Answer = true, causeway.Result{Status: 200, Payload: []byte(`{"a":"<"}`)}
	updated := row
	updated.Status = job.RowCompleted
	failed := row
	failed.ID.Module, failed.Status, failed.Code, failed.Text = "m", job.RowFailed, "DeviceNotOnline", "away"
	const times = `"startTimeUtc":"0001-01-01T00:00:00Z","endTimeUtc":"0001-01-01T00:00:00Z","createdDateTimeUtc":"2024-01-31T12:00:00.1200000Z","lastUpdatedDateTimeUtc":"2024-01-31T12:00:00.1200000Z"`
	for _, x := range []struct {
		v    any
		want string
	}{
		{j, `{"jobId":"j1","queryCondition":"tags.a = 'é\"'","createdTime":"2024-01-31T12:00:00.1200000Z","startTime":"2024-01-31T13:00:00.1200000Z","maxExecutionTimeInSeconds":90,"type":"scheduleUpdateTwin","updateTwin":{"etag":"AAAAAAAAAAE=","tags":{"a":1},"properties":{"desired":{"b":"é"}}},"status":"scheduled","deviceJobStatistics":{"deviceCount":9,"failedCount":2,"succeededCount":3,"runningCount":2,"pendingCount":1}}`},
		{m, `{"jobId":"j2","queryCondition":"tags.a = 'é\"'","createdTime":"2024-01-31T12:00:00.1200000Z","startTime":"2024-01-31T12:00:00.1200000Z","endTime":"2024-01-31T12:01:00.1200000Z","maxExecutionTimeInSeconds":90,"type":"scheduleDeviceMethod","cloudToDeviceMethod":{"methodName":"reboot","payload":[null],"responseTimeoutInSeconds":7,"connectTimeoutInSeconds":1},"status":"failed","failureReason":"why","deviceJobStatistics":{"deviceCount":0,"failedCount":0,"succeededCount":0,"runningCount":0,"pendingCount":0}}`},
		{row, `{"deviceId":"d1","jobId":"j1","jobType":"scheduleUpdateTwin","status":"pending",` + times + `}`},
		{updated, `{"deviceId":"d1","jobId":"j1","jobType":"scheduleUpdateTwin","status":"completed",` + times + `,"outcome":{"deviceMethodResponse":null}}`},
		{failed, `{"deviceId":"d1","moduleId":"m","jobId":"j1","jobType":"scheduleUpdateTwin","status":"failed",` + times + `,"error":{"code":"DeviceNotOnline","description":"away"}}`},
		{answered, `{"deviceId":"d1","jobId":"j1","jobType":"scheduleDeviceMethod","status":"completed",` + strings.ReplaceAll(times, "0001-01-01T00:00:00Z", "2024-01-31T12:00:00.1200000Z") + `,"outcome":{"deviceMethodResponse":{"status":200,"payload":{"a":"<"}}}}`},
	} {
		got, err := x.v.(json.Marshaler).MarshalJSON()
		if err != nil || string(got) != x.want {
			t.Errorf("got  %s %v\nwant %s", got, err, x.want)
		}
	}
}

// FuzzRequest: whatever a caller asks for, it is a job within the limits, or an
// error that is the caller's fault.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		`{"type":"scheduleUpdateTwin","queryCondition":"*","updateTwin":{"etag":"\"x\"","tags":{"a":null},"properties":{"desired":{}}},"startTime":"2024-01-01T00:00:00.5","maxExecutionTimeInSeconds":1}`,
		`{"type":"scheduleDeviceMethod","queryCondition":"deviceId IN ['a']","cloudToDeviceMethod":{"methodName":"m","payload":[1],"responseTimeoutInSeconds":300,"connectTimeoutInSeconds":0}}`,
		`{"jobId":"x"}`, `null`, `{"updateTwin":[]}`,
	} {
		f.Add([]byte(s), "id")
	}
	now := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, body []byte, id string) {
		var r job.Request
		if json.Unmarshal(body, &r) != nil {
			return
		}
		j, err := r.Job("hub", id, now)
		if err != nil {
			if s := causeway.CodeOf(err).HTTPStatus(); s < 400 || s > 499 || causeway.MessageOf(err) == "" {
				t.Fatalf("%s %q: %v", body, id, err)
			}
			return
		}
		if !job.ValidID(j.ID) || j.Window <= 0 || j.Window > job.MaxWindow || j.Start.Before(now) || j.Start.Sub(now) > job.MaxStartAhead || j.Condition == "" {
			t.Fatalf("%s: %+v", body, j)
		}
		if _, err := j.MarshalJSON(); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
	})
}
