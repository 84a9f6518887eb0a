package dps

import (
	"cmp"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/wire/dpsjson"
	"github.com/causeway-iot/causeway/internal/wire/httpanswer"
	"github.com/causeway-iot/causeway/internal/wire/hubhttp"
	"github.com/causeway-iot/causeway/internal/wire/hubjson"
	"github.com/causeway-iot/causeway/internal/wire/sas"
	"github.com/causeway-iot/causeway/internal/wire/uuid"
)

// call is one request on its way through the head.
type call struct {
	w       http.ResponseWriter
	r       *http.Request
	arrived time.Time
	request string // id
	route   *route
	params  params
	service string // name of the service that a back end called
	who     string // policy that it showed
}

// reply is a successful answer.
type reply struct {
	status int
	etag   string // as it is sent; "" for none
	header http.Header
	body   []byte
}

// json puts v into the body.
func (rep reply) json(v any) (reply, error) {
	body, err := hubjson.Marshal(v)
	rep.body = body
	return rep, err
}

// ServeHTTP answers one request.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{w: w, r: r, arrived: time.Now(), request: uuid.Text(uuid.New())}
	var allow []string
	c.route, c.params, allow = match(r.Method, r.URL)
	if c.route == nil && allow == nil && h.fallback != nil {
		h.fallback.ServeHTTP(w, r)
		return
	}
	w.Header().Set("x-ms-request-id", c.request)
	// Not every ResponseWriter has deadlines; those of net/http do.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	rep, err := h.dispatch(c, allow)
	status := rep.status
	if err != nil {
		status = h.refuse(c, err)
	} else {
		h.write(c, rep)
	}
	h.metrics.Requests.WithLabelValues(c.route.label(), strconv.Itoa(status)).Inc()
	h.metrics.RequestLatency.WithLabelValues(c.route.label()).Observe(time.Since(c.arrived).Seconds())
	h.note(c, status, err)
}

// dispatch checks what every route checks, then calls the route's handler.
func (h *handler) dispatch(c *call, allow []string) (reply, error) {
	if c.route == nil {
		return reply{}, httpanswer.Misrouted("dps.route", c.w, c.r, allow)
	}
	if err := dpsjson.CheckVersion(c.r.URL.Query().Get("api-version")); err != nil {
		return reply{}, err
	}
	if c.route.right != 0 {
		if err := h.authorize(c); err != nil {
			return reply{}, err
		}
	}
	return c.route.handle(h, c)
}

// authorize finds out which service a back end calls and whether it may.
func (h *handler) authorize(c *call) error {
	i, ok := h.service.ByHost(strings.ToLower(sas.Host(c.r.Host)))
	if !ok {
		return causeway.Errorf(dps.CodeUnauthorized, "dps.authorize", "no provisioning service answers to the host name %q", clip(c.r.Host))
	}
	who, err := i.Authorize(time.Now(), tokenOf(c.r), c.route.right)
	if err != nil {
		return err
	}
	c.service, c.who = i.Name, who
	return h.service.Operate(i.Name)
}

// tokenOf returns the shared access signature of a request, "" for none. The
// scheme is read without case.
func tokenOf(r *http.Request) causeway.Secret {
	scheme, rest, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, sas.Prefix) {
		return ""
	}
	return causeway.Secret(sas.Prefix + " " + rest)
}

// body reads the request body.
func (c *call) body() ([]byte, error) {
	if c.r.ContentLength > maxBody {
		c.w.Header().Set("Connection", "close") // the rest is not worth reading
		return nil, tooLarge()
	}
	b, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxBody))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, tooLarge()
	}
	if err != nil {
		c.w.Header().Set("Connection", "close")
		return nil, &causeway.Error{Code: causeway.RequestTimedOut, Op: "dps.body", Msg: "the request body could not be read to its end", Err: err}
	}
	return b, nil
}

func tooLarge() error {
	return causeway.Errorf(causeway.GenericRequestEntityTooLarge, "dps.body", "the request body is larger than %d bytes", maxBody)
}

// json reads a JSON object.
func (c *call) json(v any) error {
	b, err := c.body()
	if err != nil {
		return err
	}
	return unmarshal(b, v)
}

// ifMatch returns the condition of a request: "" for none, "*", or an etag. Clients
// send it bare, quoted, weak, or with quotes of its own.
func ifMatch(r *http.Request) string { return bare(r.Header.Get("If-Match")) }

func bare(etag string) string {
	return strings.Trim(strings.TrimPrefix(strings.TrimSpace(etag), "W/"), `"\`)
}

// write sends a reply.
func (h *handler) write(c *call, rep reply) {
	head := c.w.Header()
	for k, v := range rep.header {
		head[k] = v // as spelled
	}
	if rep.etag != "" {
		head["ETag"] = []string{rep.etag}
	}
	if len(rep.body) > 0 {
		head.Set("Content-Type", "application/json; charset=utf-8")
		head.Set("Content-Length", strconv.Itoa(len(rep.body)))
	}
	h.send(c, rep.status, rep.body)
}

// refuse answers with an error and returns its status.
func (h *handler) refuse(c *call, err error) int {
	h.metrics.Refused.WithLabelValues(strconv.Itoa(int(causeway.CodeOf(err)))).Inc()
	status, body := dpsjson.Error(err, c.request)
	head := c.w.Header()
	head.Set("x-ms-error-code", strconv.Itoa(int(causeway.CodeOf(err))))
	head.Set("Content-Type", "application/json; charset=utf-8")
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		head.Set("Retry-After", retryAfter(cmp.Or(hubhttp.RetryAfter(err), dps.RetryAfter)))
	}
	h.send(c, status, body)
	return status
}

func (h *handler) send(c *call, status int, body []byte) {
	if err := httpanswer.Send(c.w, status, body, replyTimeout); err != nil {
		h.log.Debug("reply not taken", obs.KeyRequest, c.request, obs.KeyError, err)
	}
}

// retryAfter writes a duration in whole seconds, as clients want it.
func retryAfter(d time.Duration) string {
	return strconv.Itoa(max(1, int((d+time.Second-1)/time.Second)))
}

// note writes the request to the log: faults of ours loudly, changes for the
// record, all else for developers.
func (h *handler) note(c *call, status int, err error) {
	level := slog.LevelDebug
	if status >= 500 && c.r.Context().Err() == nil {
		level = slog.LevelError
	} else if err == nil && c.who != "" && c.r.Method != http.MethodGet && c.route.right&(dps.EnrollmentWrite|dps.RegistrationStatusWrite) != 0 {
		level = slog.LevelInfo
	}
	h.log.Log(c.r.Context(), level, "request", obs.KeyRequest, c.request, obs.KeyRoute, c.route.label(), obs.KeyStatus, status,
		"service", c.service, "registration", clip(c.params.id), "by", c.who, obs.KeyTook, time.Since(c.arrived), obs.KeyRemote, c.r.RemoteAddr, obs.KeyError, err)
}

// clip shortens text of a client that is repeated in a message or a log line.
func clip(s string) string { return hubhttp.Clip(s) }
