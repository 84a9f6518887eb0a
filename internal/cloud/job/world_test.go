package job_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/job"
	"github.com/causeway-iot/causeway/internal/cloud/job/jobtest"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
)

const hubName = "plant"

func dev(d string) causeway.Identity { return causeway.Identity{Hub: hubName, Device: d} }

// world is the service on a store in memory, with a selector that understands
// "*", "none", "bad" and lists of ids, and devices that come and go.
type world struct {
	t       *testing.T
	store   job.Store
	service *job.Service
	policy  job.Policy
	stop    func()

	mu      sync.Mutex
	devices []string
	online  map[string]bool
	updates map[string]int // twin updates by device
	calls   map[string]int // method calls by device
	events  []string       // status changes, job:status
	update  func(id causeway.Identity) error
	answer  func(ctx context.Context, id causeway.Identity, c causeway.Call, wait time.Duration) (causeway.Result, error)
	selects int
	crowd   int // how many "crowd" selects, all of them one device
}

func newWorld(t *testing.T, devices int) *world {
	w := &world{t: t, store: jobtest.NewMemory(hubName), online: map[string]bool{}, updates: map[string]int{}, calls: map[string]int{}}
	for i := range devices {
		w.devices = append(w.devices, fmt.Sprintf("d%05d", i))
	}
	return w
}

// start runs the service until stop or crash.
func (w *world) start() {
	w.service = job.New(job.Options{
		Store: w.store, Selector: w, Registry: w, Publisher: w,
		Hubs:   func(name string) (job.Hub, bool) { return w, name == hubName },
		Policy: func(string) job.Policy { return w.policy },
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.service.Run(ctx) }()
	synctest.Wait()
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("run: %v", err)
		}
	}
}

func (w *world) Check(condition string) error {
	if condition == "bad" {
		return causeway.Errorf(causeway.ArgumentInvalid, "test", "a bad condition")
	}
	return nil
}

func (w *world) Select(_ context.Context, _, condition string, f func(causeway.Identity) error) error {
	w.mu.Lock()
	devices := slices.Clone(w.devices)
	w.selects++
	w.mu.Unlock()
	if condition == "spoiled" {
		return causeway.Errorf(causeway.ArgumentInvalid, "test", "no longer understood")
	}
	for range w.crowd {
		if err := f(dev("one")); err != nil {
			return err
		}
	}
	for _, d := range devices {
		if condition != "*" && !slices.Contains(strings.Fields(condition), d) {
			continue
		}
		if err := f(dev(d)); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) UpdateTwin(_ context.Context, id causeway.Identity, _ registry.TwinUpdate, _ string) (registry.Record, error) {
	w.mu.Lock()
	f := w.update
	w.mu.Unlock()
	if f != nil {
		if err := f(id); err != nil {
			return registry.Record{}, err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.updates[id.Device]++
	return registry.Record{}, nil
}

func (w *world) TakesMethods(id causeway.Identity) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.online[id.Device]
}

func (w *world) Invoke(ctx context.Context, id causeway.Identity, c causeway.Call, _, wait time.Duration) (causeway.Result, error) {
	w.mu.Lock()
	online, f := w.online[id.Device], w.answer
	if online {
		w.calls[id.Device]++
	}
	w.mu.Unlock()
	if !online {
		return causeway.Result{}, causeway.Errorf(causeway.DeviceNotOnline, "test", "away")
	}
	if f != nil {
		return f(ctx, id, c, wait)
	}
	return causeway.Result{Status: 200, Payload: c.Payload}, nil
}

func (w *world) Publish(_ context.Context, hub string, m causeway.Message) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	id, _ := m.Property("jobId")
	status, _ := m.Property("jobStatus")
	if hub != hubName || m.Source != causeway.SourceJobLifecycle || !strings.Contains(string(m.Body), `"status":"`+status+`"`) {
		w.t.Errorf("event of %s: %+v %s", hub, m, m.Body)
	}
	w.events = append(w.events, id+":"+status)
	return nil
}

func (w *world) setOnline(online bool, devices ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range devices {
		w.online[d] = online
	}
}

// request returns a job as callers ask for it.
func (w *world) request(id string, edit func(*job.Request)) job.Job {
	w.t.Helper()
	str := func(s string) *string { return &s }
	r := job.Request{Type: str("scheduleUpdateTwin"), QueryCondition: str("*"), UpdateTwin: &job.UpdatedTwin{Tags: []byte(`{"a":1}`)}}
	edit(&r)
	j, err := r.Job(hubName, id, time.Now().UTC().Truncate(time.Microsecond))
	if err != nil {
		w.t.Fatal(err)
	}
	return j
}

func (w *world) create(id string, edit func(*job.Request)) {
	w.t.Helper()
	if _, err := w.service.Create(context.Background(), w.request(id, edit)); err != nil {
		w.t.Fatal(err)
	}
}

func method(r *job.Request) {
	s, m := "scheduleDeviceMethod", "reboot"
	r.Type, r.UpdateTwin, r.CloudToDeviceMethod = &s, nil, &job.MethodJSON{MethodName: &m, Payload: []byte(`{"now":true}`)}
}

func window(seconds int64, more func(*job.Request)) func(*job.Request) {
	return func(r *job.Request) {
		more(r)
		r.MaxExecutionTimeInSeconds = &seconds
	}
}

func (w *world) get(id string) job.Job {
	w.t.Helper()
	j, err := w.service.Get(context.Background(), hubName, id)
	if err != nil {
		w.t.Fatal(err)
	}
	return j
}

// want fails the test unless a job is as described.
func (w *world) want(id string, status job.Status, s job.Statistics) job.Job {
	w.t.Helper()
	synctest.Wait()
	j := w.get(id)
	if j.Status != status || j.Statistics != s {
		w.t.Errorf("job %s is %s %+v, want %s %+v", id, j.Status, j.Statistics, status, s)
	}
	return j
}

// rows returns the devices of a job as "device status code".
func (w *world) rows(id string) []string {
	w.t.Helper()
	all, err := w.service.Devices(context.Background(), hubName, job.RowFilter{Job: id}, job.RowCursor{}, 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for _, d := range all {
		out = append(out, strings.TrimSpace(d.ID.Device+" "+d.Status.String()+" "+d.Code))
	}
	return out
}

func none(*job.Request) {}
