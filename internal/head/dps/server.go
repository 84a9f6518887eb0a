// Package dps is the head that speaks the REST APIs of the Device Provisioning
// Service: the one of devices, which register and ask for the outcome, and the one
// of back ends, which manage enrollments and see registrations.
//
// It translates and knows the quirks of the wire, and no rule of the domain behind
// it.
package dps

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
	"github.com/causeway-iot/causeway/internal/obs"
)

// Limits of this head.
const (
	bodyTimeout  = 30 * time.Second // for a client to send its request body
	replyTimeout = 60 * time.Second // for a client to take its reply
	maxBody      = 1 << 20          // bytes: ten enrollments with certificates and twins
)

// Service is what this head asks of dps.Service; see there.
type Service interface {
	causeway.Provisioner
	Status(ctx context.Context, r causeway.Registration) (causeway.Operation, error)
	ByHost(host string) (dps.Instance, bool)
	Operate(service string) error
	Enrollment(ctx context.Context, service string, group bool, id string) (dps.Enrollment, error)
	PutEnrollment(ctx context.Context, service string, e dps.Enrollment, match string) (dps.Enrollment, error)
	CreateEnrollment(ctx context.Context, service string, e dps.Enrollment) (dps.Enrollment, error)
	DeleteEnrollment(ctx context.Context, service string, group bool, id, match string) error
	Enrollments(ctx context.Context, service string, group bool, after string, limit int) ([]dps.Enrollment, error)
	Registration(ctx context.Context, service, id string) (dps.Registration, error)
	Registrations(ctx context.Context, service, group, after string, limit int) ([]dps.Registration, error)
	DeleteRegistration(ctx context.Context, service, id, match string) error
}

// Server answers both APIs. Its fields are set before Handler is called and not
// changed after.
type Server struct {
	Service Service
	Log     *slog.Logger // nil for none
	Metrics *obs.Head    // nil for none
	// Fallback answers paths that are of neither API. Nil answers 404.
	Fallback http.Handler
}

// Handler returns the APIs as an http.Handler. The server that carries it should
// ask for, but not verify, client certificates.
func (s *Server) Handler() http.Handler {
	h := &handler{service: s.Service, log: s.Log, metrics: s.Metrics, fallback: s.Fallback}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if h.metrics == nil {
		h.metrics = obs.NewHead(nil, "dps")
	}
	return h
}

type handler struct {
	service  Service
	log      *slog.Logger
	metrics  *obs.Head
	fallback http.Handler
}
