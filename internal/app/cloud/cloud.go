// Package cloud assembles a running cloud from its parts: listeners, the local
// certificate authority, the database, the event logs, the services, the hubs
// and the protocol heads. It is the only place that knows all of them; what
// each does is its own business.
//
// A cloud is made by [New], which opens everything that can fail, and runs
// until the context of [Cloud.Run] ends.
package cloud

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	promcollectors "github.com/prometheus/client_golang/prometheus/collectors"
	"go.opentelemetry.io/otel/trace"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/connector/all"
	"github.com/causeway-iot/causeway/internal/app/config"
	"github.com/causeway-iot/causeway/internal/app/state"
	"github.com/causeway-iot/causeway/internal/cloud/c2d"
	"github.com/causeway-iot/causeway/internal/cloud/deploy"
	"github.com/causeway-iot/causeway/internal/cloud/digitaltwin"
	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
	"github.com/causeway-iot/causeway/internal/cloud/dps/remotehub"
	"github.com/causeway-iot/causeway/internal/cloud/dps/webhook"
	"github.com/causeway-iot/causeway/internal/cloud/endpoint"
	"github.com/causeway-iot/causeway/internal/cloud/job"
	"github.com/causeway-iot/causeway/internal/cloud/outbox"
	"github.com/causeway-iot/causeway/internal/cloud/query"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/cloud/transfer"
	"github.com/causeway-iot/causeway/internal/cloud/upload"
	"github.com/causeway-iot/causeway/internal/core/secret"
	"github.com/causeway-iot/causeway/internal/driver/sqlite"
	"github.com/causeway-iot/causeway/internal/hub/cloudhub"
	"github.com/causeway-iot/causeway/internal/obs"
)

// Options are what a cloud needs besides its configuration.
type Options struct {
	Log      *slog.Logger
	Hostname string // of the machine, for the certificate; "" when unknown
	Version  string
	// Fallback lets HTTPS move to [Fallback] when its port may not be bound.
	Fallback bool
	// Listen opens listeners; nil asks the system.
	Listen ListenFunc
	// Devices are created on the first hub when they do not exist.
	Devices []string
	// Group is an enrollment group with keys that is made on the first provisioning
	// service when it does not exist; "" for none.
	Group string
	// Tracer gets the spans in place of the collector that the configuration
	// names. Who gives it shuts it down.
	Tracer trace.TracerProvider
}

// flushTimeout bounds how long a stop waits for traces to be sent.
const flushTimeout = 5 * time.Second

// Cloud is one cloud. Use New.
type Cloud struct {
	cfg   config.Config
	o     Options
	log   *slog.Logger
	began time.Time
	took  time.Duration // from New to ready

	lock         *state.Lock
	listeners    listeners
	db           *sqlite.DB
	directory    *directory.Service
	registry     *registry.Service
	commands     *c2d.Service
	outbox       *outbox.Service
	queries      *query.Service
	deployments  *deploy.Service
	jobs         *job.Service
	transfers    *transfer.Service
	uploads      *upload.Service
	set          *cloudhub.Set
	hubs         *hubs
	reg          *prometheus.Registry
	health       *obs.Health
	accepting    *obs.Flag // fails once the cloud stops, so that balancers look elsewhere
	tracer       trace.TracerProvider
	flush        func(context.Context) error      // of traces; nil when that is not ours to do
	token        string                           // of the administration
	recheck      atomic.Pointer[func(hub string)] // closes links whose policy or consumer group is gone; set by Run
	caFile       string
	certs        *certificates
	provisioning *dps.Service
	webhooks     *webhook.Caller
	remoteHubs   *remotehub.Hubs

	ready      chan struct{}
	connection Connection // valid once ready
	closing    sync.Once
	closed     error
}

// New opens a cloud: listeners first, then the data directory. Nothing is
// served before Run. A cloud that is never run must be closed.
func New(ctx context.Context, cfg config.Config, o Options) (_ *Cloud, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := &Cloud{cfg: cfg, o: o, log: o.Log, began: time.Now(), ready: make(chan struct{}), health: &obs.Health{Log: o.Log}}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	fallback := ""
	if o.Fallback {
		fallback = Fallback
	}
	if c.listeners, err = openListeners(ctx, o.Listen, cfg.Listen, fallback); err != nil {
		return nil, err
	}
	if err := state.MakeDir(cfg.Data); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	if c.lock, err = state.LockDir(cfg.Data); err != nil {
		return nil, err
	}
	if err := c.openStores(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// openStores opens what is on disk and builds the services on it. The database
// and the certificates take the longest and do not need each other.
func (c *Cloud) openStores(ctx context.Context) error {
	keyring, err := secret.LoadOrCreate(filepath.Join(c.cfg.Data, KeyFile))
	if err != nil {
		return fmt.Errorf("open sealing key: %w", err)
	}
	if c.token, err = adminToken(c.cfg.Data); err != nil {
		return err
	}
	if c.tracer = c.o.Tracer; c.tracer == nil {
		if c.tracer, c.flush, err = obs.NewTracer(ctx, c.cfg.Trace.Endpoint, "causeway", c.log); err != nil {
			return fmt.Errorf("trace.endpoint: %w", err)
		}
	}
	c.reg = prometheus.NewRegistry()
	c.reg.MustRegister(promcollectors.NewGoCollector(), promcollectors.NewProcessCollector(promcollectors.ProcessCollectorOpts{}))

	var wg sync.WaitGroup
	var tlsErr error
	wg.Go(func() { c.certs, c.caFile, tlsErr = openCertificates(&c.cfg, c.o.Hostname, c.log) })
	c.db, err = sqlite.Open(ctx, filepath.Join(c.cfg.Data, DatabaseFile), sqlite.Options{Log: c.log})
	wg.Wait()
	if err := errors.Join(err, tlsErr); err != nil {
		return err
	}

	if c.directory, err = directory.New(c.db.Directory(), keyring, c.log); err != nil {
		return fmt.Errorf("load hubs: %w", err)
	}
	c.reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "causeway_hubs_damaged", Help: "Hubs that are not served because what is stored of them cannot be read.",
	}, func() float64 { return float64(len(c.directory.Damaged())) }))
	c.registry = registry.New(registry.Options{Store: c.db.Registry(), Sealer: keyring, Log: c.log})
	c.outbox = outbox.New(outbox.Options{Store: c.db.Outbox(), Log: c.log, Policy: c.outboxPolicy})
	c.commands = c2d.New(c2d.Options{Store: c.db.Commands(), Log: c.log, Policy: c.commandPolicy, Recorded: c.outbox.Recorded})
	c.set = cloudhub.NewSet()
	c.queries = query.New(query.Options{
		Registry: c.registry, Live: c.live, Depth: c.commands.Depth, Metrics: obs.NewQuery(c.reg), Log: c.log,
	})
	c.jobs = c.newJobs()
	c.queries.SetJobs(c.jobs)
	if c.deployments, err = deploy.Open(ctx, deploy.Options{
		Store: c.db.Deployments(), Registry: c.registry, Query: c.queries, Log: c.log,
	}); err != nil {
		return fmt.Errorf("load configurations: %w", err)
	}
	c.transfers = c.newTransfers(keyring)
	c.registry.Watch(c.set)
	c.registry.Observe(c.set)
	c.registry.Observe(c.deployments)
	c.registry.Observe(&digitaltwin.Events{Publisher: c.set})
	c.commands.Watch(c.set)
	blobKey, err := openBlobKey(c.cfg.Data)
	if err != nil {
		return err
	}
	c.hubs = &hubs{
		blobKey: blobKey, openBlobs: c.openBlobs,
		dir: filepath.Join(c.cfg.Data, HubsDir), events: c.cfg.Events, log: c.log, reg: c.reg,
		registry: c.registry, commands: c.commands, outbox: c.outbox, deployments: c.deployments, jobs: c.jobs, transfers: c.transfers, set: c.set,
		custom: c.cfg.Endpoints, sinks: all.Sinks(),
		running: map[string]*running{}, leaving: map[string][]causeway.Identity{}, left: map[string]blobStore{},
	}
	c.uploads = upload.New(upload.Options{
		Store: c.db.Uploads(), Storage: c.hubs.storage, Notify: c.outbox.Notify, Policy: c.uploadPolicy, Log: c.log,
	})
	// Hubs outlive the heads that serve from them, whatever ends first.
	c.hubs.ctx, c.hubs.cancel = context.WithCancel(context.WithoutCancel(ctx))
	c.directory.SetEndpointKinds(endpoint.Kinds(c.hubs.sinks))
	c.directory.Watch(c.hubs.changed)
	c.directory.Watch(func(d directory.Hub, deleted bool) {
		if deleted {
			return
		}
		if err := c.certs.cover(d.Hosts); err != nil {
			c.log.Error("the server certificate does not have the hosts of a hub", obs.KeyHub, d.Name, obs.KeyError, err)
		}
	})
	c.directory.Watch(func(d directory.Hub, _ bool) {
		if f := c.recheck.Load(); f != nil {
			(*f)(d.Name)
		}
	})
	c.health.Add(obs.Ready, "database", func(ctx context.Context) error {
		_, err := c.db.Directory().Hubs(ctx)
		return err
	})
	c.accepting = c.health.AddFlag(obs.Ready, "accepting", nil)
	if err := c.openHubs(ctx); err != nil {
		return err
	}
	if err := c.openProvisioning(ctx, keyring); err != nil {
		return err
	}
	if c.o.Group != "" {
		if err := c.enrollGroup(ctx, c.o.Group); err != nil {
			return fmt.Errorf("create enrollment group %s: %w", c.o.Group, err)
		}
	}
	return nil
}

// openHubs starts the hubs that exist, and makes those that should.
func (c *Cloud) openHubs(ctx context.Context) error {
	var hosts []string
	if err := c.hubs.sweep(c.directory.List()); err != nil {
		return err
	}
	for _, d := range c.directory.List() {
		if err := c.hubs.start(d); err != nil {
			return err
		}
		hosts = append(hosts, d.Hosts...)
	}
	if err := c.certs.cover(hosts); err != nil {
		return err
	}
	damaged := c.directory.Damaged()
	for _, h := range c.cfg.Hubs {
		if slices.Contains(damaged, h.Name) {
			continue // the log says so; what it holds is kept
		}
		if _, ok := c.directory.Get(h.Name); !ok {
			hosts := h.Hosts
			if len(hosts) == 0 {
				hosts = []string{h.Name}
			}
			if _, err := c.directory.Create(ctx, h.Name, hosts, directory.CreateOptions{Partitions: h.Partitions, Settings: hubSettings(h)}); err != nil {
				return fmt.Errorf("create hub %s: %w", h.Name, err)
			}
		}
		if err := c.configureRouting(ctx, h); err != nil {
			return fmt.Errorf("configuration: routing of hub %s: %w", h.Name, err)
		}
	}
	first, ok := c.firstHub()
	if !ok {
		return nil
	}
	for _, d := range c.o.Devices {
		id := causeway.Identity{Hub: first.Name, Device: d}
		_, err := c.registry.Create(ctx, registry.Record{ID: id, Enabled: true})
		if err != nil && causeway.CodeOf(err) != causeway.DeviceAlreadyExists {
			return fmt.Errorf("create device %s: %w", d, err)
		}
	}
	return nil
}

// firstHub is the hub that connection.json speaks of: the first configured one,
// else the oldest.
func (c *Cloud) firstHub() (directory.Hub, bool) {
	if len(c.cfg.Hubs) > 0 {
		return c.directory.Get(c.cfg.Hubs[0].Name)
	}
	var first directory.Hub
	for _, h := range c.directory.List() {
		if first.Name == "" || h.Created.Before(first.Created) {
			first = h
		}
	}
	return first, first.Name != ""
}

// live is the hub that knows who is connected.
func (c *Cloud) live(hub string) (query.Live, bool) {
	h, ok := c.set.ByName(hub)
	return h, ok
}

func (c *Cloud) commandPolicy(hub string) c2d.Policy {
	h, ok := c.directory.Get(hub)
	if !ok {
		return c2d.Policy{}
	}
	return c2d.Policy{TTL: h.Settings.CommandTTL, MaxDeliveryCount: h.Settings.MaxDeliveryCount}
}

func (c *Cloud) outboxPolicy(hub string, k outbox.Kind) outbox.Policy {
	h, ok := c.directory.Get(hub)
	if !ok {
		return outbox.Policy{}
	}
	s := h.Settings
	if k == outbox.Feedback {
		return outbox.Policy{TTL: s.FeedbackTTL, Lock: s.FeedbackLock, MaxDeliveryCount: s.FeedbackMaxDeliveryCount}
	}
	return outbox.Policy{
		Disabled: s.FileNotificationsDisabled, TTL: s.FileNotificationTTL, Lock: s.FileNotificationLock,
		MaxDeliveryCount: s.FileNotificationMaxDeliveryCount,
	}
}

// Ready is closed once everything answers.
func (c *Cloud) Ready() <-chan struct{} { return c.ready }

// Connection returns how to reach the cloud. It is complete once Ready is closed.
func (c *Cloud) Connection() Connection { return c.connection }

// FellBack reports whether HTTPS is on [Fallback] for want of the right to use
// its configured port.
func (c *Cloud) FellBack() bool { return c.listeners.fellBack }

// StartTime returns how long it took from New to ready.
func (c *Cloud) StartTime() time.Duration { return c.took }

// Addresses are where a cloud listens. Those not served are nil.
type Addresses struct{ HTTPS, MQTT, AMQP net.Addr }

// Addresses returns where the cloud listens, with the ports that were chosen
// for port 0. They are known as soon as New returns.
func (c *Cloud) Addresses() Addresses {
	a := Addresses{HTTPS: c.listeners.https.Addr()}
	if c.listeners.mqtt != nil {
		a.MQTT = c.listeners.mqtt.Addr()
	}
	if c.listeners.amqp != nil {
		a.AMQP = c.listeners.amqp.Addr()
	}
	return a
}

// describe fills in the connection.
func (c *Cloud) describe(ctx context.Context) (Connection, error) {
	conn := Connection{
		HTTPSPort: portOf(c.listeners.https), MQTTPort: portOf(c.listeners.mqtt),
		AMQPPort: portOf(c.listeners.amqp), CAFile: c.caFile, Address: c.listeners.address(),
	}
	conn.AdminURL = "https://localhost"
	if conn.HTTPSPort != client.DefaultHTTPSPort {
		conn.AdminURL += ":" + strconv.Itoa(conn.HTTPSPort)
	}
	h, ok := c.firstHub()
	if !ok {
		return conn, nil
	}
	conn.Hub = h.Hosts[0]
	conn.OwnerConnectionString, _ = h.ConnectionString("iothubowner")
	conn.ServiceConnectionString, _ = h.ConnectionString("service")
	if conn.AMQPPort != 0 {
		conn.EventHubsConnectionString, _ = h.EventsConnectionString("service", conn.AMQPPort)
	}
	if err := c.describeProvisioning(ctx, &conn); err != nil {
		return conn, err
	}
	if len(c.o.Devices) > 0 {
		r, err := c.registry.Get(ctx, causeway.Identity{Hub: h.Name, Device: c.o.Devices[0]})
		switch {
		case causeway.CodeOf(err) == causeway.DeviceNotFound: // deleted since: that is the user's right
		case err != nil:
			return conn, fmt.Errorf("read device %s: %w", c.o.Devices[0], err)
		default:
			conn.DeviceConnectionString = client.ConnectionString(conn.Hub, r.ID.Device, "", &client.Authentication{
				Type: string(r.Auth.Type), SymmetricKey: &client.SymmetricKey{PrimaryKey: string(r.Auth.Primary)},
			})
		}
	}
	return conn, nil
}

// Close releases everything. Run does it by itself.
func (c *Cloud) Close() error {
	c.closing.Do(func() {
		var errs []error
		c.listeners.close()
		if c.hubs != nil {
			errs = append(errs, c.hubs.stop())
		}
		if c.remoteHubs != nil {
			c.remoteHubs.Close()
		}
		if c.webhooks != nil {
			c.webhooks.Close()
		}
		if c.db != nil {
			errs = append(errs, c.db.Close())
		}
		if c.lock != nil {
			errs = append(errs, c.lock.Unlock())
		}
		if c.flush != nil {
			// Spans are no reason to fail: the collector may be gone.
			ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
			if err := c.flush(ctx); err != nil {
				c.log.Warn("the last traces were not exported", obs.KeyError, err)
			}
			cancel()
		}
		c.closed = errors.Join(errs...)
	})
	return c.closed
}
