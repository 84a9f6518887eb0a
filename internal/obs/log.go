package obs

import (
	"io"
	"log/slog"
	"os"

	"golang.org/x/term"
)

// The keys of structured logs. One thing has one key everywhere, so that an
// operator can search for it.
const (
	KeyAddr      = "addr"      // address a listener is bound to
	KeyBytes     = "bytes"     // a size
	KeyCheck     = "check"     // name of a health check
	KeyClient    = "client"    // user agent or client type
	KeyCode      = "code"      // name of an error of the catalogue
	KeyCount     = "count"     // how many
	KeyDevice    = "device"    // device id
	KeyEndpoint  = "endpoint"  // name of an endpoint of a hub
	KeyError     = "error"     // an error value
	KeyHead      = "head"      // name of a protocol head
	KeyHost      = "host"      // host name the client asked for
	KeyHub       = "hub"       // name of a hub
	KeyID        = "id"        // a causeway.Identity, logged as a group
	KeyMethod    = "method"    // HTTP method or direct method
	KeyModule    = "module"    // module id
	KeyOffset    = "offset"    // position in a partition
	KeyPartition = "partition" // of an event log
	KeyPath      = "path"      // a file or a request path
	KeyPolicy    = "policy"    // name of a shared access policy
	KeyReason    = "reason"    // why something ended or was refused
	KeyRemote    = "remote"    // address of the peer
	KeyRequest   = "request"   // id of an HTTP request, as in x-ms-request-id
	KeyRoute     = "route"     // pattern of an HTTP route, or name of a route of a hub
	KeyStatus    = "status"    // HTTP status or status of a result
	KeyTook      = "took"      // a duration
	KeyTransport = "transport" // mqtt, mqtt-ws, amqp, amqp-ws, https
	KeyVersion   = "version"   // of a twin section or of the program
)

// The formats of NewLogger.
const (
	FormatText = "text" // for people: key=value lines
	FormatJSON = "json" // for machines: one object a line
	FormatAuto = "auto" // text when the output is a terminal, else JSON
)

// NewLogger returns a logger that writes to w in a format; anything but
// FormatText and FormatJSON counts as FormatAuto. Secrets are kept out of what
// it writes, see [Redact]. A nil level means info.
func NewLogger(w io.Writer, format string, level slog.Leveler) *slog.Logger {
	if level == nil {
		level = slog.LevelInfo
	}
	opts := &slog.HandlerOptions{Level: level, ReplaceAttr: redactAttr}
	if format == FormatText || format != FormatJSON && isTerminal(w) {
		return slog.New(slog.NewTextHandler(w, opts))
	}
	return slog.New(slog.NewJSONHandler(w, opts))
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
