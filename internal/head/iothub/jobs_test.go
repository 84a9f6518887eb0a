package iothub_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/job"
	"github.com/causeway-iot/causeway/internal/lang/hubquery"
)

// selector is a selector of all devices of a world, whatever the condition.
type selector struct{ w *world }

func (selector) Check(condition string) error {
	if _, err := hubquery.ParseCondition(condition); err != nil {
		return causeway.Errorf(causeway.ArgumentInvalid, "test", "%v", err)
	}
	return nil
}

func (s selector) Select(ctx context.Context, hub, _ string, f func(causeway.Identity) error) error {
	recs, err := s.w.registry.List(ctx, hub, "", 1000)
	for i := range recs {
		err = f(recs[i].ID)
	}
	return err
}

// TakesMethods: every device of a world does.
func (h *fakeHub) TakesMethods(causeway.Identity) bool { return true }

// runJobs lets the jobs of a world work; the test is in a bubble.
func (w *world) runJobs() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.jobs.Run(ctx) }()
	synctest.Wait()
	return func() {
		cancel()
		<-done
	}
}

func TestJobLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.runJobs()()
		for _, d := range []string{"a", "b"} {
			w.put("/devices/"+d, `{}`).want(200)
		}
		// As the Node SDK sends it.
		created := w.put("/jobs/v2/j1", `{"jobId":"j1","type":"scheduleUpdateTwin","updateTwin":{"etag":"*","tags":{"x":1},"properties":{"desired":{"y":2}}},"queryCondition":"deviceId IN ['a','b']","startTime":"1999-12-31T23:59:59.000Z","maxExecutionTimeInSeconds":60}`).want(200)
		if created.text("jobId") != "j1" || created.text("type") != "scheduleUpdateTwin" || created.text("queryCondition") != "deviceId IN ['a','b']" || created.json("maxExecutionTimeInSeconds") != "60" {
			t.Errorf("created: %s", created.body)
		}
		synctest.Wait()
		got := w.get("/jobs/v2/j1").want(200)
		if got.text("status") != "completed" || got.json("deviceJobStatistics", "deviceCount") != "2" || got.json("deviceJobStatistics", "succeededCount") != "2" || got.text("endTime") == "" {
			t.Errorf("done: %s", got.body)
		}
		if tw := w.get("/twins/a"); tw.json("tags", "x") != "1" || tw.json("properties", "desired", "y") != "2" {
			t.Errorf("twin: %s", tw.body)
		}
		w.put("/jobs/v2/j1", `{"type":"scheduleUpdateTwin","updateTwin":{"tags":{}},"queryCondition":"*"}`).refused(causeway.JobAlreadyExists)

		time.Sleep(time.Second) //nolint:forbidigo // simulated time
		// Not answering, which remembers the last call: there are two at once.
		w.hub.answer = func(context.Context, causeway.Identity, causeway.Call, time.Duration, time.Duration) (causeway.Result, error) {
			return causeway.Result{Status: 200, Payload: []byte(`{"ok":true}`)}, nil
		}
		m := w.put("/jobs/v2/j2?", `{"type":"ScheduleDeviceMethod","cloudToDeviceMethod":{"methodName":"reboot","payload":null,"responseTimeoutInSeconds":7},"queryCondition":"*","startTime":null,"maxExecutionTimeInSeconds":0}`).want(200)
		if m.json("cloudToDeviceMethod", "responseTimeoutInSeconds") != "7" || m.json("cloudToDeviceMethod", "payload") != nil || m.json("maxExecutionTimeInSeconds") != "3600" {
			t.Errorf("method job: %s", m.body)
		}
		time.Sleep(time.Second) //nolint:forbidigo // simulated time
		synctest.Wait()
		rows, err := w.jobs.Devices(t.Context(), "myhub", job.RowFilter{Job: "j2"}, job.RowCursor{}, 9)
		if err != nil || len(rows) != 2 || string(rows[0].Answer.Payload) != `{"ok":true}` {
			t.Errorf("rows %+v, %v", rows, err)
		}

		later := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
		w.put("/jobs/v2/j3", `{"type":"scheduleUpdateTwin","updateTwin":{"tags":{"z":1}},"queryCondition":"*","startTime":"`+later+`"}`).want(200)
		for _, body := range []string{"", "null"} {
			if c := w.post("/jobs/v2/j3/cancel", body).want(200); c.text("status") != "cancelled" {
				t.Errorf("cancelled: %s", c.body)
			}
		}
		w.post("/jobs/v2/j1/cancel", "").refused(causeway.InvalidOperation)
		w.post("/jobs/v2/ghost/cancel", "").refused(causeway.JobNotFound)
		w.get("/jobs/v2/ghost").refused(causeway.JobNotFound)

		var ids []string
		header := http.Header{"X-Ms-Max-Item-Count": {"2"}}
		for range 3 {
			a := w.do(request{method: "GET", path: "/jobs/v2/query?jobType&jobStatus", header: header}).want(200)
			if got := a.header.Get("x-ms-item-type"); got != "JobResponse" {
				t.Errorf("item type %q", got)
			}
			for _, j := range a.json().([]any) {
				ids = append(ids, j.(map[string]any)["jobId"].(string))
			}
			next, more := a.header["X-Ms-Continuation"]
			if !more {
				break
			}
			header["X-Ms-Continuation"] = next
		}
		if want := []string{"j3", "j2", "j1"}; !slices.Equal(ids, want) {
			t.Errorf("listed %q, want %q", ids, want)
		}
		for query, want := range map[string]int{
			"jobType=scheduleUpdateTwin": 2, "jobType=SCHEDULEDEVICEMETHOD&jobStatus=completed": 1, "jobStatus=cancelled": 1, "jobStatus=running": 0, "jobType=unknown&jobStatus=unknown": 3, "jobStatus=enqueued": 0,
		} {
			if n := len(w.get("/jobs/v2/query?" + query).json().([]any)); n != want {
				t.Errorf("%s: %d jobs, want %d", query, n, want)
			}
		}
	})
}

// TestJobsNotYet: before the jobs run none is taken on.
func TestJobsNotYet(t *testing.T) {
	w := newWorld(t)
	w.put("/jobs/v2/j", `{"type":"scheduleUpdateTwin","updateTwin":{"tags":{}},"queryCondition":"*"}`).refused(causeway.ServiceUnavailable)
}

func TestTooManyJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.put("/devices/a", `{}`).want(200)
		defer w.runJobs()()
		w.hub.answer = func(ctx context.Context, _ causeway.Identity, _ causeway.Call, _, _ time.Duration) (causeway.Result, error) {
			<-ctx.Done()
			return causeway.Result{}, ctx.Err()
		}
		body := `{"type":"scheduleDeviceMethod","cloudToDeviceMethod":{"methodName":"m"},"queryCondition":"*"}`
		for i := range job.DefaultActive {
			w.put(fmt.Sprintf("/jobs/v2/j%d", i), body).want(200)
		}
		w.put("/jobs/v2/one-more", body).refused(causeway.ThrottlingMaxActiveJobCountExceeded)
	})
}
