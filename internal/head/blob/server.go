package blob

import (
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	port "github.com/causeway-iot/causeway/internal/core/blob"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/wire/blobsas"
	"github.com/causeway-iot/causeway/internal/wire/hubhttp"
	"github.com/causeway-iot/causeway/internal/wire/sas"
	"github.com/causeway-iot/causeway/internal/wire/uuid"
)

// Limits of this head, beside those of the port.
const (
	MaxPutBlob     = 5000 << 20 // bytes of a blob sent as a whole
	MaxBlock       = 4000 << 20 // bytes of one block
	MaxAppendBlock = 4 << 20    // bytes of one append: it is held in memory
	MaxBlockList   = 8 << 20    // bytes of the XML of a list of blocks
	MaxRangeSum    = 4 << 20    // bytes of a range that is read with its MD5
	MaxPage        = 5000       // blobs or containers in one answer
	maxMetaPage    = 1000       // blobs with metadata in one answer

	// buffers is how many requests may hold a body of more than smallBody bytes
	// in memory at once; the others wait.
	buffers   = 32
	smallBody = 64 << 10

	// idle is how long a client may send, or take, nothing.
	idle = 30 * time.Second
	// heldFor is how long it may take over a body that is held in memory: those
	// that wait for room are not to wait for who has a slow line, or pretends to.
	heldFor = 2 * time.Minute
	// perMiB is how long it may take to send each MiB of any other, and at least:
	// the time-out of the Blob service.
	perMiB = 10 * time.Minute
)

// Account is the storage of one hub.
type Account struct {
	Key   []byte // signs and checks signatures
	Store port.Store
}

// Server answers the storage clients of every hub of a cloud. Its fields are set
// before Handler is called and not changed after.
type Server struct {
	// Accounts finds an account by the host name a client asked for, without
	// port.
	Accounts func(host string) (Account, bool)
	Log      *slog.Logger // nil for none
	Metrics  *obs.Head    // nil for none
}

// Handler returns the API as an http.Handler.
func (s *Server) Handler() http.Handler {
	h := &handler{accounts: s.Accounts, log: s.Log, metrics: s.Metrics, buffers: make(chan struct{}, buffers)}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if h.metrics == nil {
		h.metrics = obs.NewHead(nil, "blob")
	}
	return h
}

// Match reports whether a request is of a storage client, not one to the hub.
func Match(r *http.Request) bool {
	signed, version := false, false
	for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
		switch key, _, _ := strings.Cut(pair, "="); key {
		case "sig":
			signed = true
		case "sv":
			version = true
		case "api-version":
			return false
		}
	}
	return signed && version || r.Header.Get("x-ms-version") != ""
}

// handler is a Server with its defaults filled in.
type handler struct {
	accounts func(host string) (Account, bool)
	log      *slog.Logger
	metrics  *obs.Head
	buffers  chan struct{} // one for each body held in memory
}

// call is one request on its way through the head.
type call struct {
	w         http.ResponseWriter
	r         *http.Request
	request   string // id
	op        *operation
	account   Account
	container string // "" for the account
	blob      string // "" for the container
	token     blobsas.Token
	bucket    port.Bucket
	status    int       // that was answered with; 0 before
	until     time.Time // when a body must have been sent or taken; zero for no such time
}

// ServeHTTP answers one request.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	c := &call{w: w, r: r, request: uuid.Text(uuid.New())}
	c.header()
	err := h.dispatch(c)
	if err != nil {
		h.fail(c, err)
	}
	h.metrics.Requests.WithLabelValues(c.op.label(), strconv.Itoa(c.status)).Inc()
	h.metrics.RequestLatency.WithLabelValues(c.op.label()).Observe(time.Since(began).Seconds())
	h.note(c, began, err)
}

// header sets what every answer has.
func (c *call) header() {
	head := c.w.Header()
	head.Set("Server", "Causeway-Blob/1.0")
	head["x-ms-request-id"] = []string{c.request}
	version := c.r.Header.Get("x-ms-version")
	if _, err := time.Parse(time.DateOnly, version); err != nil {
		version = blobsas.Version
	}
	head["x-ms-version"] = []string{version}
	// Clients compare it with what they sent.
	if id := c.r.Header.Get("x-ms-client-request-id"); id != "" && len(id) <= 1024 {
		head["x-ms-client-request-id"] = []string{id}
	}
	// What devices upload must not become a page of the hub's host.
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Content-Security-Policy", "sandbox")
	head.Set("Cache-Control", "no-store")
}

// dispatch checks what every operation checks, then calls its handler.
func (h *handler) dispatch(c *call) error {
	host := strings.ToLower(sas.Host(c.r.Host))
	account, ok := h.accounts(host)
	if !ok {
		return fail(resourceNotFound, "no hub answers to the host name %q", clip(host))
	}
	c.account = account
	if err := c.locate(); err != nil {
		return err
	}
	if err := c.route(); err != nil {
		return err
	}
	if err := c.authorize(time.Now()); err != nil {
		return err
	}
	if err := c.refuseUnsupported(); err != nil {
		return err
	}
	if c.container != "" {
		c.bucket = account.Store.Container(c.container)
	}
	return c.op.handle(h, c)
}

// reply answers without a body.
func (c *call) reply(status int) {
	c.status = status
	if status != http.StatusNoContent && status != http.StatusNotModified {
		c.w.Header().Set("Content-Length", "0")
	}
	c.w.WriteHeader(status)
}

// note writes the request to the log: faults of ours loudly, all else for
// developers.
func (h *handler) note(c *call, began time.Time, err error) {
	level := slog.LevelDebug
	if c.status >= 500 && c.r.Context().Err() == nil {
		level = slog.LevelError
	}
	if !h.log.Enabled(c.r.Context(), level) {
		return
	}
	attrs := []slog.Attr{
		slog.String(obs.KeyRequest, c.request), slog.String(obs.KeyMethod, clip(c.r.Method)), slog.String(obs.KeyRoute, c.op.label()),
		slog.Int(obs.KeyStatus, c.status), slog.Duration(obs.KeyTook, time.Since(began)), slog.String(obs.KeyRemote, c.r.RemoteAddr),
		slog.String("container", clip(c.container)), slog.String("blob", clip(c.blob)),
	}
	if err != nil {
		attrs = append(attrs, slog.Any(obs.KeyError, err))
	}
	h.log.LogAttrs(c.r.Context(), level, "blob request", attrs...)
}

// clip shortens text of a client that is repeated in a message or a log line.
func clip(s string) string { return hubhttp.Clip(s) }
