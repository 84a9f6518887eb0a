// Package http is the head that speaks IoT Hub's HTTPS protocol to devices and
// modules: telemetry one by one and in batches, cloud-to-device messages that
// are polled for and settled, and the tickets and reports of file uploads.
//
// It translates requests to a session of the hub contract that only sends, so
// that a client over HTTPS never takes over the connection of its own identity
// over another protocol. What it answers is described in
// api/openapi/device.yaml.
package http

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/upload"
	"github.com/causeway-iot/causeway/internal/obs"
)

// Limits of this head beside those of the catalogue in package causeway.
const (
	bodyTimeout  = 30 * time.Second // for the client to send its request body
	replyTimeout = 60 * time.Second // for the client to take its reply
	// maxBatchBody bounds the body of a batch: MaxMessageSize in base64, and
	// room for JSON and the names of properties.
	maxBatchBody = causeway.MaxRequestBody
)

// Commands is what this head asks of the command queues; c2d.Service has it.
type Commands interface {
	// Receive locks and returns the oldest free message of id; ok is false when
	// there is none.
	Receive(ctx context.Context, id causeway.Identity) (m causeway.Message, ok bool, err error)
	// Settle ends a delivery. Code DeviceMessageLockLost.
	Settle(ctx context.Context, id causeway.Identity, lock causeway.LockToken, o causeway.Outcome) error
}

// Uploads is what this head asks of the file uploads; upload.Service has it.
type Uploads interface {
	// Begin gives a device a ticket for a file; host is what the device calls
	// the storage.
	Begin(ctx context.Context, device causeway.Identity, name, host string) (upload.Permit, error)
	// Complete ends an upload.
	Complete(ctx context.Context, device causeway.Identity, r upload.Report) error
}

// Server answers devices of every hub behind it. Its fields are set before
// Handler is called and not changed after.
type Server struct {
	Hub      causeway.Hub
	Commands Commands
	Uploads  Uploads      // nil for none
	Log      *slog.Logger // nil for none
	Metrics  *obs.Head    // nil for none
	Tracer   trace.TracerProvider
	// Fallback answers what is none of a device's requests. Nil answers 404.
	Fallback http.Handler
}

// Handler returns the API as an http.Handler. The server that carries it should
// ask for, but not verify, client certificates: devices may prove themselves by
// one.
func (s *Server) Handler() http.Handler {
	h := &handler{
		hub: s.Hub, commands: s.Commands, uploads: s.Uploads, log: s.Log, metrics: s.Metrics, fallback: s.Fallback,
		kept: newSessions(),
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if h.metrics == nil {
		h.metrics = obs.NewHead(nil, "http")
	}
	if s.Tracer != nil {
		h.tracer = s.Tracer.Tracer("github.com/causeway-iot/causeway/internal/head/http")
	}
	return h
}

// handler is a Server with its defaults filled in.
type handler struct {
	hub      causeway.Hub
	commands Commands
	uploads  Uploads
	log      *slog.Logger
	metrics  *obs.Head
	tracer   trace.Tracer // nil when tracing is off
	fallback http.Handler
	kept     *sessions
}
