// Package est is the head that speaks Enrollment over Secure Transport (RFC 7030,
// as RFC 8951 amends it): devices get operational certificates and renew them. It
// serves the provisioning services of a cloud, each under its host name or under
// its id scope as the label of the path.
//
// It translates, and knows no rule of who gets which certificate.
package est

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/wire/hubhttp"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// Prefix is where the protocol lives (RFC 7030 §3.2.2).
const Prefix = "/.well-known/est/"

// Limits of this head.
const (
	bodyTimeout  = 30 * time.Second // for a client to send its request
	replyTimeout = 60 * time.Second // for a client to take its answer
	maxBody      = 16 << 10         // a certificate request in base64, with lines
	retryAfter   = 10 * time.Second // that a client is told when it is to come again
)

// Service is what this head asks of dps.Service; see there.
type Service interface {
	ByHost(host string) (dps.Instance, bool)
	ByScope(scope string) (dps.Instance, bool)
	IssuerChain(service string) ([][]byte, error)
	Enroll(ctx context.Context, r causeway.Registration, renew bool) ([][]byte, error)
}

// Server answers the protocol. Its fields are set before Handler is called and not
// changed after.
type Server struct {
	Service Service
	Log     *slog.Logger // nil for none
	Metrics *obs.Head    // nil for none
}

// Handler returns the protocol as an http.Handler for what is below [Prefix]. The
// server that carries it should ask for, but not verify, client certificates.
func (s *Server) Handler() http.Handler {
	h := &handler{service: s.Service, log: s.Log, metrics: s.Metrics}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if h.metrics == nil {
		h.metrics = obs.NewHead(nil, "est")
	}
	return h
}

type handler struct {
	service Service
	log     *slog.Logger
	metrics *obs.Head
}

// answer is what a client gets.
type answer struct {
	status int
	bag    []byte // certificates, PKCS #7 in DER; nil for none
}

// operation is one operation of the protocol.
type operation struct {
	method string
	handle func(*handler, *http.Request, dps.Instance) (answer, error)
}

var operations = map[string]operation{
	"cacerts":        {http.MethodGet, (*handler).authorities},
	"csrattrs":       {http.MethodGet, (*handler).attributes},
	"simpleenroll":   {http.MethodPost, (*handler).enroll},
	"simplereenroll": {http.MethodPost, (*handler).renew},
}

// ServeHTTP answers one request.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	deadline := http.NewResponseController(w)
	// Not every ResponseWriter has deadlines; those of net/http do.
	_ = deadline.SetReadDeadline(began.Add(bodyTimeout))
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	label, name := split(r.URL.Path)
	a, err := h.dispatch(w, r, label, name)
	_ = deadline.SetWriteDeadline(time.Now().Add(replyTimeout))
	head := w.Header()
	head.Set("Cache-Control", "no-store")
	head.Set("X-Content-Type-Options", "nosniff")
	if err != nil {
		a.status = h.refuse(w, err)
	} else {
		write(w, a)
	}
	if _, known := operations[name]; !known {
		name = "unknown"
	}
	h.metrics.Requests.WithLabelValues(name, strconv.Itoa(a.status)).Inc()
	h.metrics.RequestLatency.WithLabelValues(name).Observe(time.Since(began).Seconds())
	level := slog.LevelDebug
	if a.status >= 500 && r.Context().Err() == nil {
		level = slog.LevelError
	}
	h.log.Log(r.Context(), level, "request", obs.KeyRoute, name, obs.KeyStatus, a.status, obs.KeyTook, time.Since(began), obs.KeyRemote, r.RemoteAddr, obs.KeyError, err)
}

// split returns the label of a path, "" for none, and the operation.
func split(path string) (label, name string) {
	path = strings.TrimPrefix(path, Prefix)
	if before, after, ok := strings.Cut(path, "/"); ok {
		return before, after
	}
	return "", path
}

func (h *handler) dispatch(w http.ResponseWriter, r *http.Request, label, name string) (answer, error) {
	op, ok := operations[name]
	if !ok {
		return answer{}, causeway.Errorf(causeway.GenericNotFound, "est", "there is no operation %q here: use cacerts, csrattrs, simpleenroll or simplereenroll", hubhttp.Clip(name))
	}
	if r.Method != op.method {
		w.Header().Set("Allow", op.method)
		return answer{}, causeway.Errorf(causeway.GenericMethodNotAllowed, "est", "%s is asked for with %s", name, op.method)
	}
	i, ok := h.service.ByScope(label)
	if label == "" {
		i, ok = h.service.ByHost(strings.ToLower(sas.Host(r.Host)))
	}
	if !ok {
		return answer{}, causeway.Errorf(causeway.GenericNotFound, "est", "no provisioning service answers here: name it by its host name, or by its id scope as in %s{idScope}/%s", Prefix, name)
	}
	return op.handle(h, r, i)
}
