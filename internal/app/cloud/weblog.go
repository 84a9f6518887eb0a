package cloud

import (
	"bytes"
	"context"
	"log"
	"log/slog"
)

// webLog takes what the HTTP server has to say. Failed handshakes of strangers
// are not our errors; a handler that panicked is, and somebody must mend it.
type webLog struct{ log *slog.Logger }

func newWebLog(to *slog.Logger) *log.Logger { return log.New(webLog{to}, "", 0) }

// Write takes one message: part of [io.Writer].
func (w webLog) Write(b []byte) (int, error) {
	level := slog.LevelDebug
	if bytes.HasPrefix(b, []byte("http: panic ")) || bytes.HasPrefix(b, []byte("http2: panic ")) {
		level = slog.LevelError
	}
	w.log.Log(context.Background(), level, string(bytes.TrimSpace(b)))
	return len(b), nil
}
