package cloud

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/app/config"
	"github.com/causeway-iot/causeway/internal/cloud/c2d"
	"github.com/causeway-iot/causeway/internal/cloud/deploy"
	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/cloud/endpoint"
	"github.com/causeway-iot/causeway/internal/cloud/job"
	"github.com/causeway-iot/causeway/internal/cloud/outbox"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/cloud/transfer"
	"github.com/causeway-iot/causeway/internal/cloud/upload"
	"github.com/causeway-iot/causeway/internal/core/durable"
	"github.com/causeway-iot/causeway/internal/core/quota"
	"github.com/causeway-iot/causeway/internal/driver/seglog"
	"github.com/causeway-iot/causeway/internal/hub/cloudhub"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/plugin"
)

// scrapeTimeout bounds what a metric may cost that is counted when asked for.
const scrapeTimeout = 2 * time.Second

// hubs starts and stops hubs as the directory says: each has an event log and
// a goroutine of its own.
type hubs struct {
	dir         string
	events      config.Events
	log         *slog.Logger
	reg         prometheus.Registerer
	registry    *registry.Service
	commands    *c2d.Service
	outbox      *outbox.Service
	deployments *deploy.Service
	jobs        *job.Service
	transfers   *transfer.Service
	set         *cloudhub.Set
	blobKey     blobKey
	openBlobs   func(ctx context.Context, d directory.Hub) (blobStore, error)
	custom      config.Endpoints // what the configuration says of custom endpoints
	sinks       *plugin.Registry

	ctx    context.Context // the hubs' life, which ends after the heads'
	cancel context.CancelFunc

	mu      sync.Mutex
	stopped bool
	running map[string]*running
	leaving map[string][]causeway.Identity // of hubs between leave and purge
	left    map[string]blobStore           // the same
}

// running is one hub at work.
type running struct {
	hub       *cloudhub.Hub
	events    *seglog.Log
	blobs     blobStore
	storage   upload.Storage
	metrics   *collectors
	cancel    context.CancelFunc
	done      chan error
	endpoints *endpoint.Set
}

// start opens the event log of a hub and lets it serve.
func (h *hubs) start(d directory.Hub) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped || h.running[d.Name] != nil {
		return nil
	}
	if err := h.pardon(d.Name); err != nil {
		return fmt.Errorf("start hub %s: %w", d.Name, err)
	}
	dir := filepath.Join(h.home(d.Name), LogDir)
	// What a crash left: nobody can be connected yet.
	if err := h.registry.Disconnect(h.ctx, d.Name); err != nil {
		return fmt.Errorf("start hub %s: %w", d.Name, err)
	}
	r := &running{metrics: &collectors{reg: h.reg}, done: make(chan error, 1)}
	age, size := h.retention(d.Settings)
	log := h.log.With(obs.KeyHub, d.Name)
	var err error
	r.events, err = seglog.Open(dir, seglog.Options{
		Partitions: d.Partitions, SegmentBytes: int64(h.events.SegmentBytes),
		RetentionTime: age, RetentionBytes: size, Log: log, Metrics: obs.NewLog(r.metrics, d.Name),
	})
	if err != nil {
		r.metrics.release()
		return fmt.Errorf("start hub %s: open event log: %w", d.Name, err)
	}
	if r.blobs, err = h.openBlobs(h.ctx, d); err != nil {
		r.metrics.release()
		return errors.Join(fmt.Errorf("start hub %s: %w", d.Name, err), r.events.Close())
	}
	r.storage = upload.Storage{Store: r.blobs, Key: h.blobKey.of(d)}
	if r.endpoints, err = h.openEndpoints(d, r); err != nil {
		r.metrics.release()
		return errors.Join(fmt.Errorf("start hub %s: %w", d.Name, err), r.blobs.Close(), r.events.Close())
	}
	r.hub, err = cloudhub.New(cloudhub.Options{
		Hub: d, Registry: h.registry, Commands: h.commands, Events: r.events,
		Limiter: quota.New(quota.Options{
			Hub: d.Name, Store: dailyFiles{h.dir}, Metrics: quota.NewMetrics(r.metrics, d.Name), Log: h.log,
		}),
		Endpoints: custom{r.endpoints}, Snapshot: time.Duration(h.events.ConnectionSnapshot),
		Metrics: obs.NewHub(r.metrics, d.Name), Log: h.log,
	})
	if err != nil {
		r.metrics.release()
		return errors.Join(fmt.Errorf("start hub %s: %w", d.Name, err), r.endpoints.Close(), r.blobs.Close(), r.events.Close())
	}
	r.metrics.MustRegister(r.endpoints, h.brokenConfigurations(d.Name), h.waiting(d.Name), h.waitingOutbox(d.Name, outbox.Feedback), h.waitingOutbox(d.Name, outbox.FileNotifications))
	ctx, cancel := context.WithCancel(h.ctx)
	r.cancel = cancel
	go func() { r.done <- r.run(ctx) }()
	h.running[d.Name] = r
	h.set.Add(r.hub)
	return nil
}

// waiting is the metric of the messages that wait for devices of a hub.
func (h *hubs) waiting(name string) prometheus.Collector {
	return h.gauge(prometheus.GaugeOpts{
		Name: "causeway_hub_commands_waiting", Help: "Cloud-to-device messages in queues, at most a million.",
		ConstLabels: prometheus.Labels{"hub": name},
	}, name, func(ctx context.Context) (int, error) { return h.commands.Waiting(ctx, name) })
}

// brokenConfigurations is the metric of configurations that target nothing new.
func (h *hubs) brokenConfigurations(name string) prometheus.Collector {
	return h.gauge(prometheus.GaugeOpts{
		Name: "causeway_hub_configurations_broken", Help: "Configurations whose target condition or content makes no sense to this version of the program: they target nothing new.",
		ConstLabels: prometheus.Labels{"hub": name},
	}, name, func(context.Context) (int, error) { return h.deployments.Broken(name), nil })
}

// waitingOutbox is the metric of the messages of one kind that wait for back
// ends of a hub.
func (h *hubs) waitingOutbox(name string, k outbox.Kind) prometheus.Collector {
	return h.gauge(prometheus.GaugeOpts{
		Name: "causeway_hub_outbox_waiting", Help: "Messages in queues to back ends, by kind, at most a million; a message of feedback holds up to 64 outcomes.",
		ConstLabels: prometheus.Labels{"hub": name, "kind": k.String()},
	}, name, func(ctx context.Context) (int, error) { return h.outbox.Waiting(ctx, name, k) })
}

// gauge is a metric of a hub that is counted when asked for.
func (h *hubs) gauge(o prometheus.GaugeOpts, hub string, count func(ctx context.Context) (int, error)) prometheus.Collector {
	return prometheus.NewGaugeFunc(o, func() float64 {
		ctx, cancel := context.WithTimeout(h.ctx, scrapeTimeout)
		defer cancel()
		n, err := count(ctx)
		if err != nil {
			h.log.Warn("what waits could not be counted", "metric", o.Name, obs.KeyHub, hub, obs.KeyError, err)
			return math.NaN()
		}
		return float64(n)
	})
}

// retention returns how long, and up to which size, a hub keeps its events.
func (h *hubs) retention(s directory.Settings) (time.Duration, int64) {
	return cmp.Or(s.RetentionTime, time.Duration(h.events.Retention)), cmp.Or(s.RetentionBytes, int64(h.events.RetentionBytes))
}

// changed follows the directory: it is called after a hub was made or changed,
// and before one is deleted from the store.
func (h *hubs) changed(d directory.Hub, deleted bool) {
	if deleted {
		if err := h.leave(d.Name); err != nil {
			h.log.Error("cannot stop a hub that is deleted", obs.KeyHub, d.Name, obs.KeyError, err)
		}
		return
	}
	h.mu.Lock()
	r := h.running[d.Name]
	_, kept := h.left[d.Name] // the store has refused to delete it
	delete(h.leaving, d.Name)
	delete(h.left, d.Name)
	h.mu.Unlock()
	if r == nil {
		var err error
		if !kept && h.condemned(d.Name) { // of one that had the name before
			err = durable.Discard(h.home(d.Name))
		}
		if err = errors.Join(err, h.start(d)); err != nil {
			h.log.Error("cannot start hub", obs.KeyHub, d.Name, obs.KeyError, err)
		}
		return
	}
	r.endpoints.Apply(h.ctx, d.Settings.Routing)
	r.hub.SetHub(d)
	r.endpoints.Prune(d.Settings.Routing) // nothing leads there any more
	r.events.SetRetention(h.retention(d.Settings))
}

// leave stops a hub that is about to be deleted, and notes its identities: the
// services remember them and must be told when they are gone. Its events stay
// until purge, since the store may still refuse.
func (h *hubs) leave(name string) error {
	h.mu.Lock()
	r := h.running[name]
	delete(h.running, name)
	h.mu.Unlock()
	if r == nil { // it could not be started
		h.mu.Lock()
		h.left[name] = nil
		h.mu.Unlock()
		return h.condemn(name)
	}
	h.set.Remove(name)
	ids, err := h.identities(name)
	h.mu.Lock()
	h.leaving[name], h.left[name] = ids, r.blobs
	h.mu.Unlock()
	return errors.Join(r.stop(), err, h.condemn(name))
}

// identities lists the devices and modules of a hub.
func (h *hubs) identities(name string) ([]causeway.Identity, error) {
	var ids []causeway.Identity
	for after := ""; ; {
		page, err := h.registry.List(h.ctx, name, after, causeway.MaxPageSize)
		if err != nil {
			return ids, fmt.Errorf("list devices of hub %s: %w", name, err)
		}
		for i := range page {
			ids = append(ids, page[i].ID)
			modules, err := h.registry.Modules(h.ctx, page[i].ID)
			if err != nil {
				return ids, fmt.Errorf("list modules of %s: %w", page[i].ID, err)
			}
			for j := range modules {
				ids = append(ids, modules[j].ID)
			}
		}
		if len(page) < causeway.MaxPageSize {
			return ids, nil
		}
		after = page[len(page)-1].ID.Device
	}
}

// purge removes what is left of a hub that was deleted.
func (h *hubs) purge(name string) error {
	h.mu.Lock()
	ids, blobs := h.leaving[name], h.left[name]
	delete(h.leaving, name)
	delete(h.left, name)
	h.mu.Unlock()
	for _, id := range ids {
		h.registry.Forget(id)
		h.commands.Forget(id)
	}
	h.outbox.Forget(name)
	h.deployments.Forget(name)
	h.jobs.Forget(name)
	h.transfers.Forget(name)
	return errors.Join(removeBlobs(h.ctx, blobs), durable.Discard(h.home(name)))
}

// hubDirectory is the directory as the administration sees it: deleting a hub
// takes its events along, and no device is provisioned to it any more.
type hubDirectory struct {
	*directory.Service
	hubs   *hubs
	unlink func(ctx context.Context) error
}

// Delete deletes a hub with everything it has.
func (d hubDirectory) Delete(ctx context.Context, name string) error {
	if err := d.Service.Delete(ctx, name); err != nil {
		return err
	}
	if err := d.hubs.purge(name); err != nil {
		return fmt.Errorf("remove events of hub %s: %w", name, err)
	}
	if err := d.unlink(ctx); err != nil {
		return fmt.Errorf("hub %s is deleted, but still linked for provisioning: %w", name, err)
	}
	return nil
}

// run serves until ctx ends.
func (r *running) run(ctx context.Context) error {
	swept := make(chan error, 1)
	go func() { swept <- r.blobs.Run(ctx) }()
	err := r.hub.Run(ctx)
	r.cancel()
	return errors.Join(err, notCanceled(<-swept))
}

// notCanceled drops an error that says only that its context has ended.
func notCanceled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (r *running) stop() error {
	r.cancel()
	err := notCanceled(<-r.done)
	r.hub.Limiter().Close()
	err = errors.Join(err, r.endpoints.Close(), r.blobs.Close(), r.events.Close())
	r.metrics.release()
	return err
}

// stop ends all hubs and waits for them.
func (h *hubs) stop() error {
	h.mu.Lock()
	h.stopped = true
	all := h.running
	h.running = map[string]*running{}
	h.mu.Unlock()
	h.cancel()
	var errs []error
	for name, r := range all {
		if err := r.stop(); err != nil {
			errs = append(errs, fmt.Errorf("stop hub %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}
