package cloud

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/net/netutil"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/endpoint"
	"github.com/causeway-iot/causeway/internal/core/quota"
	"github.com/causeway-iot/causeway/internal/head/admin"
	"github.com/causeway-iot/causeway/internal/head/blob"
	devicehttp "github.com/causeway-iot/causeway/internal/head/http"
	"github.com/causeway-iot/causeway/internal/head/iothub"
	"github.com/causeway-iot/causeway/internal/head/mqtt"
	"github.com/causeway-iot/causeway/internal/hub/guard"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/wire/tlsnet"
	"github.com/causeway-iot/causeway/internal/wire/wsnet"
	"github.com/causeway-iot/causeway/plugin"
)

// Bounds of the HTTPS port.
const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10
	selfCheckTimeout  = 10 * time.Second
	// maxWebConnections bounds the HTTPS port, WebSockets included; those above
	// it wait in the backlog of the system.
	maxWebConnections = 64 << 10
)

// Run serves until ctx ends, then stops in order: no new connections; those
// that are open finish what they began, for as long as the configuration says;
// then hubs, event logs and the database. It returns nil after an orderly stop
// and may be called once.
func (c *Cloud) Run(ctx context.Context) error {
	heads, stopHeads := context.WithCancel(ctx)
	defer stopHeads()
	services, stopServices := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServices()

	ws := wsnet.New(wsnet.Options{Log: c.log})
	adminHead := c.adminHead()
	hub := guard.Trace(guard.Meter(guard.Throttle(c.set, c.set.Limiter), guard.NewMetrics(c.reg)), c.tracer)
	if c.cfg.FaultInjection {
		c.log.Warn("faults can be injected: clients may break their connections on purpose; this is for tests")
		hub = guard.Faults(hub)
	}
	web := c.webServer(hub, ws, adminHead)
	mqttHead := &mqtt.Server{
		Hub: hub, Sessions: c.db.Sessions(), Provisioner: c.provisioning, Log: c.log, Metrics: obs.NewHead(c.reg, "mqtt"),
		Limits: mqtt.Limits{StopGrace: time.Duration(c.cfg.Stop.Drain)},
	}
	wsHead := &mqtt.Server{
		Hub: hub, Sessions: c.db.Sessions(), Provisioner: c.provisioning, Log: c.log, Metrics: obs.NewHead(c.reg, "mqtt-ws"),
		Limits: mqtt.Limits{StopGrace: time.Duration(c.cfg.Stop.Drain)},
	}
	amqpHead, amqpWSHead, readers := c.amqpHeads(hub)
	c.recheck.Store(new(func(hub string) {
		amqpHead.Recheck(hub)
		amqpWSHead.Recheck(hub)
		readers.Recheck(hub)
	}))

	parts := map[string]func(ctx context.Context) error{
		"HTTPS":               func(ctx context.Context) error { return c.serveWeb(ctx, web) },
		"certificates":        c.certs.run,
		"memory":              trimMemory,
		"MQTT over WebSocket": func(ctx context.Context) error { return wsHead.Serve(ctx, ws.Listen(wsnet.MQTT)) },
		"AMQP over WebSocket": func(ctx context.Context) error {
			return amqpWSHead.Serve(ctx, ws.Listen(wsnet.AMQP, wsnet.AMQPStandard))
		},
	}
	if c.listeners.mqtt != nil {
		parts["MQTT"] = func(ctx context.Context) error {
			return mqttHead.Serve(ctx, tlsnet.NewListener(c.listeners.mqtt, c.certs.config()))
		}
	}
	if c.listeners.amqp != nil {
		parts["AMQP"] = func(ctx context.Context) error {
			return amqpHead.Serve(ctx, tlsnet.NewListener(c.listeners.amqp, c.certs.config()))
		}
	}
	// Every part answers once, whenever it ends; one that ends by itself takes
	// the cloud with it.
	ended := make(chan error, len(parts))
	for name, run := range parts {
		go func() { ended <- part(heads, name, run) }()
	}
	// So do the services, which outlive the heads.
	workers := map[string]func(ctx context.Context) error{
		"command queues":      c.commands.Run,
		"configurations":      c.deployments.Run,
		"queues to back ends": c.outbox.Run,
		"file uploads":        c.uploads.Run,
		"jobs":                c.jobs.Run,
		"imports and exports": c.transfers.Run,
		"provisioning":        c.provisioning.Run,
	}
	queues := make(chan error, len(workers))
	for name, run := range workers {
		go func() { queues <- part(services, name, run) }()
	}

	err := c.announce(ctx)
	running, queuesRun := len(parts), len(workers)
	if err == nil {
		select {
		case <-ctx.Done():
			c.log.Info("stopping", "drain", c.cfg.Stop.Drain.String())
		case err = <-ended:
			running--
		case err = <-queues:
			queuesRun--
		}
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = nil // asked to stop before it was ready
	}

	errs := []error{err}
	c.accepting.Set(causeway.Errorf(causeway.ServiceUnavailable, "cloud", "the cloud is stopping"))
	stopHeads()
	for range running {
		errs = append(errs, <-ended)
	}
	errs = append(errs, c.hubs.stop())
	stopServices() // after the heads and hubs, which use them to the last
	for range queuesRun {
		errs = append(errs, <-queues)
	}
	errs = append(errs, c.Close())
	if err := errors.Join(errs...); err != nil {
		return err
	}
	c.log.Info("stopped")
	return nil
}

// part runs a part of the cloud: to end before ctx does is an error.
func part(ctx context.Context, name string, run func(ctx context.Context) error) error {
	switch err := run(ctx); {
	case ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)):
		return nil
	case err == nil:
		return fmt.Errorf("%s ended unasked", name)
	default:
		return fmt.Errorf("%s: %w", name, err)
	}
}

// announce checks that everything answers, leaves connection.json and says so.
func (c *Cloud) announce(ctx context.Context) error {
	if err := answered(ctx, c.log, c.selfCheck); err != nil {
		return fmt.Errorf("self-check after start: %w", err)
	}
	conn, err := c.describe(ctx)
	if err != nil {
		return err
	}
	if err := conn.Write(filepath.Join(c.cfg.Data, ConnectionFile)); err != nil {
		return err
	}
	c.connection, c.took = conn, time.Since(c.began)
	close(c.ready)
	a := c.Addresses()
	attrs := []any{"https", a.HTTPS.String(), obs.KeyTook, c.took.Round(time.Millisecond).String(), "data", c.cfg.Data}
	if a.MQTT != nil {
		attrs = append(attrs, "mqtt", a.MQTT.String())
	}
	if a.AMQP != nil {
		attrs = append(attrs, "amqp", a.AMQP.String())
	}
	c.log.Info("ready", attrs...)
	return nil
}

func (c *Cloud) adminHead() *admin.Server {
	return &admin.Server{
		Directory: hubDirectory{c.directory, c.hubs, c.unlinkHubs}, Registry: c.registry, Health: c.health, Gatherer: c.reg,
		HubLog: c.hubLog, SignBlob: c.signBlob, Provisioning: managedProvisioning{c.provisioning, c.certs, c.log},
		Limiter: func(hub string) *quota.Limiter {
			h, ok := c.set.ByName(hub)
			if !ok {
				return nil
			}
			return h.Limiter()
		},
		Endpoints: c.hubs.adminEndpoints, EndpointKinds: func() ([]plugin.Kind, []plugin.Field) { return endpoint.Describe(c.hubs.sinks) },
		Metrics: obs.NewHead(c.reg, "admin"), Log: c.log,
		Info:      admin.Info{Version: c.o.Version, Started: c.began},
		Addresses: c.adminAddresses, Token: causeway.Secret(c.token),
		OpenMetrics: c.cfg.OpenMetrics, Pprof: c.cfg.Pprof,
	}
}

func (c *Cloud) adminAddresses() []admin.Address {
	a := c.Addresses()
	list := []admin.Address{{Name: "https", URL: "https://" + a.HTTPS.String()}}
	if a.MQTT != nil {
		list = append(list, admin.Address{Name: "mqtt", URL: "mqtts://" + a.MQTT.String()})
	}
	if a.AMQP != nil {
		list = append(list, admin.Address{Name: "amqp", URL: "amqps://" + a.AMQP.String()})
	}
	return list
}

// webServer is what the HTTPS port carries: the API of devices and that of back
// ends, WebSockets, blobs, the administration.
func (c *Cloud) webServer(hub causeway.Hub, ws *wsnet.Handler, a *admin.Server) *http.Server {
	service := &iothub.Server{
		Hubs: func(host string) (iothub.Hub, bool) {
			h, ok := c.set.ByHost(host)
			return h, ok
		},
		Registry: c.registry, Commands: c.commands, Feedback: c.outbox, Queries: c.queries, Configurations: c.deployments, Jobs: c.jobs, Transfers: c.transfers, Log: c.log,
		Metrics: obs.NewHead(c.reg, "https"), Tracer: c.tracer,
	}
	devices := &devicehttp.Server{
		Hub: hub, Commands: limitedReceives{c.commands, c.set}, Uploads: limitedUploads{c.uploads, c.set}, Log: c.log, Metrics: obs.NewHead(c.reg, "http"), Tracer: c.tracer,
		Fallback: c.provisioningHead(service.Handler()),
	}
	api, adm, files := devices.Handler(), a.Handler(), c.blobHead()
	// Not a ServeMux: it would clean paths, and ids may hold anything.
	route := func(w http.ResponseWriter, r *http.Request) {
		switch p := r.URL.Path; {
		case wsnet.At(p):
			ws.ServeHTTP(w, r)
		case blob.Match(r):
			files.ServeHTTP(w, r)
		case p == "/healthz", p == "/readyz", p == "/metrics",
			p == admin.Prefix, strings.HasPrefix(p, admin.Prefix+"/"), strings.HasPrefix(p, "/debug/pprof/"):
			adm.ServeHTTP(w, r)
		default:
			api.ServeHTTP(w, r)
		}
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	s := &http.Server{
		Handler: http.HandlerFunc(route), TLSConfig: c.certs.config(),
		ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		// Not HTTP/2, which has header names in lower case: there are SDKs that
		// look for ETag and Location as they are spelled here.
		Protocols: protocols,
		ErrorLog:  newWebLog(c.log),
	}
	s.RegisterOnShutdown(a.Stop)
	return s
}

// serveWeb runs the HTTPS port until ctx ends and its requests are answered.
func (c *Cloud) serveWeb(ctx context.Context, s *http.Server) error {
	done := make(chan error, 1)
	go func() { done <- s.ServeTLS(netutil.LimitListener(c.listeners.https, maxWebConnections), "", "") }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Duration(c.cfg.Stop.Drain))
	defer cancel()
	err := s.Shutdown(drain)
	if errors.Is(err, context.DeadlineExceeded) {
		c.log.Warn("requests were cut off by the stop", "drain", c.cfg.Stop.Drain.String())
		err = s.Close()
	}
	<-done //nolint:errcheck // http.ErrServerClosed
	return err
}

// answered returns once check is passed or failed. One that takes too long is
// neither: right after a start all devices may come back at once, and a hub that
// gave up for that would meet them again at its next start.
func answered(ctx context.Context, log *slog.Logger, check func(ctx context.Context) error) error {
	for {
		limited, cancel := context.WithTimeout(ctx, selfCheckTimeout)
		err := check(limited)
		late := limited.Err() != nil && ctx.Err() == nil
		cancel()
		if err == nil || !late {
			return err
		}
		log.Warn("the self-check after start takes long: many clients come back at once, or something keeps this machine from its own addresses; it is tried again", obs.KeyError, err)
	}
}

// selfCheck talks to every port as a client would.
func (c *Cloud) selfCheck(ctx context.Context) error {
	cfg := &tls.Config{
		// What is checked is that our own server answers here, whatever names
		// its certificate has: it must be the very certificate we were given.
		InsecureSkipVerify: true, //nolint:gosec // see VerifyConnection
		MinVersion:         tls.VersionTLS12,
		VerifyConnection:   c.certs.isShown,
	}
	for name, l := range map[string]net.Listener{"MQTT": c.listeners.mqtt, "AMQP": c.listeners.amqp} {
		if l == nil {
			continue
		}
		d := tls.Dialer{Config: cfg}
		conn, err := d.DialContext(ctx, "tcp", reachable(l.Addr()))
		if err != nil {
			return fmt.Errorf("%s port: %w", name, err)
		}
		conn.Close()
	}
	tr := &http.Transport{TLSClientConfig: cfg}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+reachable(c.listeners.https.Addr())+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("HTTPS port: %w", err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("HTTPS port: /readyz answered %s", resp.Status)
	}
	return nil
}

// reachable replaces "every address" by the local one.
func reachable(a net.Addr) string {
	t, ok := a.(*net.TCPAddr)
	if !ok || !t.IP.IsUnspecified() {
		return a.String()
	}
	// Go's wildcard sockets take IPv4 even when they are IPv6, and a machine
	// without IPv4 on its loopback is rarer than one without IPv6.
	return net.JoinHostPort("127.0.0.1", fmt.Sprint(t.Port))
}
