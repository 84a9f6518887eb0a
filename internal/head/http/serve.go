package http

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/wire/httpanswer"
	"github.com/causeway-iot/causeway/internal/wire/hubhttp"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// call is one request on its way through the head.
type call struct {
	w       http.ResponseWriter
	r       *http.Request
	arrived time.Time
	request string // id, hex
	route   *route
	params  params
	id      causeway.Identity // of the path; its hub is known once somebody was let in
}

// reply is a successful answer.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// ServeHTTP answers one request.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{w: w, r: r, arrived: time.Now()}
	var allow []string
	c.route, c.params, allow = match(r.Method, r.URL)
	// A path that back ends use too is theirs with other methods.
	if c.route == nil && h.fallback != nil && (allow == nil || !strings.HasSuffix(strings.ToLower(r.URL.Path), "/messages/events")) {
		h.fallback.ServeHTTP(w, r)
		return
	}
	c.request = httpanswer.RequestID()
	c.id = c.params.identity()
	var end func(id causeway.Identity, status int, err error)
	c.r, end = httpanswer.Trace(h.tracer, r, "http."+c.route.label(), c.request)
	status, err := h.serve(c, allow)
	end(c.id, status, err)
	h.metrics.Requests.WithLabelValues(c.route.label(), strconv.Itoa(status)).Inc()
	h.metrics.RequestLatency.WithLabelValues(c.route.label()).Observe(time.Since(c.arrived).Seconds())
	h.note(c, status, err)
}

// serve answers and returns the status it answered with.
func (h *handler) serve(c *call, allow []string) (int, error) {
	head := c.w.Header()
	head.Set("x-ms-request-id", c.request)
	if c.r.Body != nil && c.r.Body != http.NoBody {
		// A ResponseWriter that is not net/http's may have no deadlines.
		_ = http.NewResponseController(c.w).SetReadDeadline(c.arrived.Add(bodyTimeout))
	}
	rep, err := h.dispatch(c, allow)
	if err != nil {
		h.metrics.Refused.WithLabelValues(causeway.CodeOf(err).Name()).Inc()
		e := hubhttp.ErrorOf(err, hubhttp.FormA, c.request, time.Now())
		e.SetHeader(head, err)
		h.send(c, e.Status, e.Body)
		return e.Status, err
	}
	for k, v := range rep.header {
		head[k] = v // as spelled: some clients compare header names with case
	}
	h.send(c, rep.status, rep.body)
	return rep.status, nil
}

// dispatch checks what every route checks, then calls the route's handler.
func (h *handler) dispatch(c *call, allow []string) (reply, error) {
	if c.route == nil {
		return reply{}, httpanswer.Misrouted("http.route", c.w, c.r, allow)
	}
	if err := hubhttp.CheckVersion(c.r); err != nil {
		return reply{}, err
	}
	return c.route.handle(h, c)
}

// send writes status and body. A client that does not take its reply in time
// loses the connection; there is nobody to tell.
func (h *handler) send(c *call, status int, body []byte) {
	if status != http.StatusNoContent {
		c.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	if err := httpanswer.Send(c.w, status, body, replyTimeout); err != nil {
		h.log.Debug("reply not taken", obs.KeyRequest, c.request, obs.KeyError, err)
	}
}

// readBody reads the request body up to a limit; a longer one is
// MessageTooLarge.
func readBody(c *call, limit int) ([]byte, error) {
	const op = "http.body"
	tooMuch := func() error {
		c.w.Header().Set("Connection", "close") // the rest is not worth reading
		return causeway.Errorf(causeway.MessageTooLarge, op, "the request body is larger than %d bytes", limit)
	}
	if c.r.ContentLength > int64(limit) {
		return nil, tooMuch()
	}
	var body []byte
	var err error
	if n := c.r.ContentLength; n >= 0 {
		// Exact, but never more than a client has shown that it sends.
		body, err = readSized(c.r.Body, int(n))
	} else {
		body, err = io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, int64(limit)))
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, tooMuch()
	}
	if err != nil {
		c.w.Header().Set("Connection", "close")
		return nil, &causeway.Error{Code: causeway.RequestTimedOut, Op: op, Msg: "the request body could not be read to its end", Err: err}
	}
	// The server goes on reading while a request is answered, to see the client
	// leave; the deadline of the body would end a long wait.
	_ = http.NewResponseController(c.w).SetReadDeadline(time.Time{})
	return body, nil
}

// firstRead is how much memory the promise of a body gets before it came.
const firstRead = 16 << 10

// readSized reads n bytes; memory grows with what has arrived.
func readSized(r io.Reader, n int) ([]byte, error) {
	body := make([]byte, 0, min(n, firstRead))
	for len(body) < n {
		if len(body) == cap(body) {
			body = append(make([]byte, 0, min(n, 4*cap(body))), body...)
		}
		k, err := r.Read(body[len(body):min(n, cap(body))])
		body = body[:len(body)+k]
		if err != nil && len(body) < n {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return body, nil
}

// note writes the request to the log: faults of ours loudly, all else for
// developers.
func (h *handler) note(c *call, status int, err error) {
	level := slog.LevelDebug
	if status >= 500 && status != http.StatusServiceUnavailable && c.r.Context().Err() == nil {
		level = slog.LevelError
	}
	if !h.log.Enabled(c.r.Context(), level) {
		return
	}
	attrs := []slog.Attr{
		slog.String(obs.KeyRequest, c.request), slog.String(obs.KeyRoute, c.route.label()), slog.Int(obs.KeyStatus, status),
		slog.Duration(obs.KeyTook, time.Since(c.arrived)), slog.String(obs.KeyRemote, c.r.RemoteAddr),
		slog.String(obs.KeyHost, hubhttp.Clip(c.r.Host)), slog.Any(obs.KeyID, c.id),
	}
	if err != nil {
		attrs = append(attrs, slog.String(obs.KeyCode, causeway.CodeOf(err).Name()), slog.Any(obs.KeyError, err))
	}
	h.log.LogAttrs(c.r.Context(), level, "device request", attrs...)
}

func (c *call) host() string { return strings.ToLower(sas.Host(c.r.Host)) }
