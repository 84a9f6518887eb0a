// Package iothub is the head that speaks the service REST API of IoT Hub:
// identities, twins, direct methods, cloud-to-device messages with the feedback
// on them. Devices have a head of their own, but for an edge device that manages
// its module identities here.
//
// It translates: paths, headers and JSON to calls of the registry, the command
// queues and the hubs, and errors of the catalogue to the two forms of error
// body. It knows the quirks of the wire (quoted etags, escaped ids, year-one
// times) and no rule of the domain behind it. What it answers is described in
// api/openapi/iothub.yaml.
package iothub

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/bulk"
	"github.com/causeway-iot/causeway/internal/cloud/outbox"
	"github.com/causeway-iot/causeway/internal/cloud/presence"
	"github.com/causeway-iot/causeway/internal/cloud/query"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/core/quota"
	"github.com/causeway-iot/causeway/internal/obs"
)

// Limits of this head beside those of the catalogue in package causeway.
const (
	bodyTimeout  = 30 * time.Second // for the client to send its request body
	replyTimeout = 60 * time.Second // for the client to take its reply
)

// Hub is what this head asks of a running hub.
type Hub interface {
	// Name returns the canonical name.
	Name() string
	// Realm returns the hub's policies and authorities.
	Realm() auth.Realm
	// Invoke calls a direct method: it waits up to connectWait for the device
	// to connect and up to responseWait for its answer, and answers a little
	// before both are over. Codes: DeviceNotFound, ModuleNotFound,
	// DeviceNotOnline, GatewayTimeout, GenericBadGateway,
	// DeviceConnectionClosedRemotely, DeviceMaximumInflightMethodExceeded.
	Invoke(ctx context.Context, id causeway.Identity, c causeway.Call, connectWait, responseWait time.Duration) (causeway.Result, error)
	// State returns what is known of the connection of id.
	State(id causeway.Identity) presence.State
	// Limiter returns what holds the hub to its quota; nil for nothing.
	Limiter() *quota.Limiter
	// ConnectedCount returns the number of connected devices.
	ConnectedCount() int
}

// Registry is what this head asks of registry.Service; see there.
type Registry interface {
	Get(ctx context.Context, id causeway.Identity) (registry.Record, error)
	Create(ctx context.Context, r registry.Record) (registry.Record, error)
	Update(ctx context.Context, r registry.Record, match string) (registry.Record, error)
	Delete(ctx context.Context, id causeway.Identity, match string) error
	List(ctx context.Context, hub, after string, limit int) ([]registry.Record, error)
	Modules(ctx context.Context, device causeway.Identity) ([]registry.Record, error)
	Count(ctx context.Context, hub string) (registry.Counts, error)
	UpdateTwin(ctx context.Context, id causeway.Identity, u registry.TwinUpdate, match string) (registry.Record, error)
}

// Commands is what this head asks of c2d.Service; see there.
type Commands interface {
	Enqueue(ctx context.Context, id causeway.Identity, m causeway.Message, generationID string) error
	Purge(ctx context.Context, id causeway.Identity) (n int, err error)
	Depth(ctx context.Context, id causeway.Identity) (int, error)
}

// Feedback is what this head asks of outbox.Service; see there.
type Feedback interface {
	Receive(ctx context.Context, hub string, k outbox.Kind) (d outbox.Delivery, ok bool, err error)
	Settle(ctx context.Context, hub string, k outbox.Kind, lock causeway.LockToken, o causeway.Outcome) error
}

// Queries is what this head asks of query.Service; see there.
type Queries interface {
	Query(ctx context.Context, hub, text string, size int, token string) (query.Page, error)
}

// Server answers the service REST API of every hub of a cloud. Its fields are
// set before Handler is called and not changed after.
type Server struct {
	// Hubs finds a hub by the host name a client asked for, without port.
	Hubs           func(host string) (Hub, bool)
	Registry       Registry
	Commands       Commands
	Feedback       Feedback
	Queries        Queries
	Configurations Configurations
	Jobs           Jobs
	Transfers      Transfers
	Log            *slog.Logger // nil for none
	Metrics        *obs.Head    // nil for none
	Tracer         trace.TracerProvider
	// Fallback answers paths that this API does not know. Nil answers 404.
	Fallback http.Handler
}

// Handler returns the API as an http.Handler. The server that carries it should
// ask for, but not verify, client certificates: devices may prove themselves by
// one.
func (s *Server) Handler() http.Handler {
	h := &handler{
		hubs: s.Hubs, registry: s.Registry, commands: s.Commands, feedback: s.Feedback, queries: s.Queries, configurations: s.Configurations,
		jobs: s.Jobs, transfers: s.Transfers, bulk: &bulk.Service{Registry: s.Registry},
		log: s.Log, metrics: s.Metrics, fallback: s.Fallback,
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if h.metrics == nil {
		h.metrics = obs.NewHead(nil, "iothub")
	}
	if s.Tracer != nil {
		h.tracer = s.Tracer.Tracer("github.com/causeway-iot/causeway/internal/head/iothub")
	}
	return h
}

// handler is a Server with its defaults filled in.
type handler struct {
	hubs           func(host string) (Hub, bool)
	registry       Registry
	commands       Commands
	feedback       Feedback
	queries        Queries
	configurations Configurations
	jobs           Jobs
	transfers      Transfers
	bulk           *bulk.Service
	log            *slog.Logger
	metrics        *obs.Head
	tracer         trace.Tracer // nil when tracing is off
	fallback       http.Handler
}
