// Package admin is our own API behind the command line and the portal: the hubs
// of a cloud with their policies, authorities and consumer groups, a live stream
// of events, and what a machine asks of a process: health, metrics, profiles.
//
// Its description is generated from the Go types here; api/openapi/admin.yaml is
// a copy that tests keep true. It does not speak for devices, and what it shows
// of a hub is what the directory, the registry and the event log know.
package admin

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/core/quota"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/wire/blobsas"
	"github.com/causeway-iot/causeway/plugin"
)

// Prefix is where the API lives.
const Prefix = "/api/v1"

// Limits of this head.
const (
	MaxStreams   = 64               // event streams open at once
	replyTimeout = 60 * time.Second // for a client to take a reply
	maxBody      = 256 << 10        // of a request
	bodyTimeout  = 30 * time.Second // for a client to send it
)

// Directory is what this head asks of directory.Service; see there.
type Directory interface {
	List() []directory.Hub
	Damaged() []string
	Get(name string) (directory.Hub, bool)
	ByHost(host string) (directory.Hub, bool)
	Create(ctx context.Context, name string, hosts []string, o directory.CreateOptions) (directory.Hub, error)
	Update(ctx context.Context, name string, change func(*directory.Hub) error) (directory.Hub, error)
	Delete(ctx context.Context, name string) error
	RegenerateKey(ctx context.Context, hub, policy, which string) (directory.Hub, error)
	AddAuthority(ctx context.Context, hub string, a directory.Authority) (directory.Hub, error)
	RemoveAuthority(ctx context.Context, hub, name string) (directory.Hub, error)
	ConsumerGroups(hub string) ([]directory.ConsumerGroup, error)
	CreateConsumerGroup(ctx context.Context, hub, name string) (directory.ConsumerGroup, error)
	DeleteConsumerGroup(ctx context.Context, hub, name string) error
}

// Registry is what this head asks of registry.Service; see there.
type Registry interface {
	Count(ctx context.Context, hub string) (registry.Counts, error)
}

// Info is what the server says of itself.
type Info struct {
	Version string
	Commit  string
	Started time.Time
}

// Address is where something listens.
type Address struct {
	Name string `json:"name" doc:"What listens" example:"mqtt"`
	URL  string `json:"url" doc:"Where" example:"mqtts://localhost:8883"`
}

// Server answers the admin API. Its fields are set before Handler is called and
// not changed after.
type Server struct {
	Directory Directory
	// HubLog finds the event log of a hub.
	HubLog func(hub string) (eventlog.Log, bool)
	// SignBlob returns the query of an address that allows what the grant says
	// with blobs of a hub; nil when there are none.
	SignBlob func(hub string, g blobsas.Grant) (causeway.Secret, bool)
	// Limiter finds what holds a hub to its quota; nil shows no use of it.
	Limiter func(hub string) *quota.Limiter
	// Endpoints finds what delivers to the custom endpoints of a hub; nil when
	// there are none.
	Endpoints func(hub string) (Endpoints, bool)
	// EndpointKinds describes the kinds of custom endpoints, and the settings of
	// the queues before them.
	EndpointKinds func() (kinds []plugin.Kind, queue []plugin.Field)
	// Provisioning manages the provisioning services; nil when there are none.
	Provisioning Provisioning
	// Registry counts devices; nil leaves the counts out.
	Registry Registry
	Health   *obs.Health         // nil is always healthy
	Gatherer prometheus.Gatherer // nil shows no metrics
	Metrics  *obs.Head           // of this head itself; nil for none
	Log      *slog.Logger        // nil for none
	Info     Info
	// Addresses returns where the server listens; nil for unknown.
	Addresses func() []Address
	// Token lets an administrator in. Without one nobody is let in as such.
	Token causeway.Secret
	// OpenMetrics shows /metrics to everybody.
	OpenMetrics bool
	// Pprof serves profiles to the administrator under /debug/pprof/.
	Pprof bool

	stop    sync.Once
	stopped chan struct{}
	made    sync.Once
}

// Handler returns everything this head serves: [Prefix], /healthz, /readyz,
// /metrics and /debug/pprof/. Other paths are answered with 404.
func (s *Server) Handler() http.Handler {
	s.init()
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	if s.Metrics == nil {
		s.Metrics = obs.NewHead(nil, "admin")
	}
	if s.Health == nil {
		s.Health = &obs.Health{}
	}
	mux := http.NewServeMux()
	s.mountProbes(mux)
	s.mountAPI(mux)
	return withDeadline(mux)
}

// Stop ends the event streams that are open and refuses new ones. Give it to
// http.Server.RegisterOnShutdown: Shutdown waits for streams but does not end
// them.
func (s *Server) Stop() {
	s.init()
	s.stop.Do(func() { close(s.stopped) })
}

func (s *Server) init() { s.made.Do(func() { s.stopped = make(chan struct{}) }) }

// withDeadline bounds how long a client may take to send its request, read by
// somebody or thrown away, and to receive its reply. Streams move the deadline
// with every write.
func withDeadline(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Not every ResponseWriter has deadlines; those of net/http do.
		rc, now := http.NewResponseController(w), time.Now()
		_ = rc.SetWriteDeadline(now.Add(replyTimeout))
		if r.Body != nil && r.Body != http.NoBody {
			_ = rc.SetReadDeadline(now.Add(bodyTimeout))
		}
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}
