package job_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/job"
)

func TestTwins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1234)
		w.update = func(id causeway.Identity) error {
			if id.Device == "d00007" {
				return causeway.Errorf(causeway.PreconditionFailed, "test", "another etag")
			}
			return nil
		}
		w.start()
		defer w.stop()
		w.create("j", none)
		j := w.want("j", job.Completed, job.Statistics{Devices: 1234, Succeeded: 1233, Failed: 1})
		if j.Finished.IsZero() || j.Began.IsZero() || !j.Settled {
			t.Errorf("%+v", j.State)
		}
		if rows := w.rows("j"); rows[7] != "d00007 failed PreconditionFailed" || rows[8] != "d00008 completed" {
			t.Errorf("rows %q", rows[6:10])
		}
		for d, n := range w.updates {
			if n != 1 {
				t.Errorf("%s was updated %d times", d, n)
			}
		}
		if want := []string{"j:queued", "j:running", "j:completed"}; !slices.Equal(w.events, want) {
			t.Errorf("events %q, want %q", w.events, want)
		}
	})
}

func TestStartTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		w.start()
		defer w.stop()
		later := time.Now().Add(3 * time.Hour).UTC().Format("2006-01-02T15:04:05")
		w.create("later", func(r *job.Request) { r.StartTime = &later })
		past := "1999-01-01T00:00:00.5Z"
		w.create("past", func(r *job.Request) { r.StartTime = &past })
		w.want("past", job.Completed, job.Statistics{Devices: 2, Succeeded: 2})
		w.want("later", job.Scheduled, job.Statistics{})
		time.Sleep(3*time.Hour - time.Second) //nolint:forbidigo // simulated time
		w.devices = append(w.devices, "z")    // the set is that of the start
		w.want("later", job.Scheduled, job.Statistics{})
		time.Sleep(time.Second) //nolint:forbidigo // simulated time
		w.want("later", job.Completed, job.Statistics{Devices: 3, Succeeded: 3})
	})
}

// TestRate: what a hub allows is kept by all of its jobs together, and a job
// whose time is over fails those whose turn has not come.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 100)
		w.policy.Rate = 10
		w.start()
		defer w.stop()
		w.create("a", none)
		w.create("b", window(5, none))
		time.Sleep(time.Second) //nolint:forbidigo // simulated time
		synctest.Wait()
		w.mu.Lock()
		n := 0
		for _, u := range w.updates {
			n += u
		}
		w.mu.Unlock()
		if n < 10 || n > 12 {
			t.Errorf("%d updates in a second, want 10", n)
		}
		time.Sleep(6 * time.Second) //nolint:forbidigo // simulated time
		b := w.get("b")
		if b.Status != job.Completed || b.Statistics.Succeeded < 15 || b.Statistics.Succeeded+b.Statistics.Failed != 100 {
			t.Errorf("b: %+v", b)
		}
		if rows := w.rows("b"); rows[99] != "d00099 failed GatewayTimeout" {
			t.Errorf("last row %q", rows[99])
		}
		time.Sleep(time.Minute) //nolint:forbidigo // simulated time
		w.want("a", job.Completed, job.Statistics{Devices: 100, Succeeded: 100})
	})
}

func TestMethods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 5)
		w.answer = func(_ context.Context, id causeway.Identity, c causeway.Call, wait time.Duration) (causeway.Result, error) {
			if c.Method != "reboot" || string(c.Payload) != `{"now":true}` {
				t.Errorf("call %+v", c)
			}
			switch id.Device {
			case "d00001":
				time.Sleep(wait) //nolint:forbidigo // simulated time
				return causeway.Result{}, causeway.Errorf(causeway.GatewayTimeout, "test", "no answer")
			default:
				time.Sleep(time.Second) //nolint:forbidigo // simulated time
				return causeway.Result{Status: 404, Payload: []byte(`"x"`)}, nil
			}
		}
		w.start()
		defer w.stop()
		w.setOnline(true, "d00000", "d00001")
		w.create("m", window(60, method))
		w.want("m", job.Running, job.Statistics{Devices: 5, Running: 2, Pending: 3})
		time.Sleep(2 * time.Second) //nolint:forbidigo // simulated time
		w.want("m", job.Running, job.Statistics{Devices: 5, Running: 1, Succeeded: 1, Pending: 3})
		w.setOnline(true, "d00003") // comes late
		time.Sleep(3 * time.Second) //nolint:forbidigo // simulated time
		w.want("m", job.Running, job.Statistics{Devices: 5, Running: 1, Succeeded: 2, Pending: 2})
		time.Sleep(60 * time.Second) //nolint:forbidigo // simulated time
		w.want("m", job.Completed, job.Statistics{Devices: 5, Succeeded: 2, Failed: 3})
		want := []string{"d00000 completed", "d00001 failed GatewayTimeout", "d00002 failed DeviceNotOnline", "d00003 completed", "d00004 failed DeviceNotOnline"}
		if got := w.rows("m"); !slices.Equal(got, want) {
			t.Errorf("rows %q, want %q", got, want)
		}
		all, err := w.service.Devices(t.Context(), hubName, job.RowFilter{Device: "d00000"}, job.RowCursor{}, 9)
		if err != nil || len(all) != 1 || all[0].Answer.Status != 404 || string(all[0].Answer.Payload) != `"x"` {
			t.Errorf("row %+v, %v", all, err)
		}
	})
}

// TestConnectTimeout: devices are awaited as long as the call says, not until the
// window is over.
func TestConnectTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 4)
		w.answer = func(context.Context, causeway.Identity, causeway.Call, time.Duration) (causeway.Result, error) {
			time.Sleep(20 * time.Second) //nolint:forbidigo // simulated time
			return causeway.Result{Status: 200}, nil
		}
		w.start()
		defer w.stop()
		w.setOnline(true, "d00000")
		w.create("m", window(300, func(r *job.Request) {
			method(r)
			r.CloudToDeviceMethod.ConnectTimeoutInSeconds = new(10)
		}))
		time.Sleep(5 * time.Second) //nolint:forbidigo // simulated time
		w.setOnline(true, "d00001")
		time.Sleep(4900 * time.Millisecond) //nolint:forbidigo // simulated time
		w.want("m", job.Running, job.Statistics{Devices: 4, Running: 2, Pending: 2})
		time.Sleep(1200 * time.Millisecond) //nolint:forbidigo // simulated time
		w.setOnline(true, "d00002")         // too late
		w.want("m", job.Running, job.Statistics{Devices: 4, Running: 2, Failed: 2})
		time.Sleep(20 * time.Second) //nolint:forbidigo // simulated time
		w.want("m", job.Completed, job.Statistics{Devices: 4, Succeeded: 2, Failed: 2})
		want := []string{"d00000 completed", "d00001 completed", "d00002 failed DeviceNotOnline", "d00003 failed DeviceNotOnline"}
		if got := w.rows("m"); !slices.Equal(got, want) {
			t.Errorf("rows %q, want %q", got, want)
		}
	})
}

// TestMethodRaces: a device that goes away before it is called is called when it
// is back, once.
func TestMethodRaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.answer = func(context.Context, causeway.Identity, causeway.Call, time.Duration) (causeway.Result, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.calls["d00000"] <= 2 {
				return causeway.Result{}, causeway.Errorf(causeway.DeviceNotOnline, "test", "just gone")
			}
			return causeway.Result{Status: 200}, nil
		}
		w.start()
		defer w.stop()
		w.setOnline(true, "d00000")
		w.create("m", method)
		time.Sleep(5 * time.Second) //nolint:forbidigo // simulated time
		w.want("m", job.Completed, job.Statistics{Devices: 1, Succeeded: 1})
		if w.calls["d00000"] != 3 {
			t.Errorf("%d tries, want 3", w.calls["d00000"])
		}
	})
}

func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3)
		w.answer = func(context.Context, causeway.Identity, causeway.Call, time.Duration) (causeway.Result, error) {
			time.Sleep(10 * time.Second) //nolint:forbidigo // simulated time
			return causeway.Result{Status: 200}, nil
		}
		w.start()
		defer w.stop()
		w.setOnline(true, "d00001")
		w.create("m", method)
		time.Sleep(time.Second) //nolint:forbidigo // simulated time
		cancel := func(id string) (job.Job, error) { return w.service.Cancel(context.Background(), hubName, id) }
		j, err := cancel("m")
		if err != nil || j.Status != job.Cancelled || j.Finished.IsZero() {
			t.Fatalf("%+v, %v", j.State, err)
		}
		w.want("m", job.Cancelled, job.Statistics{Devices: 3, Running: 1})
		time.Sleep(10 * time.Second) //nolint:forbidigo // simulated time
		j = w.want("m", job.Cancelled, job.Statistics{Devices: 3, Succeeded: 1})
		if !j.Settled {
			t.Error("not settled after the last call has ended")
		}
		if got, want := w.rows("m"), []string{"d00000 canceled", "d00001 completed", "d00002 canceled"}; !slices.Equal(got, want) {
			t.Errorf("rows %q, want %q", got, want)
		}
		if _, err := cancel("m"); err != nil {
			t.Errorf("cancelled again: %v", err)
		}
		later := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
		w.create("later", func(r *job.Request) { r.StartTime = &later })
		if _, err := cancel("later"); err != nil {
			t.Error(err)
		}
		if j := w.want("later", job.Cancelled, job.Statistics{}); !j.Settled {
			t.Error("a job for later is not settled when it is cancelled")
		}
		w.create("done", none)
		w.want("done", job.Completed, job.Statistics{Devices: 3, Succeeded: 3})
		if _, err := cancel("done"); causeway.CodeOf(err) != causeway.InvalidOperation {
			t.Errorf("cancel what has ended: %v", err)
		}
		if _, err := cancel("ghost"); causeway.CodeOf(err) != causeway.JobNotFound {
			t.Errorf("cancel what is not there: %v", err)
		}
	})
}

func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.policy.Active = 2
		w.start()
		defer w.stop()
		soon := time.Now().Add(time.Minute).UTC().Format(time.RFC3339)
		w.create("soon", func(r *job.Request) { r.StartTime = &soon })
		w.create("a", window(90, method)) // nobody answers
		w.create("b", window(90, method))
		try := func(id string, edit func(*job.Request), code causeway.Code) {
			t.Helper()
			if _, err := w.service.Create(context.Background(), w.request(id, edit)); causeway.CodeOf(err) != code {
				t.Errorf("job %s: %v, want %v", id, err, code)
			}
		}
		try("c", none, causeway.ThrottlingMaxActiveJobCountExceeded)
		try("a", none, causeway.JobAlreadyExists)
		bad := "bad"
		try("d", func(r *job.Request) { r.QueryCondition = &bad }, causeway.ArgumentInvalid)
		time.Sleep(70 * time.Second)                    //nolint:forbidigo // simulated time
		w.want("soon", job.Scheduled, job.Statistics{}) // waits for a place
		time.Sleep(25 * time.Second)                    //nolint:forbidigo // simulated time
		w.want("soon", job.Completed, job.Statistics{Devices: 1, Succeeded: 1})
		try("a", none, causeway.JobAlreadyExists)
		w.create("c", none)
		for i := range job.MaxUnfinished {
			w.create(fmt.Sprintf("n%d", i), func(r *job.Request) {
				at := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
				r.StartTime = &at
			})
		}
		synctest.Wait()
		try("one-more", none, causeway.ThrottlingMaxActiveJobCountExceeded)
	})
}

func TestSpoiledCondition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.start()
		defer w.stop()
		c := "spoiled"
		w.create("j", func(r *job.Request) { r.QueryCondition = &c })
		if j := w.want("j", job.Failed, job.Statistics{}); j.Reason == "" || !j.Settled {
			t.Errorf("%+v", j.State)
		}
	})
}

func TestHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2500)
		w.start()
		defer w.stop()
		w.create("j", none)
		w.want("j", job.Completed, job.Statistics{Devices: 2500, Succeeded: 2500})
		time.Sleep(job.History - time.Hour) //nolint:forbidigo // simulated time
		w.get("j")
		time.Sleep(3 * time.Hour) //nolint:forbidigo // simulated time
		if _, err := w.service.Get(t.Context(), hubName, "j"); causeway.CodeOf(err) != causeway.JobNotFound {
			t.Errorf("after %v: %v", job.History, err)
		}
		if rows := w.rows("j"); len(rows) != 0 {
			t.Errorf("%d rows are left", len(rows))
		}
	})
}

func TestPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 0)
		w.start()
		defer w.stop()
		for i := range 5 {
			w.create(fmt.Sprintf("j%d", i), none)
			time.Sleep(time.Second) //nolint:forbidigo // simulated time
		}
		var got []string
		token, first := "", ""
		for range 9 {
			page, next, err := w.service.List(t.Context(), hubName, job.Filter{}, 2, token)
			if err != nil {
				t.Fatal(err)
			}
			for _, j := range page {
				got = append(got, j.ID)
			}
			if token = next; first == "" {
				first = next
			}
			if next == "" {
				break
			}
		}
		if want := []string{"j4", "j3", "j2", "j1", "j0"}; !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		if page, _, err := w.service.List(t.Context(), hubName, job.Filter{}, 2, first); err != nil || page[0].ID != "j2" {
			t.Errorf("a token used again: %v, %v", page, err)
		}
		for _, bad := range []string{"x", "!!", "MTIz", "MTIzLw"} {
			if _, _, err := w.service.List(t.Context(), hubName, job.Filter{}, 2, bad); causeway.CodeOf(err) != causeway.ArgumentInvalid {
				t.Errorf("token %q: %v", bad, err)
			}
		}
	})
}

// TestTooManyTargets: a job for too many fails, and touches nobody.
func TestTooManyTargets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 0)
		w.crowd = 1_000_001
		w.start()
		defer w.stop()
		c := "crowd"
		w.create("j", func(r *job.Request) { r.QueryCondition = &c })
		if j := w.want("j", job.Failed, job.Statistics{}); j.Reason == "" || len(w.updates) > 0 {
			t.Errorf("%+v, %d updates", j.State, len(w.updates))
		}
	})
}

// hasty is a store whose jobs are cancelled before those who made them know that
// they are there.
type hasty struct {
	job.Store
	cancel func(id string)
}

func (s *hasty) Create(ctx context.Context, j job.Job) error {
	err := s.Store.Create(ctx, j)
	s.cancel(j.ID)
	return err
}

// TestCancelWhileCreated: a job for later that is cancelled at the moment it is
// stored is closed at once, not when it would have begun.
func TestCancelWhileCreated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3)
		w.store = &hasty{Store: w.store, cancel: func(id string) {
			if _, err := w.service.Cancel(context.Background(), hubName, id); err != nil {
				t.Error(err)
			}
		}}
		w.start()
		defer w.stop()
		later := time.Now().Add(24 * time.Hour).UTC().Format(time.RFC3339)
		w.create("later", func(r *job.Request) { r.StartTime = &later })
		time.Sleep(time.Second) //nolint:forbidigo // simulated time
		if j := w.want("later", job.Cancelled, job.Statistics{}); !j.Settled {
			t.Error("not settled")
		}
	})
}
